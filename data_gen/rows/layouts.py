r"""Layouts of training rows: those of public Hub datasets, so that existing sets load unchanged and ours load
anywhere.

A PRM row is TRL's stepwise supervision plus the Monte Carlo evidence behind each label; an ORM row is TRL's
unpaired preference, a pair its preference; rows that show earlier attempts are chats (see
`data_gen.records.chats`), and training learns the `completion` alone::

    {"problem_id": "p7", "prompt": "Start with 3: ...", "completions": ["3 fold 4 = 9", "9 times 9 = 80, keep 0", "Answer: 9 0"],
     "labels": [true, false, null], "n_correct": [3, 0, 0], "n_rollouts": [4, 8, 0], "n_unknown": [0, 1, 0],
     "stopping": ["first_success", "first_success", "fixed"], "method": ["rollouts", "rollouts", "none"],
     "low": [0.33, 0.0, 0.0], "high": [0.99, 0.32, 1.0]}                                                             prm
    {"problem_id": "p7", "prompt": "Start with 3: ...", "completion": "3 fold 4 = 9\n9 times ...", "label": false}   orm
    {"problem_id": "p7", "prompt": "Start with 3: ...", "chosen": "3 fold ...", "rejected": "3 fold ..."}            orm_pairs
    {"problem_id": "p7", "prompt": [{"role": "user", "content": "Start with 3: ..."}, {"role": "assistant", ...}, {"role": "user", ...}],
     "completion": [{"role": "assistant", "content": "3 fold ..."}], "label": true, "n_attempts": 1, "sample_indices": [2, 0],
     "question": "Start with 3: ..."}                                                                                orm_history
    {"problem_id": "p7", "prompt": [...], "completion": [...], "kind": "revision", "n_attempts": 1, "edit_distance": 12,
     "sample_indices": [2, 0], "question": "Start with 3: ..."}                                                      revision
    {"problem_id": "p7", "prompt": "Start with 3: ...", "completion": "3 fold 4 = 9\n9 times ...", "source": "samples",
     "score": 0.93, "verdict": "correct"}                                                                            distill

A label is null where nothing is known. n_correct / n_rollouts is an unbiased value only where `stopping` is
fixed; [low, high] holds the value with 95 % probability whatever the rule. Where the first turn of a chat
says more than the question (`data_gen.records.chats`: `first`), `question` is what it shares with the rows of
other kinds: trainings hold out the same questions of all of them.

A public row without evidence may give values in [0, 1] as labels: each is then known as it stands (method
`given`, low = high = the value), its label is null, and soft targets or a hard_threshold read it.
docs/rows.md shows every layout.
"""  # noqa: E501

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError

from data_gen.files.jsonl import read_objects, write_jsonl
from data_gen.problems.layouts import question_id
from data_gen.records.chats import Message, first_question
from data_gen.records.solutions import GIVEN, StepEstimate
from data_gen.records.verdicts import VerdictKind
from data_gen.settings.errors import InputError

if TYPE_CHECKING:
    from datasets import Features

# What a PRM row knows of each step besides its label, and what a step without rollouts has there.
EVIDENCE = {
    "n_correct": 0,
    "n_rollouts": 0,
    "n_unknown": 0,
    "stopping": "fixed",
    "method": "none",
    "low": 0.0,
    "high": 1.0,
}


@dataclass(frozen=True)
class PrmRow:
    """A question, the steps of a solution, and label and evidence for each of them. `low` and `high` left
    empty mean [0, 1]: not known.
    """

    problem_id: str
    prompt: str
    completions: tuple[str, ...]
    labels: tuple[bool | None, ...]
    n_correct: tuple[int, ...]
    n_rollouts: tuple[int, ...]
    n_unknown: tuple[int, ...]
    stopping: tuple[str, ...]
    method: tuple[str, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.low and not self.high:
            object.__setattr__(self, "low", (0.0,) * len(self.completions))
            object.__setattr__(self, "high", (1.0,) * len(self.completions))
        for name in ("labels", *EVIDENCE):
            if len(getattr(self, name)) != len(self.completions):
                raise ValueError(
                    f"{len(getattr(self, name))} {name} for {len(self.completions)} completions; expected "
                    "one for each"
                )
        for step, (n_correct, n_rollouts) in enumerate(zip(self.n_correct, self.n_rollouts, strict=True)):
            if not 0 <= n_correct <= n_rollouts < 2**31:
                raise ValueError(
                    f"step {step}: {n_correct} correct of {n_rollouts} rollouts; expected 0 <= n_correct <= "
                    "n_rollouts < 2^31"
                )
            if not 0 <= self.n_unknown[step] <= n_rollouts - n_correct:
                raise ValueError(
                    f"step {step}: {self.n_unknown[step]} unknown and {n_correct} correct of {n_rollouts} "
                    "rollouts; expected no more in all"
                )
        for step, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if not 0 <= low <= high <= 1:
                raise ValueError(f"step {step}: interval [{low}, {high}]; expected 0 <= low <= high <= 1")

    @property
    def estimates(self) -> tuple[StepEstimate, ...]:
        """The evidence on each step."""
        columns = (
            self.n_correct,
            self.n_rollouts,
            self.n_unknown,
            self.method,
            self.stopping,
            self.low,
            self.high,
        )
        return tuple(StepEstimate(*each) for each in zip(*columns, strict=True))


@dataclass(frozen=True)
class OrmRow:
    """A question, a whole solution, and whether its answer is right."""

    problem_id: str
    prompt: str
    completion: str
    label: bool


@dataclass(frozen=True)
class OrmPair:
    """A question, a solution whose answer is right, and one whose answer is wrong."""

    problem_id: str
    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True)
class OrmHistoryRow:
    """An ORM row whose prompt shows `n_attempts` earlier attempts. `sample_indices`: the attempts as shown,
    then the completion.

    `question` left empty is the first turn of the user.
    """

    problem_id: str
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    label: bool
    n_attempts: int
    sample_indices: tuple[int, ...]
    question: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "question", self.question or first_question(self.prompt))


RevisionKind = Literal["revision", "first_attempt", "keep"]


@dataclass(frozen=True)
class RevisionRow:
    """A right answer after `n_attempts` earlier ones.

    `kind`: revision (all of them wrong), first_attempt (there are none) or keep (the last one is right, and
    the completion repeats it). `edit_distance`: characters between the last wrong attempt and the completion,
    null where there is none. `sample_indices`: the attempts as shown, then the completion. `question` left
    empty is the first turn of the user.
    """

    problem_id: str
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    kind: RevisionKind
    n_attempts: int
    edit_distance: int | None
    sample_indices: tuple[int, ...]
    question: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "question", self.question or first_question(self.prompt))


@dataclass(frozen=True)
class DistillRow:
    """A question and a solution to learn. `source` is the method that gave it, `score` what chose it (null:
    nothing did), `verdict` what is known of its answer, whether or not it was chosen for that.
    """

    problem_id: str
    prompt: str
    completion: str
    source: str = ""
    score: float | None = None
    verdict: VerdictKind = VerdictKind.UNKNOWN


AnyRow = PrmRow | OrmRow | OrmPair | OrmHistoryRow | RevisionRow | DistillRow
Row = TypeVar("Row", bound=AnyRow)
RowKind = Literal["prm", "orm", "orm_pairs", "orm_history", "revision", "distill"]
ROW_TYPES: dict[RowKind, type[AnyRow]] = dict(zip(get_args(RowKind), get_args(AnyRow), strict=True))
_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in ROW_TYPES.values()}


def question_of(row: AnyRow) -> str:
    """The question of a row of any kind, alone."""
    return row.question if isinstance(row, OrmHistoryRow | RevisionRow) else row.prompt


def write_rows(path: str | Path, rows: Sequence[AnyRow]) -> None:
    """One JSON line a row; the file appears whole or not at all."""
    write_jsonl(path, (asdict(row) for row in rows))


def read_rows(path: str | Path, kind: type[Row]) -> list[Row]:
    """The rows of a file, ours or a public one without ids and evidence. Raises InputError naming file and
    line.
    """
    return [read_row_of(kind, fields, f"{path}:{number}") for number, fields in read_objects(path)]


def read_row_of(kind: type[Row], fields: Mapping[str, Any], where: str) -> Row:
    """The row that a JSON object says. Raises InputError naming `where`."""
    try:
        row: Row = _ADAPTERS[kind].validate_json(json.dumps(_complete(fields, kind)), strict=True)
    except ValidationError as error:
        raise InputError(
            f"{where}: no {kind.__name__}: {_first_fault(error)}; fields present: {', '.join(fields)}"
        ) from None
    return row


def _complete(fields: Mapping[str, Any], kind: type[Row]) -> dict[str, Any]:
    """`fields` with the id and the evidence that public sets lack: the id of a question, no rollouts, and
    values given as labels.
    """
    prompt, completions = fields.get("prompt"), fields.get("completions")
    added: dict[str, Any] = {"problem_id": question_id(prompt)} if isinstance(prompt, str) else {}
    if kind is not PrmRow or not isinstance(completions, list):
        return added | dict(fields)
    n_steps = len(completions)
    added |= {name: [nothing] * n_steps for name, nothing in EVIDENCE.items()}
    values = _given_values(fields, n_steps)
    if values is None:
        return added | dict(fields)
    added["method"] = ["none" if value is None else GIVEN for value in values]
    for name in ("low", "high"):
        added[name] = [EVIDENCE[name] if value is None else value for value in values]
    return added | {**fields, "labels": [None] * n_steps}


def _given_values(fields: Mapping[str, Any], n_steps: int) -> list[float | None] | None:
    """Labels that are values: floats in [0, 1], null where nothing is known, in a row without evidence; None
    if they are not.
    """
    labels = fields.get("labels")
    if not isinstance(labels, list) or len(labels) != n_steps or EVIDENCE.keys() & fields.keys():
        return None
    is_known = any(label is not None for label in labels)
    return (
        labels
        if is_known and all(label is None or (type(label) is float and 0 <= label <= 1) for label in labels)
        else None
    )


def _first_fault(error: ValidationError) -> str:
    faults = error.errors()
    # Only a prompt of text makes up for an id
    first = next((fault for fault in faults if fault["loc"] != ("problem_id",)), faults[0])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"no field {first['loc'][0]}"
    if not first["loc"]:
        return message
    return (
        f"{'.'.join(map(str, first['loc']))}: got {first['input']!r:.80}, {message[0].lower()}{message[1:]}"
    )


def features(kind: type[AnyRow]) -> "Features":
    """Column types of a dataset of such rows; without them a first shard of null labels would get the wrong
    type.
    """
    from datasets import Features, List, Value

    text, number, flag = Value("string"), Value("int32"), Value("bool")
    chat, indices = List({"role": text, "content": text}), List(number)
    by_type = {str: text, int: number, float: Value("float64")}
    evidence = {name: List(by_type[type(nothing)]) for name, nothing in EVIDENCE.items()}
    history = {"label": flag, "n_attempts": number, "sample_indices": indices, "question": text}
    columns: dict[type[AnyRow], dict[str, Any]] = {
        PrmRow: {"prompt": text, "completions": List(text), "labels": List(flag), **evidence},
        OrmRow: {"prompt": text, "completion": text, "label": flag},
        OrmPair: {"prompt": text, "chosen": text, "rejected": text},
        OrmHistoryRow: {"prompt": chat, "completion": chat, **history},
        RevisionRow: {
            **{"prompt": chat, "completion": chat, "kind": text},
            **{"n_attempts": number, "edit_distance": number, "sample_indices": indices, "question": text},
        },
        DistillRow: {
            **{"prompt": text, "completion": text, "source": text},
            **{"score": Value("float64"), "verdict": text},
        },
    }
    return Features({"problem_id": text, **columns[kind]})
