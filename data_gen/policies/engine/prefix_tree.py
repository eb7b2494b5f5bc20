"""Keys and values of prefixes that were computed before, kept within a byte budget. A look-up gives the
longest known start of a prefix.

An example: after (7, 8, 9) and (7, 8, 5) were inserted, the tree is::

    root ── (7, 8, 9)
                 └─ (5)     a child at offset 2: it continues the first two ids of its parent's segment

so the keys and values of (7, 8) are stored once, and `lookup((7, 8, 5, 1))` gives 3 known ids in two
segments.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Optional

import torch
from jaxtyping import Float
from torch import Tensor


class Segment(NamedTuple):
    """Keys and values of consecutive tokens, laid out as decoding reads them fastest."""

    keys: Float[Tensor, "layer head dim token"]
    values: Float[Tensor, "layer head token dim"]

    @property
    def n_bytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes

    def first(self, n_tokens: int) -> "Segment":
        return Segment(self.keys[..., :n_tokens], self.values[..., :n_tokens, :])


@dataclass(eq=False, slots=True)
class _Node:
    """Ids that follow the first `offset` ids of the parent's segment, and their keys and values."""

    parent: Optional["_Node"]
    offset: int
    token_ids: tuple[int, ...]
    segment: Segment
    children: dict[tuple[int, int], "_Node"] = field(default_factory=dict)  # (offset, first id) → child


class PrefixTree:
    """A tree of token ids that stores what its paths share once. A child may branch off inside its parent's
    segment.

    Beyond `max_bytes` the segment that was used least recently is dropped. A segment with children is never
    that one, since whoever uses a child uses its parents too, and they are marked after it.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes: got {max_bytes}, expected 0 (keep nothing) or more")
        self.max_bytes = max_bytes
        self.n_bytes = 0
        nothing = torch.empty(0, 0, 0, 0)
        self._root = _Node(None, 0, (), Segment(nothing, nothing))
        # All nodes but the root, the least recently used first.
        self._by_last_use: OrderedDict[_Node, None] = OrderedDict()

    def lookup(self, token_ids: tuple[int, ...]) -> tuple[int, list[Segment]]:
        """How many of the first ids are known, and their keys and values, one segment after another."""
        path, n_known = self._longest_path(token_ids)
        segments = [node.segment if n == len(node.token_ids) else node.segment.first(n) for node, n in path]
        return n_known, segments

    def insert(self, token_ids: tuple[int, ...], read: Callable[[int], Segment]) -> None:
        """Keep what is not known yet of `token_ids`: `read(start)` copies the keys and values from that id
        on.
        """
        path, n_known = self._longest_path(token_ids)
        if n_known == len(token_ids) or not self.max_bytes:
            return

        parent, offset = path[-1] if path else (self._root, 0)
        node = _Node(parent, offset, token_ids[n_known:], segment := read(n_known))
        parent.children[offset, node.token_ids[0]] = node

        # The new node first, then those above it: a parent is always more recently used than its children.
        self._by_last_use[node] = None
        self._touch(path)

        self.n_bytes += segment.n_bytes
        while self.n_bytes > self.max_bytes:
            self._evict()

    def _longest_path(self, token_ids: tuple[int, ...]) -> tuple[list[tuple[_Node, int]], int]:
        """The nodes that spell the longest known start of `token_ids`, each with how many of its ids are
        used.
        """
        path: list[tuple[_Node, int]] = []
        node, n_used, n_known = self._root, 0, 0
        while n_known < len(token_ids):
            child = node.children.get((n_used, token_ids[n_known]))
            if child is None:
                break
            # Where only a part of the child's ids match, the next look-up among its children asks at that
            # offset.
            node, n_used = (
                child,
                n_common(child.token_ids, token_ids[n_known : n_known + len(child.token_ids)]),
            )
            n_known += n_used
            path.append((node, n_used))
        self._touch(path)
        return path, n_known

    def _touch(self, path: list[tuple[_Node, int]]) -> None:
        # Parents last, so that the least recently used node is never a parent.
        for node, _ in reversed(path):
            self._by_last_use.move_to_end(node)

    def _evict(self) -> None:
        node, _ = self._by_last_use.popitem(last=False)
        assert node.parent is not None
        assert not node.children
        del node.parent.children[node.offset, node.token_ids[0]]
        self.n_bytes -= node.segment.n_bytes


def n_common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Length of the common start."""
    if a == b:
        return len(a)
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
