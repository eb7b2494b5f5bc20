"""Paths that grow: no draw is given twice within a run, and their weights."""

import asyncio
import math
from pathlib import Path

import pytest

from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from prm_train.search.draw_indices import DrawIndices
from prm_train.search.paths import PathGrower, SearchPath, best_distinct, log_mean_weight
from tests.scripted_search import PARAMS, PROBLEM, ScriptedPolicy, ScriptedScorer


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
    best = best_distinct(paths, 2, "min")
    assert [(path.text, path.multiplicity) for path in best] == [("b", 1), ("a", 3)]
    assert [math.exp(path.log_weight) for path in best] == pytest.approx([0.7, 0.2])
    assert log_mean_weight([SearchPath(log_weight=-2000.0), SearchPath(log_weight=-3000.0)]) == pytest.approx(
        -2000 - math.log(2)
    )
    # No logarithm of 0
    assert SearchPath(scores=(0.5, 0.0)).log_score("prod") == pytest.approx(-708.4, abs=0.1)
