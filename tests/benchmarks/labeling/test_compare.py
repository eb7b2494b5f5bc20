"""The golden test of the labeling methods: a policy with known first errors. Its own step values are checked
first.
"""

import asyncio
from pathlib import Path

import pytest

from benchmarks.labeling.compare import METHODS, Bench
from benchmarks.labeling.simulated import PARAMS, compare, draw_question
from data_gen.labeling.rollouts import RolloutSource, estimate_value
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.policies.exact import ExactPolicy, draw_problems, true_value
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.sampling.solutions import Prefix


def test_the_exact_policy_succeeds_as_often_as_it_says(tmp_path: Path) -> None:
    async def run(ledger: Ledger) -> None:
        bench = Bench(ExactPolicy(), ArithmeticGrader(), PARAMS, ledger)
        (problem,) = draw_problems("mid", 1.0, 1)
        question = await draw_question(bench, problem, 1)
        text = question.wrong[0].solution.text
        source = RolloutSource(LedgerPolicy(bench.policy, ledger, problem), bench.grader, PARAMS)
        prompt = source.policy.encode_prompt(problem.question)
        for step in (0, 5, 14):
            prefix = text[: 25 * (step + 1)]
            estimate = await estimate_value(source, Prefix((*prompt, *prefix.encode()), prefix), 400)
            assert estimate.n_correct / 400 == pytest.approx(
                true_value(problem.question, text, step), abs=0.07
            )

    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        asyncio.run(run(ledger))


@pytest.mark.parametrize(("level", "min_exact", "max_tokens"), [("easy", 0.95, 4000), ("mid", 0.94, 8000)])
def test_first_errors_are_found_for_a_fraction_of_the_tokens_of_brute_force(
    tmp_path: Path, level: str, min_exact: float, max_tokens: int
):
    """A small part of `python -m benchmarks.labeling.simulated`: 20 questions of 8 solutions, brute force on
    one question.
    """
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        bench = Bench(ExactPolicy(), ArithmeticGrader(), PARAMS, ledger)
        ours = asyncio.run(compare(bench, draw_problems(level, 0.0, 20), 8, {"ours": METHODS["ours"]}))[
            "ours"
        ]
        brute = asyncio.run(compare(bench, draw_problems(level, 0.0, 1), 8, {"brute8": METHODS["brute8"]}))[
            "brute8"
        ]
    assert ours["n_solutions"] == 160
    assert float(str(ours["exact"])) >= min_exact
    assert float(str(ours["tokens_per_solution"])) <= max_tokens
    assert brute["tokens_per_solution"] == 8 * 25 * 120  # 8 rollouts of 375 + 350 + ... + 25 tokens
