"""The searches in a tree by name.

A further one is a file with its function and what it runs with, an entry here, and its settings in
`settings`.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from prm_train.encoding.aggregation import Aggregation
from prm_train.search.beam import BeamConfig, beam_search
from prm_train.search.dvts import DvtsConfig, dvts
from prm_train.search.particle_filter import ParticleFilterConfig, particle_filter
from prm_train.search.paths import PathGrower, SearchPath
from prm_train.search.results import TreeStrategyName
from prm_train.search.settings import SearchConfig
from prm_train.search.voting import Vote


@dataclass(frozen=True)
class TreeStrategy:
    """`configure` makes what `run` takes from the settings of a search, N, and what makes a path's score of
    its step scores.

    `votes` of the candidates are reported, the strategy's own first.
    """

    run: Callable[[PathGrower, Any], Coroutine[None, None, list[SearchPath]]]
    configure: Callable[[SearchConfig, int, Aggregation], Any]
    votes: tuple[Vote, ...]


TREE_STRATEGIES: Mapping[TreeStrategyName, TreeStrategy] = MappingProxyType(
    {
        "beam": TreeStrategy(
            beam_search,
            lambda search, n, how: BeamConfig(n, search.beam_width, search.beam_max_steps, how),
            votes=("score", "prior"),
        ),
        "dvts": TreeStrategy(
            dvts,
            lambda search, n, how: DvtsConfig(n, search.beam_width, search.beam_max_steps, how),
            votes=("score",),
        ),
        "particle_filter": TreeStrategy(
            particle_filter,
            lambda search, n, how: ParticleFilterConfig(
                n, search.beam_max_steps, how, search.particle_exponent, search.particle_resample_below
            ),
            votes=("weight",),
        ),
    }
)
