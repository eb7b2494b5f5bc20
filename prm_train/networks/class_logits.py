"""Log-odds of one class against another, or of one token against another, at positions of a text."""

from collections.abc import Sequence
from typing import Any

import torch


def log_odds_at(
    model: Any, ids: Sequence[int], positions: Sequence[int], classes: tuple[int, int]
) -> list[float]:
    """Of the second of two classes against the first, from the float32 logits that the model gives at each
    position of one text.
    """
    logits = model(input_ids=torch.tensor([ids])).logits.float()[0, list(positions)].double()  # (S, classes)
    return [float(value) for value in logits[:, classes[1]] - logits[:, classes[0]]]
