"""Models and files by name: what is checked before anything heavy is imported, and the line in which a
command says what it loaded.
"""

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from data_gen.models.gguf import check_gguf, is_gguf
from data_gen.settings.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def check_model(setting: str, name: str, file: str = "config.json") -> None:
    """Raises InputError for a path where no folder with `file` (or an adapter, which loading refuses in its
    own words) is.

    What looks like `user/name` may be on the Hub, which only loading can tell. `gguf:<file>` is a file.
    """
    if is_gguf(name):
        check_gguf(setting, name)
        return
    folder = Path(name)
    if folder.is_dir():
        if not (folder / file).is_file() and not (folder / "adapter_config.json").is_file():
            raise InputError(
                f"{setting} {name}: holds no {file}; expected the folder of a model, or a name on the Hub"
            )
    elif folder.exists() or not HUB_NAME.fullmatch(name):
        raise InputError(
            f"{setting} {name}: no such folder; expected the folder of a model, or a name on the Hub"
        )


def check_inputs(config: "DataclassInstance", section: str = "") -> None:
    """Raises InputError for a file or folder (`metadata={"is_input": True}`) or a model (`is_model`) that a
    config names and that is not there. A command calls it before it imports what takes seconds. `section` is
    the name of the section that it looks into, with a dot.
    """
    for setting in fields(config):
        value = getattr(config, setting.name)
        for each in value if isinstance(value, tuple) else (value,):
            if each is not None and setting.metadata.get("is_input") and not Path(each).exists():
                raise InputError(f"{section}{setting.name}: {each}: no such file or folder")
            if each is not None and setting.metadata.get("is_model") and each != "base":
                check_model(section + setting.name, str(each))


def model_line(role: str, name: str, n_parameters: int, dtype: object, device: object) -> str:
    """`policy base: 0.4 M parameters, float32, cpu`"""
    size = f"{n_parameters / 1e9:,.1f} B" if n_parameters >= 1e9 else f"{n_parameters / 1e6:,.1f} M"
    return f"{role} {name}: {size} parameters, {str(dtype).removeprefix('torch.')}, {device}"


def check_device(device: str) -> None:
    """Raises InputError where torch cannot compute on it: `cuda` in a build for CPUs, a GPU that is not
    there, an unknown name.
    """
    import torch

    try:
        torch.zeros(1, device=device).tolist()
    # Torch raises each, by the kind of device
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"device: got {device!r}, which torch cannot use here ({reason}); expected cpu, cuda or another "
            "one that it has"
        ) from None
