"""Candidates of a problem that somebody froze in a file: what `publish-candidates` writes, results of the
Qwen2.5-Math evaluation, and the best-of-4 rows of RewardBench 2.

    {"problem_id": …, "question": …, "gold_answer": …, "candidates": [{"text", "steps", "answer", "verdict"}]}
    {"idx": …, "question": …, "gt": …, "code": [texts], "pred": [answers], "score": [true, false]}
    {"id": …, "prompt": …, "chosen": [texts], "rejected": [texts], "subset": "Math"}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data_gen.formats.stepwise import take, take_texts
from data_gen.problems.row_fields import joined_text
from data_gen.records.steps import split_steps
from data_gen.records.verdicts import VerdictKind
from data_gen.rows.candidates import read_candidates_row
from data_gen.settings.errors import InputError
from prm_train.benchmarking.rows import Attempt
from prm_train.strategies.candidates import Candidate, qwen_candidates

STORED = "rm"  # the scorer of Qwen's `pred_score`


@dataclass(frozen=True)
class CandidateSet:
    """`attempts` are what a scorer reads, one a candidate; None for one without any step. Without
    `has_answers` nothing can be voted for. `subset` is "" where a row has none.
    """

    problem_id: str
    question: str
    candidates: tuple[Candidate, ...]
    attempts: tuple[Attempt | None, ...]
    has_answers: bool = True
    subset: str = ""


def read_candidate_set(
    fields: Mapping[str, Any], where: str, layout: str, step_separator: str
) -> CandidateSet:
    """Raises InputError for a row of no such layout, or without candidates."""
    if layout == "auto":
        layout = _layout(fields, where)
    if layout == "candidates":
        return _ours(fields, where)
    if layout == "qwen":
        return _qwen(fields, where, step_separator)
    return _reward_bench_2(fields, where, step_separator)


def _layout(fields: Mapping[str, Any], where: str) -> str:
    for name, layout in (("candidates", "candidates"), ("code", "qwen"), ("chosen", "rewardbench2")):
        if name in fields:
            return layout
    raise InputError(
        f"{where}: no field candidates, code or chosen; fields present: {', '.join(fields)}; expected "
        "candidates in one of three layouts"
    )


def _ours(fields: Mapping[str, Any], where: str) -> CandidateSet:
    row = read_candidates_row(fields, where)
    candidates = tuple(
        Candidate(
            row.problem_id,
            index,
            each.text,
            each.answer,
            each.verdict is VerdictKind.CORRECT,
            each.is_finished,
            each.logprob_sum,
            each.n_tokens,
            is_unknown=each.verdict is VerdictKind.UNKNOWN,
        )
        for index, each in enumerate(row.candidates)
    )
    attempts = tuple(
        Attempt(row.question.strip(), each.steps) if each.steps else None for each in row.candidates
    )
    return CandidateSet(row.problem_id, row.question, candidates, attempts)


def _qwen(fields: Mapping[str, Any], where: str, step_separator: str) -> CandidateSet:
    problem, candidates = qwen_candidates(dict(fields), where)
    if not candidates:
        raise InputError(f"{where}: no candidate in it")
    attempts = tuple(_attempt(problem.question, each.text, step_separator) for each in candidates)
    return CandidateSet(problem.problem_id, problem.question, tuple(candidates), attempts)


def _reward_bench_2(fields: Mapping[str, Any], where: str, step_separator: str) -> CandidateSet:
    chosen, rejected = take_texts(fields, "chosen", where), take_texts(fields, "rejected", where)
    question = joined_text(fields, "prompt", where)
    if not chosen or not rejected:
        raise InputError(f"{where}: {len(chosen)} chosen and {len(rejected)} rejected, expected some of both")
    row_id = str(take(fields, "id", (str, int), where)) if "id" in fields else where
    candidates = tuple(
        Candidate(row_id, index, text, text, index < len(chosen))
        for index, text in enumerate((*chosen, *rejected))
    )
    attempts = tuple(_attempt(question, each.text, step_separator) for each in candidates)
    subset = str(fields.get("subset") or "")
    return CandidateSet(row_id, question, candidates, attempts, has_answers=False, subset=subset)


def _attempt(question: str, text: str, step_separator: str) -> Attempt | None:
    steps = split_steps(text, step_separator)
    return Attempt(question.strip(), steps) if steps else None
