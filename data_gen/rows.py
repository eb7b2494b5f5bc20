"""Training rows in the layout of public Hub datasets, so that existing sets load unchanged and ours load anywhere.

A PRM row is TRL's stepwise supervision plus the Monte Carlo evidence behind each label; an ORM row is TRL's unpaired preference::

    {"problem_id": "p7", "prompt": "Start with 3: ...", "completions": ["3 fold 4 = 9", "9 times 9 = 80, keep 0", "Answer: 9 0"],
     "labels": [true, false, null], "n_correct": [3, 0, 0], "n_rollouts": [4, 8, 0], "n_unknown": [0, 1, 0],
     "stopping": ["first_success", "first_success", "fixed"], "method": ["rollouts", "rollouts", "none"]}
    {"problem_id": "p7", "prompt": "Start with 3: ...", "completion": "3 fold 4 = 9\\n9 times ...", "label": false}

A label is null where nothing is known. n_correct / n_rollouts is an unbiased value only where `stopping` is fixed.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from data_gen.config import InputError
from data_gen.jsonl import read_jsonl, write_jsonl
from data_gen.problems import question_id
from data_gen.records import GradedSolution, LabeledSolution, Problem

if TYPE_CHECKING:
    from datasets import Features

EVIDENCE = {"n_correct": 0, "n_rollouts": 0, "n_unknown": 0, "stopping": "fixed", "method": "none"}  # and what a row without it means


@dataclass(frozen=True)
class PrmRow:
    """A question, the steps of a solution, and label and evidence for each of them."""

    problem_id: str
    prompt: str
    completions: tuple[str, ...]
    labels: tuple[bool | None, ...]
    n_correct: tuple[int, ...]
    n_rollouts: tuple[int, ...]
    n_unknown: tuple[int, ...]
    stopping: tuple[str, ...]
    method: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("labels", *EVIDENCE):
            if len(getattr(self, name)) != len(self.completions):
                raise ValueError(f"{len(getattr(self, name))} {name} for {len(self.completions)} completions; expected one for each")
        for step, (n_correct, n_rollouts) in enumerate(zip(self.n_correct, self.n_rollouts, strict=True)):
            if not 0 <= n_correct <= n_rollouts:
                raise ValueError(f"step {step}: {n_correct} correct of {n_rollouts} rollouts; expected 0 <= n_correct <= n_rollouts")


@dataclass(frozen=True)
class OrmRow:
    """A question, a whole solution, and whether its answer is right."""

    problem_id: str
    prompt: str
    completion: str
    label: bool


Row = TypeVar("Row", PrmRow, OrmRow)


def prm_rows(labeled: Iterable[LabeledSolution], problems: Mapping[str, Problem]) -> tuple[list[PrmRow], dict[str, int]]:
    """A row for each distinct solution that has a label, and how many solutions were left out by reason."""
    rows, left_out, seen = [], Counter[str](), set()
    for each in labeled:
        problem = _problem_of(each.graded, problems)
        key = problem.problem_id, each.steps
        if all(label is None for label in each.labels):
            left_out["no_label"] += 1
        elif key in seen:
            left_out["duplicate"] += 1
        else:
            seen.add(key)
            evidence: dict[str, Any] = {name: tuple(getattr(estimate, name) for estimate in each.estimates) for name in EVIDENCE}
            rows.append(PrmRow(problem.problem_id, problem.question, each.steps, each.labels, **evidence))
    return rows, dict(left_out)


def orm_rows(graded: Iterable[GradedSolution], problems: Mapping[str, Problem]) -> tuple[list[OrmRow], dict[str, int]]:
    """A row for each distinct solution with a verdict, and how many solutions were left out by reason: an unknown is no negative label."""
    rows, left_out, seen = [], Counter[str](), set()
    for each in graded:
        problem = _problem_of(each, problems)
        key = problem.problem_id, each.solution.text
        if each.verdict.is_unknown:
            left_out[f"unknown: {each.verdict.reason}"] += 1
        elif key in seen:
            left_out["duplicate"] += 1
        else:
            seen.add(key)
            rows.append(OrmRow(problem.problem_id, problem.question, each.solution.text, each.verdict.is_correct))
    return rows, dict(left_out)


def _problem_of(graded: GradedSolution, problems: Mapping[str, Problem]) -> Problem:
    problem_id = graded.solution.problem_id
    if problem_id not in problems:
        raise InputError(f"solution {graded.solution.index} of problem {problem_id}: not one of the {len(problems)} problems")
    return problems[problem_id]


def write_rows(path: str | Path, rows: Sequence[PrmRow] | Sequence[OrmRow]) -> None:
    """One JSON line a row; the file appears whole or not at all."""
    write_jsonl(path, (asdict(row) for row in rows))


def read_rows(path: str | Path, kind: type[Row]) -> list[Row]:
    """The rows of a JSONL file, ours or a public one without ids and evidence. Raises InputError naming file and line."""
    adapter, rows = TypeAdapter(kind), []
    for number, fields in read_jsonl(path):
        try:
            rows.append(adapter.validate_json(json.dumps(_complete(fields, kind)), strict=True))
        except ValidationError as error:
            raise InputError(f"{path}:{number}: no {kind.__name__}: {_first_fault(error)}; fields present: {', '.join(fields)}") from None
    return rows


def _complete(fields: dict[str, Any], kind: type[Row]) -> dict[str, Any]:
    """`fields` with the id and the evidence that public sets lack: the id of a question, and no rollouts."""
    prompt, completions = fields.get("prompt"), fields.get("completions")
    added: dict[str, Any] = {"problem_id": question_id(prompt)} if isinstance(prompt, str) else {}
    if kind is PrmRow and isinstance(completions, list):
        added |= {name: [nothing] * len(completions) for name, nothing in EVIDENCE.items()}
    return added | fields


def _first_fault(error: ValidationError) -> str:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"no field {first['loc'][0]}"
    if not first["loc"]:
        return message
    return f"{'.'.join(map(str, first['loc']))}: got {first['input']!r:.80}, {message[0].lower()}{message[1:]}"


def features(kind: type[PrmRow] | type[OrmRow]) -> "Features":
    """Column types of a dataset of such rows; without them a first shard of null labels would get the wrong type."""
    from datasets import Features, List, Value

    text, number, flag = Value("string"), Value("int32"), Value("bool")
    if kind is OrmRow:
        return Features({"problem_id": text, "prompt": text, "completion": text, "label": flag})
    per_step = {"completions": text, "labels": flag, **{name: number if default == 0 else text for name, default in EVIDENCE.items()}}
    return Features({"problem_id": text, "prompt": text, **{name: List(kind_of_step) for name, kind_of_step in per_step.items()}})
