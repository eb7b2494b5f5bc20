"""Verdicts on whole solutions: correct, incorrect, or unknown with a reason. An unknown is never a negative
label.
"""

import asyncio
import functools
import os
import threading
import time
from concurrent.futures import Future
from importlib.metadata import version
from typing import Any

from data_gen.answers.choices import letter_of, read_options
from data_gen.answers.equality import Pair, settle
from data_gen.answers.find import find_answer
from data_gen.answers.notation import MAX_ANSWER_LENGTH
from data_gen.grading.function import load_function_grader
from data_gen.grading.source_hash import source_hash
from data_gen.grading.words import ChoiceGrader, ExactGrader
from data_gen.grading.worker_pool import AlgebraPool, Reply
from data_gen.problems.tasks import TASKS, task_of
from data_gen.records.draw_keys import content_hash
from data_gen.records.grader import Grader
from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import GradedSolution, Problem, Question, Solution
from data_gen.records.verdicts import CORRECT, INCORRECT, Verdict, unknown
from data_gen.settings.errors import InputError

# Auto, that of a built-in task, math, exact, choice, or module:function; `load_grader` checks it
GraderName = str
# Decide, with what they import
MATH_MODULES = ("data_gen.answers.find", "data_gen.answers.equality", "data_gen.grading.pool_worker")
N_WORKERS = min(4, os.cpu_count() or 1)  # of which a run starts as many as it has questions for
N_STORED_VERDICTS = 65536
RETRY_SECONDS = 600.0  # how long a time-out stands for its pair of answers


class MathGrader:
    """Answers of GSM8K and MATH: exact rules about numbers and notation first, then algebra by math-verify in
    processes that can be killed.

    Unknown verdicts name their reason: no_answer, truncated, too_long (more than MAX_ANSWER_LENGTH
    characters), ambiguous, rounded_gold and choice_text (see answer_equality.py), assumptions (equal for
    positive values, say), unparsable, unparsable_gold, and timeout, memory or crash of the algebra. A pair of
    answers is worked out once, however many ask at a time; a time-out stands for RETRY_SECONDS and is then
    tried again. Any thread and event loop may grade.
    """

    def __init__(
        self, timeout_seconds: float = 5.0, memory_gib: float = 2.0, n_workers: int = N_WORKERS
    ) -> None:
        self.grader_version = _math_version()
        self._pool = AlgebraPool(n_workers, timeout_seconds, memory_gib)
        self._settled: dict[Pair, Verdict | Pair] = {}
        self._verdicts: dict[Pair, Verdict] = {}
        self._timed_out: dict[Pair, float] = {}
        self._in_flight: dict[Pair, Future[Reply]] = {}
        self._lock = threading.Lock()

    async def grade(self, problem: Problem, solution: Solution) -> GradedSolution:
        is_truncated = solution.finish_reason is FinishReason.LENGTH
        answer = find_answer(solution.text, is_truncated)
        if answer is None:
            return GradedSolution(solution, None, unknown("truncated" if is_truncated else "no_answer"))
        if len(answer) > MAX_ANSWER_LENGTH:
            return GradedSolution(solution, None, unknown("too_long"))
        verdict = await self._verdict(problem.gold_answer, answer)
        if verdict.reason == "choice_text":
            verdict = _verdict_by_options(problem, answer)
        return GradedSolution(solution, answer, verdict)

    def read_answer(self, question: Question, solution: Solution) -> str | None:
        answer = find_answer(solution.text, solution.finish_reason is FinishReason.LENGTH)
        return None if answer is None or len(answer) > MAX_ANSWER_LENGTH else answer

    async def is_same(self, question: Question, one: str, other: str) -> bool:
        return (await self._verdict(one, other)).is_correct

    async def _verdict(self, gold_answer: str, answer: str) -> Verdict:
        settled = self._settle(gold_answer, answer)
        if isinstance(settled, Verdict):
            return settled
        return _read(await asyncio.wrap_future(_copy(self._compare_by_algebra(settled))))

    def compare(self, gold_answer: str, answer: str) -> Verdict:
        """Whether an answer equals the gold answer; blocks while it is worked out."""
        settled = self._settle(gold_answer, answer)
        return settled if isinstance(settled, Verdict) else _read(self._compare_by_algebra(settled).result())

    def close(self) -> None:
        """End the worker processes, and with ClosedError whatever still waits for them; they also end with
        this object.
        """
        self._pool.close()

    def _settle(self, gold_answer: str, answer: str) -> Verdict | Pair:
        """The verdict if exact rules settle it or algebra has before; else the two expressions that algebra
        has to compare.
        """
        if max(len(gold_answer), len(answer)) > MAX_ANSWER_LENGTH:
            return unknown("too_long")
        pair = gold_answer, answer
        settled = self._settled.get(pair)
        if settled is None:
            settled = self._settled[pair] = settle(gold_answer, answer)
            _drop_oldest(self._settled)
        if isinstance(settled, Verdict):
            return settled
        if time.monotonic() < self._timed_out.get(settled, 0.0):
            return unknown("timeout")
        return self._verdicts.get(settled, settled)

    def _compare_by_algebra(self, pair: Pair) -> Future[Reply]:
        with self._lock:
            future = self._in_flight.get(pair)
            if future is not None:
                return future
            future = self._in_flight[pair] = self._pool.ask(*pair)
        future.add_done_callback(functools.partial(self._keep, pair))
        return future

    def _keep(self, pair: Pair, future: Future[Reply]) -> None:
        with self._lock:
            del self._in_flight[pair]
            if future.exception() is not None:
                return
            verdict = _read(future.result())
            if verdict.reason == "timeout":
                self._timed_out[pair] = time.monotonic() + RETRY_SECONDS
                _drop_oldest(self._timed_out)
            else:
                self._verdicts[pair] = verdict
                _drop_oldest(self._verdicts)


@functools.cache
def _math_version() -> str:
    """Of our own sources and of the packages that work out the algebra."""
    libraries = [version(name) for name in ("sympy", "latex2sympy2_extended", "pint")]
    return (
        f"math-3, math-verify {version('math-verify')}, "
        f"{content_hash(source_hash(MathGrader, *MATH_MODULES), *libraries)[:16]}"
    )


def _drop_oldest(stored: dict[Pair, Any]) -> None:
    if len(stored) > N_STORED_VERDICTS:
        del stored[next(iter(stored))]


def _verdict_by_options(problem: Problem, answer: str) -> Verdict:
    """A letter against a text: the question says which option the text is, if it lists them."""
    options = read_options(problem.question)
    gold, letter = (
        letter_of(written, options) or written.strip("() ").upper()
        for written in (problem.gold_answer, answer)
    )
    if gold not in options or letter not in options:
        return unknown("choice_text")
    return CORRECT if gold == letter else INCORRECT


def _read(reply: Reply) -> Verdict:
    if "unknown" in reply:
        return unknown(reply["unknown"])
    return CORRECT if reply["is_equal"] else INCORRECT


def _copy(future: Future[Reply]) -> Future[Reply]:
    """A future for one of several that wait: cancelling it leaves the others theirs."""
    own: Future[Reply] = Future()

    def pass_on(done: Future[Reply]) -> None:
        if own.set_running_or_notify_cancel():
            error = done.exception()
            own.set_result(done.result()) if error is None else own.set_exception(error)

    future.add_done_callback(pass_on)
    return own


def load_grader(name: GraderName, source: str) -> Grader:
    """The grader of this name; `auto` takes the one that fits the source of the problems (see ProblemSource).
    Raises InputError.
    """
    of_tasks = {each: load for task in TASKS.values() for each, load in task.graders.items()}
    if name == "auto":
        task = task_of(source)
        name = task.grader if task else "math"
    if name in of_tasks:
        return of_tasks[name]()
    if name == "math":
        return MathGrader()
    if name in ("exact", "choice"):
        return ExactGrader() if name == "exact" else ChoiceGrader()
    if ":" in name:
        return load_function_grader(name)
    raise InputError(
        f"grader: got {name!r}, expected auto, {', '.join(of_tasks)}, math, exact, choice or module:function"
    )


def compares_exactly(name: GraderName, source: str) -> bool:
    """Whether the grader of this name leaves no doubt that another comparison could settle: those of the
    built-in tasks.
    """
    if name == "auto":
        return task_of(source) is not None
    return any(name in task.graders for task in TASKS.values())
