"""Whole weights of a model, however they are spread over the processes: copied (DDP), in parts (ZeRO stage 3)
or as DTensors (FSDP2).
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.integrations.deepspeed import deepspeed_config, is_deepspeed_zero3_enabled


@contextlib.contextmanager
def gathered(parameters: Sequence[Tensor], *, is_changed: bool = False) -> Any:
    """Inside, parameters that ZeRO stage 3 keeps in parts are whole on every process. All processes must come
    here together.

    `is_changed`: what they are at the end, on all processes alike, is what they will be.
    """
    partitioned = [parameter for parameter in parameters if hasattr(parameter, "ds_id")]
    if not partitioned:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(partitioned, modifier_rank=0 if is_changed else None):
        yield


@contextlib.contextmanager
def partitioned_in(dtype: torch.dtype) -> Any:
    """Inside, models are loaded in `dtype` under ZeRO stage 3 too, which makes every weight float32 unless
    DeepSpeed's bf16 mode is on.

    On for the loading alone: while training it would round the head.
    """
    config = deepspeed_config() if is_deepspeed_zero3_enabled() else None
    if config is None or dtype != torch.bfloat16:
        yield
        return
    before = config.get("bf16")
    config["bf16"] = {"enabled": True}
    try:
        yield
    finally:
        config["bf16"] = before


def gathered_weights(model: Any, *, only_trained: bool, keep: bool) -> dict[str, Tensor]:
    """Copies of the weights on the CPU under their names, in the precision that they were trained in: all, or
    the trained ones alone.

    All processes must call it together; those that do not `keep` get an empty dictionary and hold one weight
    at a time.
    """
    found = {}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if only_trained and name not in trained:
            continue
        with gathered([tensor]), torch.no_grad():
            whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
            if keep:
                found[name] = whole.detach().to("cpu", copy=True)
    return found
