"""The searches in a tree and revisions by name, and how one is asked for: `beam`, or with settings
`particle_filter:exponent=0.5`.

A further one is a file with its function and its config, and an entry here.
"""

import math
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from data_gen.records.grader import AnswerReader
from data_gen.records.sampling import check_temperature
from prm_train.encoding.aggregation import Aggregation
from prm_train.strategies.beam import BeamConfig, beam_search
from prm_train.strategies.beam_revisions import BeamRevisionsConfig, beam_revisions
from prm_train.strategies.best_first import BestFirstConfig, best_first
from prm_train.strategies.dvts import DvtsConfig, dvts
from prm_train.strategies.lookahead import LookaheadConfig, lookahead_search
from prm_train.strategies.mcts import MctsConfig, mcts
from prm_train.strategies.particle_filter import ParticleFilterConfig, particle_filter
from prm_train.strategies.paths import PathGrower, SearchPath
from prm_train.strategies.ranges import check_at_least
from prm_train.strategies.reanchor import reanchor
from prm_train.strategies.rebase import RebaseConfig, rebase
from prm_train.strategies.revisions import Reviser, RevisionsConfig
from prm_train.strategies.voting import Vote


@dataclass(frozen=True)
class Strategy:
    """`config` holds `n`, `aggregation` (what makes a path's score of its step scores) and settings of its
    own.

    `votes` of its candidates are reported, the strategy's own first.
    """

    config: type[Any]  # a frozen dataclass
    votes: tuple[Vote, ...]


@dataclass(frozen=True)
class TreeSearch(Strategy):
    """`run` takes what `config` holds, `max_steps` too."""

    run: Callable[[PathGrower, Any], Coroutine[None, None, list[SearchPath]]]


# The first vote of each is the one that it was made for; beam search's is the paper's.
TREE_SEARCHES: Mapping[str, TreeSearch] = MappingProxyType(
    {
        "particle_filter": TreeSearch(ParticleFilterConfig, ("weight",), particle_filter),
        "beam": TreeSearch(BeamConfig, ("score", "prior"), beam_search),
        "dvts": TreeSearch(DvtsConfig, ("score",), dvts),
        "lookahead": TreeSearch(LookaheadConfig, ("score",), lookahead_search),
        "best_first": TreeSearch(BestFirstConfig, ("weight",), best_first),
        "mcts": TreeSearch(MctsConfig, ("weight",), mcts),
        "rebase": TreeSearch(RebaseConfig, ("score", "weight"), rebase),
    }
)
REVISIONS, BEAM_REVISIONS = "revisions", "beam_revisions"
TEMPERATURE, REANCHOR = "temperature", "reanchor"
OF_ALL: Mapping[str, type[Any]] = MappingProxyType({TEMPERATURE: float})  # settings of every strategy
OF_TREES: Mapping[str, type[Any]] = MappingProxyType({REANCHOR: int})  # and of every search in a tree
STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        **TREE_SEARCHES,
        BEAM_REVISIONS: Strategy(BeamRevisionsConfig, ("score",)),
        REVISIONS: Strategy(RevisionsConfig, ("hierarchical", "hierarchical_best", "score", "majority")),
    }
)


@dataclass(frozen=True)
class StrategySpec:
    """A strategy with the settings that were given for it, by name; what was not given is the search's or the
    strategy's default. `temperature` is one of them, and of a search in a tree `reanchor`: the number of
    rollouts from each of its finalists (`prm_train.strategies.reanchor`).
    """

    name: str
    given: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        """One spelling of each: 1 for 1.0."""
        values = ((name, f"{value:g}" if isinstance(value, float) else value) for name, value in self.given)
        return ":".join([self.name, *(f"{name}={value}" for name, value in values)])

    @property
    def strategy(self) -> Strategy:
        return STRATEGIES[self.name]

    @property
    def is_revisions(self) -> bool:
        return self.name == REVISIONS

    @property
    def has_reviser(self) -> bool:
        """Whether a revision model writes some of its attempts."""
        return self.name in (REVISIONS, BEAM_REVISIONS)

    @property
    def votes(self) -> tuple[Vote, ...]:
        """The strategy's, its own first; that of paths which are anchored again is by their weights."""
        votes = self.strategy.votes
        return tuple(dict.fromkeys(("weight", *votes))) if REANCHOR in dict(self.given) else votes

    async def run(
        self, grower: PathGrower, config: Any, reader: AnswerReader, reviser: Reviser | None = None
    ) -> list[SearchPath]:
        """The paths of a search in a tree with its `config`; their answers are read to anchor them again.

        Raises ValueError for one that revises without a `reviser`.
        """
        if self.name == BEAM_REVISIONS:
            if reviser is None:
                raise ValueError(f"strategy {self}: got no reviser, expected one")
            return await beam_revisions(grower, config, reviser)
        paths = await TREE_SEARCHES[self.name].run(grower, config)
        n_rollouts = dict(self.given).get(REANCHOR)
        if n_rollouts is None:
            return paths
        if self.strategy.votes[0] == "score":
            paths = [by_own_vote(path, config.aggregation) for path in paths]
        return await reanchor(grower, reader, paths, n_rollouts)

    def settings(self, **defaults: Any) -> dict[str, Any]:
        """All settings by name: those of the strategy, of which `defaults` says some (and the temperature),
        and those that were given.
        """
        own = {field.name: field.default for field in fields(self.strategy.config) if field.name != "n"}
        said = {name: value for name, value in defaults.items() if name in own or name == TEMPERATURE}
        return {**own, **said, **dict(self.given)}

    def config(self, n: int, settings: Mapping[str, Any]) -> Any:
        """What the strategy's function takes. Raises ValueError for settings that it refuses."""
        try:
            return self.strategy.config(
                n=n, **{name: value for name, value in settings.items() if name not in {*OF_ALL, *OF_TREES}}
            )
        except ValueError as error:
            raise ValueError(f"{self}: {error}") from None


def by_own_vote(path: SearchPath, how: Aggregation) -> SearchPath:
    """The path with its score as its weight, for strategies whose vote is by score: copies count as one."""
    return replace(path, log_weight=path.log_score(how) - math.log(path.multiplicity))


def parse_strategy(text: str) -> StrategySpec:
    """The spec of `NAME:SETTING=VALUE:…`. Raises ValueError for a name, setting or value that is none."""
    name = text.partition(":")[0]
    if name not in STRATEGIES:
        raise ValueError(f"strategy: got {text!r}, expected one of {', '.join(STRATEGIES)}")
    types = {
        **OF_ALL,
        **(OF_TREES if name in TREE_SEARCHES else {}),
        **get_type_hints(STRATEGIES[name].config),
    }
    del types["n"]
    given = parse_given(text, types)
    spec = StrategySpec(name, tuple(given.items()))
    check_temperature(given.get(TEMPERATURE, 1.0), f"strategy {text!r}: temperature")
    check_at_least(1, **{name: value for name, value in given.items() if name == REANCHOR})
    spec.config(1, spec.settings())
    return spec


def parse_given(text: str, types: Mapping[str, Any]) -> dict[str, Any]:
    """The settings behind the name in `NAME:SETTING=VALUE:…`, of these types by name. Raises ValueError for
    a setting or value that is none.
    """
    given = {}
    for word in text.split(":")[1:]:
        setting, equals, value = word.partition("=")
        if setting not in types or not equals:
            raise ValueError(f"strategy {text!r}: got {word!r}, expected one of {', '.join(types)} =value")
        try:
            given[setting] = TypeAdapter(types[setting]).validate_strings(value)
        except ValidationError as error:
            raise ValueError(f"strategy {text!r}: {setting}: {error.errors()[0]['msg']}") from None
    return given
