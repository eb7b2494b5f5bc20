"""Which solutions of a question may become training rows, and why the others may not.

A solution without a verdict or cut by the length limit is no example of anything, a repeated text would count
twice, and a "wrong" answer is wrong only if a second, laxer comparison says so too: where a policy is mostly
right, many of the few answers that the grader calls wrong are right ones that it failed to recognise (see
`data_gen.rows.revision`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge

from data_gen.answers.lenient import agrees_leniently
from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import GradedSolution, Problem


@dataclass(frozen=True)
class FilterSettings:
    """What keeps a solution out of the rows, besides having no verdict, no end, or a text that was there
    before.
    """

    max_characters: Annotated[int, Ge(1)] | None = field(
        default=None, metadata={"help": "leave out solutions with more characters; null: no limit"}
    )
    second_opinion: Literal["auto", "always", "never"] = field(
        default="auto",
        metadata={
            "help": "leave out wrong answers that a lenient comparison takes for the gold answer or for a "
            "right "
            "solution's answer; auto: do so unless the graders of all runs compare exactly, as the "
            "built-in task's does"
        },
    )


@dataclass(frozen=True)
class Filter:
    """The settings as they apply to some runs: `second_opinion` is decided."""

    max_characters: int | None = None
    second_opinion: bool = True

    def faults(self, problem: Problem, graded: Iterable[GradedSolution]) -> list[str | None]:
        """For each solution the reason to leave it out, None for the others: too_long, or disputed by the
        second opinion.
        """
        graded = list(graded)
        right_answers = {problem.gold_answer, *problem.other_answers}
        right_answers |= {
            each.answer for each in graded if each.verdict.is_correct and each.answer is not None
        }
        wrong_answers = {
            each.answer for each in graded if not each.verdict.is_correct and each.answer is not None
        }
        disputed = {
            wrong
            for wrong in wrong_answers
            if self.second_opinion and any(agrees_leniently(right, wrong) for right in right_answers)
        }
        return [self._fault(each, disputed) for each in graded]

    def _fault(self, graded: GradedSolution, disputed: set[str]) -> str | None:
        if self.max_characters is not None and len(graded.solution.text) > self.max_characters:
            return "too_long"
        is_disputed = (
            not graded.verdict.is_correct and not graded.verdict.is_unknown and graded.answer in disputed
        )
        return "disputed" if is_disputed else None


def usable_solutions(
    problem: Problem, samples: Sequence[GradedSolution], rule: Filter
) -> tuple[list[GradedSolution], Counter[str]]:
    """The distinct finished solutions with a verdict, by sample index, and how many of the others there are
    by reason.

    Reasons: `unknown: ...` (the verdict's), truncated, duplicate, and those of `Filter.faults`.
    """
    usable, left_out, seen = [], Counter[str](), set()
    ordered = sorted(samples, key=lambda each: each.solution.index)
    for each, fault in zip(ordered, rule.faults(problem, ordered), strict=True):
        if each.verdict.is_unknown:
            left_out[f"unknown: {each.verdict.reason}"] += 1
        elif each.solution.finish_reason is FinishReason.LENGTH:
            left_out["truncated"] += 1
        elif fault is not None:
            left_out[fault] += 1
        elif each.solution.text in seen:
            left_out["duplicate"] += 1
        else:
            seen.add(each.solution.text)
            usable.append(each)
    return usable, left_out


def right_and_wrong(usable: Iterable[GradedSolution]) -> tuple[list[GradedSolution], list[GradedSolution]]:
    """The correct and the incorrect of solutions that all have a verdict, in their order."""
    sides: tuple[list[GradedSolution], list[GradedSolution]] = ([], [])
    for each in usable:
        sides[not each.verdict.is_correct].append(each)
    return sides
