"""Training losses as pure functions: all of them here, each against its source.

Each takes the log-odds of the labeled places (place: a step of a PRM, the end of an ORM's solution), their
targets and weights, and returns a sum divided by `n_labeled`, a count that comes in. The count is that of the
whole optimizer step (all its forward passes, all processes), so the loss and its gradient do not depend on
how the rows were cut into batches; a mean per batch would weigh a step in a batch of short solutions more
than one in a batch of long ones. It comes in float32 or better, whatever the network's precision.

A target is a probability in [0, 1]; the score is the sigmoid of the log-odds. Weights average 1 over the
training set.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, pad
from torch.nn.utils.rnn import pad_sequence

from prm_train.training.settings import LossSettings

Count = int | Int[Tensor, ""]


def step_logits(logits: Float[Tensor, " batch token 2"]) -> Float[Tensor, " batch token"]:
    """Log-odds that a step is good, from the logits of the classes (bad, good): its sigmoid is the score, as
    softmax would give it.
    """
    return logits[..., 1] - logits[..., 0]


def binary_cross_entropy(
    logits: Float[Tensor, " place"],
    targets: Float[Tensor, " place"],
    weights: Float[Tensor, " place"],
    n_labeled: Count,
) -> Float[Tensor, ""]:
    """Cross-entropy in nats against soft or hard targets (Snell et al. 2024, App. D).

    With target c / n and weight n it is the negative log-likelihood of c successes in n rollouts, whatever
    rule stopped them.
    """
    return binary_cross_entropy_with_logits(logits, targets, weights, reduction="sum") / n_labeled


def cross_entropy(
    logits: Float[Tensor, " place"],
    targets: Float[Tensor, " place"],
    weights: Float[Tensor, " place"],
    n_labeled: Count,
) -> Float[Tensor, ""]:
    """Cross-entropy of the classes (bad, good), of which the log-odds are all that counts (Lightman et al.
    2023).

    Raises ValueError for a soft target.
    """
    is_good = targets == 1
    if not bool((is_good | (targets == 0)).all()):
        raise ValueError(
            "cross_entropy: got a target between 0 and 1, expected hard labels; binary_cross_entropy takes "
            "soft ones"
        )
    return -(weights * logsigmoid(torch.where(is_good, logits, -logits))).sum() / n_labeled


def mean_squared_error(
    logits: Float[Tensor, " place"],
    targets: Float[Tensor, " place"],
    weights: Float[Tensor, " place"],
    n_labeled: Count,
) -> Float[Tensor, ""]:
    """Squared distance of score and target: the Brier score as a loss. Its gradient vanishes where a score is
    sure and wrong.
    """
    return (weights * (logits.sigmoid() - targets) ** 2).sum() / n_labeled


def focal(
    logits: Float[Tensor, " place"],
    targets: Float[Tensor, " place"],
    weights: Float[Tensor, " place"],
    n_labeled: Count,
    gamma: float,
) -> Float[Tensor, ""]:
    """Cross-entropy of which places that are already judged well count less, by |target - score| ** gamma.

    Lin et al. 2017, section 3.2, in the form for soft targets (Li et al. 2020, equation 10); gamma 0 is
    binary_cross_entropy.
    """
    distance = (targets - logits.sigmoid()).abs().clamp_min(1e-12)  # gamma below 1 has no finite slope at 0
    entropy = binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (weights * distance**gamma * entropy).sum() / n_labeled


def pqm_ranking(
    logits: Float[Tensor, " place"],
    targets: Float[Tensor, " place"],
    weights: Float[Tensor, " place"],
    n_labeled: Count,
    row_sizes: Sequence[int],
    margin: float,
) -> Float[Tensor, ""]:
    """Ranks the steps of a solution: later right ones above earlier ones, wrong ones `margin` below all (PQM,
    Li & Li 2024, eq. 11).

        - sum over right steps t of  log  exp(Q_t) / (sum over right q <= t of exp(Q_q) + sum over wrong w of
          exp(Q_w + margin))

    Q are the logits; the question itself counts as the first right step with Q = 0, which anchors them.
    `row_sizes` says how many of the places belong to each solution in turn; a target counts as right from 0.5
    up. Sums of exponentials are never formed as such.
    """
    q = _padded_rows(logits, row_sizes, first=0.0)  # (R, 1 + S), the question first
    is_place = _padded_rows(torch.ones_like(targets), row_sizes, first=1.0) > 0
    is_right = is_place & (_padded_rows(targets, row_sizes, first=1.0) >= 0.5)
    never = torch.finfo(q.dtype).min
    right_before = torch.logcumsumexp(q.masked_fill(~is_right, never), dim=1)
    wrong = torch.logsumexp((q + margin).masked_fill(is_right | ~is_place, never), dim=1, keepdim=True)
    terms = torch.logaddexp(right_before, wrong) - q
    return (terms * _padded_rows(weights, row_sizes, first=1.0))[is_right].sum() / n_labeled


def _padded_rows(
    values: Float[Tensor, " place"], row_sizes: Sequence[int], first: float
) -> Float[Tensor, " row step"]:
    return pad(
        pad_sequence(list(torch.split(values, list(row_sizes))), batch_first=True), (1, 0), value=first
    )


def place_loss(
    settings: LossSettings,
) -> Callable[[Tensor, Tensor, Tensor, Count, Sequence[int]], Float[Tensor, ""]]:
    """The loss that the settings name, as a function of (logits, targets, weights, n_labeled, row_sizes)."""
    if settings.loss == "pqm":
        return lambda logits, targets, weights, n, sizes: pqm_ranking(
            logits, targets, weights, n, sizes, settings.pqm_margin
        )
    if settings.loss == "focal":
        return lambda logits, targets, weights, n, sizes: focal(
            logits, targets, weights, n, settings.focal_gamma
        )
    plain = {
        "binary_cross_entropy": binary_cross_entropy,
        "cross_entropy": cross_entropy,
        "mse": mean_squared_error,
    }[settings.loss]
    return lambda logits, targets, weights, n, sizes: plain(logits, targets, weights, n)
