"""The nodes of a tree of steps, and the keys and values of those that were scored, kept within a byte
budget.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from data_gen.models.cache_size import SCORER_SHARE, default_cache_bytes, free_bytes
from prm_train.scoring.step_model import KVLayout


@dataclass(eq=False, slots=True)
class StepNode:
    """A step of a tree, or its head, which is the question (`parent` is None).

    `token_ids` are the step's own, `n_path_tokens` counts those from the head to the end of this step.
    `score` is None until it is computed; `is_computed` says that the tokens have been through the model.
    """

    tree: Any
    parent: "StepNode | None"
    token_ids: tuple[int, ...]
    n_path_tokens: int
    score: float | None = None
    is_computed: bool = False
    children: dict[str, "StepNode"] = field(default_factory=dict)

    def path(self) -> "list[StepNode]":
        """From the head down to this node."""
        nodes = [self]
        while nodes[-1].parent is not None:
            nodes.append(nodes[-1].parent)
        return nodes[::-1]


class StepCache:
    """Packed keys and values by node; the least recently used leaves make room for new ones.

    Whoever uses a node uses its ancestors, and `touch` marks them as used after it. So the oldest entry never
    has a cached child, and the ancestors of a cached node are always cached. Nodes that the coming wave reads
    are pinned: they are not evicted.
    """

    def __init__(self, max_bytes: int, bytes_per_token: int) -> None:
        self.max_bytes = max_bytes
        self.bytes_per_token = bytes_per_token
        self.n_bytes = 0
        self._entries: OrderedDict[StepNode, Tensor] = OrderedDict()  # least recently used first
        self._pinned: set[StepNode] = set()

    def __contains__(self, node: StepNode) -> bool:
        return node in self._entries

    def path(self, node: StepNode | None) -> list[Tensor]:
        """The segments from the head to the end of `node`, which must be cached."""
        segments = []
        while node is not None:
            segments.append(self._entries[node])
            node = node.parent
        return segments[::-1]

    def unpin(self) -> None:
        """Everything may be evicted again."""
        self._pinned.clear()

    def touch(self, node: StepNode | None) -> None:
        """Mark a cached node and its ancestors as used now, and keep them until `unpin`."""
        while node is not None:
            self._entries.move_to_end(node)
            self._pinned.add(node)
            node = node.parent

    def make_room(self, n_tokens: int) -> bool:
        """Evict until `n_tokens` more fit; False where pinned nodes are in the way."""
        n_wanted = n_tokens * self.bytes_per_token
        if n_wanted > self.max_bytes:
            return False
        while self.n_bytes + n_wanted > self.max_bytes:
            oldest = next(iter(self._entries))
            if oldest in self._pinned:
                return False
            self.discard(oldest)
        return True

    def store(
        self, nodes: Sequence[StepNode], segments: Sequence[Float[Tensor, "token token_width"]]
    ) -> None:
        """Keep the segments of nodes of which each is the parent of the next. `make_room` must have been
        called first.
        """
        # Copies, since a segment is a view that would keep the memory of its whole batch.
        for node, segment in zip(nodes, segments, strict=True):
            self._entries[node] = segment.clone()
            self.n_bytes += len(segment) * self.bytes_per_token
        self.touch(nodes[-1])

    def discard(self, node: StepNode) -> None:
        """Drop the entry of a node, if there is one."""
        segment = self._entries.pop(node, None)
        if segment is not None:
            self.n_bytes -= len(segment) * self.bytes_per_token


def new_step_cache(layout: KVLayout | None, max_bytes: int | None) -> StepCache:
    """The cache of a model with this layout (None: it computes whole paths, and nothing is ever kept), of
    `max_bytes`, or of the scorer's share of the memory that is free now.
    """
    if layout is None:
        return StepCache(0, 1)
    if max_bytes is None:
        max_bytes = default_cache_bytes(layout.bytes_per_token, SCORER_SHARE, free_bytes(layout.device))
    return StepCache(max_bytes, layout.bytes_per_token)
