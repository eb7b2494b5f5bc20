"""What reads and grades the answer of a solution, whatever the task: one of `data_gen.grading`, the grader of
a built-in task, or a function of the user's.
"""

from typing import Protocol

from data_gen.records.solutions import GradedSolution, Problem, Question, Solution


class AnswerReader(Protocol):
    """What a search needs of a grader: nobody knows the gold answer."""

    def read_answer(self, question: Question, solution: Solution) -> str | None:
        """The answer that a solution states; None where it states none, or was cut before it did."""
        ...

    async def is_same(self, question: Question, one: str, other: str) -> bool:
        """Whether two stated answers are certainly one, as in a vote."""
        ...


class Grader(AnswerReader, Protocol):
    """`grader_version` names everything that a verdict depends on besides the gold answer and the solution;
    stored verdicts carry it.
    """

    grader_version: str

    async def grade(self, problem: Problem, solution: Solution) -> GradedSolution:
        """The answer read from the solution and the verdict on it; many are awaited at a time, and a slow one
        holds up no other.
        """
        ...
