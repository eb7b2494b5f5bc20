"""Draws under way over any causal language model: the slower way, for models that
`data_gen.policies.engine.ragged_model` does not know.

Draws of one length go through the model together, as a group, and keep one length, since every pass gives
each of them a token. Nothing is padded, no prefix is shared, and nothing is kept of a draw that has ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from data_gen.policies.engine.draw import Draw, choose_tokens
from data_gen.policies.engine.plain_model import PlainModel

PREFILL_TOKENS = 4096  # in one forward pass over prefixes
MAX_IDLE_SHARE = 0.5  # of a group's rows, before the others are computed anew without them


@dataclass(eq=False, slots=True)
class Group:
    """Draws of one length, a row each (None: it has ended, and nobody reads its row). `cache` is None where
    all must be computed.
    """

    draws: list[Draw | None]
    cache: Any = None

    @property
    def under_way(self) -> list[Draw]:
        return [draw for draw in self.draws if draw is not None]

    @property
    def length(self) -> int:
        draw = self.under_way[0]
        return len(draw.prefix_ids) + len(draw.token_ids)

    def leave(self, draw: Draw) -> None:
        self.draws[self.draws.index(draw)] = None
        if self.draws.count(None) > MAX_IDLE_SHARE * len(self.draws):
            self.draws[:], self.cache = self.under_way, None


class PlainBatch:
    """What `data_gen.policies.engine.row_batch.RowBatch` does, for `model`. `short_length`: see
    `data_gen.models.forward_settings`.
    """

    def __init__(
        self, model: PlainModel, eos_ids: Sequence[int], max_rows: int, short_length: int | None
    ) -> None:
        self.max_rows = max_rows
        self._model = model
        self._eos_ids = frozenset(eos_ids)
        self._short_length = short_length
        self.clear()

    def clear(self) -> None:
        """Forget the draws under way."""
        self.n_draws = 0
        self._groups: list[Group] = []

    def admit(self, draws: Sequence[Draw]) -> None:
        """Let draws join; at most `max_rows - n_draws` of them."""
        by_length: dict[int, list[Draw]] = {}
        for draw in draws:
            draw.n_prefilled = len(draw.prefix_ids)
            by_length.setdefault(len(draw.prefix_ids), []).append(draw)
        for length, equal in by_length.items():
            n_rows = max(1, PREFILL_TOKENS // length)
            self._groups += [
                Group(list(equal[start : start + n_rows])) for start in range(0, len(equal), n_rows)
            ]
        self.n_draws += len(draws)

    @torch.inference_mode()
    def step(self) -> list[Draw]:
        """Give every draw one token; returns those that finished."""
        finished: list[Draw] = []
        for group in list(self._groups):
            draws, logits = group.under_way, self._logits(group)
            uniforms = torch.tensor([draw.noise.random() for draw in draws], dtype=torch.float64)
            temperatures = torch.tensor([draw.params.temperature for draw in draws])
            tokens, logprobs = choose_tokens(
                logits, uniforms, temperatures, [draw.params.truncation for draw in draws]
            )
            finished += [
                draw
                for draw, token, logprob in zip(draws, tokens, logprobs, strict=True)
                if draw.record(token, logprob, self._eos_ids)
            ]
        for draw in finished:
            self.drop(draw)
        return finished

    def _logits(self, group: Group) -> Float[Tensor, "draw vocabulary"]:
        """Of what follows each draw of the group that is under way."""
        if self._short_length is not None and group.length == self._short_length + 1:
            group.cache = None  # all positions mean something else from here on
        if group.cache is None:
            group.draws[:] = group.under_way
            logits, group.cache = self._model.start(
                [(*draw.prefix_ids, *draw.token_ids) for draw in group.under_way]
            )
            return logits
        logits = self._model.go_on([0 if draw is None else draw.next_id for draw in group.draws], group.cache)
        rows = [row for row, draw in enumerate(group.draws) if draw is not None]
        return logits if len(rows) == len(logits) else logits[torch.tensor(rows, device=logits.device)]

    def drop(self, draw: Draw) -> None:
        """Forget one draw."""
        group = next(group for group in self._groups if draw in group.draws)
        group.leave(draw)
        if not group.under_way:
            self._groups.remove(group)
        self.n_draws -= 1
