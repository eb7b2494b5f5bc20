"""`search_all`: problems with known answers searched in one call."""

import asyncio

import pytest

import prm_train
from tests.prm_train.test_public_api import length_scorer
from tests.scripted_search import ScriptedPolicy, ScriptedScorer

PROBLEMS = [prm_train.Problem("p", "?", "7"), prm_train.Problem("q", "?", "8")]


def write(text: str, index: int) -> str:
    """A step of its own, then an answer: draw 2 says 8, all others say 7."""
    if text.count("\n") == 0:
        return f"{index}\n"
    return f"Answer: {8 if text.startswith('2') else 7}"


def found(**settings: object) -> list[prm_train.ProblemResult]:
    scorer = ScriptedScorer(lambda steps: 0.9 if steps[0] == "2" else 0.4)
    return prm_train.search_all(PROBLEMS, ScriptedPolicy(write), scorer, grader="exact", **settings)


def test_each_problem_gets_graded_samples_scores_and_searches_in_its_order() -> None:
    results = found(
        n_samples=3, n_difficulty_draws=2, strategies=("beam:width=1", "particle_filter"), sizes=(3,)
    )
    assert [each.problem for each in results] == PROBLEMS
    for result, right in zip(results, ("7", "8"), strict=True):
        assert {each.answer for each in result.scored} == {"7"}
        assert [each.is_correct for each in result.scored] == [right == "7"] * 3
        assert all(each.scores["prm"] for each in result.scored)
        assert (result.difficulty.n, result.difficulty.n_correct) == (2, 2 * (right == "7"))
        assert set(result.trees) == {"beam:width=1", "particle_filter"}
        assert {each.answer for each in result.trees["beam:width=1"][3].candidates} == {"7", "8"}
        assert result.trees["beam:width=1"][3].cost.policy.n_generated > 0


def test_it_searches_while_the_event_loop_of_a_notebook_is_running() -> None:
    async def cell() -> list[prm_train.ProblemResult]:
        return found(n_samples=2)

    assert asyncio.run(cell()) == found(n_samples=2)


def test_an_orm_scores_samples_and_searches_no_tree() -> None:
    policy, orm = ScriptedPolicy(write), length_scorer(scores_steps=False)
    with pytest.raises(ValueError, match="got beam without a PRM"):
        prm_train.search_all(PROBLEMS, policy, orm, strategies=("beam",))


def test_without_a_scorer_samples_are_graded_alone() -> None:
    results = prm_train.search_all(PROBLEMS, ScriptedPolicy(write), grader="exact", n_samples=2)
    assert [[each.is_correct for each in result.scored] for result in results] == [[True] * 2, [False] * 2]
    assert not results[0].scored[0].scores
