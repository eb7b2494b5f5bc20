"""`search_all`: problems with known answers searched in one call."""

import asyncio

import pytest

import prm_train
from tests.prm_train.test_public_api import length_scorer
from tests.scripted_search import ScriptedScorer

PROBLEMS = prm_train.load_problems(prm_train.ProblemSource("arithmetic", n=3))


def found(scorer: prm_train.Scorer | None, **settings: object) -> list[prm_train.ProblemResult]:
    policy = prm_train.load_policy("simulated")
    settings = {"n_samples": 3, "n_difficulty_draws": 2, "max_new_tokens": 400, **settings}
    return prm_train.search_all(PROBLEMS, policy, scorer, grader="arithmetic", **settings)


def prm() -> prm_train.Scorer:
    return ScriptedScorer(lambda steps: 0.5)


def test_each_problem_gets_graded_samples_scores_and_searches_in_its_order() -> None:
    results = found(prm(), strategies=("beam:width=1", "particle_filter"), sizes=(2,))
    assert [each.problem for each in results] == PROBLEMS
    for result in results:
        right = [each.answer == result.problem.gold_answer for each in result.scored]
        assert [each.is_correct for each in result.scored] == right
        assert [set(each.scores["prm"]) for each in result.scored] == [{0.5}] * 3
        assert result.difficulty.n == 2
        assert set(result.trees) == {"beam:width=1", "particle_filter"}
        assert result.trees["beam:width=1"][2].cost.policy.n_generated > 0


def test_it_searches_while_the_event_loop_of_a_notebook_is_running() -> None:
    async def cell() -> list[prm_train.ProblemResult]:
        return found(prm())

    assert asyncio.run(cell()) == found(prm())


def test_an_orm_scores_samples_and_searches_no_tree() -> None:
    orm = length_scorer(scores_steps=False)
    assert all(len(each.scores["orm"]) == 1 for result in found(orm) for each in result.scored)
    with pytest.raises(ValueError, match="got beam without a PRM"):
        found(orm, strategies=("beam",))


def test_without_a_scorer_samples_are_graded_alone() -> None:
    samples = [[each.is_correct for each in result.scored] for result in found(None)]
    assert samples == [[each.is_correct for each in result.scored] for result in found(prm())]
    assert {len(each.scores) for result in found(None) for each in result.scored} == {0}
