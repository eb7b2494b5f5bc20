"""The golden test of the labeling methods: a policy with known first errors. Its own step values are checked
first.
"""

import asyncio
from pathlib import Path

import pytest

from benchmarks.labeling.choosing import LabeledQuestion, choose, figures, interval
from benchmarks.labeling.compare import METHODS, Bench, Question
from benchmarks.labeling.simulated import PARAMS, compare, draw_question
from data_gen.labeling.rollouts import RolloutSource, estimate_value
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.policies.exact import ExactPolicy, draw_problems, true_value
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.first_error import labels_of
from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import GradedSolution, LabeledSolution, Problem, Solution, StepEstimate
from data_gen.records.verdicts import CORRECT, INCORRECT
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


def located(text: str, error: int | None) -> LabeledSolution:
    """A wrong solution whose first error was found there; None: nowhere."""
    steps = tuple(text.split("\n"))
    labels = (None,) * len(steps) if error is None else labels_of(error, len(steps))
    graded = GradedSolution(Solution("p", 1, text, FinishReason.EOS, (1,) * 10), None, INCORRECT)
    return LabeledSolution(graded, steps, (StepEstimate(),) * len(steps), labels)


def test_what_is_left_out_is_charged_to_what_is_located() -> None:
    """Two questions by hand: one of whose 4 samples half are right, and one of whose samples none is."""
    problem = Problem("p", "q", "1")
    right = GradedSolution(Solution("p", 0, "right", FinishReason.EOS, (1,) * 10), None, CORRECT)
    first, second = "error 0.5\nwrong", "right\nerror 0.5\nwrong"
    wrong = located(first, 0).graded
    found = [
        LabeledQuestion(
            Question(problem, (right, right, wrong, wrong), (wrong, wrong)),
            (located(first, 1), located(second, 1)),
            (located(second, 1),),
            60,
        ),
        LabeledQuestion(
            Question(problem, (wrong,) * 4, (wrong, wrong)),
            (located(second, 1), located(first, None)),
            (),
            300,
        ),
    ]
    everything = figures(found, 0.0, 1)
    # 60 + 300 of rollouts and 80 of samples for four located errors, three of samples and one of a branch, of
    # which one is a step too late; of four wrong samples one stayed open
    assert (everything["n_located"], everything["skipped_share"], everything["exact"]) == (4, 0.25, 0.75)
    assert (everything["branches_share"], everything["exact_of_branches"]) == (0.25, 1.0)
    assert everything["tokens_per_located"] == 110.0
    rest = figures(found, 0.3, 1)
    assert (rest["n_located"], rest["skipped_share"], rest["exact"]) == (3, 0.5, 0.6667)
    assert (rest["tokens_per_located"], rest["of_which_samples"]) == (46.7, 26.7)
    points = [
        {"tokens_per_located": t, "exact": e, "skipped_share": s, "n_branches": n}
        for t, e, s, n in (
            (7000, 0.96, 0.5, 0),
            (7400, 0.95, 0.4, 4),
            (7600, 0.99, 0.1, 0),
            (5000, 0.94, 0.2, 0),
            (7300, 0.96, 0.4, 2),
        )
    ]
    assert choose(points) == points[4]
    assert choose(points[2:4]) is None


def test_the_interval_of_the_share_of_all_errors_weighs_questions_by_their_errors() -> None:
    """One question with 90 errors, all found, and one with 10, none found: resamples of the two have a share
    of 1, 0.9 or 0.
    """
    assert interval([[True] * 90, [False] * 10]) == (0.0, 1.0)
    assert interval([[True] * 3, [True]]) == (1.0, 1.0)
