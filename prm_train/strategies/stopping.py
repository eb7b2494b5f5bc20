"""When further samples need not be drawn, since they will hardly change the answer.

Samples are looked at in the order of their indices, never in that in which they are ready: short texts are
ready first, and a vote among the first that are ready would be theirs. After each sample one rule looks at
the two answers with the heaviest votes, v1 and v2:

- `certain`: what is left cannot overtake v1 (each sample weighs at most 1). The vote is that of all N.
- `beta` (Aggarwal et al. 2023, "Let's Sample Step by Step: Adaptive-Consistency"): between the two, the
  first answer is the more probable one with at least this `confidence`, under a flat prior: the mass above
  one half of Beta(v1 + 1, v2 + 1).
- `sprt` (Wald 1945; for votes Lee et al. 2025, "ConSol"): the sequential probability ratio test of one half
  against three quarters as the share of the first answer, with errors of 1 - `confidence` of both kinds.

A further rule looks at scores. Of an answer, its best sample's counts:

- `margin`: the score of the answer with the heaviest vote is at least `confidence`, and that of every other
  answer at least `margin` below it. Such an answer leads the vote and has the best sample, too, so weighted
  and plain best-of-N give it alike. `confidence` means what it says where the scores are calibrated.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal, assert_never

import numpy as np

from data_gen.answers.vote_key import answer_key
from prm_train.strategies.candidates import Candidate

VoteRule = Literal["certain", "beta", "sprt"]
StopRule = Literal["certain", "beta", "sprt", "margin"]
SPRT_SHARE = 0.75
NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(96)
UPPER_HALF = 0.75 + 0.25 * NODES  # the nodes between one half and one
LOG_X, LOG_REST = np.log(UPPER_HALF), np.log(1 - UPPER_HALF)


def n_needed(
    candidates: Sequence[Candidate],
    weights: Sequence[float | None],
    rule: StopRule,
    confidence: float = 0.95,
    n: int | None = None,
    margin: float = 0.5,
) -> int | None:
    """How many of the candidates, in their order, are looked at before the rule stops; None where it does
    not. `n` is the number that would be drawn (default: they are all). Under `margin` weights are scores.
    """
    votes: dict[str, float] = {}
    best: dict[str, float] = {}
    for number, (candidate, weight) in enumerate(zip(candidates, weights, strict=True), 1):
        if weight is not None and candidate.can_vote:
            key = candidate.answer_class or answer_key(candidate.answer or "")
            votes[key] = votes.get(key, 0.0) + weight
            best[key] = max(best.get(key, 0.0), weight)
        if rule == "margin":
            is_enough = is_clear(votes, best, confidence, margin)
        else:
            is_enough = is_settled(votes.values(), (n or len(candidates)) - number, rule, confidence)
        if is_enough:
            return number
    return None


def is_clear(votes: Mapping[str, float], best: Mapping[str, float], confidence: float, margin: float) -> bool:
    """Whether the answer with the heaviest vote is sure enough by its best score, and clear of all others."""
    leader = max(votes, key=lambda key: votes[key], default=None)
    if leader is None or best[leader] < confidence:
        return False
    return all(best[leader] - score >= margin for key, score in best.items() if key != leader)


def is_settled(votes: Iterable[float], n_left: int, rule: VoteRule, confidence: float) -> bool:
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


@lru_cache(maxsize=2**17)  # reports replay blocks that begin alike
def mass_above_half(a: float, b: float) -> float:
    """P(x > 1/2) under Beta(a, b), by Gauss-Legendre quadrature; for a, b >= 1."""
    log_norm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    density = np.exp((a - 1) * LOG_X + (b - 1) * LOG_REST + log_norm)
    return float(0.25 * NODE_WEIGHTS.dot(density))
