"""Lower bounds of scores, worked out by hand."""

import asyncio

import pytest

from prm_train.checkpoints.calibration import Reliability, ScoreBin
from prm_train.scoring.cautious import CautiousScorer, lower_bounds
from prm_train.scoring.protocol import CountedTree, PathTooLongError
from prm_train.scoring.shared_tree import SharedScorer
from tests.prm_train.scoring.test_ensemble import score_all, tiny_scorer
from tests.scripted_search import ScriptedScorer

RELIABILITY = Reliability(
    (
        ScoreBin(0.0, 40, 10, 0.0),
        ScoreBin(0.4, 40, 10, 0.8),
        ScoreBin(0.7, 40, 10, 0.5),
        ScoreBin(0.9, 9, 5, 1),
    )
)


def test_trials_are_questions_and_a_higher_score_never_has_a_lower_bound():
    bounds = lower_bounds(RELIABILITY.bins, 0.95)
    # that of 5 in 10 would be 0.2693, that of 5 in 5 is 1 / (1 + 2.705543 / 5)
    assert bounds == pytest.approx([0.0, 0.540793, 0.540793, 0.648887], abs=1e-5)
    assert lower_bounds(RELIABILITY.bins, 0.99)[1] < bounds[1]


def test_each_score_becomes_the_bound_of_its_bin():
    steps = {"0": 0.0, "a": 0.39, "b": 0.4, "c": 0.8, "d": 0.9, "e": 1.0}
    scorer = CautiousScorer(ScriptedScorer(lambda path: steps[path[-1]]), RELIABILITY, 0.95)
    scores, _ = score_all(scorer, [(step,) for step in steps])
    low, middle, high = 0.0, 0.540793, 0.648887
    assert scores == pytest.approx([low, low, middle, middle, high, high], abs=1e-5)


def test_costs_paths_and_limits_are_those_of_the_scorer_behind_it():
    plain, cautious = tiny_scorer(1), CautiousScorer(tiny_scorer(1), RELIABILITY, 0.95)
    (scores, usage), (bounds, cautious_usage) = score_all(plain), score_all(cautious)
    assert cautious_usage == usage
    assert bounds == [cautious.bound(score) for score in scores]

    async def shared_twice():
        async with SharedScorer(cautious) as shared:
            for _ in range(2):
                async with shared.session("Q?") as tree:
                    assert isinstance(tree, CountedTree)
                    await tree.score(tree.extend(tree.root, "aa"))
            return shared.usage.n_new

    assert asyncio.run(shared_twice()) == 2 + 3  # head and step, once for both
    with pytest.raises(PathTooLongError):
        score_all(CautiousScorer(tiny_scorer(1, context=4), RELIABILITY, 0.95))


def test_a_cautious_scorer_is_another_one_for_each_bound():
    scorer = tiny_scorer(1)
    fewer = Reliability(RELIABILITY.bins[:2])
    ids = {
        scorer.scorer_id,
        *(CautiousScorer(scorer, RELIABILITY, confidence).scorer_id for confidence in (0.9, 0.95)),
        CautiousScorer(scorer, fewer, 0.95).scorer_id,
    }
    assert len(ids) == 4
