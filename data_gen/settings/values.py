"""Values of settings as they are written: YAML files by the rules of YAML 1.2, and words of a command line.

A file may be somebody else's: how much and how deep it nests is bounded before anything is made of it, so
that aliases of aliases do not fill the memory.
"""

import difflib
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import yaml
from pydantic import TypeAdapter, ValidationError

from data_gen.settings.errors import ConfigError
from data_gen.settings.fields import alternatives, field_types, leaf_names, nested_class

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MAX_NODES, MAX_DEPTH = 10_000, 30  # of a file, with its aliases written out


@dataclass(frozen=True)
class Setting:
    """A value that was given, and where: `configs/train_prm/lora.yaml:3` or `command line`."""

    value: Any
    where: str


class Yaml12Loader(yaml.SafeLoader):
    """Scalars by YAML 1.2's core schema: YAML 1.1 reads 1e-5 as text, `on` as true, 010 as 8 and 2024-01-01
    as a date.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 PyYAML's own class attribute


for _kind, _pattern, _first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|True|false|False", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(([0-9]*\.[0-9]+|[0-9]+\.)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.inf)|\.nan",
        "-+.0123456789",
    ),
):
    Yaml12Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )


# --- YAML files


def read_settings(config_class: type["DataclassInstance"], path: Path) -> Iterator[tuple[str, Setting]]:
    """(dotted key, setting) of all that the file sets. Raises ConfigError."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file, expected a YAML file of settings")
    try:
        root = compose(path.read_text(encoding="utf-8"))
        if root is not None:
            yield from _settings(config_class, root, path, "")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem}") from None
    # A character that YAML does not know, or bytes that are none
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{path}: not usable as YAML text: {reason}") from None


def compose(text: str) -> yaml.Node | None:
    """What stands in a YAML text, bounded. Raises YAMLError."""
    try:
        root: yaml.Node | None = yaml.compose(text, Yaml12Loader)
    except RecursionError:
        raise yaml.YAMLError(f"nested too deep; expected {MAX_DEPTH} levels at most") from None
    n_nodes, nodes = 0, [(root, 0)] if root is not None else []
    while nodes:
        node, depth = nodes.pop()
        n_nodes += 1
        if n_nodes > MAX_NODES or depth > MAX_DEPTH:  # an alias of what it stands in is infinitely deep
            raise yaml.YAMLError(
                f"more than {MAX_NODES} values, or more than {MAX_DEPTH} levels, when its aliases are "
                "written out"
            )
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        nodes += [
            (each, depth + 1) for part in parts for each in (part if isinstance(part, tuple) else (part,))
        ]
    return root


def _settings(
    config_class: type["DataclassInstance"], node: yaml.Node, path: Path, prefix: str
) -> Iterator[tuple[str, Setting]]:
    """`config_class` is the whole config's; `prefix` says which nested config `node` fills."""
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(
            f"{prefix.rstrip('.') or 'the file'}: got {node.value!r:.60}, expected keys and values "
            f"({_place(path, node)})"
        )
    seen: set[str] = set()
    for key_node, value_node in node.value:
        dotted, where = f"{prefix}{key_node.value}", _place(path, key_node)
        if dotted in seen:
            raise ConfigError(f"{dotted}: set twice ({where})")
        seen.add(dotted)
        field_type = leaf_type(config_class, dotted, where)
        if nested_class(field_type) and not _is_null(value_node):
            yield from _settings(config_class, value_node, path, f"{dotted}.")
        else:
            yield dotted, Setting(_construct(value_node), where)


def _is_null(node: yaml.Node) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


def _construct(node: yaml.Node) -> Any:
    """Raises YAMLError, also for what Python cannot hold: a number of 5,000 digits, a list as a key."""
    try:
        return Yaml12Loader("").construct_document(node)
    except (ValueError, TypeError) as error:
        raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None


def _place(path: Path, node: yaml.Node) -> str:
    return f"{path}:{node.start_mark.line + 1}"


# --- words


def from_words(words: Sequence[str], field_type: Any) -> Any:
    """The plain value of `--key word`; of a list the items of all words, each with one, several between
    commas, or a list in brackets.

    Raises ConfigError for several words where one is meant.
    """
    if len(words) == 1 or not _is_list(field_type):
        value = _from_text(words[0], field_type)
        if len(words) > 1:
            raise ConfigError(f"unexpected argument {words[1]!r} (command line); expected --key value")
        return value
    values = [_from_text(word, field_type) for word in words]
    return [item for value in values for item in (value if isinstance(value, list) else [value])]


def _is_list(field_type: Any) -> bool:
    return any(get_origin(kind) in (tuple, list) for kind in alternatives(field_type))


def _from_text(text: str, field_type: Any) -> Any:
    """The plain value that `text` stands for: itself where the field takes text, else what YAML reads
    there.
    """
    if text == "null" and type(None) in get_args(field_type):
        return None
    if fits(text, field_type):
        return text
    is_bare_list = not text.startswith("[") and _is_list(field_type)
    if is_bare_list and text != text.strip() and fits([text], field_type):
        return [text]  # blanks and newlines at the ends of a text are meant
    try:
        value = _value(f"[{text}]" if is_bare_list else text)
        if not is_bare_list or fits(value, field_type):
            return value
        # `4 16` in one word, where a blank cannot be part of an item
        parts = _value(f"[{','.join(text.replace(',', ' ').split())}]")
    except yaml.YAMLError:
        value = parts = text  # refused with its type's name
    # Of a list of texts one item, as `Q:`, which YAML reads as a key, or `###`
    return next((each for each in ([text], parts) if is_bare_list and fits(each, field_type)), value)


def _value(text: str) -> Any:
    node = compose(text)
    return None if node is None else _construct(node)


def fits(value: Any, field_type: Any) -> bool:
    """JSON's strict mode takes a list for a tuple and text for a Path or an Enum, and nothing else."""
    try:
        TypeAdapter(field_type).validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return False
    return True


def refuse_unusable(value: Any) -> None:
    """Raises ValueError for what no setting means: text with a NUL or half a character, numbers that are
    none, and those beyond 64 bits.
    """
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for item in value:
            refuse_unusable(item)
    elif isinstance(value, str) and (
        "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value)
    ):
        raise ValueError(
            "holds a character that no file and no model knows (NUL, or bytes that are no UTF-8)"
        )
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("is no finite number")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("is beyond 64 bits; expected less than 2^63")


# --- keys


def leaf_type(config_class: type["DataclassInstance"], dotted: str, where: str) -> Any:
    """Type of the field with this key, which may also be a whole nested config. Raises ConfigError with the
    nearest keys.
    """
    here: type[DataclassInstance] | None = config_class
    for name in dotted.split("."):
        if here is None or name not in field_types(here):
            valid = list(leaf_names(config_class))
            near = difflib.get_close_matches(dotted, valid, n=3, cutoff=0.75)
            expected = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(valid)}"
            raise ConfigError(f"unknown key {dotted} ({where}); {expected}")
        field_type = field_types(here)[name]
        here = nested_class(field_type)
    return field_type
