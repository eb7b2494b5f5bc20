"""Settings of a command: a frozen dataclass, filled from its defaults, then `--config file.yaml`, then `--key
value`.

The dataclass is the only place that knows a setting's name, type and default; a YAML file holds only what a
run changes, and an override reaches into nested dataclasses with dots::

    prm-train train-prm --config configs/train_prm/lora.yaml --batch_size 8 --lora.rank=16

A field is a number, bool, str, Path, Literal, Enum, an Optional, tuple, list or dict of those, or another
dataclass. Values are strict: 1.5 is no int, "3" no number and yes no bool. What does not fit is refused with
its name, what came, what was wanted and where it stood. How text becomes values is
`data_gen.settings.values`'s: YAML 1.2, and on the command line `--n 4,16`, `--n 4 16` or `--n 4 --n 16`.
"""

import asyncio
import json
import logging
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from data_gen.process.disk_faults import describe_disk_fault
from data_gen.process.interrupts import Interrupts
from data_gen.settings.errors import ConfigError as ConfigError
from data_gen.settings.errors import InputError as InputError
from data_gen.settings.fields import describe, field_default, field_types, nested_class, type_name
from data_gen.settings.values import Setting, from_words, leaf_type, read_settings, refuse_unusable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")


def parse_config(config_class: type[Config], argv: Sequence[str] | None = None) -> Config:
    """The config that `argv` (default: the command line) asks for; `--help` prints every field and exits.

    Later sources win: defaults, then each `--config file.yaml`, then `--key value` or `--key=value`. Raises
    ConfigError.
    """
    pairs = list(_options(sys.argv[1:] if argv is None else argv))
    if "help" in (name for name, _ in pairs):
        sys.stdout.write(describe(config_class))
        raise SystemExit(0)
    settings: dict[str, Setting] = {}
    for words in (words for name, words in pairs if name == "config"):
        for path in words:
            _put_file(config_class, Path(path), settings)
    given: dict[str, Any] = {}
    for name, words in pairs:
        if name != "config":
            field_type = leaf_type(config_class, name, "command line")
            value = from_words(words, field_type)
            is_more = name in given and isinstance(value, list) and isinstance(given[name], list)
            given[name] = [*given[name], *value] if is_more else value  # a list may be given in several parts
            _put(settings, name, Setting(given[name], "command line"))
    return _build_whole(config_class, settings)


def load_yaml(config_class: type[Config], path: Path) -> Config:
    """The config of one YAML file on top of the defaults. Raises ConfigError."""
    settings: dict[str, Setting] = {}
    _put_file(config_class, path, settings)
    return _build_whole(config_class, settings)


def dump_config(config: "DataclassInstance") -> dict[str, Any]:
    """Every field as JSON can hold it; written as JSON, which is YAML too, it loads back to an equal
    config.
    """
    dumped: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    return dumped


def command_line(command: str, config: "DataclassInstance") -> str:
    """The command that has this config: every setting that is not its default, as a shell takes it."""
    words = ["prm-train", command]
    dumped = dump_config(config)
    for setting in fields(config):
        if getattr(config, setting.name) != field_default(type(config), setting.name):
            shown = dumped[setting.name]
            text = ",".join(map(str, shown)) if isinstance(shown, list) else str(shown)
            words += [f"--{setting.name}", text]
    return shlex.join(words)


def run_command(main: Callable[[], None], name: str = "") -> None:
    """Run a command's `main` for a person: one line instead of a traceback where the input, the disk or a
    signal ended it.

    Exit code 2 for input or a path that cannot be used, 1 for a full disk, 130 for Ctrl-C, 143 for SIGTERM.
    `name` begins the line (default: the script's).
    """
    name = name or Path(sys.argv[0]).stem
    from data_gen.process.library_noise import drop_known_warnings
    from data_gen.process.log_lines import LogAboveBars

    drop_known_warnings()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=[LogAboveBars()]
    )
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


def _options(argv: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """(name, words) of `--name word word` and `--name=word`; help has none."""
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help"):
            yield "help", []
            continue
        if not word.startswith("--"):
            raise ConfigError(
                f"unexpected argument {without_secrets(word)!r} (command line); expected --key value"
            )
        name, equals, text = word[2:].partition("=")
        words = [text] if equals else []
        while rest and not equals and not rest[0].startswith("--"):
            words.append(rest.pop(0))
        if not words:
            raise ConfigError(
                f"--{name} (command line) has no value; expected --{name} value, for a switch --{name} true"
            )
        yield name, words


# --- from settings to the dataclass


def _put_file(config_class: type["DataclassInstance"], path: Path, settings: dict[str, Setting]) -> None:
    """Put what a YAML file sets into `settings`."""
    for dotted, setting in read_settings(config_class, path):
        _put(settings, dotted, setting)


def _check(dotted: str, setting: Setting, field_type: Any) -> Any:
    """The value as the field holds it; JSON's strict mode takes a list for a tuple and text for a Path or an
    Enum, and nothing else.
    """
    got = f"{dotted}: got {without_secrets(json.dumps(setting.value, ensure_ascii=False))}"
    if nested_class(field_type) and setting.value is not None:
        raise ConfigError(f"{got}, expected its fields one by one, as --{dotted}.key value ({setting.where})")
    try:
        refuse_unusable(setting.value)
    except ValueError as error:
        raise ConfigError(f"{got:.200}, which {error} ({setting.where})") from None
    try:
        return TypeAdapter(field_type).validate_json(json.dumps(setting.value), strict=True)
    except ValidationError as error:
        details = [
            f"{'item ' + '.'.join(map(str, item['loc'])) + ': ' if item['loc'] else ''}{item['msg']}"
            for item in error.errors()
        ]
        # The options of a union each complain, which helps nobody
        detail = f": {details[0]}" if len(details) == 1 else ""
        raise ConfigError(f"{got}, expected {type_name(field_type)} ({setting.where}){detail}") from None


def without_secrets(text: str) -> str:
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
            f"no value for {', '.join(missing)}; expected --{missing[0]} on the command line or a line in "
            "the YAML file of --config"
        )
    return config


def _build(
    config_class: type[Config],
    base: Config | None,
    settings: dict[str, Setting],
    prefix: str,
    missing: list[str],
) -> Any:
    """`base` (the default of a nested config, if it has one) with its settings; what has no value is added to
    `missing`, then None.
    """
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
