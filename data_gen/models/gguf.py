"""GGUF files, as llama.cpp reads them, as models: `gguf:<file>` wherever a model is named.

transformers reads such a file (with the package gguf, this project's extra), but nothing else here does, nor
would it save what it read. So the file is unpacked once, into an ordinary folder beside it that has its name
without `.gguf`: config, tokenizer with its chat template, and float32 weights, which hold exactly what the
quantized ones mean. Four bytes a weight: half a gigabyte for a model of 135 M.
"""

import hashlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from data_gen.files.stored_record import StoredRecord
from data_gen.settings.errors import InputError

logger = logging.getLogger(__name__)
PREFIX = "gguf:"
RECORD = "gguf.json"
BLOCK_BYTES = 2**24


@dataclass(frozen=True)
class UnpackedFrom(StoredRecord):
    """gguf.json of an unpacked folder: which file its weights are from."""

    file: str
    n_bytes: int
    sha256: str


def is_gguf(name: str) -> bool:
    return name.startswith(PREFIX)


def gguf_folder(name: str) -> Path:
    """Where the model of `gguf:<file>` stands, or will stand, as a folder."""
    file = Path(name.removeprefix(PREFIX))
    return file.with_name(file.stem)


def check_gguf(setting: str, name: str) -> None:
    """Raises InputError for a file that is not there or no GGUF, and without the package that reads it."""
    file = Path(name.removeprefix(PREFIX))
    if not file.is_file():
        raise InputError(f"{setting} {name}: no file {file}; expected a GGUF file behind {PREFIX}")
    if file.suffix != ".gguf":
        raise InputError(f"{setting} {name}: got a file {file.name}, expected its name to end in .gguf")
    with file.open("rb") as stream:
        start = stream.read(4)
    if start != b"GGUF":
        raise InputError(f"{setting} {name}: begins with {start!r}, expected b'GGUF': it is no GGUF file")
    if not (gguf_folder(name) / RECORD).is_file():
        _need_reader(name)


def unpacked(name: str) -> str:
    """The folder of `gguf:<file>`, which is written if it is not there yet. Raises InputError for a file that
    transformers does not read, and for a folder that something else stands in.
    """
    check_gguf("model", name)
    file, folder = Path(name.removeprefix(PREFIX)), gguf_folder(name)
    if folder.exists():
        _check_same(file, folder)
    else:
        unpack(file, folder)
    return str(folder)


def unpack(file: Path, folder: Path) -> None:
    """Write the model of a GGUF file as a folder that transformers loads. The folder appears whole or not at
    all, also where two processes do this at once.
    """
    _need_reader(str(file))
    logger.info("%s: unpacking it into %s", file, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_model(file, unfinished)
        UnpackedFrom(file.name, file.stat().st_size, _sha256(file)).write(unfinished / RECORD)
        unfinished.chmod(0o755)
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.exists():
                raise
            _check_same(file, folder)  # another process was first
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _need_reader(name: str) -> None:
    from importlib.util import find_spec

    if find_spec("gguf") is None:
        raise InputError(
            f"{name}: reading it needs the package gguf, which is not installed; expected the extra: "
            "pip install 'prm-train[gguf]'"
        )


def _write_model(file: Path, folder: Path) -> None:
    """transformers refuses to save a model that it read from a GGUF: a new one takes its weights over."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from data_gen.models.pretrained import from_hub_or_folder
    from data_gen.process.library_noise import show_no_loading_bars

    show_no_loading_bars()
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    with from_hub_or_folder(f"{PREFIX}{file}"):
        config = AutoConfig.from_pretrained(**where)
        read = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**where)
    config.dtype = torch.float32
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(read.state_dict(), assign=True)
    model.tie_weights()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _check_same(file: Path, folder: Path) -> None:
    """Raises InputError where the folder was unpacked from another file, or from none. The file is read again
    only if it is newer than the folder.
    """
    record = folder / RECORD
    if not record.is_file():
        raise InputError(
            f"{PREFIX}{file}: would be unpacked into {folder}, which holds no {RECORD}; expected "
            "no such folder"
        )
    known = UnpackedFrom.read(record)
    is_newer = file.stat().st_mtime > record.stat().st_mtime
    if known.n_bytes != file.stat().st_size or (is_newer and known.sha256 != _sha256(file)):
        raise InputError(
            f"{PREFIX}{file}: {folder} was unpacked from another file ({known.n_bytes:,} bytes); expected "
            "that folder to be removed, or the file to be called otherwise"
        )


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
