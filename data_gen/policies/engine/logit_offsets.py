"""What rules about token ids add to logits: biases, and minus infinity for what may not be drawn."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from data_gen.records.token_rules import NO_RULES, TokenRules, check_known_ids


def logit_offsets(rules: TokenRules, n_ids: int, device: torch.device) -> Float[Tensor, " vocabulary"] | None:
    """What is added to the logits of `n_ids` tokens (None: nothing). Raises ValueError for ids that there are
    not, and where none is left.
    """
    if rules == NO_RULES:
        return None
    check_known_ids(rules, n_ids)
    offsets = torch.zeros(n_ids)
    if rules.allowed_ids:
        offsets.fill_(-math.inf)[list(rules.allowed_ids)] = 0.0
    offsets[list(rules.banned_ids)] = -math.inf
    if rules.biases:
        ids, biases = zip(*rules.biases, strict=True)
        offsets[list(ids)] = torch.tensor(biases, dtype=torch.float32)
    return offsets.to(device)


def with_offsets(
    logits: Float[Tensor, "row vocabulary"], offsets: Sequence[Float[Tensor, " vocabulary"] | None]
) -> Float[Tensor, "row vocabulary"]:
    """`logits` with the offsets of their rows; rows that have none are as they were."""
    rows = [row for row, offset in enumerate(offsets) if offset is not None]
    if not rows:
        return logits
    places = torch.tensor(rows, device=logits.device)
    added = torch.stack([offset for offset in offsets if offset is not None])
    return logits.index_add(0, places, added)
