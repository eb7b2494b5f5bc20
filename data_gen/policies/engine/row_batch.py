"""The batch of draws under way: every step gives each row one token, finished rows leave at once and new ones take their places.

A draw joins with the keys and values of all its prefix but the last id, which is fed in the next step together with everybody's. Draws of
one prefix share a row until its logits are there, and fork then. So a prefix is computed once however many draws are made from it, and a
draw that continues a known prefix by its last token costs no computation of its own before its first step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from data_gen.policies.engine.draw import Draw, choose_tokens
from data_gen.policies.engine.key_value_rows import KeyValueRows
from data_gen.policies.engine.prefix_tree import PrefixTree, Segment, n_common
from data_gen.policies.engine.ragged_model import RaggedModel
from data_gen.records.sampling import FinishReason

WORTH_WAITING_TOKENS = 16  # saved by a prefix that waits for one that it shares them with
PREFILL_TOKENS = 4096  # padded tokens in one forward pass over prefixes
SMALLEST_TIER = 64  # positions
MAX_IDLE_SHARE = 0.125  # of the rows, before the others close ranks


@dataclass(eq=False, slots=True)
class Tier:
    """The rows of one capacity, and the draws in them (None: an idle row, whose results nobody reads)."""

    cache: KeyValueRows
    draws: list[Draw | None] = field(default_factory=list)
    idle: list[int] = field(default_factory=list)

    def put(self, draw: Draw) -> None:
        if self.idle:
            draw.row = self.idle.pop()
            self.draws[draw.row] = draw
        else:
            draw.row = len(self.draws)
            self.draws.append(draw)
            self.cache.reserve(len(self.draws))

    def free(self, draw: Draw) -> None:
        self.draws[draw.row] = None
        self.idle.append(draw.row)

    def close_ranks(self) -> None:
        """Move the last rows into the idle ones."""
        n_rows = len(self.draws) - len(self.idle)
        last = [draw for draw in self.draws[n_rows:] if draw is not None]
        del self.draws[n_rows:]
        targets = [row for row in self.idle if row < n_rows]
        self.idle = []
        for draw, row in zip(last, targets, strict=True):
            self.cache.copy_row(self.cache, draw.row, row)
            self.draws[row], draw.row = draw, row


class RowBatch:
    """Draws under way over one model. `prefix_cache_bytes` bounds what is kept of prefixes between draws.

    Rows are kept in tiers of capacity 64, 128, 256, …, and move on as they grow: a few long draws do not make all the others pay for
    attention over their length.
    """

    def __init__(self, model: RaggedModel, eos_ids: Sequence[int], max_rows: int, prefix_cache_bytes: int) -> None:
        self.max_rows = max_rows
        self.prefixes = PrefixTree(prefix_cache_bytes)
        self._model = model
        self._eos_ids = frozenset(eos_ids)
        self.clear()

    def clear(self) -> None:
        """Forget the draws under way."""
        self.n_draws = 0
        self._tiers: list[Tier] = []
        self._tier_of: dict[Draw, Tier] = {}  # of each draw that has a row
        self._forks: list[tuple[Draw, list[Draw]]] = []  # draws that wait for the first logits of another of the same prefix

    @torch.inference_mode()
    def admit(self, draws: Sequence[Draw]) -> None:
        """Let draws join; at most `max_rows - n_draws` of them."""
        groups: dict[tuple[int, ...], list[Draw]] = {}
        for draw in draws:
            groups.setdefault(draw.prefix_ids, []).append(draw)
        ordered = sorted(groups, reverse=True)  # a prefix comes after those that begin with it
        waiting = self._join(ordered, groups, may_wait=True)
        self._join(waiting, groups, may_wait=False)
        self.n_draws += len(draws)

    def _join(self, prefixes: list[tuple[int, ...]], groups: dict[tuple[int, ...], list[Draw]], *, may_wait: bool) -> list[tuple[int, ...]]:
        """Place the first draw of each group, with the keys and values of all its prefix but the last id; the others fork from it.

        Returns the prefixes that wait, since after the others are computed they find much more of themselves in the tree.
        """
        incomplete: list[tuple[Draw, list[Segment]]] = []
        waiting: list[tuple[int, ...]] = []
        for prefix in prefixes:
            leader, *others = groups[prefix]
            n_cached, segments = self.prefixes.lookup(prefix[:-1])
            if n_cached < len(prefix) - 1 and incomplete and may_wait:
                n_shared = n_common(prefix[:-1], incomplete[-1][0].prefix_ids[:-1])  # in this order the nearest one shares most
                if n_shared >= min(n_cached + WORTH_WAITING_TOKENS, len(prefix) - 1):
                    waiting.append(prefix)
                    continue
            leader.n_cached, leader.n_prefilled = n_cached, len(prefix) - n_cached
            for draw in others:
                draw.n_cached = len(prefix)
            if others:
                self._forks.append((leader, others))
            if leader.n_prefilled > 1:
                incomplete.append((leader, segments))
            else:
                self._place(leader, segments)
        incomplete.sort(key=lambda item: item[0].n_prefilled)
        while incomplete:
            n_fit = max(1, PREFILL_TOKENS // incomplete[-1][0].n_prefilled)
            self._prefill(incomplete[-n_fit:])
            del incomplete[-n_fit:]
        return waiting

    def _prefill(self, incomplete: list[tuple[Draw, list[Segment]]]) -> None:
        new_ids = [leader.prefix_ids[leader.n_cached : -1] for leader, _ in incomplete]
        new_segments = self._model.prefill([segments for _, segments in incomplete], new_ids)
        for (leader, segments), new in zip(incomplete, new_segments, strict=True):
            self._place(leader, [*segments, new])
            self._remember(leader)

    def _place(self, draw: Draw, segments: list[Segment]) -> None:
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
                tier.close_ranks()
        forks, self._forks = self._forks, []
        draws, logits = self._decode(forks)
        uniforms = torch.tensor([draw.noise.random() for draw in draws], dtype=torch.float64)
        temperatures = torch.tensor([draw.params.temperature for draw in draws])
        tokens, logprobs = choose_tokens(logits, uniforms, temperatures, [draw.params.truncation for draw in draws])
        finished = [
            draw for draw, token, logprob in zip(draws, tokens, logprobs, strict=True) if draw.record(token, logprob, self._eos_ids)
        ]
        for leader, others in forks:
            self._fork(leader, [draw for draw in others if draw.finish_reason is None])
        for draw in finished:
            if draw.finish_reason is FinishReason.STOP:
                self._remember(draw)  # a search that continues this step will compute it no second time
            self.drop(draw)
        return finished

    def _decode(self, forks: list[tuple[Draw, list[Draw]]]) -> tuple[list[Draw], Float[Tensor, "draw vocabulary"]]:
        """All draws and the logits of what follows them; those of a fork have the logits of the draw that they wait for."""
        tiers = [tier for tier in self._tiers if tier.draws]
        rows = [draw for tier in tiers for draw in tier.draws]
        blocks = [(tier.cache, [0 if draw is None else draw.n_fed for draw in tier.draws]) for tier in tiers]
        logits = self._model.decode(blocks, [0 if draw is None else draw.next_id for draw in rows])
        row_of = {draw: row for row, draw in enumerate(rows) if draw is not None}
        for draw in row_of:
            draw.n_fed += 1
        draws, origins = list(row_of), list(row_of.values())
        for leader, others in forks:
            draws += others
            origins += [row_of[leader]] * len(others)
        if len(draws) == len(rows) and not forks:
            return draws, logits
        return draws, logits[torch.tensor(origins, device=logits.device)]

    def drop(self, draw: Draw) -> None:
        """Forget one draw."""
        if draw in self._tier_of:  # not one that ended with its first token, before it had a row
            self._free(draw)
        self.n_draws -= 1

    def _put(self, draw: Draw, tier: Tier) -> None:
        tier.put(draw)
        self._tier_of[draw] = tier

    def _free(self, draw: Draw) -> None:
        self._tier_of.pop(draw).free(draw)

    def _promote(self, tier: Tier) -> None:
        """Move rows that are full to the next tier."""
        for draw in [draw for draw in tier.draws if draw is not None and draw.n_fed == tier.cache.capacity]:
            target, row = self._tier(draw.n_fed), draw.row
            self._free(draw)
            self._put(draw, target)
            target.cache.copy_row(tier.cache, row, draw.row)

    def _fork(self, leader: Draw, others: list[Draw]) -> None:
        """Give draws of one prefix rows of their own, copied from the one that computed it."""
        tier = self._tier_of[leader]
        for draw in others:
            draw.n_fed = leader.n_fed
            self._put(draw, tier)
            tier.cache.copy_row(tier.cache, leader.row, draw.row)

    def _remember(self, draw: Draw) -> None:
        """Keep the keys and values of all ids of a draw that were fed."""
        tier, row, end = self._tier_of.get(draw), draw.row, draw.n_fed
        if tier is None:  # it ended with its first token, before it had a row
            return
        self.prefixes.insert((*draw.prefix_ids, *draw.token_ids)[:end], lambda start: tier.cache.read(row, start, end))
