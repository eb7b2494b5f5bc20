"""Estimates of a prefix's value under each stopping rule, on a policy whose values are known exactly."""

import asyncio
from pathlib import Path

import pytest

from data_gen.labeling.rollouts import (
    FIRST_SUCCESS,
    FIXED,
    RolloutSource,
    StoppingRule,
    Tally,
    estimate_root,
    estimate_value,
    terminal,
    until_decided,
    until_narrow,
)
from data_gen.labeling.sequential import SequentialTest, anytime_interval, clopper_pearson
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.policies.exact import ExactPolicy
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.sampling import FinishReason, SamplingParams
from data_gen.records.solutions import GradedSolution, Problem, Solution, StepEstimate
from data_gen.records.verdicts import CORRECT, INCORRECT, unknown
from data_gen.sampling.solutions import Prefix

PROBLEM = Problem("p", "question: q 0.3 drift 0", "1")


def graded(verdict, finish_reason: FinishReason = FinishReason.EOS) -> GradedSolution:
    return GradedSolution(Solution("p", 0, "x", finish_reason), "1", verdict)


def estimated(folder: Path, n: int, rule: StoppingRule) -> tuple[StepEstimate, int, list[bool]]:
    """The estimate of the prompt's value, the number of draws it took, and the first `n` outcomes."""

    async def run(ledger: Ledger) -> tuple[StepEstimate, int, list[bool]]:
        source = RolloutSource(
            LedgerPolicy(ExactPolicy(), ledger, PROBLEM), ArithmeticGrader(), SamplingParams(400)
        )
        prompt = Prefix(source.policy.encode_prompt(PROBLEM.question))
        estimate = await estimate_value(source, prompt, n, rule)
        n_draws = source.policy.n_draws
        return estimate, n_draws, [each.verdict.is_correct for each in await source.draw_many(prompt, n)]

    with Ledger(folder / "ledger.sqlite") as ledger:
        return asyncio.run(run(ledger))


def test_a_fixed_number_is_drawn_whatever_comes(tmp_path: Path) -> None:
    estimate, n_draws, outcomes = estimated(tmp_path, 40, FIXED)
    assert (estimate.n_correct, estimate.n_rollouts, n_draws, estimate.stopping) == (
        sum(outcomes),
        40,
        40,
        "fixed",
    )
    assert (estimate.low, estimate.high) == clopper_pearson(sum(outcomes), 40)


def test_the_first_success_ends_the_draws(tmp_path: Path) -> None:
    estimate, n_draws, outcomes = estimated(tmp_path, 40, FIRST_SUCCESS)
    n = outcomes.index(True) + 1
    assert (estimate.n_correct, estimate.n_rollouts, n_draws) == (1, n, n)
    assert estimate.low <= 0.3 <= estimate.high


def test_an_interval_that_is_narrow_enough_ends_the_draws(tmp_path: Path) -> None:
    estimate, n_draws, outcomes = estimated(tmp_path, 200, until_narrow(0.3))
    low, high = 0.0, 1.0
    for n in range(1, n_draws + 1):
        assert high - low > 0.3  # not before
        found = anytime_interval(sum(outcomes[:n]), n)
        low, high = max(low, found[0]), min(high, found[1])
    assert (estimate.low, estimate.high) == (low, high)
    assert high - low <= 0.3
    assert low <= 0.3 <= high


def test_a_decision_ends_the_draws(tmp_path: Path) -> None:
    test = SequentialTest(0.05, 0.3, 0.05, 0.05)
    estimate, n_draws, outcomes = estimated(tmp_path, 200, until_decided(test))
    assert test.decide(estimate.n_correct, n_draws) is True
    assert all(test.decide(sum(outcomes[:n]), n) is None for n in range(n_draws))


def test_unknown_and_truncated_rollouts_are_failures_that_are_counted() -> None:
    tally = Tally()
    kinds = [
        graded(CORRECT),
        graded(INCORRECT),
        graded(unknown("no_answer")),
        graded(INCORRECT, FinishReason.LENGTH),
    ]
    assert [tally.add(each) for each in kinds] == [True, False, False, False]
    assert (tally.n_correct, tally.n_rollouts, tally.n_unknown) == (1, 4, 2)


def test_the_samples_of_a_problem_are_rollouts_from_its_prompt() -> None:
    root = estimate_root((graded(CORRECT), graded(CORRECT), graded(CORRECT), *[graded(INCORRECT)] * 5))
    assert (root.n_correct, root.n_rollouts, root.stopping, root.method) == (3, 8, "fixed", "rollouts")
    assert (root.low, root.high) == pytest.approx((0.0852, 0.7551), abs=5e-5)


def test_the_end_of_a_solution_has_its_verdict_as_value() -> None:
    assert (terminal(True).low, terminal(True).high) == (1, 1)
    assert (terminal(False).low, terminal(False).high) == (0, 0)
