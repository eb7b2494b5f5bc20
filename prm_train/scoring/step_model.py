"""A PRM or ORM as a function from (what is cached of a path, its new tokens) to the scores of its new steps.

The keys and values of one token over all layers are packed into one row of `token_width` numbers (W), those
of a step of T tokens into a matrix (T, W). So the past of a batch is gathered with one concatenation. The
cache layers that the model writes to are views of the batch's buffer (B, P + T, W), so its new keys and
values are packed already when it returns::

    one row of the buffer:   zeros, segments of the past | new tokens, padding
                                                         └ the same column in every row

A model whose cache is not of this kind, or cannot be shared and split between paths (linear attention,
state-space models), has no layout: its paths are computed whole. So are the paths of a LongRoPE model that
are longer than its short length.
"""

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

from data_gen.models.forward_settings import context_length, n_checked_tokens, short_length
from data_gen.policies.engine.rounding import NOT_MADE_FOR, is_same_but_for_rounding
from prm_train.checkpoints.facts import Calibration
from prm_train.networks.heads import scoring_head

logger = logging.getLogger(__name__)

# Cache layers that hold keys and values of each token, whatever stands before it in the batch.
PLAIN_LAYERS = {"DynamicLayer", "DynamicSlidingWindowLayer"}


class UncachedModelError(Exception):
    """The paths of this model must be computed whole; the message says why."""


class BufferLayer(DynamicLayer):
    """One layer's view of a batch's buffer. The model's new keys and values are written into it, behind the
    past.
    """

    def __init__(
        self,
        keys: Float[Tensor, "batch head token dim"],
        values: Float[Tensor, "batch head token dim"],
        n_past: int,
    ) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values, self.n_past = keys, values, n_past

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        start, self.n_past = self.n_past, self.n_past + key_states.shape[-2]
        self.keys[:, :, start : self.n_past] = key_states
        self.values[:, :, start : self.n_past] = value_states
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return self.n_past


@dataclass(frozen=True)
class KVLayout:
    """How a model's keys and values are packed: `layers` holds (heads, key dim, value dim) of each layer."""

    layers: tuple[tuple[int, int, int], ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def token_width(self) -> int:
        return sum(heads * (key_dim + value_dim) for heads, key_dim, value_dim in self.layers)

    @property
    def bytes_per_token(self) -> int:
        return self.token_width * self.dtype.itemsize

    def gather(
        self, pasts: Sequence[Sequence[Float[Tensor, "token token_width"]]], n_past: int, n_new: int
    ) -> Float[Tensor, "batch token token_width"]:
        """A buffer (B, n_past + n_new, token_width): each row's segments end at n_past, zeros before them and
        after them.

        Zeros, not what the memory held: attention gives padding the weight 0, and 0 times NaN is NaN.
        """
        zeros = torch.zeros(n_past + n_new, self.token_width, dtype=self.dtype, device=self.device)
        pieces: list[Tensor] = []
        for segments in pasts:
            pieces += [zeros[: n_past - sum(map(len, segments))], *segments, zeros[:n_new]]
        return torch.cat(pieces).view(len(pasts), n_past + n_new, self.token_width)

    def cache(self, buffer: Float[Tensor, "batch token token_width"], n_past: int) -> Cache:
        """The buffer as the `past_key_values` of a transformers model."""
        layers: list[Any] = []
        start = 0
        for heads, key_dim, value_dim in self.layers:
            middle = start + heads * key_dim
            end = middle + heads * value_dim
            keys = buffer[..., start:middle].unflatten(-1, (heads, key_dim)).transpose(1, 2)
            values = buffer[..., middle:end].unflatten(-1, (heads, value_dim)).transpose(1, 2)
            layers.append(BufferLayer(keys, values, n_past))
            start = end
        return Cache(layers=layers)


class StepModel:
    """A token classifier of two classes (PRM: the logit is z1 - z0) or a sequence classifier of one (ORM: z).

    The score is sigmoid(scale * logit + bias) with the scale and bias of the calibration.

    `layout` is None where nothing can be cached, and `is_whole` says which paths must be computed whole. Both
    are settled by comparing passes over made-up texts when the StepModel is made. Raises ValueError for other
    models, and for those that are not causal.
    """

    def __init__(self, model: PreTrainedModel, calibration: Calibration) -> None:
        self.calibration = calibration
        self.scores_steps = _scores_steps(model)
        self.context_length = context_length(model.config)
        self._short_length = short_length(model.config)
        self._head = scoring_head(model.eval())
        self._network = model if self._head is None else model.base_model
        self._check_causality()

        self.layout: KVLayout | None = None
        try:
            self.layout = self._read_layout()
            self._check_cache()
        except UncachedModelError as reason:
            self.layout = None
            logger.warning(
                "%s: every path is computed whole, without a cache: %s", model.config.model_type, reason
            )

    def is_whole(self, n_path_tokens: int) -> bool:
        """Whether a path of that length is computed from its head on each time."""
        return self.layout is None or self.is_long(n_path_tokens)

    def is_long(self, n_path_tokens: int) -> bool:
        """Whether a LongRoPE model reads all positions of a path of that length differently from those of
        shorter paths.

        Long and short paths share neither a forward pass nor keys and values.
        """
        return self._short_length is not None and n_path_tokens > self._short_length

    @torch.inference_mode()
    def forward(
        self,
        pasts: Sequence[Sequence[Float[Tensor, "token token_width"]]],
        new_ids: Sequence[Sequence[int]],
        step_ends: Sequence[Sequence[int]],
    ) -> tuple[list[list[float]], Float[Tensor, "batch token token_width"]]:
        """One pass over a batch: for each row the scores at `step_ends` (indices into its new tokens), and
        the packed new tokens.

        A batch of paths that are computed whole has no past, and nothing is packed (token_width is 0).
        """
        is_whole = any(self.is_whole(len(ids)) for ids in new_ids)
        states, packed = (
            (self._whole(new_ids), torch.empty(len(new_ids), 0, 0))
            if is_whole
            else self._continued(pasts, new_ids)
        )

        # The head sees the ends of steps alone, not every token.
        rows = [row for row, ends in enumerate(step_ends) for _ in ends]
        at_ends = states[rows, [end for ends in step_ends for end in ends]]  # (steps, state)
        logits = (at_ends if self._head is None else self._head(at_ends)).double()  # (steps, classes)
        log_odds = logits[:, -1] - logits[:, 0] if self.scores_steps else logits[:, 0]

        scores = iter(torch.sigmoid(self.calibration.scale * log_odds + self.calibration.bias).tolist())
        return [list(islice(scores, len(ends))) for ends in step_ends], packed

    def _whole(self, rows: Sequence[Sequence[int]]) -> Float[Tensor, "batch token state"]:
        """The states of whole paths, padded on the right, where a causal model never looks."""
        return self._states(self._network(input_ids=self._padded(rows), use_cache=False))

    def _continued(
        self, pasts: Sequence[Sequence[Float[Tensor, "token token_width"]]], new_ids: Sequence[Sequence[int]]
    ) -> tuple[Float[Tensor, "batch token state"], Float[Tensor, "batch token token_width"]]:
        """The states of the new tokens, and their keys and values, packed.

        A batch without a past needs no mask, since causal attention never looks at padding on the right.
        """
        assert self.layout is not None
        past_lengths = [sum(map(len, segments)) for segments in pasts]
        n_past, n_new = max(past_lengths), max(map(len, new_ids))

        buffer = self.layout.gather(pasts, n_past, n_new)  # (B, P + T, W)
        starts = torch.tensor(past_lengths, device=buffer.device)[:, None]  # (B, 1)
        columns = torch.arange(n_past + n_new, device=buffer.device)
        # Padding may run beyond the last position, for which the model has no encoding.
        last_position = (self._short_length or self.context_length) - 1

        output = self._network(
            input_ids=self._padded(new_ids),  # (B, T)
            attention_mask=columns >= n_past - starts if n_past else None,  # (B, P + T)
            position_ids=(starts + columns[:n_new]).clamp(max=last_position),  # (B, T)
            past_key_values=self.layout.cache(buffer, n_past),
            use_cache=True,
        )
        return self._states(output), buffer[:, n_past:]

    def _states(self, output: Any) -> Float[Tensor, "batch token state"]:
        """What the head reads: hidden states. The logits themselves where the network has its head inside."""
        states: Tensor = output.logits if self._head is None else output.last_hidden_state
        return states

    def _padded(self, rows: Sequence[Sequence[int]]) -> Tensor:
        n_tokens, device = max(map(len, rows)), next(self._network.parameters()).device
        return torch.tensor([[*ids, *[0] * (n_tokens - len(ids))] for ids in rows], device=device)

    @torch.inference_mode()
    def _read_layout(self) -> KVLayout:
        """The layout of the cache that the model returns for one token. Raises UncachedModelError if that is
        not plain keys and values.
        """
        if "position_ids" not in inspect.signature(self._network.forward).parameters:
            raise UncachedModelError("its rows cannot begin at positions of their own")

        layers = getattr(
            getattr(self._network(input_ids=self._padded([[0]]), use_cache=True), "past_key_values", None),
            "layers",
            [],
        )
        kinds = sorted({type(layer).__name__ for layer in layers} - PLAIN_LAYERS)
        if not layers or kinds:
            raise UncachedModelError(
                f"its cache has layers of kind {', '.join(kinds)}"
                if kinds
                else "it has no cache of keys and values"
            )
        if any(layer.keys is None for layer in layers):
            raise UncachedModelError("its cache has layers without keys")

        shapes = tuple(
            (layer.keys.shape[1], layer.keys.shape[-1], layer.values.shape[-1]) for layer in layers
        )
        return KVLayout(shapes, layers[0].keys.dtype, layers[0].keys.device)

    def _checked_rows(self) -> list[list[int]]:
        """The ids of two made-up texts of unequal length: multiples of a prime, so that they vary."""
        n_vocabulary, n_tokens = (
            self._network.get_input_embeddings().num_embeddings,
            n_checked_tokens(self._network.config),
        )
        return [
            [i * step % n_vocabulary for i in range(1, n + 1)]
            for n, step in ((n_tokens, 7919), (max(2, n_tokens // 2), 104729))
        ]

    @torch.inference_mode()
    def _check_causality(self) -> None:
        """Raises ValueError if the states of a text's first half change with its second half."""
        long, _ = self._checked_rows()
        n_first = len(long) // 2
        other = [*long[:n_first], *[long[0]] * (len(long) - n_first)]
        if not is_same_but_for_rounding(
            self._whole([other])[0, :n_first], self._whole([long])[0, :n_first], self._network.dtype
        ):
            raise ValueError(
                f"{type(self._network).__name__} does not cache keys and values that later tokens leave as "
                "they are; "
                "expected a causal transformer, since a step's score must not depend on what follows it"
            )

    @torch.inference_mode()
    def _check_cache(self) -> None:
        """Raises UncachedModelError unless texts that are computed in two parts, cut at unequal places, give
        what they give whole.
        """
        rows = self._checked_rows()
        cuts = [len(row) // (2 + number) for number, row in enumerate(rows)]
        starts, ends = (
            [row[:cut] for row, cut in zip(rows, cuts, strict=True)],
            [row[cut:] for row, cut in zip(rows, cuts, strict=True)],
        )

        try:
            _, packed = self._continued([[], []], starts)
            states, _ = self._continued(
                [[segment[:cut]] for segment, cut in zip(packed, cuts, strict=True)], ends
            )
        except NOT_MADE_FOR as error:
            raise UncachedModelError(
                f"going on from its cache fails in it ({type(error).__name__})"
            ) from error

        for row, cut, continued in zip(rows, cuts, states, strict=True):
            if not is_same_but_for_rounding(
                continued[: len(row) - cut], self._whole([row])[0, cut:], self._network.dtype
            ):
                raise UncachedModelError("from its cache it goes on otherwise than with the whole text")


def _scores_steps(model: PreTrainedModel) -> bool:
    """True for a PRM, False for an ORM. Raises ValueError for other models."""
    kind, n_classes = type(model).__name__, model.config.num_labels
    if n_classes == 2 and not kind.endswith("ForSequenceClassification"):
        return True
    if n_classes == 1 and not kind.endswith("ForTokenClassification"):
        return False
    raise ValueError(
        f"{kind} with {n_classes} classes: expected a token classifier with 2 classes (PRM) or a sequence "
        "classifier with 1 class (ORM)"
    )
