"""What comes of a router's thresholds, by numbers that are worked out by hand."""

from dataclasses import replace

import numpy as np

from prm_train.metrics.difficulty import Floats, PassRateFit
from prm_train.routing.large import LargeAnswers
from prm_train.routing.paths import NO_SCORE, Costed, Paths, joined
from prm_train.routing.stages import Mix, Step, graded_steps, with_stage
from prm_train.routing.study import FitSettings, Searched, fit_router
from prm_train.routing.thresholds import (
    NEVER,
    Enough,
    Thresholds,
    always_complex,
    always_simple,
    choose,
    routed,
)


def array(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows)


# Two problems with two draws each, of which the second problem looks hard and is. A sample costs 10, the
# complex path 100, both 105, and reading the prompt 1.
PATHS = Paths(
    score=array((0.9, 0.4), (0.9, 0.2)),
    simple_right=array((1, 1), (0, 1)),
    simple={"tokens": np.full((2, 2), 10.0)},
    complex_right=array((1, 1), (1, 0)),
    complex={"tokens": np.full((2, 2), 100.0)},
    escalated={"tokens": np.full((2, 2), 105.0)},
    confidence=array((0.6, 0.6), (0.3, 0.8)),
    counts=np.ones((2, 2)),
    sure=array((0.6, 0.6), (0.3, 0.8)),
    pass_at_1=np.array([0.8, 0.3]),
    read={"tokens": np.ones(2)},
)


def test_hard_questions_skip_the_sample_and_low_scores_go_on() -> None:
    found = routed(PATHS, Thresholds(0.5, 0.5))
    assert found.right.tolist() == [1.0, 0.5]
    assert found.cost["tokens"].tolist() == [(10 + 105) / 2 + 1, 101.0]
    assert found.simple.tolist() == [0.5, 0.0]
    # the second draw of either problem is right, and yet the complex path answers
    assert (found.unsure_right.tolist(), found.hard_right.tolist()) == ([0.5, 0.0], [0.0, 0.5])
    assert found.wrong_simple.tolist() == [0.0, 0.0]
    assert found.spoiled.tolist() == [0.0, 0.5]  # which is wrong there


def test_without_the_first_threshold_a_wrong_sample_stands_where_the_complex_path_is_right() -> None:
    found = routed(PATHS, Thresholds(0.0, 0.5))
    assert found.right.tolist() == [1.0, 0.0]
    assert found.wrong_simple.tolist() == [0.0, 0.5]
    assert (found.unsure_right.tolist(), found.hard_right.tolist()) == ([0.5, 0.5], [0.0, 0.0])
    assert found.cost["tokens"].tolist() == [58.5, 58.5]


def test_a_sample_without_an_answer_is_never_enough() -> None:
    silent = replace(PATHS, score=array((NO_SCORE, 0.4), (0.9, 0.2)), pass_at_1=None, read=None)
    assert routed(silent, Thresholds(0.0, 0.0)).simple.tolist() == [0.5, 1.0]


def test_only_draws_that_count_are_counted() -> None:
    first = replace(PATHS, counts=array((1, 0), (1, 0)))
    found = routed(first, Thresholds(0.0, 0.5))
    assert (found.right.tolist(), found.cost["tokens"].tolist()) == ([1.0, 0.0], [11.0, 11.0])


def test_the_ends_of_the_curve_pay_for_no_estimate() -> None:
    right, cost = always_complex(PATHS)
    assert (right.tolist(), cost["tokens"].tolist()) == ([1.0, 0.5], [100.0, 100.0])
    right, cost = always_simple(PATHS)
    assert (right.tolist(), cost["tokens"].tolist()) == ([1.0, 0.5], [10.0, 10.0])


def test_the_cheapest_thresholds_that_are_as_accurate_are_chosen() -> None:
    """Where the complex path solves all: the easy problem's samples stand whatever they score, the hard one
    gets the search. Three of four are enough: nothing needs the search.
    """
    solved = replace(PATHS, complex_right=np.ones((2, 2)))
    assert choose(solved, "tokens", Enough(np.ones(2))) == ((11 + 101) / 2, Thresholds(0.8, 0.0))
    assert choose(solved, "tokens", Enough(np.ones(2), 0.25)) == (11.0, Thresholds(0.0, 0.0))
    assert choose(PATHS, "tokens", Enough(np.ones(2))) is None


def test_what_may_be_luck_is_not_enough() -> None:
    """Two problems of which one gains and one loses half: equal, with a standard error of one half."""
    right = np.array([1.0, 0.0])
    assert Enough(np.array([0.5, 0.5])).holds(right)
    assert not Enough(np.array([0.5, 0.5]), 0.49, caution=1.0).holds(right)
    assert Enough(np.array([0.5, 0.5]), 0.5, caution=1.0).holds(right)
    assert Enough(right, caution=9.0).holds(right)  # as the reference itself always is


def test_where_the_score_says_nothing_no_sample_stands() -> None:
    """The wrong samples score more than the right ones."""
    blind = replace(
        PATHS,
        score=array((0.9, 0.4), (0.9, 0.2)),
        simple_right=array((0, 1), (0, 1)),
        complex_right=np.ones((2, 2)),
        pass_at_1=None,
        read=None,
    )
    assert choose(blind, "tokens", Enough(np.ones(2))) == (100.0, Thresholds(NEVER, 0.0))


def test_each_problem_has_the_complex_path_of_its_bin() -> None:
    dear = replace(
        PATHS, complex={"tokens": np.full((2, 2), 500.0)}, escalated={"tokens": np.full((2, 2), 505.0)}
    )
    both = joined([PATHS, dear], [1, 0])
    assert both.complex["tokens"].tolist() == [[500.0, 500.0], [100.0, 100.0]]
    assert both.escalated["tokens"].tolist() == [[505.0, 505.0], [105.0, 105.0]]


# Four problems: a search for 10 solves two of them, and is sure of these two; one for 100 solves all.
# Samples, for 5, are wrong.
CHEAP = Paths(
    score=np.zeros((4, 1)),
    simple_right=np.zeros((4, 1)),
    simple={"tokens": np.full((4, 1), 5.0)},
    complex_right=array((1,), (1,), (0,), (0,)),
    complex={"tokens": np.full((4, 1), 10.0)},
    escalated={"tokens": np.full((4, 1), 15.0)},
    confidence=array((0.9,), (0.9,), (0.1,), (0.1,)),
    counts=np.ones((4, 1)),
    sure=array((0.9,), (0.8,), (0.1,), (0.0,)),
)
DEAR = replace(
    CHEAP,
    complex_right=np.ones((4, 1)),
    complex={"tokens": np.full((4, 1), 100.0)},
    escalated={"tokens": np.full((4, 1), 105.0)},
)
REFERENCE: tuple[Floats, Costed] = np.ones(4), {"tokens": np.full(4, 100.0)}


def test_hard_questions_get_the_dear_search_and_easy_ones_the_cheap_one() -> None:
    """Reading a prompt costs 1."""
    states = array((0.8,), (0.8,), (0.2,), (0.2,))
    rates = np.array([0.8, 0.8, 0.2, 0.2])
    problems = Searched({0: CHEAP, 1: DEAR}, REFERENCE, None, states, {"tokens": np.ones(4)}, rates)
    known, settings = PassRateFit((1.0,), 0.0, 0.0), FitSettings(n_bins=2, prior=0.0)
    fitted = fit_router(problems, settings, known=known)
    assert fitted.mix == Mix((0, 1), (0.5,))
    assert (fitted.at.simple_from, fitted.fit) == (NEVER, known)
    found = routed(problems.paths(known.predict(states), fitted.mix), fitted.at)
    assert (found.right.tolist(), found.cost["tokens"].tolist()) == ([1.0] * 4, [11.0, 11.0, 101.0, 101.0])
    # Where half of them are enough the cheap search does without an estimate
    alone = fit_router(problems, replace(settings, tolerance=0.5), known=known)
    assert (alone.mix, alone.fit) == (Mix((0,)), None)


def test_a_large_policy_is_asked_where_the_search_is_not_sure() -> None:
    """Its one sample, for 50, is always right: (10 + 10 + 60 + 60) / 4 is less than 100."""
    large = LargeAnswers(np.ones(4), {"tokens": np.full(4, 50.0)})
    problems = Searched({0: CHEAP, 1: DEAR}, REFERENCE, large)
    fitted = fit_router(problems, FitSettings())
    assert (fitted.mix, fitted.large_from) == (Mix((0,)), 0.9)
    found = routed(problems.paths(None, fitted.mix, fitted.large_from), fitted.at)
    assert found.right.tolist() == [1.0] * 4
    assert found.cost["tokens"].tolist() == [10.0, 10.0, 60.0, 60.0]
    assert found.large.tolist() == [0.0, 0.0, 1.0, 1.0]
    assert fit_router(problems, FitSettings(tolerance=0.5)).large_from is None


def test_an_answer_of_a_stage_stands_where_it_is_sure_and_is_paid_for_beside_what_follows() -> None:
    """The cheap search costs 10 and is sure of the two problems that it solves."""
    graded = with_stage(CHEAP, DEAR, 0.8)
    assert graded.complex_right.ravel().tolist() == [1.0] * 4
    assert graded.complex["tokens"].ravel().tolist() == [10.0, 10.0, 110.0, 110.0]
    # behind a sample, which neither search shares
    assert graded.escalated["tokens"].ravel().tolist() == [15.0, 15.0, 115.0, 115.0]
    assert graded.confidence.ravel().tolist() == [0.9, 0.9, 0.1, 0.1]
    anything = with_stage(CHEAP, DEAR, 0.0)  # but an answer there has to be
    assert anything.complex_right.ravel().tolist() == [1.0, 1.0, 0.0, 1.0]
    wrong = routed(anything, Thresholds(NEVER, 0.0)).wrong_stage
    assert wrong.tolist() == [0.0, 0.0, 1.0, 0.0]


def test_votes_among_samples_share_those_of_the_stage_before() -> None:
    """Of 16 samples for 100, 4 are those of the stage, for 10."""
    four, sixteen = replace(CHEAP, n_drawn=4), replace(DEAR, n_drawn=16)
    graded = with_stage(four, sixteen, 0.8)
    assert graded.complex["tokens"].ravel().tolist() == [10.0, 10.0, 100.0, 100.0]
    assert graded.n_drawn == 4
    assert with_stage(sixteen, four, 2.0).complex["tokens"].ravel().tolist() == [110.0] * 4


def test_stages_that_lose_nothing_are_found_and_those_that_do_are_not() -> None:
    """Sixty of the four, so that a difference can be told from luck: the stage saves what it answers, and its
    wrong answers cost more than half of that may be lost.
    """
    whole = np.repeat(np.arange(4), 15)

    def many(paths: Paths) -> Paths:
        return paths.only(whole)  # type: ignore[arg-type]

    parts, enough = {0: many(CHEAP), 1: many(DEAR)}, Enough(np.ones(60), caution=2.0)
    found = graded_steps(parts, parts[1], "tokens", enough, 2)
    assert found[0] == (Step(0, 0.8),)
    assert {step.accept_from for steps in found for step in steps} == {0.8, 0.9}
    problems = Searched(parts, (np.ones(60), {"tokens": np.full(60, 100.0)}))
    settings = FitSettings(caution=2.0, n_bins=1, n_stages=1)
    fitted = fit_router(problems, settings)
    assert (fitted.mix, fitted.at) == (Mix((1,), (), (Step(0, 0.8),)), Thresholds(NEVER, 0.0))
    assert fit_router(problems, replace(settings, n_stages=0)).mix == Mix((1,))
