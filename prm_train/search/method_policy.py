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
from data_gen.records.sampling import Completion, Usage
from data_gen.records.solutions import Question


class MethodPolicy(LedgerPolicy):
    """The policy of one method on one problem: charged for every draw that it asks for, whoever made it.

    `drawn` is shared by the methods of a problem and collects what all their draws cost when they were made,
    each once.
    """

    def __init__(
        self, policy: Policy, ledger: Ledger, question: Question, drawn: dict[DrawKey, Usage]
    ) -> None:
        super().__init__(policy, ledger, question)
        self._drawn = drawn
        self._prefixes = set[tuple[int, ...]]()  # that draws began with
        self._written = set[tuple[int, ...]]()  # prefixes with their draws behind them
        self._n_prefix_tokens = 0  # of all draws

    def charge(self, key: DrawKey, prefix_ids: tuple[int, ...], draw: Completion) -> None:
        super().charge(key, prefix_ids, draw)
        self._drawn[key] = draw.usage
        self._prefixes.add(prefix_ids)
        self._written.add(prefix_ids + draw.token_ids)
        self._n_prefix_tokens += len(prefix_ids)

    @property
    def usage_alone(self) -> Usage:
        """Tokens generated; prefilled, each distinct one once; and read from the cache, the other tokens of
        prefixes.

        A prefix that the method wrote itself has been computed but for its last token.
        """
        given, own = self._prefixes - self._written, self._prefixes & self._written
        n_prefilled = n_distinct(given) + len(own)
        return Usage(self.usage.n_generated, n_prefilled, self._n_prefix_tokens - n_prefilled)


def n_distinct(sequences: Iterable[tuple[int, ...]]) -> int:
    """Tokens of the tree of these sequences: what they begin with in common counts once."""
    ordered = sorted(sequences)  # neighbours share most
    return sum(map(len, ordered)) - sum(n_common(one, other) for one, other in pairwise(ordered))
