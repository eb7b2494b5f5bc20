"""Which tokens of a distribution may be drawn: min_p, top_k and top_p, row by row."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from data_gen.records.sampling import ALL_TOKENS, Truncation


def truncated(
    weights: Float[Tensor, "row vocabulary"], truncations: Sequence[Truncation]
) -> Float[Tensor, "row vocabulary"]:
    """`weights` (probabilities after the temperature) with 0 for the tokens that their row's truncation
    leaves out, otherwise as they were.

    The most likely token always stays; of equally likely ones those with lower ids come first. Rows do not
    touch each other, and those that leave out nothing are not looked at.
    """
    rows = [row for row, truncation in enumerate(truncations) if truncation != ALL_TOKENS]
    if not rows:
        return weights
    places = torch.tensor(rows, device=weights.device)
    top_p, top_k, min_p = torch.tensor(
        [truncations[row] for row in rows], dtype=torch.float64, device=weights.device
    )[:, :, None].unbind(1)
    sorted_weights, order = weights[places].double().sort(dim=-1, descending=True, stable=True)
    ranks = torch.arange(weights.shape[-1], device=weights.device)
    is_kept = (sorted_weights >= min_p * sorted_weights[:, :1]) & ((top_k == 0) | (ranks < top_k))
    left = sorted_weights * is_kept
    cumulative = left.cumsum(-1)
    # What comes before a token has not enough yet
    is_kept &= (top_p == 1) | (cumulative - left < top_p * cumulative[:, -1:])
    is_kept[:, 0] = True
    mask = torch.zeros_like(is_kept).scatter_(-1, order, is_kept)
    result = weights.clone()
    result[places] = weights[places] * mask
    return result
