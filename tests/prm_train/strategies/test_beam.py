"""Beam search against a policy and a scorer whose every answer is written down here."""

import asyncio
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.draw_keys import DrawKey
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from prm_train.scoring.work import Work
from prm_train.search.method_policy import MethodPolicy, distinct
from prm_train.strategies.beam import BeamConfig, beam_search
from prm_train.strategies.best_of_n import score_candidates
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.paths import search_tree
from tests.scripted_search import PARAMS, PROBLEM, ScriptedPolicy, ScriptedScorer, search_scripted

LONGEST = ("a\nd\nAnswer: 5", "a\nd\nAnswer: 6")


def search(
    policy: ScriptedPolicy,
    scorer: ScriptedScorer,
    config: BeamConfig,
    folder: Path,
    params: SamplingParams = PARAMS,
) -> list[Candidate]:
    return search_scripted(partial(beam_search, config=config), policy, scorer, folder, params)


def two_steps_then_answer(so_far: str, index: int) -> str:
    return f"Answer: {index}" if so_far.count("\n") == 2 else f"{index}\n"


def test_the_best_path_is_kept_and_expanded_m_times_and_no_draw_is_made_for_nothing(tmp_path: Path):
    policy = ScriptedPolicy(two_steps_then_answer)
    scorer = ScriptedScorer(lambda steps: 0.9 if steps[-1].endswith("2") else 0.1)
    candidates = search(policy, scorer, BeamConfig(n=4, width=4), tmp_path)
    # N draws a level, all from the best path
    assert policy.asked == [(text, i) for text in ("", "2\n", "2\n2\n") for i in range(4)]
    assert [candidate.text for candidate in candidates] == [f"2\n2\nAnswer: {i}" for i in range(4)]
    assert candidates[2].is_correct
    assert candidates[2].scores == {"prm": (0.9, 0.9, 0.9)}
    assert [candidate.scores["prm"][-1] for candidate in candidates] == [0.1, 0.1, 0.9, 0.1]


def test_n_over_m_paths_stay(tmp_path: Path):
    policy = ScriptedPolicy(two_steps_then_answer)
    scorer = ScriptedScorer(lambda steps: int(steps[-1].removeprefix("Answer: ")) / 10)
    search(policy, scorer, BeamConfig(n=4, width=2), tmp_path)
    assert policy.asked[4:8] == [("3\n", 0), ("3\n", 1), ("2\n", 0), ("2\n", 1)]


@pytest.mark.parametrize("early", ["Answer: 9", "x" * 101 + "\n"], ids=["finished", "beyond max_new_tokens"])
def test_a_path_that_ends_early_takes_no_place_from_open_ones(tmp_path: Path, early: str):
    script = {
        "": [early, "a\n", "b\n", "c\n"],
        "a\n": ["Answer: 2", "d\n"],
        "b\n": ["Answer: 3", "Answer: 4"],
        "a\nd\n": ["Answer: 5", "Answer: 6"],
    }
    policy = ScriptedPolicy(lambda so_far, index: script[so_far][index])
    scorer = ScriptedScorer(lambda steps: {"a": 0.9, "b": 0.8, "c": 0.7}.get(steps[-1], 0.5))
    candidates = search(policy, scorer, BeamConfig(n=4, width=2), tmp_path)
    # N / M = 2 of the three open paths go on with 2 next steps each, then the only one that is open with its
    # own 2
    assert policy.asked[4:] == [("a\n", 0), ("a\n", 1), ("b\n", 0), ("b\n", 1), ("a\nd\n", 0), ("a\nd\n", 1)]
    assert [candidate.text for candidate in candidates] == [
        early,
        "a\nAnswer: 2",
        "b\nAnswer: 3",
        "b\nAnswer: 4",
        *LONGEST,
    ]
    assert [candidate.can_vote for candidate in candidates] == [
        early == "Answer: 9",
        True,
        True,
        True,
        True,
        True,
    ]


def test_paths_that_never_all_end_cost_n_draws_a_round_and_no_more(tmp_path: Path):
    policy = ScriptedPolicy(lambda so_far, index: "Answer: 2" if index % 2 else "on\n")
    candidates = search(
        policy, ScriptedScorer(lambda steps: 0.5), BeamConfig(n=4, width=4, max_steps=3), tmp_path
    )
    assert policy.asked == [("on\n" * n_steps, index) for n_steps in range(3) for index in range(4)]
    assert [(candidate.text, candidate.can_vote) for candidate in candidates] == [
        *[("on\n" * n_steps + "Answer: 2", True) for n_steps in range(3) for _ in range(2)],
        ("on\non\non\n", False),
    ]


def test_equal_paths_are_one_path_and_n_is_spent_all_the_same(tmp_path: Path):
    policy = ScriptedPolicy(lambda so_far, index: "same\n" if not so_far else f"Answer: {index}")
    search(policy, ScriptedScorer(lambda steps: 0.5), BeamConfig(n=4, width=2), tmp_path)
    # Different draws, not two of each
    assert policy.asked[4:] == [("same\n", 0), ("same\n", 1), ("same\n", 2), ("same\n", 3)]


def test_a_path_at_a_limit_is_unfinished_and_cannot_vote(tmp_path: Path):
    policy = ScriptedPolicy(lambda so_far, index: "step\n")
    candidates = search(
        policy, ScriptedScorer(lambda steps: 0.5), BeamConfig(n=2, width=2, max_steps=3), tmp_path
    )
    assert [(candidate.text, candidate.is_finished, candidate.can_vote) for candidate in candidates] == [
        ("step\nstep\nstep\n", False, False)
    ]
    shorter = search(
        policy,
        ScriptedScorer(lambda steps: 0.5),
        BeamConfig(n=2, width=2),
        tmp_path,
        SamplingParams(12, stop="\n"),
    )
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
    policy = ScriptedPolicy(
        lambda so_far, index: "\nQ: 1?\n" if so_far else ("first\n" if index else "Answer: 2## 3\n")
    )
    candidates = search(policy, ScriptedScorer(lambda steps: 0.5), BeamConfig(n=2, width=2), tmp_path, params)
    assert [(candidate.text, candidate.is_finished) for candidate in candidates] == [
        *(("Answer: 2", True), ("first", True), ("first", True))
    ]
    assert candidates[0].is_correct
    assert candidates[0].scores == candidates[1].scores == {"prm": (0.5,)}
    assert len(policy.asked) == 4  # nothing is drawn behind a stop string


class CrossingPolicy(ScriptedPolicy):
    """One of its tokens ends a step and begins the next one."""

    CROSSING = 256

    def token_bytes(self) -> list[bytes]:
        return [*super().token_bytes(), b".\nTwo"]

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        n_draws = prefix_ids.count(self.CROSSING) + prefix_ids.count(ord("\n"))
        if n_draws == 0:
            return Completion((*b"one", self.CROSSING), "one.\nTwo", (-1.0,) * 4, FinishReason.STOP)
        text = " begins and ends\n" if n_draws == 1 else "Answer: 2"
        return Completion(
            tuple(text.encode()),
            text,
            (-1.0,) * len(text),
            FinishReason.STOP if n_draws == 1 else FinishReason.EOS,
        )


def test_a_token_across_the_separator_gives_the_steps_that_best_of_n_scores(tmp_path: Path):
    text, judged = "one.\nTwo begins and ends\nAnswer: 2", list[tuple[str, ...]]()

    def judge(steps: tuple[str, ...]) -> float:
        judged.append(steps)
        return 1 / len("".join(steps))

    scorer = ScriptedScorer(judge)
    (candidate,) = search(CrossingPolicy(two_steps_then_answer), scorer, BeamConfig(n=1, width=1), tmp_path)
    assert candidate.text == text
    steps = ("one.", "Two begins and ends", "Answer: 2")
    assert set(judged) == {steps[:1], steps[:2], steps}  # half of the second step is never scored
    assert candidate.scores == {"prm": (1 / 4, 1 / 23, 1 / 32)}
    ((of_best_of_n,), _) = asyncio.run(
        score_candidates(PROBLEM, [replace(candidate, scores={})], scorer, "prm", "\n")
    )
    assert of_best_of_n.scores == candidate.scores


def test_after_a_failure_no_other_draw_of_the_search_goes_on(tmp_path: Path):
    class FailingPolicy(ScriptedPolicy):
        async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
            await asyncio.sleep(0)
            if index == 1:
                raise RuntimeError("the engine is gone")
            await asyncio.sleep(0.01)
            return await super().sample(prefix_ids, params, index)

    policy, strategy = FailingPolicy(two_steps_then_answer), partial(beam_search, config=BeamConfig(n=4))

    async def fail_and_wait(recorded: LedgerPolicy) -> None:
        with pytest.raises(RuntimeError, match="the engine is gone"):
            await search_tree(
                strategy, recorded, ArithmeticGrader(), ScriptedScorer(lambda steps: 0.5), "prm", PARAMS
            )
        await asyncio.sleep(0.03)

    with Ledger(tmp_path / "l.sqlite") as ledger:
        asyncio.run(fail_and_wait(LedgerPolicy(policy, ledger, PROBLEM)))
        assert ledger.n_draws() == 0
    assert policy.asked == []


def test_a_search_costs_what_it_would_cost_alone(tmp_path: Path):
    scorer, drawn = (
        ScriptedScorer(lambda steps: 0.9 if steps[-1].endswith("2") else 0.1),
        dict[DrawKey, Completion](),
    )
    strategy = partial(beam_search, config=BeamConfig(n=4, width=4))
    with Ledger(tmp_path / "l.sqlite") as ledger:
        for n_known in (0, 12):
            assert len(drawn) == n_known
            policy = MethodPolicy(ScriptedPolicy(two_steps_then_answer), ledger, PROBLEM, drawn)
            asyncio.run(search_tree(strategy, policy, ArithmeticGrader(), scorer, "prm", PARAMS))
            # draws from ?, ?2| and ?2|2| (1, 3 and 5 tokens), 4 each: of the last two, only their last token
            # was not computed when drawn
            assert policy.usage_alone == Usage(
                n_generated=4 * (2 + 2 + 9), n_prefilled=1 + 1 + 1, n_cached=4 * (1 + 3 + 5) - 3
            )
            # behind 1, 3 and 5 tokens, and at the places 1, 3 and 5
            assert policy.n_pairs == 4 * ((2 + 3) + (4 + 5) + sum(range(6, 15))) + 1 + 3 + 5


def test_tokens_that_prefixes_have_in_common_count_once():
    # 1 2 | 3 | 4 5 | 6, at the places 1 2, 3, 3 4, 1
    assert distinct([(1, 2, 3), (1, 2), (1, 2, 4, 5), (6,), (1, 2)]) == Work(6, 1 + 2 + 3 + 3 + 4 + 1)
    assert distinct([]) == Work()


def test_the_weight_of_a_path_is_the_share_of_draws_that_gave_it_times_its_score(tmp_path: Path):
    script = {
        "": ["a\n", "b\n", "a\n", "a\n"],
        "a\n": ["Answer: 2", "Answer: 3"],
        "b\n": ["Answer: 2", "Answer: 2"],
    }
    policy = ScriptedPolicy(lambda so_far, index: script[so_far][index])
    scorer = ScriptedScorer(lambda steps: {"a": 0.5, "b": 0.8}.get(steps[-1], 0.9))
    candidates = search(policy, scorer, BeamConfig(n=4, width=2), tmp_path)
    assert [candidate.text for candidate in candidates] == [
        "b\nAnswer: 2",
        "b\nAnswer: 2",
        "a\nAnswer: 2",
        "a\nAnswer: 3",
    ]
    # b was 1 of 4 draws and a 3 of 4; each then got 2 draws; the lowest score is that of the first step
    assert [math.exp(each.log_weight) for each in candidates] == pytest.approx(
        [*[1 / 4 / 2 * 0.8] * 2, *[3 / 4 / 2 * 0.5] * 2]
    )
    # A token has -1
    assert [(each.multiplicity, each.step_logprobs) for each in candidates] == [(1, (-2.0, -9.0))] * 4
