"""A PRM or ORM as a function from (what is cached of a path, its new tokens) to the scores of its new steps.

The keys and values of one token over all layers are packed into one row of `token_width` numbers, those of a step into a matrix of its
tokens by token_width. So the past of a batch is gathered with one concatenation, and what the model computes is packed already when it
returns: the cache layers that it writes to are views of the batch's buffer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

from prm_train.checkpoints import Calibration


class BufferLayer(DynamicLayer):
    """One layer's view of a batch's buffer; the model's new keys and values are written behind the past that is in it."""

    def __init__(self, keys: Float[Tensor, "batch head token dim"], values: Float[Tensor, "batch head token dim"], n_past: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values, self.n_past = keys, values, n_past

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
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
        """A buffer (B, n_past + n_new, token_width): each row's segments end at n_past, zeros before them and after them.

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

    The score is sigmoid(scale * logit + bias), scale and bias those of the calibration.

    `context_length` is the number of tokens up to which every layer sees the whole path.
    Raises ValueError for other models, and for those that do not cache keys and values of each token.
    """

    def __init__(self, model: PreTrainedModel, calibration: Calibration) -> None:
        self.calibration = calibration
        self.scores_steps = _scores_steps(model)
        self.context_length = _context_length(model)
        self._backbone = model.eval().base_model
        self._head = model.score if hasattr(model, "score") else model.classifier
        self.layout = self._read_layout()

    @torch.inference_mode()
    def forward(
        self,
        pasts: Sequence[Sequence[Float[Tensor, "token token_width"]]],
        new_ids: Sequence[Sequence[int]],
        step_ends: Sequence[Sequence[int]],
    ) -> tuple[list[list[float]], Float[Tensor, "batch token token_width"]]:
        """One pass over a batch: for each row the scores at `step_ends` (indices into its new tokens), and the packed new tokens.

        A row of the batch is padding, past | new tokens, padding: the bar stands at the same column in every row. Where there is no past
        there is no mask either, since causal attention never looks at padding on the right.
        """
        past_lengths = [sum(map(len, segments)) for segments in pasts]
        n_past, n_new = max(past_lengths), max(map(len, new_ids))
        buffer = self.layout.gather(pasts, n_past, n_new)  # (B, P + T, W)
        starts = torch.tensor(past_lengths, device=buffer.device)[:, None]  # (B, 1)
        columns = torch.arange(n_past + n_new, device=buffer.device)
        hidden = self._backbone(
            input_ids=torch.tensor([[*ids, *[0] * (n_new - len(ids))] for ids in new_ids], device=buffer.device),  # (B, T)
            attention_mask=columns >= n_past - starts if n_past else None,  # (B, P + T)
            position_ids=starts + columns[:n_new],  # (B, T)
            past_key_values=self.layout.cache(buffer, n_past),
            use_cache=True,
        ).last_hidden_state  # (B, T, H)
        rows = [row for row, ends in enumerate(step_ends) for _ in ends]
        logits = self._head(hidden[rows, [end for ends in step_ends for end in ends]]).double()  # (steps, classes)
        log_odds = logits[:, -1] - logits[:, 0] if self.scores_steps else logits[:, 0]
        scores = iter(torch.sigmoid(self.calibration.scale * log_odds + self.calibration.bias).tolist())
        return [list(islice(scores, len(ends))) for ends in step_ends], buffer[:, n_past:]

    @torch.inference_mode()
    def _read_layout(self) -> KVLayout:
        """Read the layout off the cache that one token leaves."""
        token = torch.zeros((1, 1), dtype=torch.long, device=next(self._backbone.parameters()).device)
        cache = getattr(self._backbone(input_ids=token, use_cache=True), "past_key_values", None)
        pairs: list[Any] = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in getattr(cache, "layers", [])]
        if not pairs or any(keys is None or values is None or keys.shape[-2] != 1 for keys, values in pairs):
            raise ValueError(
                f"{type(self._backbone).__name__} does not cache keys and values of each token in each layer; "
                "expected a causal transformer, since a step's score must not depend on what follows it"
            )
        layers = tuple((keys.shape[1], keys.shape[-1], values.shape[-1]) for keys, values in pairs)
        return KVLayout(layers, pairs[0][0].dtype, pairs[0][0].device)


def _scores_steps(model: PreTrainedModel) -> bool:
    kind, n_classes = type(model).__name__, model.config.num_labels
    if n_classes == 2 and not kind.endswith("ForSequenceClassification"):
        return True
    if n_classes == 1 and not kind.endswith("ForTokenClassification"):
        return False
    raise ValueError(
        f"{kind} with {n_classes} classes: expected a token classifier with 2 classes (PRM) or a sequence classifier with 1 class (ORM)"
    )


def _context_length(model: PreTrainedModel) -> int:
    config = model.config.get_text_config()
    layer_types = getattr(config, "layer_types", None) or ("sliding_attention",)  # without them, every layer has the window
    window = getattr(config, "sliding_window", None) if "sliding_attention" in layer_types else None
    return int(min(config.max_position_embeddings, window or config.max_position_embeddings))
