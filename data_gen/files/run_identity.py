"""Whose a run folder is: the settings and the models that began it, in config.json and models.json.

A run is what determines its data. Settings that only say where and how it is computed
(`metadata={"is_execution": True}` in their config class) may be others each time, and those marked `may_grow`
may grow. A folder in which nothing was made yet belongs to nobody.
"""

import json
import tempfile
from contextlib import suppress
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_gen.files.jsonl import write_text
from data_gen.files.stored_record import read_json
from data_gen.settings.errors import InputError
from data_gen.settings.fields import field_types, nested_class
from data_gen.settings.parse import dump_config, load_yaml

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

N_SHOWN = 60  # characters of a setting in a message
MADE_BY_RUNS = (
    "problems.jsonl",
    "problems.json",
    "models.json",
    "solutions.jsonl",
    "sample.json",
    "labels.jsonl",
    "results.jsonl",
)


def check_run(folder: Path, config: "DataclassInstance", *, is_begun: bool = True) -> None:
    """Raises InputError unless `folder` can be made or written into and is new, or holds the run of `config`.
    Writes nothing.

    `is_begun` says whether there is anything in the folder that belongs to its settings.
    """
    check_folder(folder)
    path = folder / "config.json"
    if not path.exists():
        foreign = [name for name in MADE_BY_RUNS if (folder / name).exists()]
        if foreign:
            raise InputError(
                f"output {folder}: holds {foreign[0]} and no run, which would overwrite it; expected a "
                "folder of its own"
            )
        return
    try:
        # A setting that is newer than the run has its default there
        found = dump_config(load_yaml(type(config), path))
    except InputError as fault:
        raise InputError(
            f"{path}: this folder holds a run of another command or another version ({fault}); choose "
            "another output folder"
        ) from None
    difference = first_difference(type(config), found, dump_config(config))
    if difference and is_begun:
        raise InputError(
            f"{path}: this folder holds a run with another configuration: {difference}; choose another "
            "output folder, or delete this one"
        )


def check_models(folder: Path, models: dict[str, str]) -> None:
    """Raises InputError unless these models, by their ids, began the run: results belong to weights, not to
    their path.
    """
    path = folder / "models.json"
    found = read_models(folder) if path.exists() else models
    for name, model_id in models.items():
        if found.get(name) != model_id:
            raise InputError(
                f"{path}: the {name} of this run was {found.get(name)}, got {model_id}: other weights, "
                "tokenizer or precision; "
                "choose another output, or put back the model that began this one"
            )


def claim_run(
    folder: Path, config: "DataclassInstance", models: dict[str, str] | None = None, *, is_begun: bool = True
) -> None:
    """Write the settings into config.json (those of execution are the latest ones) and the ids of the models,
    if any, into models.json.

    Raises InputError as `check_run` and `check_models` do, and then writes nothing.
    """
    check_run(folder, config, is_begun=is_begun)
    if models is not None and is_begun:
        check_models(folder, models)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.json", json.dumps(dump_config(config), indent=1) + "\n")
    if models is not None:
        write_text(folder / "models.json", json.dumps(models, indent=1) + "\n")


def read_models(folder: Path) -> dict[str, str]:
    """models.json: the ids of the models that began the run, by name. Raises InputError where it is missing
    or damaged.
    """
    found: dict[str, str] = read_json(folder / "models.json", dict[str, str])
    return found


def check_folder(folder: Path) -> None:
    """Raises InputError where nothing can be written; where the folder is new, it is made and taken away
    again, with its parents.
    """
    made: list[Path] = []
    try:
        made = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"output {folder}: cannot be written there ({error.strerror}); expected a folder, or a path "
            "where one can be made"
        ) from None
    finally:
        for each in made:
            with suppress(OSError):  # not there; or not empty any more, by another process
                each.rmdir()


# --- settings


def is_execution(setting: "Field[Any]") -> bool:
    """Whether a setting only says where and how a run is computed, not what comes out."""
    return bool(setting.metadata.get("is_execution"))


def first_difference(
    config_class: type["DataclassInstance"], found: dict[str, Any], wanted: dict[str, Any], prefix: str = ""
) -> str | None:
    """The first setting, dotted, in which two dumped configs are different runs: `policy.model is 'a', got
    'b'`; None for the same run.
    """
    types = field_types(config_class)
    for setting in fields(config_class):
        if is_execution(setting) or setting.name not in types:
            continue
        old, new = found[setting.name], wanted[setting.name]
        nested = nested_class(types[setting.name])
        if nested and isinstance(old, dict) and isinstance(new, dict):
            difference = first_difference(nested, old, new, f"{prefix}{setting.name}.")
            if difference:
                return difference
        elif setting.metadata.get("may_grow"):
            if new < old:
                return f"{prefix}{setting.name} is {old}, got {new} (it may grow)"
        elif old != new:
            old_text, new_text = _shown(old, new)
            return f"{prefix}{setting.name} is {old_text}, got {new_text}"
    return None


def _shown(old: Any, new: Any) -> tuple[str, str]:
    """Both, shortened to where they begin to differ."""
    texts = repr(old), repr(new)
    same = next(
        (place for place, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts))
    )
    start = max(same - N_SHOWN // 3, 0) if max(map(len, texts)) > N_SHOWN else 0

    def cut(text: str) -> str:
        return "…" * (start > 0) + text[start : start + N_SHOWN] + "…" * (len(text) > start + N_SHOWN)

    return cut(texts[0]), cut(texts[1])
