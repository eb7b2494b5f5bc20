"""SHA-256 of a model's weights: by it draws and scores are known to come from the same model, whatever path
it was loaded from.

The ids of policies and scorers are made of it, and ledgers, results and published figures name them: what is
digested must not change.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_gen.settings.errors import InputError

# The line before the bytes of a weight. Those of policies and of scorers differ, and have to stay as they
# are.
POLICY_LINE = "{name} {shape} {dtype}"
SCORER_LINE = "{name} {dtype} {shape}"
FILE_BLOCK_BYTES = 2**24


def weights_digest(line: str, *models: Any) -> str:
    """Of the names, types, shapes and bytes of all weights, as they are loaded; `line` is POLICY_LINE or
    SCORER_LINE.
    """
    import torch

    digest = hashlib.sha256()
    for model in models:
        for name, tensor in sorted(model.state_dict().items()):
            digest.update(line.format(name=name, dtype=tensor.dtype, shape=tuple(tensor.shape)).encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def weight_files_digest(folder: Path) -> str:
    """Of the names and bytes of the weight files and the config, for a model that another process loads.

    Raises InputError for a folder without safetensors.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(f"{folder}: holds no *.safetensors; expected the weights of a model")
    return files_digest([*files, folder / "config.json"])


def files_digest(files: Sequence[Path]) -> str:
    """Of the names and bytes of some files."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name} {path.stat().st_size}".encode())
        with path.open("rb") as file:
            while block := file.read(FILE_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()
