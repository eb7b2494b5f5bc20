"""When further samples need not be drawn, since they will hardly change the vote.

Samples are looked at in the order of their indices, never in that in which they are ready: short texts are
ready first, and a vote among the first that are ready would be theirs. After each sample one rule looks at
the two answers with the heaviest votes, v1 and v2:

- `certain`: what is left cannot overtake v1 (each sample weighs at most 1). The vote is that of all N.
- `beta` (Aggarwal et al. 2023, "Let's Sample Step by Step: Adaptive-Consistency"): between the two, the
  first answer is the more probable one with at least this `confidence`, under a flat prior: the mass above
  one half of Beta(v1 + 1, v2 + 1).
- `sprt` (Wald 1945; for votes Lee et al. 2025, "ConSol"): the sequential probability ratio test of one half
  against three quarters as the share of the first answer, with errors of 1 - `confidence` of both kinds.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, assert_never

import numpy as np

from data_gen.answers.vote_key import answer_key
from prm_train.strategies.candidates import Candidate

StopRule = Literal["certain", "beta", "sprt"]
SPRT_SHARE = 0.75
NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(96)


def n_needed(
    candidates: Sequence[Candidate],
    weights: Sequence[float | None],
    rule: StopRule,
    confidence: float = 0.95,
    n: int | None = None,
) -> int | None:
    """How many of the candidates, in their order, are looked at before the rule stops; None where it does
    not. `n` is the number that would be drawn (default: they are all).
    """
    votes: dict[str, float] = {}
    for number, (candidate, weight) in enumerate(zip(candidates, weights, strict=True), 1):
        if weight is not None and candidate.can_vote:
            key = candidate.answer_class or answer_key(candidate.answer or "")
            votes[key] = votes.get(key, 0.0) + weight
        if is_settled(votes.values(), (n or len(candidates)) - number, rule, confidence):
            return number
    return None


def is_settled(votes: Iterable[float], n_left: int, rule: StopRule, confidence: float) -> bool:
    """Whether a rule stops at these sums of votes, one an answer, with `n_left` samples left."""
    first, second = heaviest_two(votes)
    match rule:
        case "certain":
            return first - second > n_left
        case "beta":
            return mass_above_half(first + 1, second + 1) >= confidence
        case "sprt":
            ratio = first * math.log(2 * SPRT_SHARE) + second * math.log(2 * (1 - SPRT_SHARE))
            return ratio >= math.log(confidence / (1 - confidence))
        case _:
            assert_never(rule)


def heaviest_two(votes: Iterable[float]) -> tuple[float, float]:
    first, second, *_ = [*sorted(votes, reverse=True), 0.0, 0.0]
    return first, second


def mass_above_half(a: float, b: float) -> float:
    """P(x > 1/2) under Beta(a, b), by Gauss-Legendre quadrature; for a, b >= 1."""
    x = 0.75 + 0.25 * NODES
    log_density = (
        (a - 1) * np.log(x) + (b - 1) * np.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    )
    return float(0.25 * np.sum(NODE_WEIGHTS * np.exp(log_density)))
