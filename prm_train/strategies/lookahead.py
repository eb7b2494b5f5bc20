"""Beam search with lookahead (Snell et al. 2024, section 5.2): beam search that ranks a path by where it
leads, not by where it stands.

    as beam search, but to choose the open paths that stay:
        write k further steps of each, greedily (temperature 0)
        its rank is the score at the end of that rollout
        the path itself goes on from before the rollout

A round draws N (k + 1) steps; with k = 0 this is beam search.

What differs from the paper, and why:

- The score of a rollout is that of its whole path, by the same rule (`aggregation`) as all other scores;
  `last` is the paper's, the PRM's prediction at the end.
- A rollout that ends early counts with the score at its end. It is no candidate: it only ranks.
- No rollout is made where none can matter: of the only open path, and after the last round.
- Equal paths share a rollout. Two rollouts that come to the same text share what follows.

Weights are those of beam search, by the paths' own scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from prm_train.encoding.aggregation import Aggregation
from prm_train.strategies.beam import BeamConfig, beam_search
from prm_train.strategies.paths import PathGrower, SearchPath, own_scores
from prm_train.strategies.ranges import check_at_least
from prm_train.strategies.survivors import Survivors


@dataclass(frozen=True)
class LookaheadConfig:
    """Those of beam search (`BeamConfig`), and `lookahead` greedy steps ahead (k)."""

    n: int = 16
    width: int = 4
    max_steps: int = 40
    aggregation: Aggregation = "min"
    survivors: Survivors = "best"
    lookahead: int = 1

    def __post_init__(self) -> None:
        check_at_least(1, width=self.width)
        check_at_least(0, lookahead=self.lookahead)


async def lookahead_search(grower: PathGrower, config: LookaheadConfig) -> list[SearchPath]:
    """The paths in the order in which they ended, then what was open after `max_steps`."""

    async def score_ahead(paths: Sequence[SearchPath]) -> list[float]:
        return own_scores(await grower.roll_out(paths, config.lookahead), config.aggregation)

    beam = BeamConfig(config.n, config.width, config.max_steps, config.aggregation, config.survivors)
    return await beam_search(grower, beam, score_ahead)
