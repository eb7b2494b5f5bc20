"""Files of one JSON object a line: errors that name file and line, writes that are whole or absent."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from data_gen.config import InputError


def read_jsonl(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of each line that is not blank. Raises InputError at the first that is not a JSON object in UTF-8."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected one JSON object a line")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _parse_object(line, f"{path}:{number}")


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one object a line and return how many. The file gets its name only when it is complete and on disk."""
    n_rows = 0
    with _whole_file(Path(path)) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            n_rows += 1
    return n_rows


def write_text(path: str | Path, text: str) -> None:
    """Write a text file that gets its name only when it is complete and on disk."""
    with _whole_file(Path(path)) as file:
        file.write(text)


@contextmanager
def _whole_file(path: Path) -> Iterator[TextIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # only still there if something above failed


def _parse_object(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line.rstrip().decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 (byte {error.start} of the line is 0x{line[error.start]:02x})") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON ({error.msg} at character {error.pos + 1}): {_shorten(line)}") from error
    if not isinstance(value, dict):
        raise InputError(f"{where}: got a JSON {type(value).__name__}, expected an object: {_shorten(line)}")
    return value


def _shorten(line: bytes, n_characters: int = 80) -> str:
    text = line.decode("utf-8").strip()
    return text if len(text) <= n_characters else f"{text[:n_characters]}..."
