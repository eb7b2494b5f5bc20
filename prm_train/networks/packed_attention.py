"""Attention of rows that are packed one behind the other.

Torch's attention would compute the square of the whole pass, under a mask. Here all else of a pass runs over
the packed tokens, and attention alone minds where a row begins. On a GPU torch's kernel for rows of varying
length takes all rows at once (`torch.nn.attention.varlen`, since torch 2.10; half precision, no dropout).
Elsewhere attention goes back to rows: a few at a time, which come sorted by length, padded to the longest of
them.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

ATTENTION, VARLEN_ATTENTION = "packed_rows", "packed_varlen"
N_TOGETHER = 4  # rows that are padded to one length; of more rows more would be padding
MODEL_TYPES = ("llama", "qwen2", "qwen3")  # that hand the positions on to their attention
LIMITS = ("sliding_window", "attention_chunk_size", "attn_logit_softcapping")
HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class PackedRows:
    """Where the rows of a packed pass lie: their `lengths`, and `bounds` (rows + 1) int32, 0 and the end of
    each, on the device of the pass.
    """

    lengths: list[int]
    bounds: Tensor


def is_supported(config: Any) -> bool:
    """Whether the attention of a model with this config is over all tokens before, and is told positions."""
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    is_plain = layers == {"full_attention"} and not any(getattr(config, name, None) for name in LIMITS)
    return is_plain and config.model_type in MODEL_TYPES


def fits_varlen(config: Any) -> bool:
    """Whether torch's kernel for rows of varying length takes the heads of a model with this config."""
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return bool(is_supported(config) and size % 8 == 0 and size <= 256)


def has_varlen(device: torch.device | None = None) -> bool:
    """Whether this torch and this GPU (None: the current one) have that kernel."""
    has_kernel = find_spec("torch.nn.attention.varlen") is not None
    return has_kernel and torch.cuda.get_device_capability(device) >= (8, 0)


def use_packed_attention(model: Any, device: torch.device) -> None:
    """Mind where rows begin, where that is what the model's own attention computes on `device`, on which it
    will be trained: torch's, over all tokens before.
    """
    config = model.config
    if config._attn_implementation != "sdpa":
        return
    if device.type == "cpu" and is_supported(config):
        model.set_attn_implementation(ATTENTION)
    if device.type == "cuda" and fits_varlen(config) and has_varlen(device):
        model.set_attn_implementation(VARLEN_ATTENTION)


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
    lengths = rows_of(position_ids).lengths
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


def varlen_attention(
    module: torch.nn.Module,
    query: Float[Tensor, "batch query_head token dim"],
    key: Float[Tensor, "batch head token dim"],
    value: Float[Tensor, "batch head token dim"],
    attention_mask: Tensor | None,
    position_ids: Int[Tensor, "1 token"],
    **kwargs: Any,
) -> tuple[Float[Tensor, "batch token query_head dim"], None]:
    """`packed_attention` by torch's kernel; row by row what that does not take: float32, and dropout."""
    # Autocast casts what torch's own attention gets, but not what this kernel gets: values in half precision
    # from their projection, and queries and keys in float32 from their rotation.
    kind = query.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else query.dtype
    if len(query) > 1 or dtype not in HALF or kwargs.get("dropout"):
        return packed_attention(module, query, key, value, attention_mask, position_ids, **kwargs)
    rows = rows_of(position_ids)
    q, k, v = (states[0].transpose(0, 1).to(dtype) for states in (query, key, value))  # (token, head, dim)
    longest = max(rows.lengths)
    kernel, options = varlen_kernel()
    return kernel(q, k, v, rows.bounds, rows.bounds, longest, longest, **options)[None], None


@cache
def varlen_kernel() -> tuple[Callable[..., Any], dict[str, Any]]:
    """The kernel, and what tells this torch's version of it that attention is causal and that several query
    heads may share a key. Its scale is that of these models, one over the root of the head's size.
    """
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn, varlen_options(varlen_attn)


def varlen_options(kernel: Callable[..., Any]) -> dict[str, Any]:
    known = inspect.signature(kernel).parameters
    options: dict[str, Any] = {"is_causal": True} if "is_causal" in known else {"window_size": (-1, 0)}
    return options | ({"enable_gqa": True} if "enable_gqa" in known else {})


_rows = WeakTensorKeyDictionary()


def rows_of(position_ids: Int[Tensor, "1 token"]) -> PackedRows:
    """The rows of a pass. All layers of a pass get the same tensor, and a GPU is waited for once."""
    if position_ids not in _rows:
        starts = (position_ids[0] == 0).nonzero()[:, 0].tolist()
        bounds = [*starts, position_ids.shape[1]]
        lengths = [end - start for start, end in zip(starts, bounds[1:], strict=True)]
        on_device = torch.tensor(bounds, dtype=torch.int32, device=position_ids.device)
        _rows[position_ids] = PackedRows(lengths, on_device)
    return _rows[position_ids]


def packed_mask(batch_size: int, **kwargs: Any) -> Tensor | None:
    """None for a packed pass, whose rows are told apart by their positions."""
    return None if batch_size == 1 else sdpa_mask(batch_size, **kwargs)


for _name, _attention in ((ATTENTION, packed_attention), (VARLEN_ATTENTION, varlen_attention)):
    AttentionInterface.register(_name, _attention)
    AttentionMaskInterface.register(_name, packed_mask)
