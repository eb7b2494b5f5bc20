"""Step labels against a policy whose step values are known exactly."""

import asyncio
import random
from pathlib import Path

import pytest

from data_gen import arithmetic
from data_gen.grading import ArithmeticGrader
from data_gen.labeling import estimate_every_step, locate_first_error, step_prefixes
from data_gen.ledger import Ledger, LedgerPolicy
from data_gen.policies.simulated import SimulatedPolicy, success_probability
from data_gen.records import FinishReason, GradedSolution, LabeledSolution, Problem, SamplingParams, Solution
from data_gen.rollouts import Prefix, estimate_value

PARAMS = SamplingParams(max_new_tokens=400)
CHAIN = arithmetic.Chain(3, (("plus", (4,)), ("minus", (2,)), ("plus", (6,)), ("minus", (1,)), ("plus", (3,))))  # 7 5 1 0 3


def labeled(totals: list[int], folder: Path, method=locate_first_error, n_rollouts: int = 8) -> tuple[LabeledSolution, int]:
    problem = Problem("p", CHAIN.question(), CHAIN.gold_answer())
    text = arithmetic.solution_text(CHAIN, totals)
    solution = Solution("p", 0, text, FinishReason.EOS, (*text.encode(), 256))
    grader = ArithmeticGrader()
    with Ledger(folder / "l.sqlite") as ledger:
        policy = LedgerPolicy(SimulatedPolicy(), ledger, problem)
        graded = asyncio.run(grader.grade(problem, solution))
        prefixes = step_prefixes(policy, graded, policy.token_bytes(), "\n")
        result = asyncio.run(method(policy, grader, graded, prefixes, "\n", PARAMS, n_rollouts))
        n_draws = ledger.n_draws()
    return result, n_draws


def test_the_first_error_is_located_and_what_follows_has_no_label(tmp_path: Path):
    result, _ = labeled([7, 5, 12, 1, 4], tmp_path)  # the third operation is wrong
    assert result.steps == ("3 plus 4=7", "7 minus 2=5", "5 plus 6=12, keep 2", "2 minus 1=1", "1 plus 3=4", "Answer: 7 5 2 1 4")
    assert result.labels == (True, True, False, None, None, None)


@pytest.mark.parametrize("position", range(5))
def test_every_position_of_the_error_is_found(tmp_path: Path, position: int):
    totals = CHAIN.totals()[:position]
    totals = arithmetic.draw_attempt(CHAIN, random.Random(0), [*totals, CHAIN.totals()[position] + 1])
    result, _ = labeled(totals, tmp_path)
    assert result.labels == (True,) * position + (False,) + (None,) * (5 - position)


def test_a_right_solution_costs_no_rollout(tmp_path: Path):
    result, n_draws = labeled(CHAIN.totals(), tmp_path)
    assert result.labels == (True,) * 6
    assert {estimate.method for estimate in result.estimates} == {"witness"}
    assert n_draws == 0


def test_the_search_probes_at_most_log2_of_the_steps_and_stops_at_the_first_success(tmp_path: Path):
    result, n_draws = labeled([7, 5, 12, 1, 4], tmp_path)
    probes = [estimate for estimate in result.estimates if estimate.method == "rollouts"]
    assert len(probes) <= 3
    assert n_draws == sum(estimate.n_rollouts for estimate in probes)
    assert all(estimate.n_correct == 1 or estimate.n_rollouts == 8 for estimate in probes)


def test_fixed_estimates_match_the_exact_values(tmp_path: Path):
    result, _ = labeled([7, 5, 12, 1, 4], tmp_path, estimate_every_step, n_rollouts=200)
    for n_done in (1, 2):
        exact = success_probability(CHAIN, n_done)
        assert result.estimates[n_done - 1].n_correct / 200 == pytest.approx(exact, abs=0.08)
    assert [estimate.n_correct for estimate in result.estimates[2:]] == [0, 0, 0, 0]
    assert result.labels == (True, True, False, False, False, False)
    assert {estimate.stopping for estimate in result.estimates} == {"fixed"}


def test_truncated_rollouts_are_counted_apart(tmp_path: Path):
    problem = Problem("p", CHAIN.question(), CHAIN.gold_answer())
    with Ledger(tmp_path / "l.sqlite") as ledger:
        policy = LedgerPolicy(SimulatedPolicy(), ledger, problem)
        prefix = Prefix(policy.encode_prompt(problem.question))
        estimate = asyncio.run(estimate_value(policy, ArithmeticGrader(), prefix, SamplingParams(5), 3, "fixed"))
    assert (estimate.n_correct, estimate.n_rollouts, estimate.n_unknown) == (0, 3, 3)


def test_a_solution_without_a_verdict_gets_no_labels(tmp_path: Path):
    problem = Problem("p", CHAIN.question(), CHAIN.gold_answer())
    grader, solution = ArithmeticGrader(), Solution("p", 4, "3 plus 4=7", FinishReason.EOS, tuple(b"3 plus 4=7"))
    with Ledger(tmp_path / "l.sqlite") as ledger:
        policy = LedgerPolicy(SimulatedPolicy(), ledger, problem)
        graded: GradedSolution = asyncio.run(grader.grade(problem, solution))
        prefixes = step_prefixes(policy, graded, policy.token_bytes(), "\n")
        with pytest.raises(ValueError, match=r"solution 4 of p: its verdict is unknown \(no_answer\)"):
            asyncio.run(locate_first_error(policy, grader, graded, prefixes, "\n", PARAMS, 8))
