from collections.abc import Sequence

from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import GradedSolution, Problem, Solution
from data_gen.records.verdicts import CORRECT, INCORRECT, Verdict, unknown
from data_gen.rows.filters import Filter, right_and_wrong, usable_solutions

PROBLEM = Problem("p", "How many?", "18")


def graded(
    index: int,
    text: str,
    verdict: Verdict = INCORRECT,
    answer: str | None = "20",
    finish: FinishReason = FinishReason.EOS,
) -> GradedSolution:
    return GradedSolution(Solution("p", index, text, finish), answer, verdict)


def kept(
    solutions: Sequence[GradedSolution],
    rule: Filter = Filter(),  # noqa: B008 it is frozen
    problem: Problem = PROBLEM,
) -> tuple[list[int], dict[str, int]]:
    usable, left_out = usable_solutions(problem, solutions, rule)
    return [each.solution.index for each in usable], dict(left_out)


def test_what_is_no_example_is_left_out_by_reason() -> None:
    solutions = [
        graded(6, "also fine", CORRECT, "18"),
        graded(0, "fine"),
        graded(1, "no answer", unknown("no_answer"), None),
        graded(2, "cut", unknown("truncated"), None, FinishReason.LENGTH),
        graded(3, "box, then cut", CORRECT, "18", FinishReason.LENGTH),
        graded(4, "fine"),
        graded(5, "x" * 100),
    ]
    reasons = {
        "unknown: no_answer": 1,
        "unknown: truncated": 1,
        "truncated": 1,
        "duplicate": 1,
        "too_long": 1,
    }
    assert kept(solutions, Filter(max_characters=99)) == ([0, 6], reasons)


def test_a_wrong_answer_needs_a_second_opinion() -> None:
    solutions = [
        graded(0, "a", INCORRECT, "18 dollars"),
        graded(1, "b", INCORRECT, "19"),
        graded(2, "c", CORRECT, "18 dollars"),
    ]
    assert kept(solutions) == ([1, 2], {"disputed": 1})
    assert kept(solutions, Filter(second_opinion=False)) == ([0, 1, 2], {})


def test_an_answer_like_that_of_a_right_solution_is_disputed_too() -> None:
    # the gold answer is written in a way that no comparison reads; the first solution was found right by
    # other means
    problem = Problem("p", "How many?", "f(18)")
    solutions = [
        graded(0, "a", CORRECT, "18"),
        graded(1, "b", INCORRECT, "18.0"),
        graded(2, "c", INCORRECT, "19"),
    ]
    assert kept(solutions, problem=problem) == ([0, 2], {"disputed": 1})
    assert kept(solutions[1:], problem=problem) == ([1, 2], {})


def test_right_and_wrong_keep_their_order() -> None:
    solutions = [graded(0, "a"), graded(1, "b", CORRECT), graded(2, "c"), graded(3, "d", CORRECT)]
    right, wrong = right_and_wrong(solutions)
    assert ([each.solution.index for each in right], [each.solution.index for each in wrong]) == (
        [1, 3],
        [0, 2],
    )
