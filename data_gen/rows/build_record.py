"""build.json, which `prm-train build` leaves beside its rows. Rows come from anywhere: what it says is checked before it is used."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, TypeAdapter, ValidationError

from data_gen.rows.layouts import RowKind
from data_gen.settings.errors import InputError


def _is_split(name: str) -> str:
    if not re.fullmatch(r"\w+", name):
        raise ValueError("a split is letters, digits and _")
    return name


def _is_plain_name(name: str) -> str:
    if name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise ValueError("no name of a file in this folder")
    return name


Files = dict[Annotated[str, AfterValidator(_is_split)], Annotated[str, AfterValidator(_is_plain_name)]]


@dataclass(frozen=True)
class _Run:
    run: str
    config: dict[str, Any] | None
    sample: dict[str, Any] | None
    label: dict[str, Any] | None
    consensus: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Settings:
    runs: list[str] | None = None


@dataclass(frozen=True)
class _Record:
    """The part that is read; it may hold more."""

    config: _Settings = field(default_factory=_Settings)
    runs: list[_Run] = field(default_factory=list)
    files: dict[RowKind, Files] = field(default_factory=dict)


_RECORD = TypeAdapter(_Record)


def read_build(rows: Path) -> dict[str, Any]:
    """What `prm-train build` noted beside the rows; nothing if they came from elsewhere.

    Raises InputError where it is something else: an unknown kind of rows, a split that is no word, a file that is not in this folder.
    """
    path = rows / "build.json"
    if not path.is_file():
        return {}
    text = path.read_bytes()
    try:
        record = _RECORD.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"] if part != "[key]")
        raise InputError(f"{path}: {where}got {first['input']!r:.80}: {first['msg']}; expected what `prm-train build` writes") from None
    if record.config.runs is not None and len(record.config.runs) != len(record.runs):
        raise InputError(f"{path}: {len(record.config.runs)} runs in config and {len(record.runs)} described; expected as many")
    return dict(json.loads(text))
