"""Low-rank updates of all linear layers (LoRA, Hu et al. 2021) on a scorer or a language model, and their
merging into plain weights.

Trained beside them, whole and in float32: the head of a scorer, and the embedding of its step marker, which
the base model may never have seen. The updates are merged into the base loaded again on the CPU, without
quantization: the same way for one process, for weights that are spread over many (ZeRO stage 3) and for a
base in 4 bits (QLoRA, Dettmers et al. 2023).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prm_train.checkpoints.facts import Kind
from prm_train.kinds.lookup import kind_named
from prm_train.networks.gathering import gathered
from prm_train.networks.heads import head_name
from prm_train.training.settings import LoraSettings


class MarkerEmbedding(nn.Module):
    """A frozen embedding of which one row, the step marker's, is trained as a parameter of its own.

    (peft's trainable tokens would copy the whole embedding in every forward pass, and need CUDA under ZeRO
    stage 3.)
    """

    def __init__(self, embedding: nn.Embedding, marker_id: int) -> None:
        super().__init__()
        self.embedding, self.marker_id = embedding, marker_id
        with gathered([embedding.weight]):
            row = embedding.weight.detach()[marker_id : marker_id + 1].clone()
        self.marker = nn.Embedding(
            1, row.shape[1], _weight=row.to(torch.promote_types(row.dtype, torch.float32))
        )

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.embedding(input_ids)  # (B, T, H)
        is_marker = input_ids == self.marker_id
        row = self.marker(torch.zeros(1, dtype=torch.long, device=input_ids.device))  # (1, H)
        row = row * getattr(self.embedding, "embed_scale", 1.0)  # some embeddings multiply what they look up
        return torch.where(is_marker[..., None], row.to(hidden.dtype), hidden)

    def merged(self) -> nn.Embedding:
        self.embedding.weight.data[self.marker_id] = self.marker.weight.data[0].to(
            self.embedding.weight.dtype
        )
        return self.embedding


def add_lora(model: Any, kind: Kind, settings: LoraSettings, marker_id: int | None = None) -> Any:
    """The model with low-rank updates; a scorer's head and its marker's embedding are trained whole."""
    from peft import LoraConfig, get_peft_model

    task_type = kind_named(kind).lora_task
    heads = [] if task_type == "CAUSAL_LM" else [head_name(model)]
    trained_whole = list(heads)
    if marker_id is not None:
        model.set_input_embeddings(MarkerEmbedding(model.get_input_embeddings(), marker_id))
        trained_whole.append("marker")
    config = LoraConfig(
        task_type=task_type,
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        exclude_modules=heads or None,
        modules_to_save=trained_whole or None,
    )
    return get_peft_model(model, config)


def load_trained(model: Any, weights: Mapping[str, Tensor]) -> None:
    """Put the trained weights of a model with LoRA into another one of the same making. Raises ValueError
    unless they are all there is.
    """
    expected = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if expected != set(weights):
        raise ValueError(
            f"trained weights: got {sorted(set(weights) - expected)} too many, "
            f"{sorted(expected - set(weights))} too few"
        )
    model.load_state_dict(weights, strict=False)


def merged(model: Any) -> Any:
    """The plain model, updates added to its weights. The model with LoRA is used up."""
    model = model.merge_and_unload()
    embedding = model.get_input_embeddings()
    if isinstance(embedding, MarkerEmbedding):
        model.set_input_embeddings(embedding.merged())
    return model
