"""The two forward passes of sampling, over rows of unequal length ("ragged" rows).

- *decode* gives every row one token. The batch goes to the model as one text whose "tokens" are the newest
  tokens of all rows, at their own positions. Only attention knows that they belong to different rows: the
  model's attention is replaced by `ragged_decode_attention`, which lets each token look at the keys and
  values of its own row (`Block.attend`). Nothing is padded.
- *prefill* computes the keys and values of several ids for each row, behind those that it has. It is an
  ordinary pass with a padded batch.

Both are compared with the model's own logits when a RaggedModel is made, since a model that does anything
unusual in its attention would silently give other results.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from data_gen.models.forward_settings import context_length, n_checked_tokens, short_length, soft_cap
from data_gen.policies.engine.graph_decoder import GraphDecoder, has_graph_decoder
from data_gen.policies.engine.key_value_rows import Block, CacheLayout, KeyValueRows
from data_gen.policies.engine.llama_decoder import LlamaDecoder, has_llama_decoder
from data_gen.policies.engine.prefix_tree import Segment
from data_gen.policies.engine.rounding import NOT_MADE_FOR

logger = logging.getLogger(__name__)

ATTENTION = "ragged_decode"
# Arguments that some models give their attention, and that a decoding step here would ignore.
UNKNOWN_TO_DECODING = ("s_aux", "softcap", "sliding_window")


class UnknownModelError(ValueError):
    """The passes here would not give this model's own results; the message says why."""


def ragged_decode_attention(
    module: torch.nn.Module,
    query: Float[Tensor, "batch query_head token dim"],
    key: Float[Tensor, "batch head token dim"],
    value: Float[Tensor, "batch head token dim"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    ragged_blocks: list[Block] | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "batch token query_head dim"], None]:
    """Attention of a decoding step, in which each "token" of the one batch entry is the newest of its own
    row.

    Without `ragged_blocks`, as in a prefill, it is transformers' own attention. Raises UnknownModelError for
    what it would get wrong.
    """
    if any(kwargs.get(name) is not None for name in UNKNOWN_TO_DECODING):
        raise UnknownModelError(
            "its attention takes "
            f"{', '.join(name for name in UNKNOWN_TO_DECODING if kwargs.get(name) is not None)}"
        )
    if ragged_blocks is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    # `decode` gives a mask of one element. A larger one was made by the model, which means something by it.
    if attention_mask is not None and attention_mask.numel() > 1:
        raise UnknownModelError("its attention makes masks of its own")

    query, key, value = (states[0].transpose(0, 1) for states in (query, key, value))  # (row, head, dim)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer: int = module.layer_idx  # type: ignore[assignment]
    parts = [
        block.attend(layer, query[block.span], key[block.span], value[block.span], scaling)
        for block in ragged_blocks
    ]
    return (parts[0] if len(parts) == 1 else torch.cat(parts))[None], None


AttentionInterface.register(ATTENTION, ragged_decode_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


class RaggedModel:
    """The two forward passes of sampling over `model`, whose attention implementation it replaces.

    Raises UnknownModelError for a model whose results they would not give; that model is left as it was.
    """

    @torch.inference_mode()
    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.context_length = context_length(model.config)
        _refuse_by_config(model)
        self.layout = _cache_layout(model)

        # The model's own logits, computed before anything is replaced.
        rows = self._checked_rows()
        wanted = torch.stack(
            [model(input_ids=torch.tensor([ids], device=self.layout.device)).logits[0, -1] for ids in rows]
        ).float()

        own_attention = model.config._attn_implementation
        model.set_attn_implementation(ATTENTION)
        self._decoder = _faster_decoder(model)
        try:
            self._check_decoders(rows, wanted)
        except UnknownModelError:
            model.set_attn_implementation(own_attention)
            raise

    def decode(
        self, blocks: Sequence[tuple[KeyValueRows, list[int]]], token_ids: list[int]
    ) -> Float[Tensor, "row vocabulary"]:
        """Feed one token to each row and return the logits (float32) of what follows it.

        `blocks` holds for each tier its rows and the lengths of the first of them; the token of a row is
        written at its length. `token_ids` are those of all blocks, one after the other.
        """
        device = self.layout.device
        positions = torch.tensor([length for _, lengths in blocks for length in lengths], device=device)
        ragged_blocks, start = [], 0
        for rows, lengths in blocks:
            ragged_blocks.append(Block(rows, positions[start : start + len(lengths)], start))
            start += len(lengths)

        ids = torch.tensor(token_ids, device=device)
        if self._decoder is not None:
            return self._decoder(ids, positions, ragged_blocks)

        # transformers builds no mask of its own where it is given one with 4 dimensions; the attention above
        # ignores its content.
        output = self.model(
            input_ids=ids[None],
            position_ids=positions[None],
            attention_mask=torch.zeros(1, 1, 1, 1, dtype=self.layout.dtype, device=device),
            use_cache=False,
            ragged_blocks=ragged_blocks,
        )
        return output.logits[0].float()

    def prefill(self, pasts: list[list[Segment]], token_ids: list[tuple[int, ...]]) -> list[Segment]:
        """The keys and values of `token_ids`, where each row of ids continues its own past.

        A row of the batch is past, padding | new ids, padding: the bar is at the same column in every row.
        The padding of the past is masked, and causal attention never looks at the padding on the right.
        """
        n_rows, n_new = len(token_ids), max(map(len, token_ids))
        n_past = [sum(segment.keys.shape[-1] for segment in past) for past in pasts]
        past_rows = KeyValueRows(self.layout, max(n_past))
        past_rows.reserve(n_rows)
        for row, past in enumerate(pasts):
            past_rows.fill(row, past)

        # Token t of a row sees the row's past, and the new tokens up to itself.
        past_length = torch.tensor(n_past)[:, None, None]
        new, seen = torch.arange(n_new), torch.arange(max(n_past) + n_new)
        # (B, T, P + T)
        is_seen = (seen < past_length) | ((seen >= max(n_past)) & (seen - max(n_past) <= new[:, None]))

        padded = torch.zeros(n_rows, n_new, dtype=torch.long)
        for row, ids in enumerate(token_ids):
            padded[row, : len(ids)] = torch.tensor(ids)
        # Padding may run past the context, for which the model has no position.
        positions = (past_length[:, 0] + new).clamp(max=self.context_length - 1)

        cache = DynamicCache()
        for layer, (keys, values) in enumerate(
            zip(past_rows.keys.transpose(-1, -2), past_rows.values, strict=True)
        ):
            cache.update(keys, values, layer)
        device = self.layout.device
        self.model.base_model(
            input_ids=padded.to(device),
            position_ids=positions.to(device),
            attention_mask=is_seen[:, None].to(device),
            past_key_values=cache,
            use_cache=True,
        )

        # The model appended the new keys and values behind the padded past.
        keys = torch.stack([layer.keys[:, :, max(n_past) :] for layer in cache.layers], dim=1).transpose(
            -1, -2
        )
        values = torch.stack([layer.values[:, :, max(n_past) :] for layer in cache.layers], dim=1)
        return [Segment(keys[row], values[row]).first(len(ids)) for row, ids in enumerate(token_ids)]

    def _checked_rows(self) -> tuple[list[int], list[int]]:
        """The ids of a long and a short row to compare the passes with the model on.

        The long one goes beyond the model's attention window if that is small. Ids are multiples of a prime,
        so that they vary.
        """
        n_vocabulary = self.model.get_input_embeddings().num_embeddings
        lengths = ((n_checked_tokens(self.model.config), 7919), (4, 104729))
        long, short = ([i * step % n_vocabulary for i in range(1, n + 1)] for n, step in lengths)
        return long, short

    def _check_decoders(
        self, checked: tuple[list[int], list[int]], wanted: Float[Tensor, "row vocabulary"]
    ) -> None:
        """As `_check`. The faster step may leave out what a model was given, hooks for example; then the
        model's own is taken.
        """
        if self._decoder is not None:
            try:
                self._check(checked, wanted)
                return
            except UnknownModelError as fault:
                kind = type(self._decoder).__name__
                logger.warning("%s is sampled without %s: %s", self.model.config.model_type, kind, fault)
                self._decoder = None
        self._check(checked, wanted)

    def _check(self, checked: tuple[list[int], list[int]], wanted: Float[Tensor, "row vocabulary"]) -> None:
        """Raise UnknownModelError unless both passes together give the logits of the plain model, up to
        rounding.
        """
        long, short = checked
        rows = KeyValueRows(self.layout, len(long))
        rows.reserve(2)

        # Each row is prefilled in two parts, the second behind the first as its past, and its last id is
        # decoded.
        for row, (ids, n_known) in enumerate(((long, len(long) // 2), (short, 2))):
            known = self.prefill([[]], [tuple(ids[:n_known])])[0]
            rows.fill(row, [known, *self.prefill([[known]], [tuple(ids[n_known:-1])])])
        try:
            got = self.decode([(rows, [len(long) - 1, len(short) - 1])], [long[-1], short[-1]])
        except UnknownModelError:
            raise
        except NOT_MADE_FOR as fault:
            raise UnknownModelError(f"a step of decoding fails in it ({type(fault).__name__})") from fault

        # Half of the digits of the dtype must agree. Written as `not <=`, since a comparison with NaN is
        # False.
        error, scale = (got - wanted).abs().max().item(), wanted.abs().max().item()
        if not error <= torch.finfo(self.layout.dtype).eps ** 0.5 * scale:
            raise UnknownModelError(
                f"step by step, logits differ by {error:.2g} (of up to {scale:.2g}) from those of the whole "
                "text"
            )


def _faster_decoder(model: PreTrainedModel) -> LlamaDecoder | GraphDecoder | None:
    """The decoding step of this model that is faster than its own, where there is one."""
    if has_llama_decoder(model):
        return LlamaDecoder(model)
    return GraphDecoder(model) if has_graph_decoder(model) else None


def _refuse_by_config(model: PreTrainedModel) -> None:
    """Refuse models that the comparison of a short text cannot judge. Raises UnknownModelError."""
    if soft_cap(model.config) is not None:
        raise UnknownModelError("its attention scores are soft-capped")
    border = short_length(model.config)
    if border is not None:
        raise UnknownModelError(f"beyond {border} tokens all its positions mean something else (LongRoPE)")
    if not getattr(model, "_supports_attention_backend", False):
        raise UnknownModelError("its layers are code of their own")


@torch.inference_mode()
def _cache_layout(model: PreTrainedModel) -> CacheLayout:
    """The layout of the cache that the model returns for one token.

    Raises UnknownModelError for a model whose cache is not plain keys and values of every position (sliding
    window, linear attention, …).
    """
    token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    layers = getattr(getattr(model(input_ids=token, use_cache=True), "past_key_values", None), "layers", [])
    if not layers:
        raise UnknownModelError("it has no cache of keys and values")
    kinds = sorted({type(layer).__name__ for layer in layers} - {"DynamicLayer"})
    if kinds:
        raise UnknownModelError(f"its cache has layers of kind {', '.join(kinds)}")
    if any(layer.keys is None for layer in layers):
        raise UnknownModelError("its cache has layers without keys")
    keys = layers[0].keys
    shapes = {(tuple(layer.keys.shape), tuple(layer.values.shape)) for layer in layers}
    if shapes != {(tuple(keys.shape), tuple(keys.shape))}:
        raise UnknownModelError(f"its cache has keys and values of shapes {sorted(shapes)}")
    return CacheLayout(len(layers), keys.shape[1], keys.shape[3], keys.dtype, keys.device)
