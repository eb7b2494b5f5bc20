"""Keys and values of rows of unequal length, each in a preallocated place, and the attention of one new token
in each row.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softmax

from data_gen.policies.engine.prefix_tree import Segment


@dataclass(frozen=True)
class CacheLayout:
    """Shape, dtype and device of the keys and values of one row."""

    n_layers: int
    n_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes_per_token(self) -> int:
        return 2 * self.n_layers * self.n_heads * self.head_dim * self.dtype.itemsize


class KeyValueRows:
    """Preallocated rows of up to `capacity` positions, every row filled to its own length.

    Keys are stored transposed, (layer, row, head, dim, position), which makes their product with one query a
    row about twice as fast on a CPU. Values are (layer, row, head, position, dim). Memory beyond a row's
    length is masked. It must start as zeros all the same: attention gives it the weight 0, and 0 times NaN
    would be NaN.
    """

    def __init__(self, layout: CacheLayout, capacity: int) -> None:
        self.capacity = capacity
        self.keys = torch.zeros(
            layout.n_layers,
            0,
            layout.n_heads,
            layout.head_dim,
            capacity,
            dtype=layout.dtype,
            device=layout.device,
        )
        self.values = torch.zeros(
            layout.n_layers,
            0,
            layout.n_heads,
            capacity,
            layout.head_dim,
            dtype=layout.dtype,
            device=layout.device,
        )

    def reserve(self, n_rows: int) -> None:
        """Make room for `n_rows` rows. Their number at least doubles each time, so that a growing batch is
        copied rarely.
        """
        old_rows = self.keys.shape[1]
        if n_rows > old_rows:
            self.keys, self.values = (
                _with_rows(tensor, max(n_rows, 2 * old_rows)) for tensor in (self.keys, self.values)
            )

    def fill(self, row: int, segments: list[Segment]) -> None:
        """Write a row from its first position on."""
        if segments:
            # Segments are joined first, so that many small ones cost a single copy into the row.
            keys = torch.cat([segment.keys for segment in segments], dim=-1)
            self.keys[:, row, :, :, : keys.shape[-1]] = keys
            self.values[:, row, :, : keys.shape[-1]] = torch.cat(
                [segment.values for segment in segments], dim=-2
            )

    def read(self, row: int, start: int, end: int) -> Segment:
        """A copy of the keys and values of some positions."""
        return Segment(self.keys[:, row, :, :, start:end].clone(), self.values[:, row, :, start:end].clone())

    def copy_row(self, source: "KeyValueRows", from_row: int, row: int, n_positions: int) -> None:
        """Copy the first positions of a row of `source`, which may be these rows themselves."""
        self.keys[:, row, :, :, :n_positions] = source.keys[:, from_row, :, :, :n_positions]
        self.values[:, row, :, :n_positions] = source.values[:, from_row, :, :n_positions]


def _with_rows(tensor: Tensor, n_rows: int) -> Tensor:
    grown = tensor.new_zeros(tensor.shape[0], n_rows, *tensor.shape[2:])
    grown[:, : tensor.shape[1]] = tensor
    return grown


class Block:
    """Rows of one capacity in a decoding step: where each row's new token is written, and the mask that hides
    what lies beyond it.

    `start` is the number of the first of these rows in the batch of the whole step, `lengths` how many
    positions each has filled. All that the layers share is prepared here once.
    """

    def __init__(self, rows: KeyValueRows, lengths: Int[Tensor, " row"], start: int) -> None:
        n_rows, n_heads, device = len(lengths), rows.keys.shape[2], rows.keys.device
        n_seen = int(lengths.max()) + 1
        self.span = slice(start, start + n_rows)
        self._rows, self._lengths = torch.arange(n_rows, device=device), lengths

        # An additive mask, 0 for positions up to the new token and -inf behind it, for every head of a row
        # alike.
        unseen = torch.arange(n_seen, device=device) > lengths[:, None]
        mask = torch.zeros(unseen.shape, dtype=rows.keys.dtype, device=device).masked_fill_(
            unseen, float("-inf")
        )
        self._mask = mask[:, None].expand(-1, n_heads, -1).reshape(n_rows * n_heads, 1, n_seen)

        # Views of each layer, made once: to write the new keys and values, and to read all (row × head, dim,
        # position) up to the longest.
        self._keys, self._values = rows.keys.unbind(0), rows.values.unbind(0)
        self._seen_keys = rows.keys[:, :n_rows, :, :, :n_seen].flatten(1, 2).unbind(0)
        self._seen_values = rows.values[:, :n_rows, :, :n_seen].flatten(1, 2).unbind(0)

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "row query_head dim"],
        key: Float[Tensor, "row head dim"],
        value: Float[Tensor, "row head dim"],
        scaling: float,
    ) -> Float[Tensor, "row query_head dim"]:
        """Write the new keys and values of a layer, and return the attention of each row's query over its own
        positions.
        """
        self._keys[layer][self._rows, :, :, self._lengths] = key
        self._values[layer][self._rows, :, self._lengths] = value

        # The query heads that share a key head are the rows of one small product, so keys and values are read
        # once and never repeated.
        keys, values = self._seen_keys[layer], self._seen_values[layer]
        grouped = query.reshape(len(keys), -1, query.shape[-1])
        weights = softmax(
            torch.baddbmm(self._mask, grouped, keys, alpha=scaling), dim=-1, dtype=torch.float32
        )
        return torch.bmm(weights.to(values.dtype), values).view(query.shape)
