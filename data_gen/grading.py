"""Verdicts on whole solutions: correct, incorrect, or unknown with a reason. An unknown is never a negative label."""

from importlib.metadata import version
from typing import Literal, Protocol

from data_gen.answers import MAX_ANSWER_LENGTH, compare_exactly, find_answer
from data_gen.grading_worker import AlgebraWorker, WorkerError
from data_gen.records import CORRECT, INCORRECT, FinishReason, GradedSolution, Problem, Solution, Verdict, unknown

GraderName = Literal["auto", "arithmetic", "arithmetic_last_value", "math"]


class Grader(Protocol):
    """`grader_version` names everything that a verdict depends on besides the gold answer and the solution; stored verdicts carry it."""

    grader_version: str

    async def grade(self, problem: Problem, solution: Solution) -> GradedSolution:
        """The answer read from the solution and the verdict on it; many are awaited at a time, and a slow one holds up no other."""
        ...


class ArithmeticGrader:
    """The built-in task: the `Answer:` line against the gold answer, value by value.

    `last_value_only` is the ablation in which the intermediate values do not count, so that a wrong step can still end right.
    """

    def __init__(self, last_value_only: bool = False) -> None:
        self.last_value_only = last_value_only
        self.grader_version = "arithmetic-last-value-1" if last_value_only else "arithmetic-1"

    async def grade(self, problem: Problem, solution: Solution) -> GradedSolution:
        is_truncated = solution.finish_reason is FinishReason.LENGTH
        _, found, rest = solution.text.rpartition("Answer:")
        line, end, _ = rest.partition("\n")
        answer = line.strip()
        if not found or not answer or (is_truncated and not end):  # a line that the length limit cut may lack its last values
            return GradedSolution(solution, None, unknown("truncated" if is_truncated else "no_answer"))
        gold = problem.gold_answer
        is_equal = answer.split()[-1] == gold.split()[-1] if self.last_value_only else answer == gold
        return GradedSolution(solution, answer, CORRECT if is_equal else INCORRECT)


class MathGrader:
    """Answers of GSM8K and MATH: exact rules about numbers and notation first, then algebra by math-verify in a process that can be killed.

    An answer that cannot be parsed, is longer than MAX_ANSWER_LENGTH or takes more than `timeout_seconds` or `memory_gib` is unknown.
    """

    def __init__(self, timeout_seconds: float = 5.0, memory_gib: float = 4.0) -> None:
        self.grader_version = f"math-1, math-verify {version('math-verify')}"
        self._worker = AlgebraWorker(timeout_seconds, memory_gib)
        self._verdicts: dict[tuple[str, str], Verdict] = {}

    async def grade(self, problem: Problem, solution: Solution) -> GradedSolution:
        is_truncated = solution.finish_reason is FinishReason.LENGTH
        answer = find_answer(solution.text, is_truncated)
        if answer is None:
            return GradedSolution(solution, None, unknown("truncated" if is_truncated else "no_answer"))
        if len(answer) > MAX_ANSWER_LENGTH:
            return GradedSolution(solution, None, unknown("too_long"))
        return GradedSolution(solution, answer, self.compare(problem.gold_answer, answer))

    def compare(self, gold_answer: str, answer: str) -> Verdict:
        """Whether an answer equals the gold answer; each pair is worked out once."""
        pair = gold_answer, answer
        if pair not in self._verdicts:
            self._verdicts[pair] = compare_exactly(gold_answer, answer) or self._compare_by_algebra(gold_answer, answer)
        return self._verdicts[pair]

    def close(self) -> None:
        """End the worker process; it also ends with this object."""
        self._worker.close()

    def _compare_by_algebra(self, gold_answer: str, answer: str) -> Verdict:
        try:
            reply = self._worker.ask(gold_answer, answer)
        except WorkerError as error:
            return unknown(error.reason)
        if "unknown" in reply:
            return unknown(reply["unknown"])
        return CORRECT if reply["is_equal"] else INCORRECT


def load_grader(name: GraderName, source: str) -> Grader:
    """The grader of this name; `auto` takes the one that fits the source of the problems (see ProblemSource)."""
    if name == "auto":
        name = "arithmetic" if source == "arithmetic" else "math"
    return MathGrader() if name == "math" else ArithmeticGrader(last_value_only=name == "arithmetic_last_value")
