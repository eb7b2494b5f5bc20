"""What grades a solution, whatever the task: one of `data_gen.grading`, the grader of a built-in task, or a
function of the user's.
"""

from typing import Protocol

from data_gen.records.solutions import GradedSolution, Problem, Solution


class Grader(Protocol):
    """`grader_version` names everything that a verdict depends on besides the gold answer and the solution;
    stored verdicts carry it.
    """

    grader_version: str

    async def grade(self, problem: Problem, solution: Solution) -> GradedSolution:
        """The answer read from the solution and the verdict on it; many are awaited at a time, and a slow one
        holds up no other.
        """
        ...

    async def is_same(self, problem: Problem, one: str, other: str) -> bool:
        """Whether two stated answers are certainly one, as in a vote, where nobody knows the gold answer."""
        ...
