"""Frozen records that one command leaves in a JSON file and others read: each kind of file has one class,
which writes and reads it.

    @dataclass(frozen=True)
    class LabelSummary(StoredRecord):
        WRITTEN_BY = "`prm-train label`"
        n_rollouts: int
        seconds: float = 0.0            # newer than the first files, which are read all the same

    LabelSummary(n_rollouts=40).write(run / "label.json")
    LabelSummary.read(run / "label.json").n_rollouts

Types are strict. A key that the class does not know is left alone: another version wrote it.
"""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from data_gen.files.jsonl import write_text
from data_gen.settings.errors import InputError

Kind = TypeVar("Kind")


class StoredRecord:
    """To be inherited by a frozen dataclass whose fields are what JSON holds, or such dataclasses.
    `WRITTEN_BY` is for messages.
    """

    WRITTEN_BY: ClassVar[str] = "a command of this project"

    def to_json(self) -> str:
        """Fields that are None where None is their default are left out."""
        return json.dumps(_plain(self), indent=1)

    def write(self, path: Path) -> None:
        """The file gets its name only when it is complete and on disk."""
        write_text(path, self.to_json() + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises InputError naming file and field where there is no such file, or a field is missing or of
        another type.
        """
        return read_json(path, cls, cls.WRITTEN_BY)


def read_json(path: Path, kind: type[Kind], written_by: str = StoredRecord.WRITTEN_BY) -> Kind:
    """The value of a JSON file that `written_by` wrote. Raises InputError as `StoredRecord.read` does."""
    wanted = f"expected what {written_by} writes"
    if not path.is_file():
        raise InputError(f"{path}: no such file; {wanted} when it has finished")
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part != "[key]"]
    if first["type"] == "json_invalid":
        raise InputError(f"{path}: is damaged: {first['msg']:.80}; {wanted}")
    if first["type"] == "missing":
        where = "".join(f"{part}: " for part in place[:-1])
        raise InputError(f"{path}: {where}no {place[-1]}; {wanted} when it has finished")
    where = "".join(f"{part}: " for part in place) or "is damaged: "
    raise InputError(f"{path}: {where}got {first['input']!r:.80}: {first['msg']}; {wanted}")


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object of which no more is known: settings of any command, a model's config.json. Raises
    InputError as `read_json`.
    """
    found: dict[str, Any] = read_json(path, dict[str, Any])
    return found


def _plain(value: Any) -> Any:
    """As `json` takes it."""
    if is_dataclass(value):
        named = ((each, getattr(value, each.name)) for each in fields(value))
        return {
            each.name: _plain(inner) for each, inner in named if inner is not None or each.default is not None
        }
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value
