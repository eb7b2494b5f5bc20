"""Settings of a command: a frozen dataclass, filled from its defaults, then `--config file.yaml`, then `--key value`.

The dataclass is the only place that knows a setting's name, type and default; a YAML file holds only what a run changes, and an override
reaches into nested dataclasses with dots::

    prm-train train-prm --config configs/train_prm/lora.yaml --batch_size 8 --lora.rank=16

A field is a number, bool, str, Path, Literal, Enum, an Optional, tuple, list or dict of those, or another dataclass. Values are strict: 1.5
is no int, "3" no number and yes no bool. What does not fit is refused with its name, what came, what was wanted and where it stood.
Scalars are read by the rules of YAML 1.2, where 1e-5 is a number and `on` is text; on the command line `--n 4,16` is a list.
"""

import asyncio
import difflib
import json
import logging
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

import yaml
from pydantic import TypeAdapter, ValidationError

from data_gen.config_fields import alternatives, describe, field_default, field_types, leaf_names, nested_class, type_name
from data_gen.disk_faults import describe_disk_fault
from data_gen.interrupts import Interrupts

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")


class InputError(ValueError):
    """Something that only the user can mend, as input that cannot be used: a command ends with this message alone and exit code 2."""


class ConfigError(InputError):
    """A setting that is unknown, missing or of the wrong kind."""


@dataclass(frozen=True)
class Setting:
    """A value that was given, and where: `configs/train_prm/lora.yaml:3` or `command line`."""

    value: Any
    where: str


def parse_config(config_class: type[Config], argv: Sequence[str] | None = None) -> Config:
    """The config that `argv` (default: the command line) asks for; `--help` prints every field and exits.

    Later sources win: defaults, then each `--config file.yaml`, then `--key value` or `--key=value`. Raises ConfigError.
    """
    pairs = list(_options(sys.argv[1:] if argv is None else argv))
    if "help" in (name for name, _ in pairs):
        sys.stdout.write(describe(config_class))
        raise SystemExit(0)
    settings: dict[str, Setting] = {}
    for path in (value for name, value in pairs if name == "config"):
        _read_yaml(config_class, Path(path), settings)
    for name, value in pairs:
        if name != "config":
            field_type = _leaf_type(config_class, name, "command line")
            _put(settings, name, Setting(_from_text(value, field_type), "command line"))
    return _build_whole(config_class, settings)


def load_yaml(config_class: type[Config], path: Path) -> Config:
    """The config of one YAML file on top of the defaults. Raises ConfigError."""
    settings: dict[str, Setting] = {}
    _read_yaml(config_class, path, settings)
    return _build_whole(config_class, settings)


def dump_config(config: "DataclassInstance") -> dict[str, Any]:
    """Every field as JSON can hold it; written as JSON, which is YAML too, it loads back to an equal config."""
    dumped: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    return dumped


def run_command(main: Callable[[], None], name: str = "") -> None:
    """Run a command's `main` for a person: one line instead of a traceback where the input, the disk or a signal ended it.

    Exit code 2 for input or a path that cannot be used, 1 for a full disk, 130 for Ctrl-C, 143 for SIGTERM. `name` begins the line
    (default: the script's).
    """
    name = name or Path(sys.argv[0]).stem
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    with Interrupts() as interrupts:
        try:
            main()
        except InputError as error:
            _exit(name, f"error: {error}", 2)
        except (KeyboardInterrupt, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and interrupts.received is None:
                raise
            sys.stderr.write(f"{name}: {interrupts.message}\n")
            interrupts.end()
            raise SystemExit(interrupts.exit_code) from None
        except OSError as error:
            fault = describe_disk_fault(error)
            if fault is None:
                raise
            _exit(name, f"error: {fault[0]}", fault[1])


def _exit(name: str, message: str, code: int) -> None:
    sys.stderr.write(f"{name}: {message}\n")
    raise SystemExit(code)


# --- the command line


def _options(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name, text) of `--name text` and `--name=text`; help has no text."""
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help"):
            yield "help", ""
            continue
        if not word.startswith("--"):
            raise ConfigError(f"unexpected argument {_without_secrets(word)!r} (command line); expected --key value")
        name, equals, text = word[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"--{name} (command line) has no value; expected --{name} value, for a switch --{name} true")
            text = rest.pop(0)
        yield name, text


def _from_text(text: str, field_type: Any) -> Any:
    """The plain value that `text` stands for: itself where the field takes text, else what YAML reads there."""
    if text == "null" and type(None) in get_args(field_type):
        return None
    try:
        TypeAdapter(field_type).validate_json(json.dumps(text), strict=True)
        return text
    except ValidationError:
        is_bare_list = not text.startswith("[") and any(get_origin(kind) in (tuple, list) for kind in alternatives(field_type))
    try:
        return yaml.load(f"[{text}]" if is_bare_list else text, _Yaml12Loader)
    except yaml.YAMLError:
        return text  # refused with its type's name by _check


# --- YAML


class _Yaml12Loader(yaml.SafeLoader):
    """Scalars by YAML 1.2's core schema: YAML 1.1 reads 1e-5 as text, `on` as true, 010 as 8 and 2024-01-01 as a date."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 PyYAML's own class attribute


for _kind, _pattern, _first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|True|false|False", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(([0-9]*\.[0-9]+|[0-9]+\.)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.inf)|\.nan", "-+.0123456789"),
):
    _Yaml12Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), list(_first))


def _read_yaml(config_class: type["DataclassInstance"], path: Path, settings: dict[str, Setting]) -> None:
    """Put what the file sets into `settings`."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file, expected a YAML file of settings")
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), _Yaml12Loader)
        if root is not None:
            for dotted, setting in _yaml_settings(config_class, root, path, ""):
                _put(settings, dotted, setting)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text: {error}") from None


def _yaml_settings(config_class: type["DataclassInstance"], node: yaml.Node, path: Path, prefix: str) -> Iterator[tuple[str, Setting]]:
    """`config_class` is the whole config's; `prefix` says which nested config `node` fills."""
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{prefix.rstrip('.') or 'the file'}: got {node.value!r:.60}, expected keys and values ({_place(path, node)})")
    seen: set[str] = set()
    for key_node, value_node in node.value:
        dotted, where = f"{prefix}{key_node.value}", _place(path, key_node)
        if dotted in seen:
            raise ConfigError(f"{dotted}: set twice ({where})")
        seen.add(dotted)
        field_type = _leaf_type(config_class, dotted, where)
        value = _Yaml12Loader("").construct_document(value_node)
        if nested_class(field_type) and value is not None:
            yield from _yaml_settings(config_class, value_node, path, f"{dotted}.")
        else:
            yield dotted, Setting(value, where)


def _place(path: Path, node: yaml.Node) -> str:
    return f"{path}:{node.start_mark.line + 1}"


# --- from settings to the dataclass


def _leaf_type(config_class: type["DataclassInstance"], dotted: str, where: str) -> Any:
    """Type of the field with this key, which may also be a whole nested config. Raises ConfigError with the nearest keys."""
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


def _check(dotted: str, setting: Setting, field_type: Any) -> Any:
    """The value as the field holds it; JSON's strict mode takes a list for a tuple and text for a Path or an Enum, and nothing else."""
    got = f"{dotted}: got {_without_secrets(json.dumps(setting.value, ensure_ascii=False))}"
    if nested_class(field_type) and setting.value is not None:
        raise ConfigError(f"{got}, expected its fields one by one, as --{dotted}.key value ({setting.where})")
    if _holds_infinity(setting.value):
        raise ConfigError(f"{got}, expected a finite number ({setting.where})")
    try:
        return TypeAdapter(field_type).validate_json(json.dumps(setting.value), strict=True)
    except ValidationError as error:
        details = [f"{'item ' + '.'.join(map(str, item['loc'])) + ': ' if item['loc'] else ''}{item['msg']}" for item in error.errors()]
        detail = f": {details[0]}" if len(details) == 1 else ""  # the options of a union each complain, which helps nobody
        raise ConfigError(f"{got}, expected {type_name(field_type)} ({setting.where}){detail}") from None


def _holds_infinity(value: Any) -> bool:
    """Whether it is or holds an infinite number or NaN, which no comparison with a bound would notice."""
    if isinstance(value, dict | list):
        return any(map(_holds_infinity, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and not math.isfinite(value)


def _without_secrets(text: str) -> str:
    """Without what may be a password or a key in the URLs that it holds."""
    text = re.sub(r"(://)[^/@\s\"',]*@", r"\1***@", text)
    return re.sub(r"(://[^?\s\"',]*\?)[^\s\"',]*", r"\1***", text)


def _put(settings: dict[str, Setting], dotted: str, setting: Setting) -> None:
    """The latest word counts: a nested config as a whole (null) and its fields replace each other."""
    for name in [name for name in settings if name.startswith(f"{dotted}.") or dotted.startswith(f"{name}.")]:
        del settings[name]
    settings[dotted] = setting


def _build_whole(config_class: type[Config], settings: dict[str, Setting]) -> Config:
    missing: list[str] = []
    config = _build(config_class, None, settings, "", missing)
    if missing:
        raise ConfigError(
            f"no value for {', '.join(missing)}; expected --{missing[0]} on the command line or a line in the YAML file of --config"
        )
    return config


def _build(config_class: type[Config], base: Config | None, settings: dict[str, Setting], prefix: str, missing: list[str]) -> Any:
    """`base` (the default of a nested config, if it has one) with its settings; what has no value is added to `missing`, then None."""
    values: dict[str, Any] = {}
    for name, field_type in field_types(config_class).items():
        dotted, nested = prefix + name, nested_class(field_type)
        default = field_default(config_class, name) if base is None else getattr(base, name)
        is_opened = any(key.startswith(f"{dotted}.") for key in settings)
        if dotted in settings:
            values[name] = _check(dotted, settings[dotted], field_type)
        elif nested and (is_opened or default is MISSING):
            nested_base = default if isinstance(default, nested) else None
            values[name] = _build(nested, nested_base, settings, f"{dotted}.", missing)
        elif default is MISSING:
            missing.append(dotted)
    if missing:
        return None
    try:
        return config_class(**values) if base is None else replace(base, **values)
    except ValueError as error:  # the config's own __post_init__ refused a combination
        raise ConfigError(f"{prefix.rstrip('.')}: {error}" if prefix else str(error)) from None
