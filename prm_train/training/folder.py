"""The folder of a training: which may be written into, one training at a time, and whether what it was begun
with is still there.

`output/training/config.json` holds the settings (see `data_gen.files.run_identity`), and sources.json beside
it what these settings named: digests of the rows and of the base model's files, and the number of processes;
report.json has them once the training is finished. A path says nothing of what lies there today.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from data_gen.files.locks import lock
from data_gen.files.run_identity import claim_run
from data_gen.models.pretrained import load_model_config
from data_gen.problems.tasks import model_path
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CONFIG_KEY
from prm_train.metrics.training_report import TrainingReport, TrainingSources
from prm_train.training.settings import TrainingConfig

SOURCES, COST, PROCESSES, LOCK = "sources.json", "cost.json", "processes.json", ".training.lock"
# Files that a person puts beside a training: its logs, rows and settings
OWN = (".log", ".out", ".jsonl", ".yaml", ".yml")
BLOCK, N_BLOCKS = 1 << 16, 256


@contextmanager
def claimed_folder(config: TrainingConfig, arguments: Any) -> Iterator[None]:
    """Hold `config.output` for this training, which `arguments` (a transformers.TrainingArguments) starts in
    one process or several.

    The main process locks and claims the folder before the others look at it. Raises InputError as
    `training_lock` and `claim_folder` do.
    """
    with ExitStack() as held:
        with arguments.main_process_first(desc="claim the output folder"):
            if arguments.process_index == 0:
                held.enter_context(training_lock(config.output))
                claim_folder(config, arguments.world_size)
        yield


@contextmanager
def training_lock(output: Path) -> Iterator[None]:
    """Hold the folder for this process, since a second training there would take the first one's checkpoints
    for its own. Nothing of the lock stays, and it ends with the process, however that ends.

    Raises InputError if another training holds it. A file system without locks is warned of, and trained on.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"output {output}: is a file; expected a folder, or none yet")
    is_new = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    path = output / LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not lock(descriptor, path):
            raise InputError(
                f"output {output}: another training is at work in this folder; expected one at a time, or a "
                "folder for each"
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            if is_new:
                with suppress(OSError):  # not empty: the training got somewhere
                    output.rmdir()
    finally:
        os.close(descriptor)


def claim_folder(config: TrainingConfig, n_processes: int) -> None:
    """Begin a training in `config.output`, or check that the one there is this one: by its settings, its
    rows, its base model, and, where there is something to go on from, its number of processes, on which the
    rows of an optimizer step depend.

    Raises InputError where it is another training, where the folder holds anything else, the base model for
    instance, and where the weights of a finished training are gone. Nothing is written before all of that is
    known.
    """
    folder = config.output / "training"
    check_output(config.output, _base(config))
    if not config.resume and folder.exists():
        shutil.rmtree(folder)
    claim_run(folder, replace(config, resume=True))  # how a run was begun is not what it is
    if is_finished(folder):
        _check_weights(config.output)
        report = folder / "report.json"
        _check_sources(report, TrainingReport.read(report).sources, config, n_processes)
        remove_resume_files(folder)  # where it was killed before it had
        return
    if not Path(_base(config)).is_dir():
        # So that a model of the Hub has its commit in the cache
        load_model_config(_base(config), config.trust_remote_code)
    path = folder / SOURCES
    if path.exists() and last_whole_checkpoint(folder) is not None:
        _check_sources(path, TrainingSources.read(path), config, n_processes)
    else:
        _sources(config, n_processes).write(path)


def is_finished(folder: Path) -> bool:
    return (folder / "report.json").exists()


def begun_with(folder: Path) -> TrainingSources:
    """For the report."""
    return TrainingSources.read(folder / SOURCES)


def remove_resume_files(folder: Path) -> None:
    """Of a finished training: what was only there to go on with it."""
    for name in (SOURCES, COST, PROCESSES):
        (folder / name).unlink(missing_ok=True)
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def check_output(output: Path, base: str) -> None:
    """Raises InputError unless `output` is new, or holds a training, or nothing but what a person puts beside
    one; and where the base model lies in it.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"output {output}: is a file; expected a folder, or none yet")
    wanted = "expected a folder of its own, new or empty"
    if Path(base).is_dir() and Path(base).resolve().is_relative_to(output.resolve()):
        raise InputError(
            f"output {output}: holds the base model {base}, which would be overwritten; {wanted}"
        )
    folder = output / "training"
    if not output.exists() or _is_training(folder):
        return
    found = [path for path in output.iterdir() if not path.name.startswith(".")]
    others = [path.name for path in sorted(found) if path.is_dir() or path.suffix not in OWN]
    # By a training that was killed at once
    is_begun = others == ["training"] and folder.is_dir() and not any(folder.iterdir())
    if others and not is_begun:
        raise InputError(
            f"output {output}: holds {', '.join(others[:3])} and no training of this project; {wanted}"
        )


def _is_training(folder: Path) -> bool:
    """Whether the settings of a training stand there."""
    try:
        found = json.loads((folder / "config.json").read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return False
    # `train-score` and `grpo` have problems in the place of rows
    ours = (
        {"rows", "output", "model", "step_separator"},
        {"problems", "output", "model", "stage_1_steps"},
        {"problems", "output", "model", "n_generations"},
    )
    return isinstance(found, dict) and any(keys <= set(found) for keys in ours)


def _check_weights(output: Path) -> None:
    config = output / "config.json"
    facts = json.loads(config.read_text()).get(CONFIG_KEY, {}) if config.is_file() else {}
    folders = [output, output / facts["reference"]] if "reference" in facts else [output]
    if not all(
        (folder / "config.json").is_file() and all(path.is_file() for path in _weights(folder))
        for folder in folders
    ):
        raise InputError(
            f"output {output}: this training is finished, and its model is no longer there whole; expected "
            "config.json and weights: put "
            "them back, or train again with resume false"
        )


def _weights(folder: Path) -> Iterator[Path]:
    """The weight files that a model's folder must hold; the names are those that `save_pretrained` gives."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        yield folder / "model.safetensors"
        return
    yield from (folder / name for name in set(json.loads(index.read_text())["weight_map"].values()))


def _sources(config: TrainingConfig, n_processes: int) -> TrainingSources:
    return TrainingSources(_whole_digest(config.rows), base_digests(_base(config)), n_processes)


def _check_sources(path: Path, before: TrainingSources, config: TrainingConfig, n_processes: int) -> None:
    """Raises InputError naming what is other than `before`. What was not stored then, or is gone now, is not
    compared.
    """
    now, is_done = _sources(config, n_processes), is_finished(path.parent)
    is_what = "this training is finished" if is_done else "this training was broken off"
    remedy = "put back what was there, choose another output, or start over with resume false"
    if before.rows not in (None, now.rows):
        raise InputError(
            f"{path}: {is_what}, and the rows in {config.rows} have changed since it began; {remedy}"
        )
    old, new = before.model, now.model
    changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name)) if old and new else []
    if changed:
        raise InputError(
            f"{path}: {is_what}, and {', '.join(changed[:3])} of its model {config.model} changed since it "
            f"began; {remedy}"
        )
    if not is_done and before.n_processes != n_processes:
        raise InputError(
            f"{path}: {is_what} with {before.n_processes} processes, got {n_processes}: steps would be of "
            "other rows; expected as many, "
            "or start over with resume false"
        )


def base_digests(base: str) -> dict[str, str]:
    """What a model is: `sampled_digest` of each file of its folder; of a model of the Hub its commit, or
    nothing where it is not here.

    Cards, hidden files and folders inside do not count.
    """
    folder = Path(base)
    if folder.is_dir():
        files = [
            path
            for path in folder.iterdir()
            if path.is_file() and not path.name.startswith(".") and path.suffix != ".md"
        ]
        return {path.name: sampled_digest(path) for path in sorted(files)}
    try:
        cached = try_to_load_from_cache(base, "config.json")
    except HFValidationError:  # no name on the Hub: a folder that is gone
        return {}
    return {"commit": Path(cached).parent.name} if isinstance(cached, str) else {}


def sampled_digest(path: Path) -> str:
    """SHA-256 of a file's size and content. Of a file beyond 16 MiB 256 blocks are read, evenly spread over
    it, so that a base of any size takes less than a second: weights of the same shapes that were trained
    otherwise differ in nearly all of their bytes.
    """
    size, digest = path.stat().st_size, hashlib.sha256()
    digest.update(str(size).encode())
    with path.open("rb") as file:
        if size <= BLOCK * N_BLOCKS:
            digest.update(file.read())
        else:
            for number in range(N_BLOCKS):
                file.seek((size - BLOCK) * number // (N_BLOCKS - 1))
                digest.update(file.read(BLOCK))
    return digest.hexdigest()


def _whole_digest(path: Path) -> str:
    """Of every byte: one label of a large file may have changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint-N whose saving was not broken off: Trainer writes trainer_state.json last."""
    whole = []
    for state in folder.glob("checkpoint-*/trainer_state.json"):
        try:
            json.loads(state.read_text())
        except json.JSONDecodeError:
            continue
        whole.append(state.parent)
    return str(max(whole, key=lambda path: int(path.name.removeprefix("checkpoint-")))) if whole else None


def _base(config: TrainingConfig) -> str:
    return model_path(config.model)
