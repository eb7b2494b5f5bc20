"""What the draws of a method cost if it is the only one: the same whatever ran before it, in this run or
another, and shares its draws.
"""

from collections.abc import Iterable
from itertools import pairwise

from data_gen.ledger.independence import n_common
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.policies.protocol import Policy
from data_gen.records.draw_keys import DrawKey
from data_gen.records.sampling import Completion, SamplingParams, Usage
from data_gen.records.solutions import Question
from prm_train.scoring.work import Work, passed


class DrawsCost:
    """Of some draws, as if nothing else had been drawn."""

    def __init__(self) -> None:
        self._prefixes = set[tuple[int, ...]]()  # that draws began with
        self._written = set[tuple[int, ...]]()  # prefixes with their draws behind them
        self._n_prefix_tokens = 0  # of all draws
        self._generated = Work()

    def add(self, prefix_ids: tuple[int, ...], draw: Completion) -> None:
        self._prefixes.add(prefix_ids)
        self._written.add(prefix_ids + draw.token_ids)
        self._n_prefix_tokens += len(prefix_ids)
        self._generated += passed(len(prefix_ids), draw.usage.n_generated)

    @property
    def usage(self) -> Usage:
        """Tokens generated; prefilled, each distinct one once; and read from the cache, the other tokens of
        prefixes.

        A prefix that was drawn here itself has been computed but for its last token.
        """
        n_prefilled = self._prefilled.n_tokens
        return Usage(self._generated.n_tokens, n_prefilled, self._n_prefix_tokens - n_prefilled)

    @property
    def work(self) -> Work:
        """Tokens generated and prefilled, and their pairs."""
        return self._generated + self._prefilled

    @property
    def _prefilled(self) -> Work:
        given, own = self._prefixes - self._written, self._prefixes & self._written
        return sum((passed(len(prefix) - 1, 1) for prefix in own), distinct(given))


class MethodPolicy(LedgerPolicy):
    """The policy of one method on one problem: charged for every draw that it asks for, whoever made it.

    `drawn` is shared by the methods of a problem and collects all their draws, each once: what another method
    has drawn is not looked up again. `cost` is that of all draws of this method.

    The draws of every prefix are counted from `first_draw` on: what asks twice for other answers gives two of
    them that are far apart.
    """

    def __init__(
        self,
        policy: Policy,
        ledger: Ledger,
        question: Question,
        drawn: dict[DrawKey, Completion],
        first_draw: int = 0,
    ) -> None:
        super().__init__(policy, ledger, question)
        self._first_draw = first_draw
        self.cost = DrawsCost()
        self._drawn = drawn
        self._charges = list[tuple[int, tuple[int, ...], Completion]]()  # with the index of each

    def key_of(self, prefix_name: bytes, params: SamplingParams, index: int) -> DrawKey:
        return super().key_of(prefix_name, params, self._first_draw + index)

    def known(self, key: DrawKey) -> Completion | None:
        return self._drawn.get(key)

    def charge(self, key: DrawKey, prefix_ids: tuple[int, ...], draw: Completion) -> None:
        super().charge(key, prefix_ids, draw)
        self._drawn[key] = draw
        self._charges.append((key.draw_index - self._first_draw, prefix_ids, draw))
        self.cost.add(prefix_ids, draw)

    def cost_of_first(self, n: int) -> DrawsCost:
        """Of the draws whose index is below `n`, as if there had been no others."""
        cost = DrawsCost()
        for index, prefix_ids, draw in self._charges:
            if index < n:
                cost.add(prefix_ids, draw)
        return cost

    @property
    def usage_alone(self) -> Usage:
        return self.cost.usage

    @property
    def n_pairs(self) -> int:
        """Of the tokens generated and prefilled: see `prm_train.scoring.work.Work`."""
        return self.cost.work.n_pairs


def distinct(sequences: Iterable[tuple[int, ...]]) -> Work:
    """Of the tree of these sequences: what they begin with in common counts once."""
    ordered = sorted(sequences)  # neighbours share most
    shared = [0, *(n_common(one, other) for one, other in pairwise(ordered))]
    pairs = zip(ordered, shared[: len(ordered)], strict=True)
    return sum((passed(n, len(sequence) - n) for sequence, n in pairs), Work())
