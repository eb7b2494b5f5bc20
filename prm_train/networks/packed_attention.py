"""Attention of rows that are packed one behind the other, on a CPU.

Torch's attention would compute the square of the whole pass there, under a mask. Here all else of a pass
runs over the packed tokens, and attention alone goes back to rows: a few at a time, which come sorted by
length, padded to the longest of them.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

ATTENTION = "packed_rows"
N_TOGETHER = 4  # rows that are padded to one length; of more rows more would be padding
MODEL_TYPES = ("llama", "qwen2", "qwen3")  # that hand the positions on to their attention
LIMITS = ("sliding_window", "attention_chunk_size", "attn_logit_softcapping")


def use_packed_attention(model: Any, device: torch.device) -> None:
    """Attend row by row, where that is what the model's own attention computes on `device`, on which it will
    be trained: torch's, over all tokens before, on a CPU.
    """
    config = model.config
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    is_plain = layers == {"full_attention"} and not any(getattr(config, name, None) for name in LIMITS)
    is_sdpa = config._attn_implementation == "sdpa" and device.type == "cpu"
    if is_plain and is_sdpa and config.model_type in MODEL_TYPES:
        model.set_attn_implementation(ATTENTION)


def packed_attention(
    module: torch.nn.Module,
    query: Float[Tensor, "batch query_head token dim"],
    key: Float[Tensor, "batch head token dim"],
    value: Float[Tensor, "batch head token dim"],
    attention_mask: Tensor | None,
    position_ids: Int[Tensor, "1 token"],
    **kwargs: Any,
) -> tuple[Float[Tensor, "batch token query_head dim"], None]:
    """Causal attention within each row of a packed pass (batch 1); a row begins where its position is 0."""
    if len(query) > 1:  # padded rows, as in the checks before a training
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    starts = (position_ids[0] == 0).nonzero()[:, 0].tolist()
    lengths = [end - start for start, end in zip(starts, [*starts[1:], query.shape[2]], strict=True)]
    of_rows = [
        states[0].transpose(0, 1).split(lengths) for states in (query, key, value)
    ]  # (token, head, dim)
    found: list[Tensor] = []
    for at in range(0, len(lengths), N_TOGETHER):
        few = slice(at, at + N_TOGETHER)
        q, k, v = (pad_sequence(rows[few], batch_first=True).transpose(1, 2) for rows in of_rows)
        output, _ = sdpa_attention_forward(module, q, k, v, None, **kwargs)
        found += [row[:n] for row, n in zip(output, lengths[few], strict=True)]
    return torch.cat(found)[None], None


def packed_mask(batch_size: int, **kwargs: Any) -> Tensor | None:
    """None for a packed pass, whose rows are told apart by their positions."""
    return None if batch_size == 1 else sdpa_mask(batch_size, **kwargs)


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, packed_mask)
