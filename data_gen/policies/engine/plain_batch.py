"""Draws under way over any causal language model: the slower way, for models that
`data_gen.policies.engine.ragged_model` does not know.

Draws of one length go through the model together, as a group, and keep one length, since every pass gives
each of them a token. Nothing is padded, no prefix is shared, and nothing is kept of a draw that has ended:
here every draw has a history of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from data_gen.policies.engine.draw import Draw, History
from data_gen.policies.engine.plain_model import PlainModel
from data_gen.policies.engine.token_choice import choose_next

PREFILL_TOKENS = 4096  # in one forward pass over prefixes
MAX_IDLE_SHARE = 0.5  # of a group's rows, before the others are computed anew without them


@dataclass(eq=False, slots=True)
class Group:
    """Histories of one length, a row each (None: its draw has ended, and nobody reads its row). `cache` is
    None where all must be computed.
    """

    rows: list[History | None]
    cache: Any = None

    @property
    def under_way(self) -> list[History]:
        return [history for history in self.rows if history is not None]

    @property
    def length(self) -> int:
        return self.under_way[0].n_fed + 1

    def leave(self, history: History) -> None:
        self.rows[self.rows.index(history)] = None
        if self.rows.count(None) > MAX_IDLE_SHARE * len(self.rows):
            self.rows[:], self.cache = self.under_way, None


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
        self._groups: list[Group] = []

    @property
    def n_free_rows(self) -> int:
        return self.max_rows - sum(len(group.under_way) for group in self._groups)

    def row_key(self, draw: Draw) -> Draw:
        """Every draw takes a row of its own."""
        return draw

    def admit(self, draws: Sequence[Draw]) -> None:
        """Let draws join; at most `n_free_rows` of them."""
        by_length: dict[int, list[History]] = {}
        for draw in draws:
            draw.n_prefilled = len(draw.prefix_ids)
            by_length.setdefault(len(draw.prefix_ids), []).append(History.begin([draw]))
        for length, equal in by_length.items():
            n_rows = max(1, PREFILL_TOKENS // length)
            self._groups += [
                Group(list(equal[start : start + n_rows])) for start in range(0, len(equal), n_rows)
            ]

    @torch.inference_mode()
    def step(self) -> list[Draw]:
        """Give every draw one token; returns those that finished."""
        finished: list[Draw] = []
        for group in list(self._groups):
            histories, logits = group.under_way, self._logits(group)
            tokens, logprobs = choose_next(histories, range(len(histories)), logits)
            for history, token, logprob in zip(histories, tokens, logprobs, strict=True):
                ended = history.record(token, logprob, self._eos_ids)
                if ended:
                    finished += ended
                    self._leave(group, history)
        return finished

    def _logits(self, group: Group) -> Float[Tensor, "draw vocabulary"]:
        """Of what follows each draw of the group that is under way."""
        if self._short_length is not None and group.length == self._short_length + 1:
            group.cache = None  # all positions mean something else from here on
        if group.cache is None:
            group.rows[:] = group.under_way
            logits, group.cache = self._model.start([history.ids for history in group.under_way])
            return logits
        logits = self._model.go_on(
            [0 if history is None else history.next_id for history in group.rows], group.cache
        )
        rows = [row for row, history in enumerate(group.rows) if history is not None]
        return logits if len(rows) == len(logits) else logits[torch.tensor(rows, device=logits.device)]

    def drop(self, draw: Draw) -> None:
        """Forget one draw."""
        history = draw.history
        assert history is not None
        history.leave(draw)
        self._leave(next(group for group in self._groups if history in group.rows), history)

    def _leave(self, group: Group, history: History) -> None:
        group.leave(history)
        if not group.under_way:
            self._groups.remove(group)
