"""A particle filter that samples from the policy with the PRM as its likelihood (Puri et al. 2025, "A
Probabilistic Inference Approach to Inference-Time Scaling of LLMs using Particle-Based Monte Carlo Methods").

    N particles, each of weight 1
    until no particle is open, or after max_steps steps:
        each open particle draws its next step
        its weight is multiplied by the score of the path now / its score before (under prod: by the score of the step)
        finished particles keep their weight and leave
        the open ones are resampled: copies in proportion to their weights, which become equal

A weighted vote of the finished particles estimates the answer's probability under policy × score: unlike the
best scores of ever more paths, that stays close to what the policy writes, however large N is.

What differs from the paper, and why:

- Weights are incremental (of a path that is never resampled, its score), so that the final weights are those
  of the target above; the paper resamples by the score of the whole path each time, which counts the scores
  of early steps again and again.
- Resampling is systematic: a particle that is worth k copies on average gets k rounded down or up, so equal
  weights change nothing.
- Finished particles are absorbing: they are neither copied nor dropped, and take no place from open ones.
  Truncated ones never vote.
- Copies of a particle draw different next steps.

With `resampling` split, no chance decides how many copies a particle gets: equal particles are one, each gets
its share of the places, rounded (down, and one more for the largest remainders), and its copies divide its
weight. What rounding takes from or gives to a particle stays in their weights, and evens out over the steps;
what got no copy is lost, so the estimate of the target is no longer right on average, but varies less.
"""  # noqa: E501

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

from data_gen.records.draw_keys import derive_seed
from prm_train.encoding.aggregation import Aggregation
from prm_train.strategies.paths import PathGrower, SearchPath, distinct, log_mean_weight, shares_of
from prm_train.strategies.ranges import check_at_least

Resampling = Literal["systematic", "split"]


@dataclass(frozen=True)
class ParticleFilterConfig:
    """`n` particles. `aggregation` makes the score of a path of its step scores; `exponent` is the power of
    the score in the weight (0: the policy alone). Open particles are resampled when their effective number is
    below `resample_below` of them: 1 at every step at which weights differ, 0 never. `resampling` says how.
    """

    n: int = 16
    max_steps: int = 40
    aggregation: Aggregation = "prod"
    exponent: float = 1.0
    resample_below: float = 1.0
    resampling: Resampling = "systematic"

    def __post_init__(self) -> None:
        check_at_least(0, exponent=self.exponent)
        if not 0 <= self.resample_below <= 1:
            raise ValueError(f"resample_below: got {self.resample_below}, expected a share from 0 to 1")


async def particle_filter(grower: PathGrower, config: ParticleFilterConfig) -> list[SearchPath]:
    """The particles in the order in which they ended, then what was open after `max_steps`."""
    question, seed = grower.policy.question, grower.policy.base_seed
    ended, particles = list[SearchPath](), [SearchPath(multiplicity=config.n)]
    for step in grower.rounds(config.max_steps):
        families = await grower.grow(particles, [particle.multiplicity for particle in particles])
        moved = [
            replace(
                child,
                log_weight=child.log_weight + config.exponent * gained(parent, child, config.aggregation),
            )
            for parent, family in zip(particles, families, strict=True)
            for child in family
        ]
        ended += [child for child in moved if not child.is_open]
        particles = [child for child in moved if child.is_open]
        if not particles:
            break
        if effective_number(particles) >= config.resample_below * len(particles):
            continue
        if config.resampling == "split":
            particles = split(particles)
        else:
            at = random.Random(derive_seed(seed, "resample", question.problem_id, step)).random()
            particles = resampled(particles, at)
    return ended + particles


def gained(parent: SearchPath, child: SearchPath, how: Aggregation) -> float:
    """The logarithm of the factor by which the score of a path has changed with its last step."""
    return child.log_score(how) - parent.log_score(how)


def relative_weights(particles: Sequence[SearchPath]) -> list[float]:
    """Those of particles without copies; the highest is 1."""
    highest = max(particle.log_weight for particle in particles)
    return [math.exp(particle.log_weight - highest) for particle in particles]


def effective_number(particles: Sequence[SearchPath]) -> float:
    """How many particles of equal weight would be as good: from 1 to their number."""
    weights = relative_weights(particles)
    return math.fsum(weights) ** 2 / math.fsum(weight**2 for weight in weights)


def resampled(particles: Sequence[SearchPath], at: float) -> list[SearchPath]:
    """As many copies as there are particles, in proportion to their weights, each with the mean weight."""
    counts, log_weight = systematic_counts(relative_weights(particles), at), log_mean_weight(particles)
    return [
        replace(particle, multiplicity=count, log_weight=log_weight)
        for particle, count in zip(particles, counts, strict=True)
        if count
    ]


def split(particles: Sequence[SearchPath]) -> list[SearchPath]:
    """As many copies as there are particles, of each text in proportion to the weight of all that have it,
    rounded; they divide that weight.
    """
    texts = distinct(particles)
    sums = [replace(text, log_weight=text.log_weight + math.log(text.multiplicity)) for text in texts]
    counts = shares_of(len(particles), relative_weights(sums))
    return [
        replace(text, multiplicity=count, log_weight=text.log_weight - math.log(count))
        for text, count in zip(sums, counts, strict=True)
        if count
    ]


def systematic_counts(weights: Sequence[float], at: float) -> list[int]:
    """How many of the places at, 1 + at, 2 + at, … (`at` in [0, 1)) fall on each weight, where all are laid
    end to end and stretched to the length of their number.
    """
    n, total, counts = len(weights), math.fsum(weights), list[int]()
    for number, end in enumerate(accumulate(weights), 1):
        n_before = min(max(math.ceil(end / total * n - at), 0), n) if number < n else n
        counts.append(n_before - sum(counts))
    return counts
