"""One draw on its way to a completion, and the history that it shares with others.

Draws of one prefix that have chosen the same tokens so far have the same ids, hence the same logits, and only
their random numbers and rules of stopping differ. Such draws are one *history*: what they have written is
kept once, and a batch computes it once. Where they choose different tokens the history forks::

    prefix, draws 0 1 2 3 ──"7"──┬──"plus" ── draws 0 2 3 ── …
                                 └──"=" ───── draw 1 ── …
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Optional

from jaxtyping import Float
from torch import Tensor

from data_gen.records.sampling import FinishReason, Truncation, Usage
from data_gen.records.steps import StepScanner
from data_gen.records.stop_strings import StopStrings

# What a `StopRule` remembers of a text: the scanner's state, and the last bytes, in which a stop string may
# have begun.
StopState = tuple[int, bytes]
START: StopState = (StepScanner.START, b"")


class StopRule:
    """What ends a draw before EOS: a step separator (`scanner`) or stop strings. It serves any number of
    texts, each of which keeps its own state.
    """

    def __init__(self, scanner: StepScanner | None, stop_strings: StopStrings | None) -> None:
        self._scanner, self._stop_strings = scanner, stop_strings

    def advance(self, state: StopState, token_id: int) -> tuple[StopState, bool]:
        """The state after `token_id`, and whether the text ends with it."""
        (scanned, tail), ends = state, False
        if self._scanner is not None:
            scanned, ends = self._scanner.advance(scanned, token_id)
        if self._stop_strings is not None and not ends:
            tail, ends = self._stop_strings.advance(tail, token_id)
        return (scanned, tail), ends


@dataclass(frozen=True, eq=False)
class Choice:
    """From which tokens of a distribution draws choose. Draws that share this object share the
    distribution. `offsets` are added to the logits (`data_gen.policies.engine.logit_offsets`).
    """

    temperature: float
    truncation: Truncation
    offsets: Float[Tensor, " vocabulary"] | None = None


@dataclass(eq=False, slots=True)
class Draw:
    """One draw: what was asked for, and its completion once it has ended. `uniform` gives a uniform number in
    [0, 1) for each token in turn.
    """

    prefix_ids: tuple[int, ...]
    # The most tokens that the draw may have: max_new_tokens, or less where the context is nearly full.
    n_room: int
    uniform: Callable[[], float]
    choice: Choice
    stop_rule: StopRule | None = None

    # Where the draw is under way.
    history: Optional["History"] = None

    # What the prefix cost: ids that were computed for this draw, and ids whose keys and values were there
    # already.
    n_prefilled: int = 0
    n_cached: int = 0

    # The completion, once it has ended.
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    finish_reason: FinishReason | None = None

    @property
    def usage(self) -> Usage:
        return Usage(len(self.token_ids), self.n_prefilled, self.n_cached)


@dataclass(eq=False, slots=True)
class History:
    """Draws that have the same prefix and have chosen the same tokens so far."""

    prefix_ids: tuple[int, ...]
    draws: list[Draw]
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    # The state of each rule that one of the draws has.
    stop_states: dict[StopRule, StopState] = field(default_factory=dict)
    # The fewest tokens after which one of the draws is full.
    n_room: int = field(init=False)

    def __post_init__(self) -> None:
        self.n_room = min([draw.n_room for draw in self.draws])
        for draw in self.draws:
            draw.history = self

    @classmethod
    def begin(cls, draws: Sequence[Draw]) -> "History":
        """The history of draws with one prefix of which none has a token yet."""
        rules = {draw.stop_rule: START for draw in draws if draw.stop_rule is not None}
        return cls(draws[0].prefix_ids, list(draws), stop_states=rules)

    @property
    def ids(self) -> tuple[int, ...]:
        """Prefix and tokens."""
        return (*self.prefix_ids, *self.token_ids)

    @property
    def n_fed(self) -> int:
        """How many ids a model has seen: all but the newest, which it is given next."""
        return len(self.prefix_ids) + len(self.token_ids) - 1

    @property
    def next_id(self) -> int:
        return self.token_ids[-1] if self.token_ids else self.prefix_ids[-1]

    def fork(self, tokens: Sequence[int]) -> list["History"]:
        """A history for each of the tokens that the draws have chosen, in the order in which they are first
        named. None has recorded its token yet.
        """
        draws_of: dict[int, list[Draw]] = {}
        for draw, token in zip(self.draws, tokens, strict=True):
            draws_of.setdefault(token, []).append(draw)
        return [self._part(draws) for draws in draws_of.values()]

    def _part(self, draws: list[Draw]) -> "History":
        rules = {draw.stop_rule for draw in draws} if self.stop_states else ()
        states = {rule: state for rule, state in self.stop_states.items() if rule in rules}
        return History(self.prefix_ids, draws, self.token_ids.copy(), self.logprobs.copy(), states)

    def record(self, token_id: int, logprob: float, eos_ids: frozenset[int]) -> list[Draw]:
        """Append the token that all draws have chosen; returns those that end with it, which leave."""
        self.token_ids.append(token_id)
        self.logprobs.append(logprob)
        if token_id in eos_ids:
            return self._end(self.draws, FinishReason.EOS)

        ended = []
        for rule, state in self.stop_states.items():
            self.stop_states[rule], ends = rule.advance(state, token_id)
            if ends:
                stopped = [draw for draw in self.draws if draw.stop_rule is rule]
                ended += self._end(stopped, FinishReason.STOP)
        if len(self.token_ids) == self.n_room:
            full = [draw for draw in self.draws if draw.n_room == self.n_room]
            ended += self._end(full, FinishReason.LENGTH)
            self.n_room = min([draw.n_room for draw in self.draws], default=0)
        return ended

    def leave(self, draw: Draw) -> None:
        """Let a draw go before its end, with the tokens so far."""
        self.draws.remove(draw)
        draw.token_ids, draw.logprobs, draw.history = tuple(self.token_ids), tuple(self.logprobs), None

    def _end(self, draws: list[Draw], reason: FinishReason) -> list[Draw]:
        token_ids, logprobs = tuple(self.token_ids), tuple(self.logprobs)
        for draw in draws:
            draw.token_ids, draw.logprobs, draw.finish_reason = token_ids, logprobs, reason
            draw.history = None
        if draws:
            self.draws = [draw for draw in self.draws if draw.finish_reason is None]
        return draws
