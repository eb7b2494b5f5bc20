"""The row that every public format of step labels is read into and written from: a question, steps, a label
for each, and the rest.

It is TRL's stepwise supervision, so that converting to TRL loses nothing::

    StepwiseRow("What is 2 + 3 * 4?", ("3 * 4 = 12", "2 + 12 = 15"), (True, False), {"task": "GSM8K"})

A label is a bool, a value in [0, 1] (then all of the row's are), or None where nothing is known. Where a
source stores alternatives for a step, its solutions are the paths of a tree (`paths`), and each label stands
in one row only: in the first that runs through its step. In the later ones that step is context with the
label None, for repeating it (as TRL's converter of PRM800K does) would weight an early step by the number of
alternatives below it.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from data_gen.settings.errors import InputError

Label = bool | float | None


class RowError(InputError):
    """A row that a reader refuses, or a writer cannot say: where it stands, the `reason` (counted where such
    rows are dropped), details.
    """

    def __init__(self, where: str, reason: str, details: str = "") -> None:
        super().__init__(f"{where}: {reason}{details}")
        self.reason = reason


class UnusedRowError(RowError):
    """A row that is as its format wants it and says nothing to learn from: left out and counted, whatever
    becomes of broken rows.
    """


@dataclass(frozen=True)
class StepwiseRow:
    """`extra` holds whatever else the source says of the row, under the source's own names. Raises ValueError
    for what is no row.
    """

    prompt: str
    completions: tuple[str, ...]
    labels: tuple[Label, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise ValueError("the prompt is blank")
        if not self.completions:
            raise ValueError("no steps; expected at least one")
        for step, text in enumerate(self.completions):
            if not text.strip():
                raise ValueError(f"step {step} is blank: {text!r}")
        if len(self.labels) != len(self.completions):
            raise ValueError(
                f"{len(self.labels)} labels for {len(self.completions)} steps; expected one for each"
            )
        for step, label in enumerate(self.labels):
            _check_label(step, label)
        kinds = {type(label).__name__ for label in self.labels if label is not None}
        if len(kinds) > 1:
            raise ValueError("labels: both true or false and numbers; expected one kind a row")


def _check_label(step: int, label: Any) -> None:
    if type(label) is float and math.isfinite(label) and 0 <= label <= 1:
        return
    if label is None or type(label) is bool:
        return
    what = (
        "a float in [0, 1] is a value"
        if type(label) is float
        else "a whole number may be a class, a rating or an ignore index (-100)"
    )
    raise ValueError(
        f"label of step {step}: got {str(label)[:40]}, expected true, false, null or a value such as 0.5 or "
        f"1.0: {what}"
    )


class Reading(NamedTuple):
    """The rows that one source row says, and how many of its steps were left out by reason."""

    rows: tuple[StepwiseRow, ...]
    left_out: Counter[str]


def stepwise(
    where: str, prompt: str, completions: Sequence[str], labels: Sequence[Label], extra: Mapping[str, Any]
) -> StepwiseRow:
    """A StepwiseRow; what is none raises RowError that names `where`."""
    try:
        return StepwiseRow(prompt, tuple(completions), tuple(labels), extra)
    except ValueError as error:
        raise RowError(where, str(error)) from None


# --- alternatives


@dataclass(frozen=True)
class Node:
    """A step, its label, what else is known of it, and the steps that were tried after it."""

    text: str
    label: Label
    children: tuple["Node", ...] = ()
    note: Any = None


class LabelPath(NamedTuple):
    """The steps from a first step to a last one; the labels of the leading `n_seen` stand in an earlier
    path.
    """

    nodes: tuple[Node, ...]
    n_seen: int

    @property
    def labels(self) -> tuple[Label, ...]:
        return tuple(None if place < self.n_seen else node.label for place, node in enumerate(self.nodes))


def paths(first_steps: Sequence[Node]) -> Iterator[LabelPath]:
    """Every path through a forest of steps, depth first, in the order of the children."""
    stack: list[tuple[tuple[Node, ...], Node]] = [((), node) for node in reversed(first_steps)]
    n_seen = 0
    while stack:
        before, node = stack.pop()
        path = (*before, node)
        n_seen = min(n_seen, len(before))
        if node.children:
            stack.extend((path, child) for child in reversed(node.children))
        else:
            yield LabelPath(path, n_seen)
            n_seen = len(path)


# --- checked fields of a source row


def take(fields: Mapping[str, Any], name: str, kinds: tuple[type, ...], where: str) -> Any:
    """The field `name`, which must be there and of exactly one of `kinds` (true is no int). Raises
    RowError.
    """
    if name not in fields:
        raise RowError(where, f"no field {name!r}", f"; fields present: {', '.join(map(repr, fields))}"[:200])
    value = fields[name]
    if type(value) not in kinds:
        words = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
        raise RowError(where, f"field {name!r} is no {words}", f": got {type(value).__name__} {value!r:.60}")
    return value


def take_texts(fields: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    """The field `name` as a list of texts."""
    for place, value in enumerate(take(fields, name, (list,), where)):
        if type(value) is not str:
            raise RowError(
                where,
                f"field {name!r} is no list of str",
                f": item {place} is {type(value).__name__} {value!r:.60}",
            )
    return tuple(fields[name])


def others(fields: Mapping[str, Any], *known: str) -> dict[str, Any]:
    """The fields that a format does not know, kept so that nothing is lost."""
    return {name: value for name, value in fields.items() if name not in known}
