"""Beam search against a policy and a scorer whose every answer is written down here."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from data_gen.grading import ArithmeticGrader
from data_gen.ledger import Ledger, LedgerPolicy
from data_gen.records import Completion, FinishReason, Problem, SamplingParams, Usage
from prm_train.aggregation import Aggregation
from prm_train.scoring import ScorerUsage
from prm_train.search.beam import BeamConfig, beam_search
from prm_train.search.candidates import Candidate

PROBLEM = Problem("p", "?", "2")
PARAMS = SamplingParams(max_new_tokens=100, stop="\n")


class ScriptedPolicy:
    """Tokens are bytes. `write(text so far, index)` gives the next step; it ends the solution if it has no newline at its end."""

    policy_id, base_seed, context_length = "scripted", 0, 1000

    def __init__(self, write: Callable[[str, int], str]) -> None:
        self.write = write
        self.asked: list[tuple[str, int]] = []

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return tuple(question.encode())

    def token_bytes(self) -> list[bytes]:
        return [bytes([i]) for i in range(256)]

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        so_far = bytes(prefix_ids).decode().removeprefix(PROBLEM.question)
        self.asked.append((so_far, index))
        text = self.write(so_far, index)
        reason = FinishReason.STOP if text.endswith("\n") else FinishReason.EOS
        return Completion(tuple(text.encode()), text, (-1.0,) * len(text), reason, Usage(n_generated=len(text)))


class ScriptedScorer:
    """`judge(steps)` is the score of the last of them; nodes are tuples of steps."""

    scorer_id = "scripted"
    scores_steps = True
    aggregation: Aggregation = "min"

    def __init__(self, judge: Callable[[tuple[str, ...]], float]) -> None:
        self.judge, self.root, self.usage = judge, (), ScorerUsage()

    @asynccontextmanager
    async def session(self, question: str) -> AsyncIterator["ScriptedScorer"]:
        yield self

    def extend(self, parent: tuple[str, ...], step: str) -> tuple[str, ...]:
        return (*parent, step)

    async def score(self, node: tuple[str, ...]) -> float:
        return self.judge(node)


def search(
    policy: ScriptedPolicy, scorer: ScriptedScorer, config: BeamConfig, folder: Path, params: SamplingParams = PARAMS
) -> list[Candidate]:
    with Ledger(folder / "l.sqlite") as ledger:
        recorded = LedgerPolicy(policy, ledger, PROBLEM)
        return asyncio.run(beam_search(recorded, ArithmeticGrader(), scorer, "prm", params, config))[0]


def two_steps_then_answer(so_far: str, index: int) -> str:
    return f"Answer: {index}" if so_far.count("\n") == 2 else f"{index}\n"


def test_the_best_path_is_kept_and_expanded_m_times_and_no_draw_is_made_for_nothing(tmp_path: Path):
    policy = ScriptedPolicy(two_steps_then_answer)
    scorer = ScriptedScorer(lambda steps: 0.9 if steps[-1].endswith("2") else 0.1)
    candidates = search(policy, scorer, BeamConfig(n=4, width=4), tmp_path)
    assert policy.asked == [(text, i) for text in ("", "2\n", "2\n2\n") for i in range(4)]  # N draws a level, all from the best path
    assert [candidate.text for candidate in candidates] == [f"2\n2\nAnswer: {i}" for i in range(4)]
    assert candidates[2].is_correct
    assert candidates[2].scores == {"prm": (0.9, 0.9, 0.9)}
    assert [candidate.scores["prm"][-1] for candidate in candidates] == [0.1, 0.1, 0.9, 0.1]


def test_n_over_m_paths_stay(tmp_path: Path):
    policy = ScriptedPolicy(two_steps_then_answer)
    scorer = ScriptedScorer(lambda steps: int(steps[-1].removeprefix("Answer: ")) / 10)
    search(policy, scorer, BeamConfig(n=4, width=2), tmp_path)
    assert policy.asked[4:8] == [("3\n", 0), ("3\n", 1), ("2\n", 0), ("2\n", 1)]


def test_finished_paths_leave_the_beam_and_the_search_ends_with_n_of_them(tmp_path: Path):
    """Peers go on until all paths of a level finish at once (search-and-learn), most of that work is thrown away."""
    policy = ScriptedPolicy(lambda so_far, index: "Answer: 2" if index % 2 or so_far.count("\n") == 2 else "on\n")
    candidates = search(policy, ScriptedScorer(lambda steps: 0.5), BeamConfig(n=4, width=4), tmp_path)
    assert [len(candidate.text.split("\n")) for candidate in candidates] == [1, 1, 2, 3]
    assert [so_far for so_far, _ in policy.asked] == [""] * 4 + ["on\n"] * 2 + ["on\non\n"]  # 2 of 4 finish, 1 of 2, 1 of 1


def test_equal_paths_are_one_path_and_n_is_spent_all_the_same(tmp_path: Path):
    policy = ScriptedPolicy(lambda so_far, index: "same\n" if not so_far else f"Answer: {index}")
    search(policy, ScriptedScorer(lambda steps: 0.5), BeamConfig(n=4, width=2), tmp_path)
    assert policy.asked[4:] == [("same\n", 0), ("same\n", 1), ("same\n", 2), ("same\n", 3)]  # different draws, not two of each


def test_a_path_at_a_limit_is_unfinished_and_cannot_vote(tmp_path: Path):
    policy = ScriptedPolicy(lambda so_far, index: "step\n")
    candidates = search(policy, ScriptedScorer(lambda steps: 0.5), BeamConfig(n=2, width=2, max_steps=3), tmp_path)
    assert [(candidate.text, candidate.is_finished, candidate.can_vote) for candidate in candidates] == [
        ("step\nstep\nstep\n", False, False)
    ]
    shorter = search(policy, ScriptedScorer(lambda steps: 0.5), BeamConfig(n=2, width=2), tmp_path, SamplingParams(12, stop="\n"))
    assert {candidate.is_finished for candidate in shorter} == {False}


def test_settings_that_cannot_work_are_refused(tmp_path: Path):
    scorer = ScriptedScorer(lambda steps: 0.5)
    with pytest.raises(ValueError, match=r"params\.stop is None, expected the step separator"):
        search(ScriptedPolicy(two_steps_then_answer), scorer, BeamConfig(), tmp_path, SamplingParams(100))
    scorer.scores_steps = False
    with pytest.raises(ValueError, match="scores finished ones only, expected a PRM"):
        search(ScriptedPolicy(two_steps_then_answer), scorer, BeamConfig(), tmp_path)


def test_a_stop_string_ends_a_path_also_across_the_end_of_a_step(tmp_path: Path):
    params = SamplingParams(100, stop="\n", stop_strings=("\n\nQ:", "##"))
    policy = ScriptedPolicy(lambda so_far, index: "\nQ: 1?\n" if so_far else ("first\n" if index else "Answer: 2## 3\n"))
    candidates = search(policy, ScriptedScorer(lambda steps: 0.5), BeamConfig(n=2, width=2), tmp_path, params)
    assert [(candidate.text, candidate.is_finished) for candidate in candidates] == [("Answer: 2", True), ("first", True)]
    assert candidates[0].is_correct
    assert candidates[0].scores == candidates[1].scores == {"prm": (0.5,)}
    assert len(policy.asked) == 3  # nothing is drawn behind a stop string
