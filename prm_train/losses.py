"""Training losses as pure functions. Each is a sum over labelled places divided by a count that comes in.

The count is that of the whole optimizer step (all accumulated batches, all processes), so the loss and its gradient do not depend on how
the rows were cut into batches; a mean per batch would weigh a step in a batch of short solutions more than one in a batch of long ones.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

UNLABELLED = -100.0  # what transformers.Trainer does not count as a label


def step_logits(logits: Float[Tensor, " batch token 2"]) -> Float[Tensor, " batch token"]:
    """Log-odds that a step is good, from the logits of the classes (bad, good): its sigmoid is the score, as softmax would give it."""
    return logits[..., 1] - logits[..., 0]


def binary_cross_entropy(
    logits: Float[Tensor, " *place"], targets: Float[Tensor, " *place"], n_labelled: int | Int[Tensor, ""]
) -> Float[Tensor, ""]:
    """Cross-entropy in nats against targets in [0, 1], soft or hard (Snell et al. 2024, App. D), over the places that have one.

    `targets` is UNLABELLED elsewhere. Computed in float32 or better, whatever the logits are.
    """
    is_labelled = targets != UNLABELLED
    logits = logits[is_labelled].to(torch.promote_types(logits.dtype, torch.float32))
    return binary_cross_entropy_with_logits(logits, targets[is_labelled].to(logits.dtype), reduction="sum") / n_labelled
