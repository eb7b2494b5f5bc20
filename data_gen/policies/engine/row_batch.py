"""The batch of draws under way: each step gives every draw one token, finished draws leave at once and new
ones take their rows.

The life of a draw::

    admit ─┬─ leader:   (wait) ── prefill ── row in a tier ──┬── step, step, … ── finished: its row is idle
           └─ follower: first step from its leader's logits, │   (a full row moves to the next tier)
                        then a copy of its leader's row ─────┘

- *leader, follower*: draws with the same prefix share one row until its first logits are there. The first
  draw (the leader) computes the prefix; the others (followers) choose their first token from the leader's
  logits and then get copies of its row (the *fork*).
- *prefill*: computes the keys and values of all ids of a prefix but the last one. That one is fed in the next
  step, together with the newest id of every other draw, so a draw that continues a known prefix by one token
  costs no forward pass of its own.
- *waiting*: a prefix that shares a long start with another new one is prefilled after it, and finds the
  shared part in the prefix tree.
- *tier*: the rows of one capacity (64, 128, 256, … positions). Attention runs over the longest row of a tier,
  so a few long draws do not slow down all short ones.
- *idle row*: its draw has finished. It is still computed, though nobody reads the result, until another draw
  takes it or the tier is compacted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from data_gen.policies.engine.draw import Draw, choose_tokens
from data_gen.policies.engine.key_value_rows import KeyValueRows
from data_gen.policies.engine.prefix_tree import PrefixTree, Segment, n_common
from data_gen.policies.engine.ragged_model import RaggedModel
from data_gen.records.sampling import FinishReason

# A prefix waits for another one if that saves computing at least so many of its tokens.
WORTH_WAITING_TOKENS = 16
# Tokens of one forward pass over prefixes, padding included.
PREFILL_TOKENS = 4096
# Positions that a row of the smallest tier holds.
SMALLEST_TIER = 64
# A tier with a greater share of idle rows is compacted before the next step.
MAX_IDLE_SHARE = 0.125


class KnownStart(NamedTuple):
    """A prefix, and the keys and values that the prefix tree holds of its first `n_cached` ids."""

    prefix: tuple[int, ...]
    n_cached: int
    segments: list[Segment]

    @property
    def n_missing(self) -> int:
        """Ids to prefill: all that are not cached but the last, which the next step feeds."""
        return len(self.prefix) - 1 - self.n_cached


def split_waiting(known_starts: Sequence[KnownStart]) -> tuple[list[KnownStart], list[tuple[int, ...]]]:
    """The prefixes to compute now, and those that wait for one of them because they share enough tokens with
    it.

    `known_starts` are in descending order of their prefixes. In this order a prefix stands right behind those
    it shares most with, so it is enough to compare it with the latest one that is computed now.
    """
    now: list[KnownStart] = []
    waiting: list[tuple[int, ...]] = []
    latest: tuple[int, ...] | None = None  # the latest prefix in `now` that is not in the tree yet
    for known in known_starts:
        if known.n_missing and latest is not None:
            n_shared = n_common(known.prefix[:-1], latest[:-1])
            if n_shared >= min(known.n_cached + WORTH_WAITING_TOKENS, len(known.prefix) - 1):
                waiting.append(known.prefix)
                continue
        now.append(known)
        if known.n_missing:
            latest = known.prefix
    return now, waiting


@dataclass(eq=False, slots=True)
class Tier:
    """The rows of one capacity, and the draw in each (None: an idle row, whose results nobody reads)."""

    cache: KeyValueRows
    draws: list[Draw | None] = field(default_factory=list)
    idle: list[int] = field(default_factory=list)

    def put(self, draw: Draw) -> None:
        """Give the draw an idle row, or a new one."""
        if self.idle:
            draw.row = self.idle.pop()
            self.draws[draw.row] = draw
        else:
            draw.row = len(self.draws)
            self.draws.append(draw)
            self.cache.reserve(len(self.draws))

    def free(self, draw: Draw) -> None:
        """Make the draw's row idle."""
        self.draws[draw.row] = None
        self.idle.append(draw.row)

    def compact(self) -> None:
        """Move the last rows into the idle ones, so that no row is idle."""
        n_rows = len(self.draws) - len(self.idle)
        last = [draw for draw in self.draws[n_rows:] if draw is not None]
        del self.draws[n_rows:]
        targets = [row for row in self.idle if row < n_rows]
        self.idle = []

        for draw, row in zip(last, targets, strict=True):
            self.cache.copy_row(self.cache, draw.row, row)
            self.draws[row], draw.row = draw, row


class RowBatch:
    """Draws under way over one model; at most `max_rows` at a time.

    `prefix_cache_bytes` bounds the keys and values of prefixes that are kept between draws. The module's
    docstring explains the words.
    """

    def __init__(
        self, model: RaggedModel, eos_ids: Sequence[int], max_rows: int, prefix_cache_bytes: int
    ) -> None:
        self.max_rows = max_rows
        self.prefixes = PrefixTree(prefix_cache_bytes)
        self._model = model
        self._eos_ids = frozenset(eos_ids)
        self.clear()

    def clear(self) -> None:
        """Forget the draws under way."""
        self.n_draws = 0
        self._tiers: list[Tier] = []
        # Holds only draws that have a row: followers get theirs after the next step.
        self._tier_of: dict[Draw, Tier] = {}
        # (leader, followers) of each prefix whose first logits are still to come.
        self._forks: list[tuple[Draw, list[Draw]]] = []

    @torch.inference_mode()
    def admit(self, draws: Sequence[Draw]) -> None:
        """Let draws join; at most `max_rows - n_draws` of them."""
        groups: dict[tuple[int, ...], list[Draw]] = {}
        for draw in draws:
            groups.setdefault(draw.prefix_ids, []).append(draw)

        # `split_waiting` relies on the descending order, in which a prefix comes after those that begin with
        # it.
        ordered = [self._look_up(prefix) for prefix in sorted(groups, reverse=True)]
        now, waiting = split_waiting(ordered)
        self._join(now, groups)
        # Looked up again, since what they waited for is in the tree by now.
        self._join([self._look_up(prefix) for prefix in waiting], groups)

        self.n_draws += len(draws)

    def _look_up(self, prefix: tuple[int, ...]) -> KnownStart:
        return KnownStart(prefix, *self.prefixes.lookup(prefix[:-1]))

    def _join(self, known_starts: list[KnownStart], groups: dict[tuple[int, ...], list[Draw]]) -> None:
        """Give the leader of each prefix a row with the keys and values of all ids but the last; its
        followers fork from it later.
        """
        incomplete: list[tuple[Draw, list[Segment]]] = []
        for known in known_starts:
            leader, *followers = groups[known.prefix]
            leader.n_cached, leader.n_prefilled = known.n_cached, len(known.prefix) - known.n_cached
            for draw in followers:
                draw.n_cached = len(known.prefix)
            if followers:
                self._forks.append((leader, followers))

            if known.n_missing:
                incomplete.append((leader, known.segments))
            else:
                self._place(leader, known.segments)

        # Prefixes of like length go through the model together, which needs the least padding.
        incomplete.sort(key=lambda item: item[0].n_prefilled)
        while incomplete:
            n_fit = max(1, PREFILL_TOKENS // incomplete[-1][0].n_prefilled)
            self._prefill(incomplete[-n_fit:])
            del incomplete[-n_fit:]

    def _prefill(self, incomplete: list[tuple[Draw, list[Segment]]]) -> None:
        """Compute what is missing of some prefixes in one forward pass, give their draws rows, and keep the
        prefixes in the tree.
        """
        new_ids = [leader.prefix_ids[leader.n_cached : -1] for leader, _ in incomplete]
        new_segments = self._model.prefill([segments for _, segments in incomplete], new_ids)
        for (leader, segments), new in zip(incomplete, new_segments, strict=True):
            self._place(leader, [*segments, new])
            self._remember(leader)

    def _place(self, draw: Draw, segments: list[Segment]) -> None:
        """Give a draw a row that holds the keys and values of its prefix but the last id, which is fed
        next.
        """
        draw.next_id = draw.prefix_ids[-1]
        draw.n_fed = len(draw.prefix_ids) - 1
        tier = self._tier(draw.n_fed)
        self._put(draw, tier)
        tier.cache.fill(draw.row, segments)

    def _tier(self, position: int) -> Tier:
        """The smallest tier that holds this position."""
        for tier in self._tiers:
            if position < tier.cache.capacity:
                return tier
        capacity = 2 * self._tiers[-1].cache.capacity if self._tiers else SMALLEST_TIER
        self._tiers.append(Tier(KeyValueRows(self._model.layout, capacity)))
        return self._tier(position)

    @torch.inference_mode()
    def step(self) -> list[Draw]:
        """Give every draw one token; returns those that finished."""
        for tier in list(self._tiers):
            self._promote(tier)
            if len(tier.idle) > MAX_IDLE_SHARE * len(tier.draws):
                tier.compact()

        forks, self._forks = self._forks, []
        draws, logits = self._decode(forks)

        # Each draw has its own stream of noise, so the rest of the batch has no influence on its tokens.
        uniforms = torch.tensor([draw.noise.random() for draw in draws], dtype=torch.float64)
        temperatures = torch.tensor([draw.params.temperature for draw in draws])
        tokens, logprobs = choose_tokens(
            logits, uniforms, temperatures, [draw.params.truncation for draw in draws]
        )
        finished = [
            draw
            for draw, token, logprob in zip(draws, tokens, logprobs, strict=True)
            if draw.record(token, logprob, self._eos_ids)
        ]

        # Followers that ended with their first token need no row.
        for leader, followers in forks:
            self._fork(leader, [draw for draw in followers if draw.finish_reason is None])
        for draw in finished:
            # A draw that ended at a stop is a step that a search may continue: it finds the keys and values
            # in the tree.
            if draw.finish_reason is FinishReason.STOP:
                self._remember(draw)
            self.drop(draw)
        return finished

    def _decode(
        self, forks: list[tuple[Draw, list[Draw]]]
    ) -> tuple[list[Draw], Float[Tensor, "draw vocabulary"]]:
        """All draws, and the logits of what follows each; followers have the logits of their leader."""
        tiers = [tier for tier in self._tiers if tier.draws]
        rows = [draw for tier in tiers for draw in tier.draws]
        blocks = [(tier.cache, [0 if draw is None else draw.n_fed for draw in tier.draws]) for tier in tiers]
        logits = self._model.decode(blocks, [0 if draw is None else draw.next_id for draw in rows])

        # From here on rows count over all tiers, as the logits do; idle ones are left out.
        row_of = {draw: row for row, draw in enumerate(rows) if draw is not None}
        for draw in row_of:
            draw.n_fed += 1
        draws, origins = list(row_of), list(row_of.values())
        for leader, followers in forks:
            draws += followers
            origins += [row_of[leader]] * len(followers)

        # The usual case, no idle row and no fork, saves a copy of the logits.
        if len(draws) == len(rows) and not forks:
            return draws, logits
        return draws, logits[torch.tensor(origins, device=logits.device)]

    def drop(self, draw: Draw) -> None:
        """Forget one draw."""
        # A follower that ended with its first token never had a row.
        if draw in self._tier_of:
            self._free(draw)
        self.n_draws -= 1

    def _put(self, draw: Draw, tier: Tier) -> None:
        tier.put(draw)
        self._tier_of[draw] = tier

    def _free(self, draw: Draw) -> None:
        self._tier_of.pop(draw).free(draw)

    def _promote(self, tier: Tier) -> None:
        """Move rows that are full to the next tier."""
        full = [draw for draw in tier.draws if draw is not None and draw.n_fed == tier.cache.capacity]
        for draw in full:
            target, row = self._tier(draw.n_fed), draw.row
            self._free(draw)
            self._put(draw, target)
            target.cache.copy_row(tier.cache, row, draw.row)

    def _fork(self, leader: Draw, followers: list[Draw]) -> None:
        """Give followers rows of their own, copied from their leader's."""
        tier = self._tier_of[leader]
        for draw in followers:
            draw.n_fed = leader.n_fed
            self._put(draw, tier)
            tier.cache.copy_row(tier.cache, leader.row, draw.row)

    def _remember(self, draw: Draw) -> None:
        """Keep the keys and values of all ids of a draw that were fed in the prefix tree."""
        tier, row, end = self._tier_of.get(draw), draw.row, draw.n_fed
        # A follower that ended with its first token never had a row.
        if tier is None:
            return
        self.prefixes.insert(
            (*draw.prefix_ids, *draw.token_ids)[:end], lambda start: tier.cache.read(row, start, end)
        )
