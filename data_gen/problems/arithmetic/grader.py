"""The verdict on a solution of the built-in task: its `Answer:` line against the gold answer, value by
value.
"""

from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import GradedSolution, Problem, Question, Solution
from data_gen.records.verdicts import CORRECT, INCORRECT, unknown


class ArithmeticGrader:
    """Nothing outside of this class decides.

    `last_value_only` is the ablation in which the intermediate values do not count, so that a wrong step can
    still end right.
    """

    def __init__(self, last_value_only: bool = False) -> None:
        self.last_value_only = last_value_only
        self.grader_version = "arithmetic-last-value-1" if last_value_only else "arithmetic-1"

    async def grade(self, problem: Problem, solution: Solution) -> GradedSolution:
        answer = self.read_answer(problem, solution)
        if answer is None:
            is_truncated = solution.finish_reason is FinishReason.LENGTH
            return GradedSolution(solution, None, unknown("truncated" if is_truncated else "no_answer"))
        gold = problem.gold_answer
        is_equal = answer.split()[-1] == gold.split()[-1] if self.last_value_only else answer == gold
        return GradedSolution(solution, answer, CORRECT if is_equal else INCORRECT)

    def read_answer(self, question: Question, solution: Solution) -> str | None:
        _, found, rest = solution.text.rpartition("Answer:")
        line, end, _ = rest.partition("\n")
        # A line that the length limit cut may lack its last values
        is_cut = solution.finish_reason is FinishReason.LENGTH and not end
        return None if is_cut or not found else line.strip() or None

    async def is_same(self, question: Question, one: str, other: str) -> bool:
        return one.split()[-1:] == other.split()[-1:] if self.last_value_only else one == other
