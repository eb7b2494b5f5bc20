"""One tree of scores for all methods that are tried on a question: what one of them has had scored, the next
ones read. Each is charged as if it had scored alone, so its cost does not depend on what ran before it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Protocol

from data_gen.records.chats import Message
from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.protocol import ChatScorer, CountedTree, Scorer, ScorerUsage, ScoringTree
from prm_train.scoring.quiet import until_quiet
from prm_train.scoring.work import passed


class _Tree(ScoringTree, CountedTree, Protocol):
    """A tree that says what its paths cost."""


class SharedScorer:
    """`async with SharedScorer(scorer) as shared:` is a scorer for one question, whose sessions share a tree.

    `usage` is what the scorer has computed. A scorer whose trees do not say what a path costs
    (`CountedTree`) gets a tree for each session.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer_id, self.scores_steps = scorer.scorer_id, scorer.scores_steps
        self.aggregation: Aggregation = scorer.aggregation
        self.sees_attempts = isinstance(scorer, ChatScorer) and scorer.sees_attempts
        self._scorer, self._stack = scorer, AsyncExitStack()
        self._tree: ScoringTree | None = None
        self._usage_of_others = ScorerUsage()

    async def __aenter__(self) -> "SharedScorer":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def usage(self) -> ScorerUsage:
        return self._usage_of_others + (self._tree.usage if self._tree is not None else ScorerUsage())

    @asynccontextmanager
    async def session(self, question: str) -> AsyncIterator[ScoringTree]:
        """Raises PathTooLongError if the question alone fills the scorer's context."""
        if self._tree is None:
            self._tree = await self._stack.enter_async_context(self._scorer.session(question))
        if isinstance(self._tree, CountedTree):
            yield MethodTree(self._tree)
            return
        async with self._scorer.session(question) as tree:
            yield tree
            self._usage_of_others += tree.usage

    @asynccontextmanager
    async def chat_session(self, messages: Sequence[Message]) -> AsyncIterator[ScoringTree]:
        """A tree of its own: no other method shows the scorer these attempts. Raises ValueError for a scorer
        that was not trained to see any.
        """
        if not isinstance(self._scorer, ChatScorer):
            raise ValueError(f"scorer {self.scorer_id}: cannot be shown earlier attempts")
        async with self._scorer.chat_session(messages) as tree:
            try:
                yield tree
            finally:
                self._usage_of_others += tree.usage


class MethodTree:
    """The shared tree as one method sees it; `usage` is what the method would have cost alone.

    It follows from what the method asks for, not from which score came first. Where a path is computed whole,
    the steps of one that are asked for side by side cost it once, so its end is computed first.
    """

    def __init__(self, shared: _Tree) -> None:
        self.root, self.usage = shared.root, ScorerUsage()
        self._shared = shared
        self._paths: dict[Any, tuple[Any, ...]] = {self.root: (self.root,)}  # from the root to each node
        self._computed = set[Any]()
        self._asked = dict[Any, Any]()  # side by side, until they are charged: then by the end of their path

    def extend(self, parent: Any, step: str) -> Any:
        node = self._shared.extend(parent, step)
        if node not in self._paths:
            self._paths[node] = (*self._paths[parent], node)
        return node

    async def score(self, node: Any) -> float:
        # The shared tree refuses what has no score
        if node in self._paths and node is not self.root and node not in self._computed:
            path = self._paths[node]
            if len(self._shared.path_tokens(path)) < len(path):
                await self._shared.score(await self._end_behind(node))
            else:
                self._charge(path)
        return await self._shared.score(node)

    async def _end_behind(self, node: Any) -> Any:
        """The last step that is asked for of a path through `node`, once nobody asks for more."""
        asked = self._asked
        asked[node] = node
        await until_quiet(lambda: len(asked))
        if asked is self._asked:
            self._asked = {}
            inner = {above for each in asked for above in self._paths[each][:-1]}
            for end in [each for each in asked if each not in inner]:
                self._charge(self._paths[end])
                asked.update((above, end) for above in self._paths[end] if above in asked)
        return asked[node]

    def path_tokens(self, nodes: Sequence[Any]) -> tuple[int, ...]:
        """See `prm_train.scoring.protocol.CountedTree`."""
        return self._shared.path_tokens(nodes)

    def _charge(self, path: tuple[Any, ...]) -> None:
        """For the nodes of a path that the method has not had computed; they are its last ones."""
        n_known = next((i for i, node in enumerate(path) if node not in self._computed), len(path))
        if n_known == len(path):
            return
        self._computed.update(path[n_known:])
        sizes = self._shared.path_tokens(path)
        if len(sizes) < len(path):  # one number: the path is computed whole
            n_rescored = sum(self._shared.path_tokens(path[:n_known])) if n_known else 0
            self.usage += ScorerUsage(sizes[0], 0, n_rescored, passed(0, sizes[0]).n_pairs)
            return
        n_before, n_new = sum(sizes[:n_known]), sum(sizes[n_known:])
        self.usage += ScorerUsage(n_new, n_before, 0, passed(n_before, n_new).n_pairs)
