"""Grading where several answers are right, each by itself (`answers: any` of a problem source)."""

from dataclasses import replace

from data_gen.grading.graders import Grader
from data_gen.records.solutions import GradedSolution, Problem, Solution


async def grade_any(grader: Grader, problem: Problem, solution: Solution) -> GradedSolution:
    """Correct if one of the accepted answers makes it so; else unknown if one of them leaves it open; else
    incorrect.
    """
    graded = await grader.grade(problem, solution)
    for other in problem.other_answers:
        if graded.verdict.is_correct:
            break
        again = await grader.grade(replace(problem, gold_answer=other, other_answers=()), solution)
        if again.verdict.is_correct or not graded.verdict.is_unknown:
            graded = again
    return graded
