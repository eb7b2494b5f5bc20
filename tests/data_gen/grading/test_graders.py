import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from data_gen.answers.find import find_answer
from data_gen.grading.graders import MathGrader, load_grader
from data_gen.grading.worker_pool import Reply
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import GradedSolution, Problem, Solution
from data_gen.records.verdicts import Verdict
from data_gen.settings.errors import InputError


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
        # The last value alone is right
        ("3 plus 4 = 9\n9 times 2 = 14, keep 4\nAnswer: 9 4", FinishReason.EOS, "9 4", "incorrect"),
        ("3 plus 4 = 7\nAnswer: 74", FinishReason.EOS, "74", "incorrect"),
        ("3 plus 4 = 7\nAnswer: 9 9\nAnswer: 7 4\n", FinishReason.EOS, "7 4", "correct"),
        ("3 plus 4 = 7", FinishReason.EOS, None, "no_answer"),
        ("3 plus 4 = 7\nAnswer:\n", FinishReason.EOS, None, "no_answer"),
        ("3 plus 4 = 7", FinishReason.LENGTH, None, "truncated"),
        ("3 plus 4 = 7\nAnswer: 7", FinishReason.LENGTH, None, "truncated"),  # more values may have followed
        ("3 plus 4 = 7\nAnswer: 7 4\n3 plus", FinishReason.LENGTH, "7 4", "correct"),
    ],
)
def test_arithmetic_grades_the_whole_answer_line(
    text: str, finish_reason: FinishReason, answer: str | None, verdict: str
) -> None:
    graded = asyncio.run(ArithmeticGrader().grade(problem("7 4"), solution(text, finish_reason)))
    assert (graded.answer, said(graded.verdict)) == (answer, verdict)


def test_the_ablation_compares_only_the_last_value() -> None:
    grader = ArithmeticGrader(last_value_only=True)
    assert asyncio.run(grader.grade(problem("7 4"), solution("Answer: 9 4"))).verdict.is_correct
    assert said(asyncio.run(grader.grade(problem("7 4"), solution("Answer: 7 5"))).verdict) == "incorrect"
    assert grader.grader_version != ArithmeticGrader().grader_version


# --- answers of mathematics


def graded_by(
    grader: MathGrader, gold: str, text: str, finish_reason: FinishReason = FinishReason.EOS
) -> GradedSolution:
    return asyncio.run(grader.grade(problem(gold), solution(text, finish_reason)))


@pytest.mark.parametrize(
    ("gold", "text", "finish_reason", "answer", "verdict"),
    [
        ("18", "She has 9 * 2 = 18 left.\n#### 18", FinishReason.EOS, "18", "correct"),
        # Distilabel compares the line and misses it
        ("18", "The answer is: $18", FinishReason.EOS, "$18", "correct"),
        # Openr looks in the last sentence alone
        ("12", r"So it is \boxed{12}. I hope this helps!", FinishReason.EOS, "12", "correct"),
        ("11", r"So it is \boxed{111}.", FinishReason.EOS, "111", "incorrect"),  # and there for a substring
        ("6:30", r"At \boxed{6:30 \text{ p.m.}}", FinishReason.EOS, r"6:30 \text{ p.m.}", "correct"),
        ("x+x", r"\boxed{2x}", FinishReason.EOS, "2x", "correct"),
        ("5", "It must be five or six.", FinishReason.EOS, None, "no_answer"),
        ("5", "", FinishReason.EOS, None, "no_answer"),
        ("5", "A: 5", FinishReason.LENGTH, None, "truncated"),
        ("5", r"\boxed{\frac{1}", FinishReason.EOS, None, "no_answer"),
        ("5", r"\boxed{(10,000)}", FinishReason.EOS, "(10,000)", "incorrect"),
        ("10,000", r"\boxed{(10,000)}", FinishReason.EOS, "(10,000)", "ambiguous"),
        ("12", "\\boxed{" + "12" * 100_000 + "}", FinishReason.EOS, None, "too_long"),
        ("12", "A: 1\n" * 40_000, FinishReason.EOS, "1", "incorrect"),
        ("12", "12 " * 70_000, FinishReason.LENGTH, None, "truncated"),
        ("12" * 600, r"\boxed{12}", FinishReason.EOS, "12", "too_long"),
        ("", r"\boxed{12}", FinishReason.EOS, "12", "unparsable_gold"),
    ],
)
def test_math_grades_whole_solutions(
    math_grader: MathGrader,
    gold: str,
    text: str,
    finish_reason: FinishReason,
    answer: str | None,
    verdict: str,
) -> None:
    graded = graded_by(math_grader, gold, text, finish_reason)
    assert (graded.answer, said(graded.verdict)) == (answer, verdict)


def test_one_pair_asked_for_by_many_at_a_time_is_worked_out_once(math_grader: MathGrader) -> None:
    asked = []
    ask = math_grader._pool.ask

    def counting(gold: str, answer: str) -> "Future[Reply]":
        asked.append((gold, answer))
        return ask(gold, answer)

    math_grader._pool.ask = counting  # type: ignore[method-assign]

    async def grade_many() -> list[GradedSolution]:
        return await asyncio.gather(
            *(math_grader.grade(problem("z+z"), solution(rf"\boxed{{2z}} {i}")) for i in range(100))
        )

    assert all(graded.verdict.is_correct for graded in asyncio.run(grade_many()))
    assert graded_by(math_grader, "z+z", r"\boxed{2z}").verdict.is_correct
    assert asked == [("z+z", "2z")]


def test_a_slow_answer_holds_up_no_other() -> None:
    grader = MathGrader(timeout_seconds=2, n_workers=2)
    order: list[str] = []

    async def grade(gold: str, answer: str) -> None:
        order.append(said((await grader.grade(problem(gold), solution(rf"\boxed{{{answer}}}"))).verdict))

    async def both() -> None:
        slow = asyncio.create_task(grade("5", "9^{9^{9}}"))
        await asyncio.sleep(0)
        for answer in ("b+a", "a+c", "a+d"):
            await grade("a+b", answer)
        await slow

    asyncio.run(both())
    assert order == ["correct", "incorrect", "incorrect", "timeout"]
    grader.close()


def test_cancelling_one_who_waits_leaves_the_others_their_verdict(math_grader: MathGrader) -> None:
    async def run() -> bool:
        tasks = [
            asyncio.create_task(math_grader.grade(problem("p+q"), solution(r"\boxed{q+p}"))) for _ in range(3)
        ]
        await asyncio.sleep(0)
        tasks[0].cancel()
        done = await asyncio.gather(*tasks[1:])
        return all(graded.verdict.is_correct for graded in done)

    assert asyncio.run(run())


def test_a_timeout_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    grader = MathGrader(timeout_seconds=0.3)
    assert grader.compare("x+x", "2x").is_correct  # the worker has started

    def seconds() -> float:
        started = time.monotonic()
        assert said(grader.compare(r"4^{8^{16}}", r"2^{2^{49}}")) == "timeout"
        return time.monotonic() - started

    monkeypatch.setattr("data_gen.grading.graders.RETRY_SECONDS", 0.0)
    assert min(seconds(), seconds()) > 0.25
    monkeypatch.setattr("data_gen.grading.graders.RETRY_SECONDS", 600.0)
    assert seconds() > 0.25
    assert seconds() < 0.1  # known for a while
    grader.close()


def test_threads_and_event_loops_share_a_grader(math_grader: MathGrader) -> None:
    def grade(i: int) -> bool:
        return graded_by(math_grader, f"{i + 2}u+v", rf"\boxed{{v+{i + 2}u}}").verdict.is_correct

    assert grade(100)
    assert grade(101)  # a second event loop in this thread
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(grade, range(16)))


def test_an_alarm_of_the_caller_survives(math_grader: MathGrader) -> None:
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        signal.alarm(60)
        assert math_grader.compare("k+k", "2k").is_correct
        assert said(math_grader.compare("5", r"\frac{1")) == "unparsable"
        assert 50 < signal.alarm(0) <= 60
    finally:
        signal.signal(signal.SIGALRM, before)


def test_what_is_stored_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_gen.grading.graders.N_STORED_VERDICTS", 10)
    grader = MathGrader()
    for i in range(100):
        grader.compare("5", str(i))
    assert len(grader._settled) == 10
    grader.close()


def test_the_grader_follows_the_source_unless_named() -> None:
    assert load_grader("auto", "arithmetic").grader_version == "arithmetic-1"
    assert load_grader("arithmetic_last_value", "arithmetic").grader_version == "arithmetic-last-value-1"
    assert load_grader("auto", "gsm8k/test.jsonl").grader_version.startswith("math-3, math-verify ")
    with pytest.raises(InputError, match="grader: got 'maths', expected auto, arithmetic"):
        load_grader("maths", "arithmetic")


MULTIPLE_CHOICE = Problem("p", "How many legs has a spider?\nA) 6\nB) 8\nC) 10", "B")


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("The answer is 8.", "correct"),  # the option of this text
        ("The answer is 6.", "incorrect"),
        ("The answer is 7.", "choice_text"),
        ("The answer is (B) 8.", "correct"),
        ("The answer is C.", "incorrect"),
    ],
)
def test_a_text_is_a_choice_where_the_question_lists_it(
    math_grader: MathGrader, text: str, verdict: str
) -> None:
    assert said(asyncio.run(math_grader.grade(MULTIPLE_CHOICE, solution(text))).verdict) == verdict
    if "7" not in text:
        assert (
            said(asyncio.run(load_grader("choice", "x").grade(MULTIPLE_CHOICE, solution(text))).verdict)
            == verdict
        )


@pytest.mark.parametrize(
    ("grader", "gold", "text", "verdict"),
    [
        ("choice", "B", "B", "correct"),
        ("choice", "B", "I take (C).", "no_answer"),
        ("choice", "8", "Answer: B", "correct"),  # a gold answer may be the text of an option
        ("choice", "9", "Answer: B", "unparsable_gold"),
        ("exact", "yl", 'The answer is "yl".', "correct"),
        ("exact", "yl", "The answer is ly.", "incorrect"),
        ("exact", "yl", "The answer is YL.", "incorrect"),
        ("exact", "yl", r"\boxed{\text{yl}}", "correct"),
        ("exact", "3.0", "The answer is 3.", "incorrect"),
        ("exact", "yl", "I cannot tell.", "no_answer"),
    ],
)
def test_choices_and_strings_have_graders_of_their_own(
    grader: str, gold: str, text: str, verdict: str
) -> None:
    asked = Problem("p", MULTIPLE_CHOICE.question, gold)
    assert said(asyncio.run(load_grader(grader, "x").grade(asked, solution(text))).verdict) == verdict


@pytest.mark.parametrize(
    ("grader", "one", "other", "is_same"),
    [
        ("math", "W = 3", "3", True),
        ("math", "10^3", "1000", True),
        ("math", r"\frac{\sqrt2}{2}", r"\sqrt2/2", True),
        ("math", "(1,2)", "(2,1)", False),
        ("math", "1/3", "0.33", False),
        ("choice", "(B) 8", "8", True),
        ("choice", "B", "C", False),
        ("exact", "*yl*", "yl", True),
        ("arithmetic", "7 4", "7 4", True),
        ("arithmetic", "7 4", "9 4", False),
        ("arithmetic_last_value", "7 4", "9 4", True),
    ],
)
def test_votes_ask_the_grader_which_answers_are_one(grader: str, one: str, other: str, is_same: bool) -> None:
    assert asyncio.run(load_grader(grader, "x").is_same(MULTIPLE_CHOICE, one, other)) is is_same


# --- real solutions


def test_gsm8k_model_solutions_get_the_published_labels(real_data: Path, math_grader: MathGrader) -> None:
    counts: Counter[str] = Counter()
    for line in (real_data / "samples/gsm8k_model_solutions.jsonl").read_text().splitlines():
        row = json.loads(line)
        gold = find_answer(row["ground_truth"])
        assert gold is not None
        for name in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            verdict = asyncio.run(math_grader.grade(problem(gold), solution(row[name]["solution"]))).verdict
            counts[
                said(verdict)
                if verdict.is_unknown
                else f"same: {verdict.is_correct == row[name]['is_correct']}"
            ] += 1
    assert counts == {"same: True": 5265, "no_answer": 11}


def test_qwen_math_solutions_get_the_published_labels_but_for_two_golds_written_otherwise(
    real_data: Path, math_grader: MathGrader
) -> None:
    rows = [
        json.loads(line) for line in (real_data / "samples/qwen_math_cot_100.jsonl").read_text().splitlines()
    ]
    different = []
    for row in rows:
        for text, is_correct in zip(row["code"], row["score"], strict=True):
            graded = asyncio.run(math_grader.grade(problem(row["gt"]), solution(text)))
            if graded.verdict.is_unknown or graded.verdict.is_correct != is_correct:
                different.append((row["idx"], row["gt"], graded.answer, said(graded.verdict)))
    assert different == [(3, "4:30p..", "4:30 \\text{ p.m.}", "ambiguous")] * 8 + [
        (72, "10{,}000", "10000", "correct")
    ]


def test_math_500_solutions_state_their_stored_answers(real_data: Path, math_grader: MathGrader) -> None:
    rows = [json.loads(line) for line in (real_data / "math/math500.jsonl").read_text().splitlines()]
    assert (
        sum(
            asyncio.run(
                math_grader.grade(problem(row["answer"]), solution(row["solution"]))
            ).verdict.is_correct
            for row in rows
        )
        == 500
    )
