"""The searches in a tree and revisions by name, and how one is asked for: `beam`, or with settings
`particle_filter:exponent=0.5`.

A further one is a file with its function and its config, and an entry here.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from data_gen.records.sampling import check_temperature
from prm_train.strategies.beam import BeamConfig, beam_search
from prm_train.strategies.best_first import BestFirstConfig, best_first
from prm_train.strategies.dvts import DvtsConfig, dvts
from prm_train.strategies.lookahead import LookaheadConfig, lookahead_search
from prm_train.strategies.mcts import MctsConfig, mcts
from prm_train.strategies.particle_filter import ParticleFilterConfig, particle_filter
from prm_train.strategies.paths import PathGrower, SearchPath
from prm_train.strategies.rebase import RebaseConfig, rebase
from prm_train.strategies.revisions import RevisionsConfig
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
REVISIONS = "revisions"
STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        **TREE_SEARCHES,
        REVISIONS: Strategy(RevisionsConfig, ("hierarchical", "hierarchical_best", "score", "majority")),
    }
)


@dataclass(frozen=True)
class StrategySpec:
    """A strategy with the settings that were given for it, by name; what was not given is the search's or the
    strategy's default. `temperature` is one of them.
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
    def tree_search(self) -> TreeSearch:
        """Raises KeyError for revisions."""
        return TREE_SEARCHES[self.name]

    def settings(self, **defaults: Any) -> dict[str, Any]:
        """All settings by name: those of the strategy, of which `defaults` says some (and the temperature),
        and those that were given.
        """
        own = {field.name: field.default for field in fields(self.strategy.config) if field.name != "n"}
        said = {name: value for name, value in defaults.items() if name in own or name == "temperature"}
        return {**own, **said, **dict(self.given)}

    def config(self, n: int, settings: Mapping[str, Any]) -> Any:
        """What the strategy's function takes. Raises ValueError for settings that it refuses."""
        try:
            return self.strategy.config(
                n=n, **{name: value for name, value in settings.items() if name != "temperature"}
            )
        except ValueError as error:
            raise ValueError(f"{self}: {error}") from None


def parse_strategy(text: str) -> StrategySpec:
    """The spec of `NAME:SETTING=VALUE:…`. Raises ValueError for a name, setting or value that is none."""
    name = text.partition(":")[0]
    if name not in STRATEGIES:
        raise ValueError(f"strategy: got {text!r}, expected one of {', '.join(STRATEGIES)}")
    types = {"temperature": float, **get_type_hints(STRATEGIES[name].config)}
    del types["n"]
    given = parse_given(text, types)
    spec = StrategySpec(name, tuple(given.items()))
    check_temperature(given.get("temperature", 1.0), f"strategy {text!r}: temperature")
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
