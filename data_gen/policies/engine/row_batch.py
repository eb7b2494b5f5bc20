"""The batch of histories under way: each step gives every history a token for each of its draws.

A *history* is all draws that joined together with one prefix and have chosen the same tokens so far
(`data_gen.policies.engine.draw`). It is computed in one row, however many draws they are. Its life::

    admit ── (wait) ── prefill ── row ── step, step, … ──┬── all of its draws end: the row is idle
                                   ▲                     │
                                   │                     └── its draws choose different tokens: it forks
                                   │                            │
                                   │                            ├── the branch of the most draws keeps the row
                                   │                            │
                                   └──── when there is one ─────┴── the others are parked behind it

- *prefill*: computes the keys and values of all ids of a prefix but the last one. That one is fed in the next
  step, together with the newest id of every other history, so a draw that continues a known prefix by one
  token costs no forward pass of its own.
- *waiting*: a prefix that shares a long start with another new one is prefilled after it, and finds the
  shared part in the prefix tree.
- *parked*: a history without a row of its own. What is known of its ids are the first positions of the row in
  which it forked off. It gets a copy of them as soon as there are fewer than `max_rows`, or goes on in that
  very row once all that was parked there later, and what the row computes, has ended. So memory is bounded
  however much histories fork, and nothing is computed twice. When a draw is computed changes none of its
  tokens.
- *tier*: the rows of one capacity (64, 128, 256, … positions). Attention runs over the longest row of a tier,
  so a few long histories do not slow down all short ones.
- *idle row*: its draws have ended. It is still computed, though nobody reads the result, until another
  history takes it or the tier is compacted.
"""

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import torch

from data_gen.policies.engine.draw import Draw, History
from data_gen.policies.engine.prefix_tree import PrefixTree, Segment, n_common
from data_gen.policies.engine.ragged_model import RaggedModel
from data_gen.policies.engine.tiers import Row, RowTiers
from data_gen.policies.engine.token_choice import choose_next
from data_gen.records.sampling import FinishReason

# A prefix waits for another one if that saves computing at least so many of its tokens.
WORTH_WAITING_TOKENS = 16
# Tokens of one forward pass over prefixes, padding included.
PREFILL_TOKENS = 4096


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


class RowBatch:
    """Draws under way over one model. Their histories have at most `max_rows` rows, whatever the number of
    draws.

    `prefix_cache_bytes` bounds the keys and values of prefixes that are kept between draws. The module's
    docstring explains the words.
    """

    def __init__(
        self, model: RaggedModel, eos_ids: Sequence[int], max_rows: int, prefix_cache_bytes: int
    ) -> None:
        self.max_rows = max_rows
        self.prefixes = PrefixTree(prefix_cache_bytes)
        self.n_cacheable_tokens = prefix_cache_bytes // model.layout.bytes_per_token
        self._model = model
        self._eos_ids = frozenset(eos_ids)
        self.clear()

    def clear(self) -> None:
        """Forget the draws under way."""
        self._tiers = RowTiers(self._model.layout)

    @property
    def n_free_rows(self) -> int:
        return self.max_rows - self._tiers.n_rows

    def row_key(self, draw: Draw) -> tuple[int, ...]:
        """Draws with equal keys that join together share a row."""
        return draw.prefix_ids

    @torch.inference_mode()
    def admit(self, draws: Sequence[Draw]) -> None:
        """Let draws join, with at most `n_free_rows` different keys."""
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

    def _look_up(self, prefix: tuple[int, ...]) -> KnownStart:
        return KnownStart(prefix, *self.prefixes.lookup(prefix[:-1]))

    def _join(self, known_starts: list[KnownStart], groups: dict[tuple[int, ...], list[Draw]]) -> None:
        """Begin the history of each prefix, in a row with the keys and values of all ids but the last. The
        prefix is booked on its first draw; the others read it.
        """
        incomplete: list[tuple[History, KnownStart]] = []
        for known in known_starts:
            history = History.begin(groups[known.prefix])
            first, *others = history.draws
            first.n_cached, first.n_prefilled = known.n_cached, len(known.prefix) - known.n_cached
            for draw in others:
                draw.n_cached = len(known.prefix)

            if known.n_missing:
                incomplete.append((history, known))
            else:
                self._tiers.place(history, known.segments)

        # Prefixes of like length go through the model together, which needs the least padding.
        incomplete.sort(key=lambda item: item[1].n_missing)
        while incomplete:
            n_fit = max(1, PREFILL_TOKENS // (incomplete[-1][1].n_missing + 1))
            self._prefill(incomplete[-n_fit:])
            del incomplete[-n_fit:]

    def _prefill(self, incomplete: list[tuple[History, KnownStart]]) -> None:
        """Compute what is missing of some prefixes in one forward pass, give their histories rows, and keep
        the prefixes in the tree.
        """
        new_ids = [known.prefix[known.n_cached : -1] for _, known in incomplete]
        new_segments = self._model.prefill([known.segments for _, known in incomplete], new_ids)
        for (history, known), new in zip(incomplete, new_segments, strict=True):
            row = self._tiers.place(history, [*known.segments, new])
            self._remember(row, known.prefix[:-1])

    @torch.inference_mode()
    def step(self) -> list[Draw]:
        """Give every draw that is not parked one token; returns those that finished."""
        self._tiers.tidy()
        tiers = [tier for tier in self._tiers.tiers if tier.rows]
        places = [row for tier in tiers for row in tier.rows]
        # Idle rows have logits, too, which nobody reads.
        rows = [row for row in places if row is not None]
        numbers = [number for number, row in enumerate(places) if row is not None]
        histories = [row.histories[-1] for row in rows]

        lengths, newest = [0] * len(places), [0] * len(places)
        for number, history in zip(numbers, histories, strict=True):
            lengths[number], newest[number] = history.n_fed, history.next_id
        left = iter(lengths)
        blocks = [(tier.cache, list(islice(left, len(tier.rows)))) for tier in tiers]
        tokens, logprobs = choose_next(histories, numbers, self._model.decode(blocks, newest))

        finished: list[Draw] = []
        start = 0
        for row, history in zip(rows, histories, strict=True):
            end = start + len(history.draws)
            finished += self._advance(row, history, tokens[start:end], logprobs[start:end])
            start = end
        self._unpark(rows)
        return finished

    def _advance(self, row: Row, history: History, tokens: list[int], logprobs: list[float]) -> list[Draw]:
        """Record the token of each draw of a row's history, which forks where they differ. Returns the draws
        that ended.
        """
        if tokens.count(tokens[0]) == len(tokens):
            branches, ended = [history], history.record(tokens[0], logprobs[0], self._eos_ids)
            if not ended:
                return ended
        else:
            branches, ended = history.fork(tokens), []
            for branch, (token, logprob) in zip(
                branches, dict(zip(tokens, logprobs, strict=True)).items(), strict=True
            ):
                ended += branch.record(token, logprob, self._eos_ids)

        # A draw that ended at a stop is a step that a search may continue: it finds the keys and values in
        # the tree.
        if any(draw.finish_reason is FinishReason.STOP for draw in ended):
            self._remember(row, branches[0].ids[:-1])

        # The most draws come last, which keeps the row for them.
        row.histories[-1:] = sorted(
            (branch for branch in branches if branch.draws), key=lambda branch: len(branch.draws)
        )
        if not row.histories:
            row.tier.free(row)
        return ended

    def _unpark(self, rows: Sequence[Row]) -> None:
        """Give parked histories rows of their own, as far as there are free ones."""
        n_free = self.n_free_rows
        for row in rows:
            # First those that were parked first: they have the most left to do.
            while n_free and len(row.histories) > 1:
                self._tiers.fork(row, row.histories[0])
                n_free -= 1

    def drop(self, draw: Draw) -> None:
        """Forget one draw."""
        history = draw.history
        assert history is not None
        history.leave(draw)
        if not history.draws:
            row = next(row for row in self._tiers if history in row.histories)
            row.histories.remove(history)
            if not row.histories:
                row.tier.free(row)

    def _remember(self, row: Row, ids: tuple[int, ...]) -> None:
        """Keep the keys and values of the ids that a row holds in the prefix tree."""
        self.prefixes.insert(ids, lambda start: row.read(start, len(ids)))
