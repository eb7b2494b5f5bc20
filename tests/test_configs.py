"""Every file under configs/ loads: those of a command with its config class, those of accelerate and
deepspeed with their own readers.
"""

import dataclasses
import importlib
import inspect
import json
from pathlib import Path

import pytest

from data_gen.policies.config import PolicyConfig
from data_gen.settings.fields import field_types, field_words, nested_class
from data_gen.settings.parse import load_yaml
from prm_train.cli import COMMANDS
from prm_train.serving.named_models import NamedScorerConfig

CONFIGS = Path(__file__).parents[1] / "configs"
COMMAND_FOLDERS = {command.replace("-", "_"): command for command in COMMANDS}
NAMED_BY_SERVE: dict[str, type] = {"policies": PolicyConfig, "scorers": NamedScorerConfig}
FILES = sorted(
    path.relative_to(CONFIGS) for path in CONFIGS.rglob("*") if path.is_file() and path.name != "README.md"
)


def config_class(command: str) -> type:
    """The dataclass of the command's module that is named after it, as TrainPrmConfig of train-prm."""
    module = importlib.import_module(COMMANDS[command][0])
    name = "".join(part.capitalize() for part in command.split("-")) + "Config"
    found = getattr(module, name)
    assert dataclasses.is_dataclass(found)
    assert inspect.isclass(found)
    return found


def test_there_are_configs() -> None:
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=str)
def test_config_loads(file: Path) -> None:
    folder, path = file.parts[0], CONFIGS / file
    if folder == "accelerate":
        from accelerate.commands.config.config_args import load_config_from_file

        load_config_from_file(str(path))
    elif folder in NAMED_BY_SERVE:
        load_yaml(NAMED_BY_SERVE[folder], path)
    elif folder == "deepspeed":
        assert "zero_optimization" in json.loads(path.read_text())
    else:
        assert path.suffix == ".yaml", f"{file}: expected configs/<command>/<name>.yaml"
        load_yaml(config_class(COMMAND_FOLDERS[folder]), path)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_its_config_class(command: str) -> None:
    config_class(command)


def settings_in_words(config: type, prefix: str = "") -> dict[str, str]:
    """What `--help` says of each setting, by its dotted name."""
    words: dict[str, str] = {}
    for name, kind in field_types(config).items():
        nested = nested_class(kind)
        if nested:
            words |= settings_in_words(nested, f"{prefix}{name}.")
        else:
            words[prefix + name] = field_words(config).get(name, "")
    return words


@pytest.mark.parametrize(
    "command", [command for command in COMMANDS if not command.startswith(("train-", "estimate-"))]
)
def test_the_help_of_every_setting_can_be_read_by_itself(command: str) -> None:
    words = settings_in_words(config_class(command))
    assert [name for name, text in words.items() if not text or text.startswith("of ")] == []
