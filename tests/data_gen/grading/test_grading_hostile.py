"""Answers that make graders hang, crash or eat memory. benchmarks/grading.py runs 10,000; here are a few, and
those that have names.
"""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from data_gen.grading.graders import MathGrader
from data_gen.records.solutions import Problem, Solution
from data_gen.records.verdicts import Verdict
from tests.hostile_answers import hostile_solutions

LIMIT_SECONDS = 0.2


@pytest.fixture(scope="module")
def grader() -> Iterator[MathGrader]:
    grader = MathGrader(timeout_seconds=LIMIT_SECONDS, n_workers=2)
    with ThreadPoolExecutor(2) as threads:
        # The workers have started
        list(threads.map(grader.compare, ["5"] * 4, [f"9^{{9^{{{i}}}}}" for i in range(9, 13)]))
    yield grader
    grader.close()


def verdict_of(grader: MathGrader, gold: str, text: str) -> Verdict:
    return asyncio.run(grader.grade(Problem("p", "", gold), Solution("p", 0, text))).verdict


@pytest.mark.parametrize(
    ("gold", "answer", "reasons"),
    [
        ("5", "9^{9^{9}}", "timeout"),
        (r"4^{8^{16}}", r"2^{2^{49}}", "timeout"),  # equal, and nobody finds out in time
        ("1000000!", "999999!*1000000", "timeout"),
        # Issue 63 of Math-Verify
        ("x", r"\log_{2}(" * 25 + "7^{7^{7^{7}}}" + ")" * 25, "timeout unparsable"),
        ("5", "10^6!", "timeout"),
        ("5", "7" * 200_000, "too_long"),
        ("x+1", "7" * 200_000, "too_long"),
        ("x+1", r"\frac{1}{" * 90 + "x" + "}" * 90, "timeout unparsable"),
        ("5", "{" * 400 + "5", "unparsable no_answer"),
    ],
)
def test_named_answers_are_unknown(grader: MathGrader, gold: str, answer: str, reasons: str) -> None:
    started = time.monotonic()
    verdict = verdict_of(grader, gold, f"\\boxed{{{answer}}}")
    assert verdict.is_unknown
    assert verdict.reason in reasons.split()
    assert time.monotonic() - started < LIMIT_SECONDS + 2


@pytest.mark.parametrize(
    "answer",
    [
        "10^{400}",
        "7" * 900,
        "1e999",
        "\x00",
        "\ud800",
        "²",
        "(" * 900,
        "9:" * 400 + "9",
        "," * 900,
        "-" * 900,
    ],
)
@pytest.mark.parametrize("gold", ["5", "(1,2)", "1:2", "x+1"])
def test_odd_answers_are_not_correct_and_raise_nothing(grader: MathGrader, gold: str, answer: str) -> None:
    assert not verdict_of(grader, gold, f"#### {answer}").is_correct


@pytest.mark.parametrize("answer", ["５", "٥"])
def test_digits_of_other_scripts_are_digits(grader: MathGrader, answer: str) -> None:
    assert verdict_of(grader, "5", f"#### {answer}").is_correct


def test_generated_answers_are_never_correct_and_never_late(grader: MathGrader) -> None:
    def grade(case: tuple[str, str]) -> tuple[bool, float]:
        started = time.monotonic()
        return verdict_of(grader, *case).is_correct, time.monotonic() - started

    with ThreadPoolExecutor(2) as threads:
        graded = list(threads.map(grade, hostile_solutions(seed=7, n=60)))
    assert len(graded) == 60
    assert not any(is_correct for is_correct, _ in graded)
    assert max(seconds for _, seconds in graded) < LIMIT_SECONDS + 3
