"""REBASE, reward balanced search (Wu et al. 2024, "An Empirical Analysis of Compute-Optimal Inference for
Problem-Solving with Language Models"): the next steps of a round are divided among all open paths by their
scores.

    the budget B is N; the root is the only open path
    until no path is open, or after max_steps rounds:
        open path j gets W_j of the B next steps, W_j in proportion to exp(score_j / T_b), and leaves
        the new steps are scored
        each path that ends, finished or truncated, becomes a candidate and takes 1 from B

So N paths end in all, each has drawn its steps once, and the search costs what N samples cost. A low T_b
makes it greedy, a high one is sampling.

What differs from the paper, and why:

- The W_j are rounded so that they sum to B: down, and one more for the largest remainders. The authors'
  program rounds each part of what is left up, best path first, so that nearly equal scores give two next
  steps to the first half and none to the others.
- Equal paths are one path, whose part counts once for each copy: rounding falls on fewer, larger parts.
- The score of a path is made by `aggregation`; `last`, the score of its last step, is the paper's.
- Paths have weights (copies / draws, multiplied over the steps, times the score), so that a vote can undo
  what the division did to the policy's own frequencies. The paper votes by score alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from prm_train.encoding.aggregation import Aggregation
from prm_train.strategies.paths import PathGrower, SearchPath, by_score, distinct, own_scores, shares_of
from prm_train.strategies.ranges import check_at_least


@dataclass(frozen=True)
class RebaseConfig:
    """`n` paths (the budget B). `aggregation` makes the score of a path of its step scores;
    `balance_temperature` is T_b, 0.2 as in the authors' settings.
    """

    n: int = 16
    max_steps: int = 40
    aggregation: Aggregation = "last"
    balance_temperature: float = 0.2

    def __post_init__(self) -> None:
        check_at_least(1e-6, balance_temperature=self.balance_temperature)


async def rebase(grower: PathGrower, config: RebaseConfig) -> list[SearchPath]:
    """The paths in the order in which they ended, then what was open after `max_steps`."""
    ended, opened, shares = list[SearchPath](), [SearchPath()], [config.n]
    for _ in grower.rounds(config.max_steps):
        children = [child for family in await grower.grow(opened, shares) for child in family]
        ended += [child for child in children if not child.is_open]
        opened = distinct(child for child in children if child.is_open)
        if not opened:
            break
        scores = own_scores(opened, config.aggregation)
        copies = [path.multiplicity for path in opened]
        shares = balanced_shares(config.n - len(ended), scores, copies, config.balance_temperature)
    return by_score(ended + opened, config.aggregation)


def balanced_shares(n: int, scores: Sequence[float], copies: Sequence[int], temperature: float) -> list[int]:
    """`n` next steps divided in proportion to copies x exp(score / temperature)."""
    highest = max(scores)  # no exponential overflows
    weights = [
        n_copies * math.exp((score - highest) / temperature)
        for score, n_copies in zip(scores, copies, strict=True)
    ]
    return shares_of(n, weights)
