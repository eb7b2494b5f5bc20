"""A checkpoint as a folder that anybody can load: plain transformers classes, checked before it counts.

What is checked has gone wrong in public checkpoints: a padding token that is EOS (transformers and vLLM then read an ORM's score at
different tokens), a `problem_type` under which a server applies another function than training did, a tokenizer that cuts text otherwise
after loading, weights that score otherwise after a change of precision. The folder gets its name only when all of it holds.

`layout` qwen_prm writes the architecture of Qwen2.5-Math-PRM instead, whose head is two linear maps with a ReLU between them. Our one
linear map fits into it exactly: for each class k with weights w_k, relu(w_k x) - relu(-w_k x) = w_k x takes two of the hidden units, the
others are 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from data_gen.config import InputError
from data_gen.tokenizer import load_tokenizer
from prm_train.checkpoints import CheckpointFacts
from prm_train.encoding import ScorerEncoding
from prm_train.modeling import HEADS, load_checkpoint

Layout = Literal["transformers", "qwen_prm"]
Dtype = Literal["float32", "bfloat16", "float16"]
AUTO_CLASSES = {"prm": AutoModelForTokenClassification, "orm": AutoModelForSequenceClassification}
# Largest difference of a score. In 16 bits every weight is rounded to about 1 part in 256 (bfloat16) or 2,048 (float16).
TOLERANCES = {"float32": 1e-5, "float16": 0.01, "bfloat16": 0.05}
QWEN_PRM = "Qwen2ForProcessRewardModel"


@dataclass(frozen=True)
class ScoredPath:
    """A question and the steps of a solution, without separators."""

    question: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Export:
    """What was written: the facts in it, how far its scores are from the checkpoint's, and the scores of each path."""

    facts: CheckpointFacts
    architecture: str
    n_parameters: int
    n_paths: int
    n_scores: int
    max_abs_difference: float
    scores: tuple[tuple[float, ...], ...]


def export_checkpoint(
    source: str, folder: Path, paths: Sequence[ScoredPath], dtype: Dtype = "float32", layout: Layout = "transformers"
) -> Export:
    """Write `source`, a checkpoint that train-prm or train-orm wrote, into the empty `folder`, and compare both on `paths`.

    Raises InputError where `source` cannot be published so, RuntimeError where the written folder encodes or scores otherwise.
    """
    model, encoding, facts = load_checkpoint(source)
    if facts.kind not in AUTO_CLASSES:
        raise InputError(f"{source}: a checkpoint of kind {facts.kind}; expected a PRM or an ORM")
    check_padding(model.config, source)
    scores = [path_scores(model, encoding, facts, path) for path in paths]
    model.config.update(HEADS[facts.kind])
    model.to(getattr(torch, dtype))
    if layout == "qwen_prm":
        write_qwen_prm(model, folder, source)
    else:
        model.save_pretrained(folder)
    encoding.tokenizer.save_pretrained(folder)
    check_tokenizer(folder, encoding, paths)
    written = (
        read_qwen_prm(folder) if layout == "qwen_prm" else AUTO_CLASSES[facts.kind].from_pretrained(folder, dtype=torch.float32).eval()
    )
    found = [path_scores(written, encoding, facts, path) for path in paths]
    difference = max(abs(a - b) for row, other in zip(scores, found, strict=True) for a, b in zip(row, other, strict=True))
    if not difference <= TOLERANCES[dtype]:
        raise RuntimeError(
            f"{folder}: scores differ by up to {difference:.2g} from those of {source}, expected at most {TOLERANCES[dtype]:g}"
        )
    return Export(
        facts=facts,
        architecture=QWEN_PRM if layout == "qwen_prm" else type(model).__name__,
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
        n_paths=len(paths),
        n_scores=sum(map(len, found)),
        max_abs_difference=difference,
        scores=tuple(found),
    )


@torch.no_grad()
def path_scores(model: Any, encoding: ScorerEncoding, facts: CheckpointFacts, path: ScoredPath) -> tuple[float, ...]:
    """One score a step from a PRM, one in all from an ORM, as transformers alone computes them (before any calibration)."""
    ids, ends = encoding.encode(path.question, path.steps)
    logits = model(input_ids=torch.tensor([ids])).logits[0].float()
    if facts.kind == "orm":
        return (float(logits[0].sigmoid()),)
    return tuple(logits[list(ends)].softmax(-1)[:, 1].tolist())


def check_padding(config: Any, source: str) -> None:
    eos = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    if config.pad_token_id is None or config.pad_token_id in eos:
        raise InputError(
            f"{source}: pad_token_id {config.pad_token_id}, eos_token_id {config.eos_token_id}; expected a padding token of its own"
        )


def check_tokenizer(folder: Path, encoding: ScorerEncoding, paths: Sequence[ScoredPath]) -> None:
    """The written tokenizer must give the ids of the one in use, loaded as its users load it. Raises RuntimeError naming the first path."""
    for tokenizer in (load_tokenizer(str(folder)), AutoTokenizer.from_pretrained(folder)):
        reloaded = ScorerEncoding(tokenizer, encoding.facts)
        for path in paths:
            if reloaded.encode(path.question, path.steps) != encoding.encode(path.question, path.steps):
                raise RuntimeError(
                    f"{folder}: the saved tokenizer, loaded as {type(tokenizer).__name__}, gives other ids for the path that begins "
                    f"{path.question[:60]!r}; nothing was published"
                )


# --- Qwen2.5-Math-PRM's layout


def write_qwen_prm(model: Any, folder: Path, source: str) -> None:
    """Backbone and head as Qwen2ForProcessRewardModel names them. Raises InputError for another architecture or too narrow a network."""
    config, head = model.config, model.score
    if config.model_type != "qwen2" or head.out_features != 2:
        raise InputError(f"{source}: layout qwen_prm holds a Qwen2 PRM with two classes, got {config.model_type} with {head.out_features}")
    if config.hidden_size < 4:
        raise InputError(f"{source}: hidden_size {config.hidden_size}, expected at least 4 for layout qwen_prm")
    weights = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("score.")}
    weights |= {f"score.{name}": tensor for name, tensor in two_layer_head(head.weight.data, head.bias.data).items()}
    config.architectures = [QWEN_PRM]
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


def read_qwen_prm(folder: Path) -> Any:
    """The network of a folder in that layout, built from transformers' own Qwen2 classes; no code of the folder is run."""
    from safetensors.torch import load_file
    from transformers import Qwen2Config, Qwen2ForTokenClassification

    config = Qwen2Config.from_pretrained(folder, num_labels=2)
    model = Qwen2ForTokenClassification(config)
    model.score = torch.nn.Sequential(
        torch.nn.Linear(config.hidden_size, config.hidden_size), torch.nn.ReLU(), torch.nn.Linear(config.hidden_size, 2)
    )
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()})
    return model.eval()
