"""The Bayesian search, on evidence whose posterior is known by hand."""

import time

import numpy as np
import pytest

from data_gen.labeling.posterior import FirstErrorPosterior, PromptEvidence

SURE = PromptEvidence(3000, 4000).belief(set())  # V = 3/4: the grid has points 0.729 and 0.771


def test_before_any_rollout_every_step_is_as_likely() -> None:
    assert FirstErrorPosterior(5, SURE).probabilities == pytest.approx([0.2] * 5)
    assert FirstErrorPosterior(1, SURE).probabilities == pytest.approx([1.0])


def test_the_search_begins_with_what_is_believed() -> None:
    """A prior of 0.8 and 0.2, and the likelihoods of the test below: 0.8 early against 0.2 late."""
    believed = FirstErrorPosterior(2, SURE, (0.8, 0.2))
    assert believed.probabilities == pytest.approx([0.8, 0.2])
    plain = FirstErrorPosterior(2, SURE)
    for each in (believed, plain):
        each.observe(0, is_success=False)
    odds = plain.probabilities[0] / plain.probabilities[1]
    assert believed.probabilities[0] / believed.probabilities[1] == pytest.approx(4 * odds)
    sure = FirstErrorPosterior(3, SURE, (0.0, 0.5, 0.5))
    sure.observe(0, is_success=False)
    assert sure.probabilities == pytest.approx([0, 0.5, 0.5])  # the first step is known to be right


def test_a_failure_moves_the_error_towards_the_beginning_by_its_likelihood() -> None:
    """Two steps, one failed rollout after the first. If the error is the second step the rollout failed with
    probability 1 - V_0, half of the prior mass with V_0 = 0.75, half with 0.75^(1 / 2); if it is the first,
    with 1 - share * V_0, and the mean share is 0.053.
    """
    posterior = FirstErrorPosterior(2, SURE)
    posterior.observe(0, is_success=False)
    constant, rising = 0.75, 0.75**0.5
    mean_share = 0.02 * 0.2 + 0.06 * 0.15 + 0.15 * 0.1 + 0.3 * 0.05
    late = 1 - (constant + rising) / 2
    early = 1 - mean_share * (constant + rising) / 2
    assert posterior.probabilities == pytest.approx(
        [early / (early + late), late / (early + late)], abs=0.005
    )


def test_a_success_speaks_for_the_steps_before_it_but_proves_nothing() -> None:
    posterior = FirstErrorPosterior(8, SURE)
    posterior.observe(3, is_success=True)
    before, after = posterior.probabilities[:4].sum(), posterior.probabilities[4:].sum()
    assert 0.02 < before < 0.08
    assert before + after == pytest.approx(1)


def test_probes_go_where_they_tell_most_per_token() -> None:
    posterior = FirstErrorPosterior(8, SURE)
    dear_middle = np.array([1.0, 1, 1, 1000, 1, 1, 1])
    assert posterior.next_step(np.ones(7)) in (2, 3, 4)  # equal costs: near the middle
    assert posterior.next_step(dear_middle) != 3
    for _ in range(6):
        posterior.observe(4, is_success=True)
    assert posterior.next_step(np.ones(7)) in (5, 6)  # what is settled is not asked again


def test_good_steps_of_one_solution_say_what_the_value_is_for_the_next() -> None:
    evidence = PromptEvidence(1, 4)
    evidence.outcomes[(1, 2)] = [True] * 30
    prior = np.exp(evidence.belief(set()))
    evidence.good[(1, 2)] = 0.0  # found to hold no error
    informed = np.exp(evidence.belief(set()))
    value = (np.arange(24) + 0.5) / 24
    assert (prior.sum(axis=1) / prior.sum()) @ value == pytest.approx(2 / 6, abs=0.01)  # Beta(2, 4)
    assert (informed.sum(axis=1) / informed.sum()) @ value == pytest.approx(32 / 36, abs=0.01)  # Beta(32, 4)
    # Its own prefix is counted by the search itself
    assert evidence.belief({(1, 2)}) == pytest.approx(np.log(prior))


def test_an_update_takes_well_under_a_millisecond() -> None:
    posterior, costs = FirstErrorPosterior(16, SURE), np.arange(15, 0, -1.0)
    seconds = []
    for i in range(200):
        started = time.perf_counter()
        posterior.observe(posterior.next_step(costs), is_success=i % 2 == 0)
        seconds.append(time.perf_counter() - started)
    assert np.median(seconds) < 1e-3
