"""Paths that grow: no draw is given twice within a run, and their weights."""

import asyncio
import math
from pathlib import Path

import pytest

from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from prm_train.scoring.protocol import PathTooLongError
from prm_train.strategies.draw_indices import DrawIndices
from prm_train.strategies.paths import PathGrower, SearchPath, distinct, log_mean_weight, shares_of
from tests.scripted_search import PARAMS, PROBLEM, GreedyPolicy, ScriptedPolicy, ScriptedScorer


def test_an_index_of_a_prefix_is_handed_out_once():
    indices = DrawIndices()
    taken = [indices.take(prefix, n) for prefix, n in (((), 4), ((1,), 2), ((), 3), ((1,), 1))]
    assert taken == [range(4), range(2), range(4, 7), range(2, 3)]


def test_two_visits_of_a_prefix_get_different_draws_and_two_runs_the_same(tmp_path: Path):
    policy = ScriptedPolicy(lambda so_far, index: f"{index}\n")

    async def grow_twice(recorded: LedgerPolicy) -> list[list[str]]:
        grower = PathGrower(recorded, ScriptedScorer(lambda steps: 0.5), PARAMS)
        visits = [
            *await grower.grow([SearchPath(), SearchPath()], [2, 1]),
            *await grower.grow([SearchPath()], [2]),
        ]
        return [[path.text for path in family] for family in visits]

    with Ledger(tmp_path / "l.sqlite") as ledger:
        for _ in range(2):
            families = asyncio.run(grow_twice(LedgerPolicy(policy, ledger, PROBLEM)))
            assert families == [["0\n", "1\n"], ["2\n"], ["3\n", "4\n"]]
        assert ledger.n_draws() == 5
    # The second run reads the draws of the first one
    assert policy.asked == [("", index) for index in range(5)]


def test_equal_paths_are_one_path_of_their_number_and_mean_weight():
    paths = [
        SearchPath(text="a", scores=(0.5,), multiplicity=2, log_weight=math.log(0.1)),
        SearchPath(text="b", scores=(0.9,), log_weight=math.log(0.7)),
        SearchPath(text="a", scores=(0.5,), log_weight=math.log(0.4)),
    ]
    merged = distinct(paths)
    assert [(path.text, path.multiplicity) for path in merged] == [("a", 3), ("b", 1)]
    assert [math.exp(path.log_weight) for path in merged] == pytest.approx([0.2, 0.7])
    assert log_mean_weight([SearchPath(log_weight=-2000.0), SearchPath(log_weight=-3000.0)]) == pytest.approx(
        -2000 - math.log(2)
    )
    # No logarithm of 0
    assert SearchPath(scores=(0.5, 0.0)).log_score("prod") == pytest.approx(-708.4, abs=0.1)


@pytest.mark.parametrize(
    ("n", "weights", "shares"),
    [
        (8, [5.3, 2.0, 0.7], [5, 2, 1]),  # rounded down 5, 2, 0
        (4, [1.0, 1.0, 1.0], [2, 1, 1]),  # ties to the earliest
        (9, [0.1, 0.1, 0.1], [3, 3, 3]),  # 9 x 0.1 / 0.3 is no whole number in floating point
        (2, [0.2, 0.2, 0.2, 0.2], [1, 1, 0, 0]),
        (5, [0.0, 2.0], [0, 5]),
        (0, [1.0, 2.0], [0, 0]),
    ],
)
def test_parts_in_proportion_are_rounded_to_their_sum(n: int, weights: list[float], shares: list[int]):
    assert shares_of(n, weights) == shares


def roll_out(
    policy: ScriptedPolicy, scorer: ScriptedScorer, n_steps: int, folder: Path, texts: tuple[str, ...] = ("",)
) -> list[SearchPath]:
    async def grow_and_roll_out(recorded: LedgerPolicy) -> list[SearchPath]:
        grower = PathGrower(recorded, scorer, PARAMS)
        return await grower.roll_out(
            [SearchPath(tuple(text.encode()), text, (0.5,) * text.count("\n")) for text in texts], n_steps
        )

    with Ledger(folder / "l.sqlite") as ledger:
        return asyncio.run(grow_and_roll_out(LedgerPolicy(policy, ledger, PROBLEM)))


def test_a_rollout_writes_greedy_steps_until_its_path_ends_and_each_of_them_once(tmp_path: Path):
    policy = GreedyPolicy(lambda so_far, index: "Answer: 2" if so_far.count("\n") == 3 else "on\n")
    scorer = ScriptedScorer(lambda steps: len(steps) / 10)
    paths = roll_out(policy, scorer, 2, tmp_path, ("a\n", "a\non\n", "a\n", "b\nb\nb\n"))
    assert [path.text for path in paths] == [
        "a\non\non\n",
        "a\non\non\nAnswer: 2",
        "a\non\non\n",
        "b\nb\nb\nAnswer: 2",
    ]
    assert [path.scores for path in paths[:2]] == [(0.1, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4)]
    assert sorted(policy.greedy) == ["a\n", "a\non\n", "a\non\non\n", "b\nb\nb\n"]
    assert policy.sampled == []


def test_a_rollout_that_the_scorer_cannot_hold_keeps_the_scores_of_its_path(tmp_path: Path):
    def judge(steps: tuple[str, ...]) -> float:
        if len(steps) > 1:
            raise PathTooLongError("too long")
        return 0.9

    (path,) = roll_out(
        GreedyPolicy(lambda so_far, index: "on\n"), ScriptedScorer(judge), 2, tmp_path, ("a\n",)
    )
    assert (path.text, path.scores) == ("a\non\non\n", (0.5,))
