"""Equations as solutions, worked out by hand."""

from fractions import Fraction

import pytest

from benchmarks.word_problems.equations import (
    NoSolutionError,
    n_operations,
    solution_of,
    template_of,
    written,
)


@pytest.mark.parametrize(
    ("equation", "answer", "lines"),
    [
        ("/ + 4 11 5", "3", ["4 + 11 = 15", "15 / 5 = 3", "#### 3"]),
        ("* 5 - 5 3", "10", ["5 - 3 = 2", "5 * 2 = 10", "#### 10"]),
        ("+ * 2 3 * 4 5.5", "28", ["2 * 3 = 6", "4 * 5.5 = 22", "6 + 22 = 28", "#### 28"]),
        ("* 70 0.01", "0.7", ["70 * 0.01 = 0.7", "#### 0.7"]),
        ("- 3 5", "-2", ["3 - 5 = -2", "#### -2"]),
    ],
)
def test_an_equation_becomes_one_line_an_operation_and_the_answer(
    equation: str, answer: str, lines: list[str]
) -> None:
    assert solution_of(equation, answer).split("\n") == lines
    assert n_operations(equation) == len(lines) - 1


@pytest.mark.parametrize(
    ("equation", "answer", "reason"),
    [
        ("+ 4 5", "8", "an answer that is not that of the equation"),
        ("7", "7", "an equation without an operation"),
        ("+ 4", "4", "an equation that ends too early"),
        ("+ 4 5 6", "9", "an equation that goes on after its end"),
        ("/ 4 0", "0", "a division by 0"),
        ("/ 1 3", "0.3333", "numbers of more than 4 decimals"),
        ("+ x 1", "2", "an equation with something that is no number"),
    ],
)
def test_what_is_no_solution_says_why(equation: str, answer: str, reason: str) -> None:
    with pytest.raises(NoSolutionError, match=reason):
        solution_of(equation, answer)


def test_numbers_are_written_without_an_end_of_zeros() -> None:
    assert [written(Fraction(text)) for text in ("2.50", "3", "-0.25", "100")] == ["2.5", "3", "-0.25", "100"]


def test_problems_that_differ_in_names_numbers_and_pronouns_are_variants_of_one() -> None:
    first = template_of("Paul had saved up 4 dollars . If he received 11 , how many toys could he buy ?")
    assert first == template_of(
        "Amy had saved up 9 dollars . If she received 2 , how many toys could she buy ?"
    )
    assert first != template_of("Paul had saved up 4 dollars . If he lost 11 , how many toys could he buy ?")
