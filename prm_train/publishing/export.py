"""A checkpoint as a folder that anybody can load: plain transformers classes, checked before it counts.

What is checked has gone wrong in public checkpoints: a padding token that is EOS (transformers and vLLM then
read an ORM's score at different tokens), a `problem_type` under which a server applies another function than
training did, a tokenizer that cuts text otherwise or has lost its chat template after loading, weights that
score otherwise after a change of precision. The folder gets its name only when all of it holds.

An implicit PRM takes its reference along, in a folder of its own inside.

`layout` qwen_prm writes the architecture of Qwen2.5-Math-PRM instead, whose head is two linear maps with a
ReLU between them. Our one linear map fits into it exactly: for each class k with weights w_k, relu(w_k x) -
relu(-w_k x) = w_k x takes two of the hidden units, the others are 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from data_gen.models.forward_settings import soft_cap
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.checkpoints.qwen_layout import QWEN_PRM
from prm_train.kinds.load import load_checkpoint
from prm_train.kinds.lookup import write_facts
from prm_train.kinds.model_kind import Checkpoint
from prm_train.kinds.paths import ScoredPath
from prm_train.kinds.tolerances import bounds
from prm_train.publishing.publishable import check_publishable

Layout = Literal["transformers", "qwen_prm"]
Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Export:
    """What was written: the facts in it, how far its numbers are from the checkpoint's, and the
    `Checkpoint.logits` of each path.
    """

    facts: CheckpointFacts
    architecture: str
    n_parameters: int
    n_paths: int
    n_scores: int
    max_abs_difference: float
    logits: tuple[tuple[float, ...], ...]
    # See `data_gen.models.forward_settings`: its users must choose another attention than transformers does
    is_soft_capped: bool = False


def export_checkpoint(
    original: Checkpoint,
    folder: Path,
    paths: Sequence[ScoredPath],
    dtype: Dtype = "float32",
    layout: Layout = "transformers",
) -> Export:
    """Write a checkpoint into the empty `folder`, and compare both on `paths`. The checkpoint is used up.

    Raises InputError where it cannot be published so, RuntimeError where the written folder encodes or scores
    otherwise.
    """
    kind, facts, model, source = (
        original.kind,
        original.facts,
        original.model,
        original.model.config.name_or_path,
    )
    kind.settle_padding(original)
    expected = [kind.shown(facts, original.logits(path)) for path in paths]
    architecture, is_soft_capped = type(model).__name__, soft_cap(model.config) is not None
    if layout == "qwen_prm":
        architecture = QWEN_PRM
        write_qwen_prm(original, folder, getattr(torch, dtype))
    else:
        write_plain(original, folder, getattr(torch, dtype))
    original.encoding.tokenizer.save_pretrained(folder)
    check_publishable(folder, model.config, original.encoding, kind, paths)
    written = load_checkpoint(str(folder))
    logits = tuple(tuple(written.logits(path)) for path in paths)
    found = [kind.shown(written.facts, row) for row in logits]
    differences = [
        abs(a - b)
        for row, other in zip(expected, found, strict=True)
        for a, b in zip(row, other, strict=True)
    ]
    largest, mean = float(np.max(differences)), float(np.mean(differences))  # NaN if one is
    allowed = bounds(len(differences), kind.tolerance(facts, dtype))
    if not allowed.hold(largest, mean):
        raise RuntimeError(
            f"{folder}: {len(differences)} scores differ by up to {largest:.2g}, in the mean {mean:.2g}, "
            f"from those of {source}, expected "
            f"{allowed}"
        )
    return Export(
        facts,
        architecture,
        written.model.num_parameters(),
        len(paths),
        len(differences),
        largest,
        logits,
        is_soft_capped,
    )


def write_plain(original: Checkpoint, folder: Path, dtype: torch.dtype) -> None:
    """Weights, config.json with all facts, and in folders of their own the networks that the model needs
    beside it.
    """
    facts, model = original.facts, original.model
    model.config.update(original.kind.head_settings(facts))
    write_facts(facts, model.config)
    model.to(dtype).save_pretrained(folder)
    for name, network in original.others.items():
        network.to(dtype).save_pretrained(folder / name)


# --- Qwen2.5-Math-PRM's layout


def write_qwen_prm(original: Checkpoint, folder: Path, dtype: torch.dtype) -> None:
    """Backbone and head as Qwen2ForProcessRewardModel names them. Raises InputError for another architecture
    or too narrow a network.
    """
    config, source = original.model.config, original.model.config.name_or_path
    if config.model_type != "qwen2" or "qwen_prm" not in original.kind.layouts:
        raise InputError(
            f"{source}: layout qwen_prm holds a PRM on Qwen2, got kind {original.facts.kind} on "
            f"{config.model_type}"
        )
    if config.hidden_size < 4:
        raise InputError(
            f"{source}: hidden_size {config.hidden_size}, expected at least 4 for layout qwen_prm"
        )
    model = original.model.to(dtype)
    head = model.score
    weights = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("score.")}
    weights |= {
        f"score.{name}": tensor for name, tensor in two_layer_head(head.weight.data, head.bias.data).items()
    }
    config.update(
        {**original.kind.head_settings(original.facts), "architectures": [QWEN_PRM], "dtype": dtype}
    )
    write_facts(original.facts, config)
    config.save_pretrained(folder)
    save_file(
        {name: tensor.contiguous() for name, tensor in weights.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )


def two_layer_head(weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """A linear map (C, H) with bias as linear (H, H), ReLU, linear (C, H): equal up to rounding. Needs 2 C <=
    H.
    """
    n_classes, hidden_size = weight.shape
    first, second = torch.zeros(hidden_size, hidden_size, dtype=weight.dtype), torch.zeros_like(weight)
    for k in range(n_classes):
        first[2 * k], first[2 * k + 1] = weight[k], -weight[k]
        second[k, 2 * k], second[k, 2 * k + 1] = 1, -1
    return {
        "0.weight": first,
        "0.bias": torch.zeros(hidden_size, dtype=weight.dtype),
        "2.weight": second,
        "2.bias": bias.clone(),
    }
