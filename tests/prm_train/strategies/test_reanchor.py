"""Answers anchored again in the policy, with every weight worked out by hand."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

import prm_train
from data_gen.ledger.store import Ledger
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from prm_train.search.show_tree import branches
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.paths import search_tree
from prm_train.strategies.reanchor import cuts
from prm_train.strategies.trace import TreeTrace
from prm_train.strategies.tree_searches import TREE_SEARCHES, parse_strategy
from tests.prm_train.strategies.test_every_strategy import RecordingPolicy, judge, ragged
from tests.scripted_search import PARAMS, ScriptedPolicy, ScriptedScorer


class WholePolicy(ScriptedPolicy):
    """Goes on to the end where no separator stops it, each step by the same index; keeps these draws."""

    def __init__(self, write: Callable[[str, int], str]) -> None:
        super().__init__(write)
        self.rollouts: list[tuple[str, int]] = []

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        if params.stop is not None:
            return await super().sample(prefix_ids, params, index)
        so_far = bytes(prefix_ids).decode().removeprefix("?")
        self.rollouts.append((so_far, index))
        text = self.write(so_far, index)
        while text.endswith("\n"):
            text += self.write(so_far + text, index)
        n = len(text)
        return Completion(tuple(text.encode()), text, (-1.0,) * n, FinishReason.EOS, Usage(n_generated=n))


def write(so_far: str, index: int) -> str:
    """A step, then an answer. 8 is a rare draw: the first one behind `2`; all others say 7."""
    if not so_far:
        return f"{index}\n"
    return f"Answer: {8 if so_far == '2' + chr(10) and index == 0 else 7}"


def long_winded(so_far: str, index: int) -> str:
    """The same, but what begins anew behind the three paths is too long to be read."""
    return "x" * 101 + "\n" if not so_far and index > 2 else write(so_far, index)


def solved(policy: ScriptedPolicy, strategy: str) -> prm_train.Answer:
    """By three paths: two say 7 and score 0.4 each, the one that says 8 scores 0.9."""
    scorer = ScriptedScorer(lambda steps: 0.9 if steps[0] == "2" else 0.4)
    return prm_train.solve("?", policy, scorer, strategy, 3, grader="exact", max_new_tokens=100)


def test_an_answer_that_the_policy_does_not_come_to_again_loses_its_weight() -> None:
    """Each of the two finalists is cut before its first and before its second step. For 8 neither rollout
    agrees, so its 0.9 counts 1 / 4; for 7 both do, so its 0.8 counts 3 / 4.
    """
    assert solved(WholePolicy(write), "beam:width=1").answer == "8"
    policy = WholePolicy(write)
    answer = solved(policy, "beam:width=1:reanchor=2")
    assert answer.answer == "7"
    assert answer.shares == pytest.approx({"7": 0.6 / 0.825, "8": 0.225 / 0.825})
    assert policy.rollouts == [("", 3), ("2\n", 1), ("", 4), ("0\n", 1)]  # of indices that no path used
    n_of_paths, n_of_rollouts = 3 * len("0\nAnswer: 7"), 2 * len("3\nAnswer: 7") + 2 * len("Answer: 7")
    assert answer.cost.policy.n_generated == n_of_paths + n_of_rollouts


def test_a_rollout_that_is_too_long_agrees_with_nothing() -> None:
    """So one of two agrees with 7, whose 0.8 counts 2 / 4."""
    shares = solved(WholePolicy(long_winded), "beam:width=1:reanchor=2").shares
    assert shares == pytest.approx({"7": 0.4 / 0.625, "8": 0.225 / 0.625})


def test_a_tree_shows_the_weights_that_are_voted_with(tmp_path: Path) -> None:
    """The two paths to 7 have 0.4 × 3 / 4, the one to 8 has 0.9 / 4."""
    spec, trace, reader = parse_strategy("beam:width=1:reanchor=2"), TreeTrace(), ArithmeticGrader()
    config = spec.config(3, spec.settings())
    with Ledger(tmp_path / "l.sqlite") as ledger:
        asyncio.run(
            search_tree(
                lambda grower: spec.run(grower, config, reader),
                RecordingPolicy(WholePolicy(write), ledger),
                reader,
                ScriptedScorer(lambda steps: 0.9 if steps[0] == "2" else 0.4),
                "prm",
                PARAMS,
                trace,
            )
        )
    ends = {branch.node.text: branch.children[0].weight for branch in branches(trace.nodes)}
    assert ends == pytest.approx({"0\n": 1.0, "1\n": 1.0, "2\n": 0.225 / 0.3})


def test_nothing_is_drawn_where_all_paths_have_one_answer() -> None:
    policy = WholePolicy(lambda so_far, index: write(so_far, 1))
    assert solved(policy, "beam:width=1:reanchor=4").shares == {"7": 1.0}
    assert policy.rollouts == []


def test_a_path_is_cut_evenly() -> None:
    assert cuts(9, 4) == [1, 3, 5, 7]
    assert cuts(4, 1) == [2]
    assert cuts(1, 3) == [0, 0, 0]


def whole(so_far: str, index: int) -> str:
    return ragged(so_far, index) if len(so_far) < 100 else "Answer: 1"


def searched(name: str, folder: Path) -> tuple[list[Candidate], list[tuple[str, int]]]:
    spec = parse_strategy(name)
    config, reader = spec.config(12, spec.settings()), ArithmeticGrader()
    with Ledger(folder / "l.sqlite") as ledger:
        policy = RecordingPolicy(WholePolicy(whole), ledger)
        candidates, _ = asyncio.run(
            search_tree(
                lambda grower: spec.run(grower, config, reader),
                *(policy, reader, ScriptedScorer(judge), "prm", PARAMS),
            )
        )
    return candidates, policy.asked


@pytest.mark.parametrize("name", TREE_SEARCHES)
def test_every_search_keeps_its_paths_and_rolls_out_with_draws_of_their_own(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "plain").mkdir()
    plain, drawn = searched(name, tmp_path / "plain")
    candidates, asked = searched(f"{name}:reanchor=3", tmp_path)
    assert [each.text for each in candidates] == [each.text for each in plain]
    assert asked[: len(drawn)] == drawn
    assert len(asked) == len(drawn) + 3 * 3
    assert len(set(asked)) == len(asked)
