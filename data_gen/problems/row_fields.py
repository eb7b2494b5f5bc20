"""Fields of a row by the names that a user gives: at the top, nested (`reward_model.ground_truth`), or
several (`Body+Question`).

A name that the row has is that field, whatever dots and plus signs are in it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from data_gen.settings.errors import InputError


def has_field(fields: Mapping[str, Any], name: str) -> bool:
    """Whether every part of `name` is there; its value may be null."""
    return all(_descend(fields, part)[0] for part in name_parts(fields, name))


def field_value(fields: Mapping[str, Any], name: str, where: str) -> Any:
    """The value of one field, nested or not; a number in the name is a place in a list. Raises InputError
    that lists what is there.
    """
    is_there, value, level = _descend(fields, name)
    if not is_there:
        present = (
            ", ".join(map(repr, level))
            if isinstance(level, Mapping)
            else f"{type(level).__name__} {level!r:.60}"
        )
        raise InputError(
            f"{where}: no field {name!r}; "
            f"{'fields present' if level is fields else 'found on the way to it'}: {present:.400}"
        )
    return value


def name_parts(fields: Mapping[str, Any], name: str) -> list[str]:
    """The fields that a name stands for: `Body+Question` are two, unless the row has a field of this very
    name.
    """
    return [name] if name in fields or "+" not in name else [part.strip() for part in name.split("+")]


def text_of(value: Any, name: str, where: str) -> str:
    """A value as text without outer blanks: numbers are written out, null is empty, of a chat the last
    message of the user counts.

    Raises InputError for anything else.
    """
    if is_chat(value):
        return _last_user_message(value, name, where)
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise InputError(f"{where}: field {name!r}: got {type(value).__name__}, expected text or a number")
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return str(int(value))  # 51.0, as tables with gaps store whole numbers
    return "" if value is None else str(value).strip()


def joined_text(fields: Mapping[str, Any], name: str, where: str) -> str:
    """The texts of the fields that `name` stands for, with a blank between them."""
    texts = [text_of(field_value(fields, part, where), part, where) for part in name_parts(fields, name)]
    return " ".join(text for text in texts if text)


def is_chat(value: Any) -> bool:
    """Whether a value is a list of messages with role and content."""
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and bool(value)
        and all(_is_message(each) for each in value)
    )


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and "role" in value and "content" in value


def _last_user_message(chat: Sequence[Mapping[str, Any]], name: str, where: str) -> str:
    said = [message["content"] for message in chat if message["role"] == "user"]
    if not said or not isinstance(said[-1], str):
        roles = ", ".join(str(message["role"]) for message in chat)
        raise InputError(
            f"{where}: field {name!r}: got a chat of {roles}, expected one in which the user says a text last"
        )
    return said[-1].strip()


def _descend(level: Any, name: str) -> tuple[bool, Any, Any]:
    """(whether the field is there, its value, the level at which it is or is missing)."""
    if isinstance(level, Mapping) and name in level:
        return True, level[name], level
    if isinstance(level, list) and name.isdecimal() and int(name) < len(level):
        return True, level[int(name)], level
    head, dot, rest = name.partition(".")
    is_there, below, _ = _descend(level, head) if dot else (False, None, level)
    return _descend(below, rest) if is_there else (False, None, level)
