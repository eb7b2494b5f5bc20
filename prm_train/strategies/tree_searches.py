"""The searches in a tree by name, and how one is asked for: `beam`, or with settings
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
from prm_train.strategies.voting import Vote


@dataclass(frozen=True)
class Strategy:
    """`run` takes what `config` holds: `n`, `max_steps`, `aggregation` (what makes a path's score of its step
    scores) and settings of its own.

    `votes` of the paths are reported, the strategy's own first.
    """

    run: Callable[[PathGrower, Any], Coroutine[None, None, list[SearchPath]]]
    config: type[Any]  # a frozen dataclass
    votes: tuple[Vote, ...]


# The first vote of each is the one that it was made for; beam search's is the paper's.
STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "particle_filter": Strategy(particle_filter, ParticleFilterConfig, ("weight",)),
        "beam": Strategy(beam_search, BeamConfig, ("score", "prior")),
        "dvts": Strategy(dvts, DvtsConfig, ("score",)),
        "lookahead": Strategy(lookahead_search, LookaheadConfig, ("score",)),
        "best_first": Strategy(best_first, BestFirstConfig, ("weight",)),
        "mcts": Strategy(mcts, MctsConfig, ("weight",)),
        "rebase": Strategy(rebase, RebaseConfig, ("score", "weight")),
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

    def settings(self, **defaults: Any) -> dict[str, Any]:
        """All settings by name: `defaults` (temperature, max_steps, aggregation), those of the strategy, and
        those that were given.
        """
        own = {field.name: field.default for field in fields(self.strategy.config) if field.name != "n"}
        return {**own, **defaults, **dict(self.given)}

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
    name, *words = text.split(":")
    if name not in STRATEGIES:
        raise ValueError(f"strategy: got {text!r}, expected one of {', '.join(STRATEGIES)}")
    types = {"temperature": float, **get_type_hints(STRATEGIES[name].config)}
    del types["n"]
    given = {}
    for word in words:
        setting, equals, value = word.partition("=")
        if setting not in types or not equals:
            raise ValueError(f"strategy {text!r}: got {word!r}, expected one of {', '.join(types)} =value")
        try:
            given[setting] = TypeAdapter(types[setting]).validate_strings(value)
        except ValidationError as error:
            raise ValueError(f"strategy {text!r}: {setting}: {error.errors()[0]['msg']}") from None
    spec = StrategySpec(name, tuple(given.items()))
    check_temperature(given.get("temperature", 1.0), f"strategy {text!r}: temperature")
    spec.config(1, spec.settings())
    return spec
