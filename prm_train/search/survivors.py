"""Which open paths of a round go on: those with the best scores, or a sample in which a path's chance grows
with its score.

Sampling without replacement by the Gumbel top-k trick (Kool et al. 2019, "Stochastic Beams and Where to Find
Them", section 3): noise is added to the logarithm of each score, and the n highest sums stay. That is drawing
one path after the other, each time in proportion to the scores of those that are left. The more paths there
are to choose from, the surer the best scores are the verifier's errors; a sample has them in their share.
"""

import math
import random
from collections.abc import Sequence
from typing import Literal

from data_gen.records.draw_keys import derive_seed
from prm_train.encoding.aggregation import log_score
from prm_train.search.paths import PathGrower, SearchPath

Survivors = Literal["best", "sampled"]


def survivors(
    paths: Sequence[SearchPath], scores: Sequence[float], n: int, noise: random.Random | None
) -> list[SearchPath]:
    """At most `n` of the paths: those with the highest scores, the highest first, ties to the earliest. With
    `noise`, sampled in proportion to the scores, in the order in which they were drawn.
    """
    ranks = scores if noise is None else gumbel_ranks(scores, [uniform(noise) for _ in scores])
    best = sorted(range(len(paths)), key=lambda i: -ranks[i])[:n]
    return [paths[i] for i in best]


def survivor_noise(grower: PathGrower, how: Survivors, step: int) -> random.Random | None:
    """Of one round of one problem, whatever N is; None for survivors that are not sampled."""
    if how == "best":
        return None
    policy = grower.policy
    return random.Random(derive_seed(policy.base_seed, "survivors", policy.problem.problem_id, step))


def gumbel_ranks(scores: Sequence[float], uniforms: Sequence[float]) -> list[float]:
    """log score + Gumbel noise, from one uniform number in (0, 1) each."""
    return [log_score(score) - math.log(-math.log(u)) for score, u in zip(scores, uniforms, strict=True)]


def uniform(noise: random.Random) -> float:
    """In (0, 1) without its ends, which have no finite Gumbel noise."""
    return (noise.getrandbits(52) + 0.5) / 2**52
