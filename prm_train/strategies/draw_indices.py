"""Which draws of a prefix a strategy has used: a draw is known by its prefix and its index, and equal indices
are equal draws.

A strategy that comes back to a prefix (two subtrees that took the same steps, copies of a particle) would be
given the same draws again, and count one piece of evidence twice. Within one run of a strategy each index of
a prefix is therefore handed out once. Other runs on the same problem (other strategies, another N) begin at 0
again, and so share their draws in the ledger.
"""

from collections import Counter


class DrawIndices:
    """Of one run of a strategy on one problem."""

    def __init__(self) -> None:
        self._n_used = Counter[tuple[int, ...]]()

    def take(self, prefix_ids: tuple[int, ...], n: int) -> range:
        """The next `n` indices of a prefix that nobody has taken."""
        first = self._n_used[prefix_ids]
        self._n_used[prefix_ids] += n
        return range(first, first + n)
