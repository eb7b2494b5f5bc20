"""Which part of a network makes its scores: architectures call it score or classifier."""

from typing import Any

from torch import nn

from data_gen.settings.errors import InputError


def head_name(model: Any) -> str:
    """The child of a classifier that holds weights and is not the backbone. Raises InputError where there is
    not one.

    The model may have LoRA around it.
    """
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    children = [
        name
        for name, child in plain.named_children()
        if name != plain.base_model_prefix and any(True for _ in child.parameters())
    ]
    if len(children) != 1:
        raise InputError(f"{type(plain).__name__}: got {children} beside the backbone, expected one head")
    return children[0]


def scoring_head(model: Any) -> nn.Module | None:
    """What reads a classifier's hidden states; None of a language model, whose logits are read as they
    are.
    """
    if model.get_output_embeddings() is not None:
        return None
    head: nn.Module = getattr(model, head_name(model))
    return head
