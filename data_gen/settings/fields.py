"""The fields of a config class: their types, also in words, their dotted names, defaults, and the comment
beside each in the source.

`describe` makes the `--help` of a command out of it.
"""

import ast
import inspect
import io
import sys
import textwrap
import tokenize
import types
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def alternatives(field_type: Any) -> tuple[Any, ...]:
    """The members of a union but None; of any other type itself."""
    members = get_args(field_type) if get_origin(field_type) in (Union, types.UnionType) else (field_type,)
    return tuple(member for member in members if member is not type(None))


def nested_class(field_type: Any) -> type["DataclassInstance"] | None:
    """The dataclass of a field that holds one (or None), None for any other field."""
    kind = alternatives(field_type)[0]
    return kind if isinstance(kind, type) and is_dataclass(kind) else None


def field_types(config_class: type["DataclassInstance"]) -> dict[str, Any]:
    """Resolved types of the fields that can be set, in order. Raises TypeError for a config class where its
    keys could not be checked.
    """
    hints = get_type_hints(config_class, include_extras=True)
    found = {field.name: hints[field.name] for field in fields(config_class) if field.init}
    for name, field_type in found.items():
        kinds = alternatives(field_type)
        inner = [part for kind in kinds for part in get_args(kind)] + list(kinds if len(kinds) > 1 else ())
        if any(isinstance(part, type) and is_dataclass(part) for part in inner):
            raise TypeError(
                f"{config_class.__name__}.{name}: a config class stands alone or with None, not in "
                f"{type_name(field_type)}"
            )
    return found


def field_default(config_class: type["DataclassInstance"], name: str) -> Any:
    """MISSING where a value is required."""
    field = next(field for field in fields(config_class) if field.name == name)
    return field.default if field.default_factory is MISSING else field.default_factory()


def type_name(field_type: Any) -> str:
    """What a person is told to write: `int`, `int or null`, `one of min, last`, `list of float`."""
    arguments = get_args(field_type)
    if get_origin(field_type) in (Union, types.UnionType):
        return " or ".join(type_name(member) for member in arguments)
    if hasattr(field_type, "__metadata__"):  # Annotated[int, Ge(1)]
        return type_name(arguments[0])
    origin = get_origin(field_type)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (tuple, list, Sequence):
        return f"list of {', '.join(type_name(item) for item in arguments if item is not Ellipsis)}"
    if origin is dict:
        return f"mapping of {type_name(arguments[0])} to {type_name(arguments[1])}"
    if hasattr(field_type, "__members__"):  # an Enum
        return f"one of {', '.join(member.value for member in field_type)}"
    names = {type(None): "null", Path: "path", bool: "true or false"}
    return names.get(field_type) or str(getattr(field_type, "__name__", field_type))


def leaf_names(config_class: type["DataclassInstance"], prefix: str = "") -> Iterator[str]:
    """Every key that can be set, dotted."""
    for name, field_type in field_types(config_class).items():
        nested = nested_class(field_type)
        if nested:
            yield from leaf_names(nested, f"{prefix}{name}.")
        else:
            yield prefix + name


def describe(config_class: type["DataclassInstance"]) -> str:
    """The docstring of the command (or of the config where that has a module to itself), then one entry a
    setting.
    """
    module = sys.modules[config_class.__module__]
    about = inspect.getdoc(module if hasattr(module, "main") else config_class) or config_class.__name__
    usage = (
        "Settings: --key value or --key=value, or lines of the YAML file that --config names (the "
        "command line wins)."
    )
    return "\n".join([about, "", usage, "", "  --config path", *_entries(config_class, None, "")]) + "\n"


def _entries(config_class: type["DataclassInstance"], base: Any, prefix: str) -> Iterator[str]:
    """What must be given comes first. `base` is the default of a nested config, None where it has none."""
    words, field_kinds = field_words(config_class), field_types(config_class)
    defaults = {
        name: field_default(config_class, name) if base is None else getattr(base, name)
        for name in field_kinds
    }
    for name in sorted(defaults, key=lambda name: defaults[name] is not MISSING):
        field_type, default = field_kinds[name], defaults[name]
        nested = nested_class(field_type)
        if nested:
            if default is None:
                yield _entry(
                    f"{prefix}{name} null = null",
                    f"{words.get(name, '')} Setting one of the next replaces null:".strip(),
                )
            yield from _entries(nested, default if isinstance(default, nested) else None, f"{prefix}{name}.")
        else:
            shown = (
                "(required)"
                if default is MISSING
                else f"= {TypeAdapter(field_type).dump_json(default).decode()}"
            )
            yield _entry(f"{prefix}{name} {type_name(field_type)} {shown}", words.get(name, ""))


def _entry(head: str, words: str) -> str:
    return "\n".join(
        [f"  --{head}", *textwrap.wrap(words, 110, initial_indent=" " * 8, subsequent_indent=" " * 8)]
    )


def field_words(config_class: type["DataclassInstance"]) -> dict[str, str]:
    """What the source says of each field: its metadata["help"], else the comment at the end of its line, else
    the string below it.
    """
    words: dict[str, str] = {}
    for owner in reversed([owner for owner in config_class.__mro__ if is_dataclass(owner)]):
        source = textwrap.dedent(inspect.getsource(owner))
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        comments = {
            token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT
        }
        body = ast.parse(source).body[0].body  # type: ignore[attr-defined]  # a class statement
        for statement, following in zip(body, [*body[1:], None], strict=True):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and statement.end_lineno
            ):
                below = following.value if isinstance(following, ast.Expr) else None
                below_text = (
                    below.value if isinstance(below, ast.Constant) and isinstance(below.value, str) else ""
                )
                words[statement.target.id] = comments.get(statement.end_lineno) or inspect.cleandoc(
                    below_text
                )
    return words | {
        field.name: field.metadata["help"] for field in fields(config_class) if "help" in field.metadata
    }
