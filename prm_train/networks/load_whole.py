"""A pretrained model that must have all of its weights, its head included."""

from typing import Any

import torch

from data_gen.models.pretrained import load_model


def load_whole(model_class: Any, path: str, dtype: str, **config: Any) -> Any:
    """A model in evaluation mode. Never runs a checkpoint's code. Raises InputError where weights are
    missing, or others than its own.
    """
    return load_model(model_class, path, dtype=getattr(torch, dtype), **config).eval()
