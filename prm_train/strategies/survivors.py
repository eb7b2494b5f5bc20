"""Which open paths of a round go on: those with the best scores, or a sample in which a draw's chance grows
with its score.

Sampling without replacement by the Gumbel top-k trick (Kool et al. 2019, "Stochastic Beams and Where to Find
Them", section 3): noise is added to the logarithm of each score, and the n highest sums stay. That is drawing
one after the other, each time in proportion to the scores of those that are left. What is drawn are the
round's draws, equal ones too: a path that the policy wrote three times has three chances, and may stay as
two. The best scores of ever more paths are the PRM's errors; a sample has them in the policy's share.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from data_gen.records.draw_keys import derive_seed
from prm_train.encoding.aggregation import log_score
from prm_train.strategies.paths import PathGrower, SearchPath

Survivors = Literal["best", "sampled"]


def survivors(
    paths: Sequence[SearchPath], scores: Sequence[float], n: int, noise: random.Random | None
) -> tuple[list[SearchPath], list[int]]:
    """At most `n` that stay of distinct paths, and as how many of the `n` each of them stays.

    The best are those with the highest scores, the highest first, ties to the earliest, each as one. With
    `noise`, `n` of all copies of the paths are drawn in proportion to their scores.
    """
    if noise is None:
        best = sorted(range(len(paths)), key=lambda i: -scores[i])[:n]
        return [paths[i] for i in best], [1] * len(best)
    copies = [i for i, path in enumerate(paths) for _ in range(path.multiplicity)]
    ranks = gumbel_ranks([scores[i] for i in copies], [uniform(noise) for _ in copies])
    drawn = Counter(copies[j] for j in sorted(range(len(copies)), key=lambda j: -ranks[j])[:n])
    return [paths[i] for i in sorted(drawn)], [drawn[i] for i in sorted(drawn)]


def survivor_noise(grower: PathGrower, how: Survivors, step: int) -> random.Random | None:
    """Of one round of one problem, whatever N is; None for survivors that are not sampled."""
    if how == "best":
        return None
    policy = grower.policy
    return random.Random(derive_seed(policy.base_seed, "survivors", policy.question.problem_id, step))


def gumbel_ranks(scores: Sequence[float], uniforms: Sequence[float]) -> list[float]:
    """log score + Gumbel noise, from one uniform number in (0, 1) each."""
    return [log_score(score) - math.log(-math.log(u)) for score, u in zip(scores, uniforms, strict=True)]


def uniform(noise: random.Random) -> float:
    """In (0, 1) without its ends, which have no finite Gumbel noise."""
    return (noise.getrandbits(52) + 0.5) / 2**52
