import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_gen.answers import answer_key, compare_exactly, find_answer
from data_gen.grading import ArithmeticGrader, MathGrader, load_grader
from data_gen.records import FinishReason, Problem, Solution, Verdict, VerdictKind


@pytest.fixture(scope="module")
def math_grader() -> Iterator[MathGrader]:
    grader = MathGrader(timeout_seconds=10)
    yield grader
    grader.close()


def problem(gold_answer: str) -> Problem:
    return Problem("p", "What is it?", gold_answer)


def solution(text: str, finish_reason: FinishReason = FinishReason.EOS) -> Solution:
    return Solution("p", 0, text, finish_reason)


def said(verdict: Verdict) -> str:
    return verdict.reason if verdict.is_unknown else verdict.kind.value


# --- the built-in task


@pytest.mark.parametrize(
    ("text", "finish_reason", "answer", "verdict"),
    [
        ("3 plus 4 = 7\n7 times 2 = 14, keep 4\nAnswer: 7 4", FinishReason.EOS, "7 4", "correct"),
        ("3 plus 4 = 9\n9 times 2 = 14, keep 4\nAnswer: 9 4", FinishReason.EOS, "9 4", "incorrect"),  # the last value alone is right
        ("3 plus 4 = 7\nAnswer: 74", FinishReason.EOS, "74", "incorrect"),
        ("3 plus 4 = 7\nAnswer: 9 9\nAnswer: 7 4\n", FinishReason.EOS, "7 4", "correct"),
        ("3 plus 4 = 7", FinishReason.EOS, None, "no_answer"),
        ("3 plus 4 = 7\nAnswer:\n", FinishReason.EOS, None, "no_answer"),
        ("3 plus 4 = 7", FinishReason.LENGTH, None, "truncated"),
        ("3 plus 4 = 7\nAnswer: 7", FinishReason.LENGTH, None, "truncated"),  # more values may have followed
        ("3 plus 4 = 7\nAnswer: 7 4\n3 plus", FinishReason.LENGTH, "7 4", "correct"),
    ],
)
def test_arithmetic_grades_the_whole_answer_line(text: str, finish_reason: FinishReason, answer: str | None, verdict: str) -> None:
    graded = asyncio.run(ArithmeticGrader().grade(problem("7 4"), solution(text, finish_reason)))
    assert (graded.answer, said(graded.verdict)) == (answer, verdict)


def test_the_ablation_compares_only_the_last_value() -> None:
    grader = ArithmeticGrader(last_value_only=True)
    assert asyncio.run(grader.grade(problem("7 4"), solution("Answer: 9 4"))).verdict.is_correct
    assert said(asyncio.run(grader.grade(problem("7 4"), solution("Answer: 7 5"))).verdict) == "incorrect"
    assert grader.grader_version != ArithmeticGrader().grader_version


# --- where an answer stands


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So \boxed{\frac{1}{2}} of it.", r"\frac{1}{2}"),
        (r"First \boxed{3}, then \boxed{4}.", "4"),
        (r"\boxed{1,\boxed{2}}", r"1,\boxed{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\fbox{7}", "7"),
        (r"so $\boxed 5$ it is", "5"),
        (r"\boxed{3} but then \boxed{4", None),
        (r"\boxed{}", None),
        ("<think>maybe \\boxed{1}</think>It is \\boxed{2}.", "2"),
        ("<think>maybe \\boxed{1}</think>I give up.", None),
        ("<think>maybe \\boxed{1}, or", None),
        ("48/2 = 24\n#### 72", "72"),
        ("She has 5 left\nA: 1,234", "1,234"),
        ("Answer: 9 1 8 5", "9 1 8 5"),
        ("**Answer:** 12", "12"),
        ("The answer is 3.5. I checked it.", "3.5"),
        ("The answer is: $\\frac{1}{2}$.", r"$\frac{1}{2}$"),
        ("Final Answer: The final answer is $17$. I hope it is correct.", "$17$"),
        ("A: 5\nNo, wait.\nA: 6", "6"),
        ("25", None),
        ("", None),
    ],
)
def test_find_answer(text: str, answer: str | None) -> None:
    assert find_answer(text) == answer


@pytest.mark.parametrize(("text", "answer"), [("A: 12", None), ("A: 12\nmore", "12"), (r"so \boxed{12}", "12"), (r"so \boxed{12", None)])
def test_an_answer_at_the_edge_of_truncated_text_is_not_read(text: str, answer: str | None) -> None:
    assert find_answer(text, is_truncated=True) == answer


# --- equivalence

# gold | answer | verdict. Where mathematics leaves a choice the comment names ours.
EQUIVALENCES = r"""
1/2 | 0.5 | correct
1/3 | 0.333 | incorrect
1/3 | 0.333333 | correct            # six places are taken as a rounding
7/9 | 0.7778 | incorrect
2/3 | 0.666666 | correct            # or as cut off
10{,}000 | 10000 | correct
1,000 | 1000 | correct
(10,000) | 10,000 | ambiguous       # a pair, or a number in brackets
50\% | 0.5 | correct
50\% | 50 | correct                 # "what percent" is answered either way
5.5\% | 5.5 | correct
\$5.00 | 5 | correct
-$5 | $-5 | correct
10\text{ cm} | 10 | correct         # a unit counts only if both name one
10 cm | 10 m | ambiguous            # no conversion of units yet
90^\circ | 90 | correct
\frac{\pi}{2} | 90^\circ | ambiguous  # needs a conversion
18 | 18 dollars per day | correct
2000000 | 2 million | correct
4t | 4 | incorrect                  # t is a variable here, not tonnes
(1,2) | [1,2] | incorrect
(1,2) | \{1,2\} | incorrect
(1,2) | 1,2 | correct
(1,2) | (2,1) | incorrect
1,2 | 2,1 | correct                 # without brackets a set
1, 2 | 1, 2, 3 | incorrect
x<2 | (-\infty,2) | correct         # an inequality is its solution set, both ways
(-\infty,2) | x<2 | correct
(-\infty,1)\cup(2,\infty) | (2,\infty)\cup(-\infty,1) | correct
x=5 | 5 | correct
5 | x=5 | correct
x=5 | y=5 | incorrect
y=2x+1 | 2x-y+1=0 | correct
\pm2 | 2,-2 | correct
x=1 \text{ or } x=2 | 1,2 | correct
\text{(A)} | A | correct
even | odd | incorrect
yes | Yes | correct
\text{Evelyn} | Evelyn | correct
\sqrt8 | 2\sqrt2 | correct
\frac{1}{\sqrt2} | \frac{\sqrt{2}}{2} | correct
x^2+2x+1 | (x+1)^2 | correct        # unless the question says "factor", which is not looked at
3\frac12 | 3.5 | correct
3 1/2 | 7/2 | correct
1.23e5 | 123000 | correct
1.23\times10^5 | 123000 | correct
2516_8 | 2516 | correct             # the question names the base
11001_2 | 25 | incorrect
\pi | 3.14 | incorrect
1e-7 | 2e-7 | incorrect
10^{20} | 10^{20}+1 | incorrect
10^{100} | 10^{100}+1 | incorrect
-1/2 | \frac{-1}{2} | correct
12 | 12. | correct
\begin{pmatrix}1\\2\end{pmatrix} | \begin{bmatrix}1\\2\end{bmatrix} | correct
2+3i | 3i+2 | correct
\emptyset | \varnothing | correct
\text{no solution} | \emptyset | correct
6:30 | 6:30 | correct
6:30 | 12:60 | incorrect            # times and ratios are compared as written
\left( 3, \frac{\pi}{2} \right) | (3,\pi/2) | correct
12\sqrt{3}\text{ cm} | 12\sqrt{3} | correct
2x+3 | 2y+3 | incorrect
5 | I do not know | incorrect
5 | \frac{1 | unparsable
"""
CASES = [tuple(part.strip() for part in line.partition("#")[0].split(" | ")) for line in EQUIVALENCES.strip().splitlines()]


@pytest.mark.parametrize(("gold", "answer", "verdict"), CASES)
def test_equivalence(math_grader: MathGrader, gold: str, answer: str, verdict: str) -> None:
    assert said(math_grader.compare(gold, answer)) == verdict


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("0.5", r"\frac12", True),
        ("1,000", "1000", True),
        (r"\text{(A)}", "A", True),
        ("Yes", "yes", True),
        (r"x + 1", "x+1", True),
        (r"\left(1, 2\right)", "(1,2)", True),
        ("9 1 8", "91 8", False),
        ("x", "X", False),
        ("(1,2)", "[1,2]", False),
    ],
)
def test_answer_keys_group_what_is_written_differently(one: str, other: str, is_same: bool) -> None:
    assert (answer_key(one) == answer_key(other)) is is_same


def test_a_computation_that_does_not_end_is_an_unknown_within_the_limit_and_the_next_pair_is_judged() -> None:
    grader = MathGrader(timeout_seconds=1)
    grader.compare("x+x", "2x")  # the worker has started
    started = time.monotonic()
    assert said(grader.compare("5", "9^{9^{9}}")) == "timeout"
    assert said(grader.compare(r"4^{8^{16}}", r"2^{2^{49}}")) == "timeout"
    assert time.monotonic() - started < 30  # two limits and one start; minutes or for ever without the kill
    assert grader.compare("a+b", "b+a").is_correct
    grader.close()


def test_a_worker_that_dies_costs_one_unknown_at_most() -> None:
    grader = MathGrader()
    assert grader.compare("x+x", "2x").is_correct
    process = grader._worker._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert grader.compare("y+y", "2y").is_correct
    grader.close()
    assert process.poll() is not None


def test_memory_that_runs_out_is_an_unknown() -> None:
    grader = MathGrader(timeout_seconds=10, memory_gib=0.1)  # sympy alone needs more than half of that
    verdict = grader.compare("x+x", "2x")
    assert verdict.kind is VerdictKind.UNKNOWN
    assert verdict.reason.startswith("crash (exit code")
    grader.close()


def test_a_loop_of_digits_is_an_unknown_in_no_time(math_grader: MathGrader) -> None:
    started = time.monotonic()
    graded = asyncio.run(math_grader.grade(problem("12"), solution("\\boxed{" + "12" * 100_000 + "}")))
    assert (graded.answer, said(graded.verdict)) == (None, "too_long")
    assert said(asyncio.run(math_grader.grade(problem("12"), solution("A: 1\n" * 40_000))).verdict) == "incorrect"
    assert said(asyncio.run(math_grader.grade(problem("12"), solution("12 " * 70_000, FinishReason.LENGTH))).verdict) == "truncated"
    assert find_answer("Answer: " * 30_000 + "the answer is 5.") == "5"
    assert compare_exactly("5 cm", "5 " + "ab" * 400 + "!") is None  # the pattern of a unit does not backtrack for ever
    assert time.monotonic() - started < 5


def test_the_grader_follows_the_source_unless_named() -> None:
    assert load_grader("auto", "arithmetic").grader_version == "arithmetic-1"
    assert load_grader("arithmetic_last_value", "arithmetic").grader_version == "arithmetic-last-value-1"
    assert load_grader("auto", "gsm8k/test.jsonl").grader_version.startswith("math-1, math-verify ")


# --- real solutions


def test_gsm8k_model_solutions_get_the_published_labels(real_data: Path, math_grader: MathGrader) -> None:
    counts: Counter[str] = Counter()
    for line in (real_data / "samples/gsm8k_model_solutions.jsonl").read_text().splitlines():
        row = json.loads(line)
        gold = find_answer(row["ground_truth"])
        assert gold is not None
        for name in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            verdict = asyncio.run(math_grader.grade(problem(gold), solution(row[name]["solution"]))).verdict
            counts[said(verdict) if verdict.is_unknown else f"same: {verdict.is_correct == row[name]['is_correct']}"] += 1
    assert counts == {"same: True": 5265, "no_answer": 11}


def test_qwen_math_solutions_get_the_published_labels_but_for_one_that_was_wrong(real_data: Path, math_grader: MathGrader) -> None:
    rows = [json.loads(line) for line in (real_data / "samples/qwen_math_cot_100.jsonl").read_text().splitlines()]
    different = []
    for row in rows:
        for text, is_correct in zip(row["code"], row["score"], strict=True):
            graded = asyncio.run(math_grader.grade(problem(row["gt"]), solution(text)))
            if graded.verdict.is_unknown or graded.verdict.is_correct != is_correct:
                different.append((row["idx"], row["gt"], graded.answer, said(graded.verdict)))
    assert different == [(72, "10{,}000", "10000", "correct")]


def test_math_500_solutions_state_their_stored_answers(real_data: Path, math_grader: MathGrader) -> None:
    rows = [json.loads(line) for line in (real_data / "math/math500.jsonl").read_text().splitlines()]
    assert sum(asyncio.run(math_grader.grade(problem(row["answer"]), solution(row["solution"]))).verdict.is_correct for row in rows) == 500
