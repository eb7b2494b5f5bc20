"""What a pretraining goes on from: weights, AdamW's moments and how far it was, every few hundred steps.

A checkpoint is a folder `step-N` of `state.safetensors` (float32 as in memory, so that what follows is the
same bit for bit) and `progress.json`. It is written under another name and then renamed: one that has its
name is whole. Only the newest is kept.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_gen.files.stored_record import StoredRecord
from data_gen.settings.errors import InputError

if TYPE_CHECKING:
    import torch

UNFINISHED = "unfinished"  # the folder of a checkpoint that is being written
MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # AdamW's state of a parameter


@dataclass(frozen=True)
class PretrainingPoint:
    """`loss` is the mean since the point before, `tokens` are all so far."""

    step: int
    loss: float
    tokens: int


@dataclass(frozen=True)
class PretrainingProgress(StoredRecord):
    """progress.json; `losses` are those of the steps since the last point of the curve."""

    WRITTEN_BY = "data_gen.pretrain"

    step: int = 0
    n_tokens: int = 0
    losses: tuple[float, ...] = ()
    loss_curve: tuple[PretrainingPoint, ...] = ()
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0


def newest_checkpoint(folder: Path) -> Path | None:
    return max(folder.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")), default=None)


def save_checkpoint(
    folder: Path, model: "torch.nn.Module", optimizer: "torch.optim.AdamW", progress: PretrainingProgress
) -> None:
    """Write `folder/step-N`, then take the older ones away. Buffers of the model are not stored."""
    from safetensors.torch import save_file

    state = {}
    for name, weight in model.named_parameters():  # tied weights come once
        state[f"weight/{name}"] = weight.detach()
        state |= {f"{moment}/{name}": optimizer.state[weight][moment] for moment in MOMENTS}
    new, whole = folder / UNFINISHED, folder / f"step-{progress.step:06d}"
    for path in (new, whole):  # of a run that was killed, or that went back to an older one
        shutil.rmtree(path, ignore_errors=True)
    new.mkdir(parents=True)
    save_file(state, new / "state.safetensors")
    progress.write(new / "progress.json")
    new.rename(whole)
    for older in set(folder.glob("step-*")) - {whole}:
        shutil.rmtree(older)


def load_checkpoint(
    checkpoint: Path, model: "torch.nn.Module", optimizer: "torch.optim.AdamW"
) -> PretrainingProgress:
    """Put weights and moments back in place. Raises InputError where a file is damaged or of another
    network.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    progress, path = PretrainingProgress.read(checkpoint / "progress.json"), checkpoint / "state.safetensors"
    try:
        state = load_file(path)
    except (SafetensorError, FileNotFoundError) as error:
        raise InputError(
            f"{path}: is damaged ({error}); expected what data_gen.pretrain writes: delete "
            f"{checkpoint.parent} to begin again"
        ) from None
    wanted = {
        f"{kind}/{name}": weight.shape if kind != "step" else torch.Size([])
        for name, weight in model.named_parameters()
        for kind in ("weight", *MOMENTS)
    }
    if {name: tensor.shape for name, tensor in state.items()} != wanted:
        raise InputError(f"{path}: holds another network; delete {checkpoint.parent} to begin again")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(state[f"weight/{name}"])
            found = {moment: state[f"{moment}/{name}"] for moment in MOMENTS}
            # AdamW counts its steps on the CPU
            optimizer.state[weight] = {
                moment: value if moment == "step" else value.to(weight.device)
                for moment, value in found.items()
            }
    return progress
