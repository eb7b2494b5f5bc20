"""A checkpoint as a folder that anybody can load: plain transformers classes, checked before it counts.

What is checked has gone wrong in public checkpoints: a padding token that is EOS (transformers and vLLM then read an ORM's score at
different tokens), a `problem_type` under which a server applies another function than training did, a tokenizer that cuts text otherwise
or has lost its chat template after loading, weights that score otherwise after a change of precision. The folder gets its name only when
all of it holds.

An implicit PRM takes its reference along, in a folder of its own inside.

`layout` qwen_prm writes the architecture of Qwen2.5-Math-PRM instead, whose head is two linear maps with a ReLU between them. Our one
linear map fits into it exactly: for each class k with weights w_k, relu(w_k x) - relu(-w_k x) = w_k x takes two of the hidden units, the
others are 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from data_gen.models.eos_ids import eos_ids
from data_gen.models.forward_settings import soft_cap
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts, write_facts
from prm_train.checkpoints.implicit import ImplicitPrmFacts
from prm_train.checkpoints.load import head_settings
from prm_train.networks.special_ids import PADDINGS, check_padding
from prm_train.publishing.plain_checkpoints import PlainCheckpoint, load_plain, shown
from prm_train.publishing.publishable import check_publishable
from prm_train.publishing.scored_paths import ScoredPath

Layout = Literal["transformers", "qwen_prm"]
Dtype = Literal["float32", "bfloat16", "float16"]
# Largest difference of a score. In 16 bits every weight is rounded to about 1 part in 256 (bfloat16) or 2,048 (float16).
TOLERANCES = {"float32": 1e-5, "float16": 0.01, "bfloat16": 0.05}
# The same of log-probs and of rewards, which are as large as logits, and so is their rounding.
LOGIT_TOLERANCES = {"float32": 1e-4, "float16": 0.05, "bfloat16": 0.25}
# Rounding moves few scores so far and most of them hardly, a fault moves many: so much of the tolerance is allowed in the mean of so many
# scores or more. Rounded weights took at most 2 % of it on 48 rows, by small checkpoints of all kinds.
MEAN_SHARE, MIN_SCORES = 0.1, 16
QWEN_PRM = "Qwen2ForProcessRewardModel"


@dataclass(frozen=True)
class Export:
    """What was written: the facts in it, how far its numbers are from the checkpoint's, and the `PlainCheckpoint.logits` of each path."""

    facts: CheckpointFacts
    architecture: str
    n_parameters: int
    n_paths: int
    n_scores: int
    max_abs_difference: float
    logits: tuple[tuple[float, ...], ...]
    is_soft_capped: bool = False  # see `data_gen.models.forward_settings`: its users must choose another attention than transformers does


def export_checkpoint(
    original: PlainCheckpoint, folder: Path, paths: Sequence[ScoredPath], dtype: Dtype = "float32", layout: Layout = "transformers"
) -> Export:
    """Write a checkpoint into the empty `folder`, and compare both on `paths`. The checkpoint is used up.

    Raises InputError where it cannot be published so, RuntimeError where the written folder encodes or scores otherwise.
    """
    facts, model, source = original.facts, original.model, original.model.config.name_or_path
    give_padding(original)
    expected = [shown(facts, original.logits(path)) for path in paths]
    architecture, is_soft_capped = type(model).__name__, soft_cap(model.config) is not None
    if layout == "qwen_prm":
        architecture = QWEN_PRM
        write_qwen_prm(original, folder, getattr(torch, dtype))
    else:
        write_plain(original, folder, getattr(torch, dtype))
    original.encoding.tokenizer.save_pretrained(folder)
    check_publishable(folder, model.config, original.encoding, facts.kind, paths)
    written = load_plain(str(folder))
    logits = tuple(tuple(written.logits(path)) for path in paths)
    found = [shown(written.facts, row) for row in logits]
    differences = [abs(a - b) for row, other in zip(expected, found, strict=True) for a, b in zip(row, other, strict=True)]
    largest, mean = float(np.max(differences)), float(np.mean(differences))  # NaN if one is
    tolerance = (LOGIT_TOLERANCES if facts.is_reward or facts.kind in ("implicit_prm", "revision") else TOLERANCES)[dtype]
    allowed = bounds(len(differences), tolerance)
    if not allowed.hold(largest, mean):
        raise RuntimeError(
            f"{folder}: {len(differences)} scores differ by up to {largest:.2g}, in the mean {mean:.2g}, from those of {source}, expected "
            f"{allowed}"
        )
    return Export(facts, architecture, written.model.num_parameters(), len(paths), len(differences), largest, logits, is_soft_capped)


@dataclass(frozen=True)
class Bounds:
    """How much of a difference rounding explains: of one score, and in the mean of all, if that is bounded."""

    largest: float
    mean: float | None

    def hold(self, largest: float, mean: float) -> bool:
        """Never where a score is no number: `max` may miss a NaN, the mean does not."""
        return largest <= self.largest and math.isfinite(mean) and (self.mean is None or mean <= self.mean)

    def __str__(self) -> str:
        return f"at most {self.largest:g}" + ("" if self.mean is None else f", in the mean {self.mean:g}")


def bounds(n_scores: int, tolerance: float) -> Bounds:
    """Of so many scores, each of which may differ by `tolerance`."""
    return Bounds(tolerance, MEAN_SHARE * tolerance if n_scores >= MIN_SCORES else None)


def write_plain(original: PlainCheckpoint, folder: Path, dtype: torch.dtype) -> None:
    """Weights, config.json with all facts, and an implicit PRM's reference beside them."""
    facts, model = original.facts, original.model
    if facts.kind in ("prm", "orm"):
        model.config.update(head_settings(facts))
    write_facts(facts, model.config)
    model.to(dtype).save_pretrained(folder)
    if isinstance(facts, ImplicitPrmFacts):
        original.reference.to(dtype).save_pretrained(folder / facts.reference)


def give_padding(original: PlainCheckpoint) -> None:
    """A language model without a padding token of its own gets one of those that its tokenizer keeps. Raises InputError if there is none.

    A PRM or an ORM was trained with its own, and is refused without it.
    """
    tokenizer, config = original.encoding.tokenizer, original.model.config
    if original.facts.kind in ("prm", "orm"):
        check_padding(config, config.name_or_path)
        return
    eos = {tokenizer.eos_token_id, *eos_ids(config)}
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in eos:
        vocabulary = tokenizer.get_vocab()
        tokenizer.pad_token = next((token for token in PADDINGS if vocabulary.get(token, tokenizer.eos_token_id) not in eos), None)
    for model in (original.model, original.reference):
        if model is not None:
            model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
            check_padding(model.config, config.name_or_path)


# --- Qwen2.5-Math-PRM's layout


def write_qwen_prm(original: PlainCheckpoint, folder: Path, dtype: torch.dtype) -> None:
    """Backbone and head as Qwen2ForProcessRewardModel names them. Raises InputError for another architecture or too narrow a network."""
    config, source = original.model.config, original.model.config.name_or_path
    if config.model_type != "qwen2" or original.facts.kind != "prm":
        raise InputError(f"{source}: layout qwen_prm holds a PRM on Qwen2, got kind {original.facts.kind} on {config.model_type}")
    if config.hidden_size < 4:
        raise InputError(f"{source}: hidden_size {config.hidden_size}, expected at least 4 for layout qwen_prm")
    model = original.model.to(dtype)
    head = model.score
    weights = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("score.")}
    weights |= {f"score.{name}": tensor for name, tensor in two_layer_head(head.weight.data, head.bias.data).items()}
    config.update({**head_settings(original.facts), "architectures": [QWEN_PRM], "dtype": dtype})
    write_facts(original.facts, config)
    config.save_pretrained(folder)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"})


def two_layer_head(weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """A linear map (C, H) with bias as linear (H, H), ReLU, linear (C, H): equal up to rounding. Needs 2 C <= H."""
    n_classes, hidden_size = weight.shape
    first, second = torch.zeros(hidden_size, hidden_size, dtype=weight.dtype), torch.zeros_like(weight)
    for k in range(n_classes):
        first[2 * k], first[2 * k + 1] = weight[k], -weight[k]
        second[k, 2 * k], second[k, 2 * k + 1] = 1, -1
    return {"0.weight": first, "0.bias": torch.zeros(hidden_size, dtype=weight.dtype), "2.weight": second, "2.bias": bias.clone()}
