"""Files of JSON objects, one a line or in one list: errors that name file and line, writes that are whole or
absent.

JSON is read strictly, since what is let through here turns up later as a wrong number: a NaN, a number beyond
a float, a key that comes twice, half of a UTF-16 pair and hundreds of nested brackets are refused like a
missing comma.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TextIO

from data_gen.settings.errors import InputError


def read_jsonl(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of each line that is not blank. Raises InputError at the first that is not
    a JSON object in UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected one JSON object a line")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _parse_object(line, f"{path}:{number}")


def read_json_list(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line on which it begins, object) of each item of a file that is one JSON list; the text is held whole,
    the items are not.

    Raises InputError at the first that is not a JSON object in UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a JSON list of objects")
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}:{line}: not UTF-8 (byte {error.start} of the file is 0x{raw[error.start]:02x})"
        ) from error
    position, line, is_first = _after_blank(text, 0), 1, True
    if text[position : position + 1] != "[":
        raise InputError(f"{path}:1: got {text[position : position + 80]!r}, expected a JSON list of objects")
    counted = 0
    while True:
        position = _after_blank(text, position + 1)
        line, counted = line + text.count("\n", counted, position), position
        where = f"{path}:{line}"
        if is_first and text[position : position + 1] == "]":
            break
        value, position = _decode(text, position, where)
        yield line, _checked_object(value, text[counted:position], where)
        position, is_first = _after_blank(text, position), False
        if text[position : position + 1] == "]":
            break
        if text[position : position + 1] != ",":
            line += text.count("\n", counted, position)
            raise InputError(
                f"{path}:{line}: not JSON: got {text[position : position + 40]!r} after an item, expected "
                "',' or ']'"
            )
    if text[position + 1 :].strip():
        line += text.count("\n", counted, _after_blank(text, position + 1))
        raise InputError(
            f"{path}:{line}: not JSON: got {text[position + 1 :].strip()[:40]!r} after the end of the list"
        )


def read_objects(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of a file: one object a line, or a JSON list where the name ends in .json (where that
    holds lines, they are read).
    """
    return (
        read_jsonl(path) if Path(path).suffix != ".json" or _holds_lines(Path(path)) else read_json_list(path)
    )


def _holds_lines(path: Path) -> bool:
    """Whether the first line with text is a whole object: public sets call such files .json, too."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"").strip().removeprefix(b"\xef\xbb\xbf")
    return first.startswith(b"{") and first.endswith(b"}")


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one object a line and return how many. The file gets its name only when it is complete and on
    disk.
    """
    n_rows = 0
    with whole_file(Path(path)) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            n_rows += 1
    return n_rows


def write_objects(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write objects and return how many: an indented JSON list where the name ends in .json, else one object
    a line.
    """
    if Path(path).suffix != ".json":
        return write_jsonl(path, rows)
    items = list(rows)
    write_text(path, json.dumps(items, ensure_ascii=False, allow_nan=False, indent=2))
    return len(items)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file that gets its name only when it is complete and on disk."""
    with whole_file(Path(path)) as file:
        file.write(text)


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A text file to write that gets its name only when the block has ended without an error, and everything
    is on disk.
    """
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


# --- strict JSON


def _parse_object(line: bytes, where: str) -> dict[str, Any]:
    try:
        text = line.rstrip().decode("utf-8").removeprefix("\ufeff").lstrip()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: not UTF-8 (byte {error.start} of the line is 0x{line[error.start]:02x})"
        ) from error
    value, end = _decode(text, 0, where)
    if end != len(text):
        raise InputError(
            f"{where}: not JSON (Extra data at character {_after_blank(text, end) + 1}): {_shorten(text)}"
        )
    return _checked_object(value, text, where)


def _decode(text: str, position: int, where: str) -> tuple[Any, int]:
    """The JSON value that begins at `position`, and where it ends."""
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        lines = (
            where
            if "\n" not in text[position : error.pos]
            else f"{where}, {text.count(chr(10), position, error.pos)} lines below"
        )
        raise InputError(
            f"{lines}: not JSON ({error.msg} at character {error.pos + 1}): {_shorten(text[position:])}"
        ) from error
    except RecursionError:
        raise InputError(f"{where}: JSON nested too deeply: {_shorten(text[position:])}") from None
    except ValueError as error:  # a number or key that _DECODER refuses, or more digits than Python converts
        raise InputError(f"{where}: not JSON ({error}): {_shorten(text[position:])}") from None


def _checked_object(value: Any, text: str, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: got a JSON {type(value).__name__}, expected an object: {_shorten(text)}")
    # An escaped surrogate; a pair of them is one character, half a pair is none and cannot be written again
    if "\\ud" in text.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise InputError(f"{where}: not Unicode (half of a surrogate pair): {_shorten(text)}") from None
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


class WrittenNumber(float):
    """A number with more digits than a float has: it counts as the nearest float, and as text (`str`) it is
    what stood in the file.
    """

    text: str

    def __str__(self) -> str:
        return self.text


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{_shorten(text, 20)} is beyond the largest float")
    with suppress(InvalidOperation):  # an exponent beyond what decimals have: surely no float
        if Decimal(text) == Decimal(repr(number)):
            return number
    written = WrittenNumber(text)
    written.text = text
    return written


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} comes twice")
    return fields


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_refuse_constant, parse_float=_finite)


def _after_blank(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\n\r":
        position += 1
    return position


def _shorten(text: str, n_characters: int = 80) -> str:
    text = text.strip()
    return text if len(text) <= n_characters else f"{text[:n_characters]}..."
