"""How a policy is sampled and what comes back: frozen records without torch."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from data_gen.records.draw_keys import content_hash
from data_gen.records.token_rules import TokenRules, check_token_rules

# Below about 1e-38 logits / temperature is infinite, and what is drawn with it is nothing
LOWEST_TEMPERATURE = 1e-6
HIGHEST_TEMPERATURE = 1e38  # beyond it a float32 is infinite


def check_temperature(temperature: float, name: str = "temperature") -> None:
    """Raises ValueError unless it is 0 (greedy) or a number that sampling can divide by."""
    if temperature != 0 and not LOWEST_TEMPERATURE <= temperature <= HIGHEST_TEMPERATURE:
        raise ValueError(
            f"{name}: got {temperature}, expected 0 (greedy) or a number of {LOWEST_TEMPERATURE:.6f} or more"
        )


class FinishReason(StrEnum):
    EOS = "eos"  # the policy ended the text
    STOP = "stop"  # the stop rule of the request fired: the end of a step, or a stop string
    LENGTH = "length"  # cut by max_new_tokens or the context: truncated, not finished


class Truncation(NamedTuple):
    """Which tokens may be drawn: after the temperature, first `min_p` of the most likely one's probability,
    then the `top_k` most likely, then the fewest with at least `top_p` of what is left. This order is vLLM's;
    the defaults leave out none.
    """

    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0


ALL_TOKENS = Truncation()


def check_truncation(truncation: Truncation) -> None:
    """Raises ValueError for a value that is out of its range."""
    top_p, top_k, min_p = truncation
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p: got {top_p}, expected more than 0 and at most 1 (all tokens)")
    if top_k < 0:
        raise ValueError(f"top_k: got {top_k}, expected 0 (all tokens) or more")
    if not 0 <= min_p < 1:
        raise ValueError(f"min_p: got {min_p}, expected 0 (all tokens) or more, and less than 1")


@dataclass(frozen=True)
class SamplingParams:
    """How one draw is made. `temperature` 0 is greedy; `stop` ends a draw with the token that completes this
    separator (None: at EOS).

    `stop_strings` end it, too, and with it the solution (`data_gen.records.stop_strings`); `top_p`, `top_k`,
    `min_p`: see `Truncation`; `banned_ids`, `allowed_ids` (empty: all) and `biases`: see `TokenRules`.
    """

    max_new_tokens: int
    temperature: float = 1.0
    stop: str | None = None
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    stop_strings: tuple[str, ...] = ()
    banned_ids: tuple[int, ...] = ()
    allowed_ids: tuple[int, ...] = ()
    biases: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens: got {self.max_new_tokens}, expected at least 1")
        check_temperature(self.temperature)
        check_truncation(self.truncation)
        check_token_rules(self.token_rules)

    @property
    def truncation(self) -> Truncation:
        return Truncation(self.top_p, self.top_k, self.min_p)

    @property
    def token_rules(self) -> TokenRules:
        return TokenRules(self.banned_ids, self.allowed_ids, self.biases)

    @property
    def facts(self) -> dict[str, object]:
        """What shapes the draw, as the ledger stores it. Settings that change nothing are not named, as in
        older ledgers.

        Greedy draws are the same whatever is left out beside the most likely token.
        """
        return {
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "stop": self.stop,
            **self._restrictions,
        }

    @property
    def _restrictions(self) -> dict[str, object]:
        is_truncated = self.temperature > 0 and self.truncation != ALL_TOKENS
        stop_strings = {"stop_strings": sorted(self.stop_strings)} if self.stop_strings else {}
        truncation = self.truncation._asdict() if is_truncated else {}
        return {**truncation, **stop_strings, **self.token_rules.facts}

    @cached_property
    def params_hash(self) -> str:
        others = [self._restrictions] if self._restrictions else []
        return content_hash("sampling params", self.max_new_tokens, self.temperature, self.stop, *others)


@dataclass(frozen=True)
class Usage:
    """Tokens a draw cost: generated, prefilled (computed), and read from a cache instead of being
    computed.
    """

    n_generated: int = 0
    n_prefilled: int = 0
    n_cached: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.n_generated + other.n_generated,
            self.n_prefilled + other.n_prefilled,
            self.n_cached + other.n_cached,
        )

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(
            self.n_generated - other.n_generated,
            self.n_prefilled - other.n_prefilled,
            self.n_cached - other.n_cached,
        )


@dataclass(frozen=True)
class Completion:
    """One draw: what the policy wrote after a prefix.

    `token_ids` are exactly the ids drawn, EOS included where the draw ended with it; `text` is their text
    without EOS. `logprobs` are the natural log-probabilities of `token_ids` under the policy at temperature
    1, whatever temperature, truncation, bias or rule about ids drew them.
    """

    token_ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    usage: Usage = Usage()
