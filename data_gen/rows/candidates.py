"""Frozen candidates: the graded solutions of a problem in one row, on which any scorer is measured without
sampling again.

    {"problem_id": "4f1c…", "question": "What is 3 + 4 * 2?", "gold_answer": "11", "candidates": [
        {"text": "4 * 2 = 8\\nAnswer: 11", "steps": ["4 * 2 = 8", "Answer: 11"], "answer": "11",
         "verdict": "correct"}]}

Candidates stand in the order in which they were drawn, so that N of them are the first N. `steps` are what a
scorer is shown; a step is never divided again. `verdict` is correct, incorrect or unknown, and `reason` says
why it is unknown. A candidate that was cut by a length limit has `is_finished` false and is never chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import GradedSolution, Problem
from data_gen.records.steps import split_steps
from data_gen.records.verdicts import VerdictKind
from data_gen.settings.errors import InputError


@dataclass(frozen=True)
class FrozenCandidate:
    """`logprob_sum` is the natural log-probability of the `n_tokens` tokens under the policy, where known."""

    text: str
    steps: tuple[str, ...]
    answer: str | None
    verdict: VerdictKind
    reason: str = ""
    is_finished: bool = True
    n_tokens: int = 0
    logprob_sum: float = 0.0


@dataclass(frozen=True)
class CandidatesRow:
    problem_id: str
    question: str
    gold_answer: str
    candidates: tuple[FrozenCandidate, ...]


_ADAPTER: TypeAdapter[CandidatesRow] = TypeAdapter(CandidatesRow)


def candidates_row(problem: Problem, graded: list[GradedSolution], step_separator: str) -> CandidatesRow:
    """The row of a problem and its solutions."""
    return CandidatesRow(
        problem.problem_id,
        problem.question,
        problem.gold_answer,
        tuple(
            FrozenCandidate(
                each.solution.text,
                split_steps(each.solution.text, step_separator),
                each.answer,
                each.verdict.kind,
                each.verdict.reason,
                each.solution.finish_reason is not FinishReason.LENGTH,
                len(each.solution.token_ids),
                sum(each.solution.logprobs),
            )
            for each in graded
        ),
    )


def read_candidates_row(fields: Mapping[str, Any], where: str) -> CandidatesRow:
    """Raises InputError naming `where` for what is no such row, or holds no candidate."""
    try:
        row = _ADAPTER.validate_python(dict(fields))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{where}: {place}: got {first['input']!r:.60}: {first['msg']}") from None
    if not row.candidates:
        raise InputError(f"{where}: no candidate in it")
    return row
