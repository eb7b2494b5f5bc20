"""Rewards of tokens → advantages, as an estimator for trainers that have rewards and groups but no place for
advantages.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from data_gen.settings.errors import InputError


def token_returns(
    rewards: Float[Tensor, "batch token"], mask: Float[Tensor, "batch token"], index: Sequence[object]
) -> Float[Tensor, "batch token"]:
    """What each token and those after it earn, above the mean of that over the tokens of the others of its
    group: one number for all tokens of a completion, which nothing in it can move.

    `index` names the group of each row, `mask` is 1 at the policy's tokens. A row with a NaN is unknown: its
    advantages are 0 and no other's baseline sees it; nor is there anything for one alone to be above.
    """
    if len(index) != len(rewards):
        raise InputError(f"index: got {len(index)} groups' names, expected {len(rewards)}, one a completion")
    known = ~rewards.isnan().any(dim=1)
    returns = (rewards.nan_to_num() * mask).flip(1).cumsum(1).flip(1)  # (B, T)
    means = (returns * mask).sum(1) / mask.sum(1).clamp(min=1)  # (B,)
    advantages = torch.zeros_like(returns)
    for group in dict.fromkeys(index):
        rows = [n for n, each in enumerate(index) if each == group and known[n]]
        if len(rows) > 1:
            others = (means[rows].sum() - means[rows]) / (len(rows) - 1)
            advantages[rows] = (returns[rows] - others[:, None]) * mask[rows]
    return advantages
