"""The scorer that computes every distinct token of a tree of steps once, where the model's cache allows it.

The life of a request::

    tree.score(node) ── _requests ── until_quiet ── _next_wave ── _compute, batch by batch ── _answer ── score
                            ▲                                                                       │
                            └── not in this wave: waits for keys and values, or the wave was full ──┘

What all open sessions ask for while the model is busy goes into the next wave together
(`prm_train.scoring.wave` shows one). A wave gives each requested step a row; rows of like length go through
the model in one batch, which computes only the new tokens and reads the head only at the ends of steps. So 64
candidates of one problem are 64 rows in a few waves. `prm_train.scoring.step_model` is the forward pass,
`prm_train.scoring.step_cache` keeps the keys and values.

Not here: which paths to extend (`prm_train.search`), and how the scores of a path become one
(`prm_train.encoding.aggregation`).
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from itertools import chain
from typing import Protocol

from transformers import PreTrainedModel

from data_gen.records.chats import Message
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import UNCALIBRATED, Calibration
from prm_train.encoding.aggregation import Aggregation
from prm_train.encoding.paths import ScorerEncoding
from prm_train.scoring.protocol import PathTooLongError, ScorerUsage
from prm_train.scoring.quiet import until_quiet
from prm_train.scoring.step_cache import StepNode, new_step_cache
from prm_train.scoring.step_model import StepModel
from prm_train.scoring.wave import Row, Wave
from prm_train.scoring.work import passed

# A wave of several batches can be sorted by length before it is cut, which needs less padding.
BATCHES_PER_WAVE = 4
# So many requests are computed without waiting for more.
FULL_WAVE = 256


class StepEncoding(Protocol):
    """The part of `prm_train.encoding.paths` that the scorer needs. The ids of a step end with the marker at
    which its score is read.
    """

    def encode_head(self, question: str) -> tuple[int, ...]: ...

    def encode_step(self, step: str) -> tuple[int, ...]: ...


class TreeScorer(Protocol):
    """What a tree asks of its scorer: `request` promises the score of a node, `forget` ends what is kept or
    under way for a node and all below it.
    """

    @property
    def context_length(self) -> int: ...

    def encode_step(self, step: str, /) -> tuple[int, ...]: ...

    def is_whole(self, n_path_tokens: int, /) -> bool: ...

    def request(self, node: StepNode) -> "asyncio.Future[float]": ...

    def forget(self, node: StepNode) -> None: ...


class IncrementalTree:
    """A session's tree: see `prm_train.scoring.protocol.ScoringTree`."""

    def __init__(self, scorer: TreeScorer, head_ids: tuple[int, ...]) -> None:
        self.usage = ScorerUsage()
        self.is_closed = False
        self._scorer = scorer
        self.root = self._new_node(None, head_ids)

    def extend(self, parent: StepNode, step: str) -> StepNode:
        """The child of `parent` with this step.

        Raises ValueError if the step is blank or the node is another tree's, PathTooLongError if the path
        outgrows the model's context.
        """
        self._check(parent)
        child = parent.children.get(step)
        if child is None:
            if not step.strip():
                raise ValueError(
                    f"step {step!r}: got a blank step, expected text (a separator at the end of a solution "
                    "is not a step)"
                )
            child = parent.children[step] = self._new_node(parent, self.encode_child(parent, step))
        return child

    def encode_child(self, parent: StepNode, step: str) -> tuple[int, ...]:
        """The ids of `step` behind those of `parent`. In this project's encoding they are the same behind
        every parent.
        """
        return self._scorer.encode_step(step)

    async def score(self, node: StepNode) -> float:
        """The score in [0, 1] at the end of `node`; for an ORM, of the path that ends here as a finished
        solution.
        """
        self._check(node)
        if node.parent is None:
            raise ValueError(
                "got the root, expected a node that `extend` returned: the question alone has no score"
            )
        if node.score is None:
            return await self._scorer.request(node)
        return node.score

    def path_tokens(self, nodes: Sequence[StepNode]) -> tuple[int, ...]:
        """See `prm_train.scoring.protocol.CountedTree`."""
        n_tokens = nodes[-1].n_path_tokens
        return (
            (n_tokens,) if self._scorer.is_whole(n_tokens) else tuple(len(node.token_ids) for node in nodes)
        )

    def close(self) -> None:
        self.is_closed = True
        self._scorer.forget(self.root)

    def _new_node(self, parent: StepNode | None, token_ids: tuple[int, ...]) -> StepNode:
        n_path_tokens = len(token_ids) + (parent.n_path_tokens if parent else 0)
        if n_path_tokens > self._scorer.context_length:
            raise PathTooLongError(
                f"path of {n_path_tokens} tokens: longer than the scorer's context of "
                f"{self._scorer.context_length}"
            )
        return StepNode(self, parent, token_ids, n_path_tokens)

    def _check(self, node: StepNode) -> None:
        if self.is_closed:
            raise RuntimeError("the scoring session is closed")
        if node.tree is not self:
            raise ValueError("got a node of another session's tree, expected one of this tree")


class IncrementalScorer:
    """A PRM (token classification, two classes) or ORM (sequence classification, one class) that scores trees
    of steps.

    A PRM's score is the calibrated sigmoid of z1 - z0 at the marker that ends a step, an ORM's of z at the
    marker that ends the solution.

    `cache_bytes` bounds the keys and values kept for all sessions together (None: see
    `data_gen.models.cache_size`). What is evicted is computed again when needed, and counted as new.
    `max_batch_tokens` bounds rows x (past + new tokens) of a batch, padding included; a single row may exceed
    it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        encoding: StepEncoding,
        *,
        scorer_id: str,
        aggregation: Aggregation = "min",
        calibration: Calibration = UNCALIBRATED,
        cache_bytes: int | None = None,
        max_batch_tokens: int = 4096,
    ) -> None:
        if max_batch_tokens < 1:
            raise ValueError(f"max_batch_tokens: got {max_batch_tokens}, expected at least 1")
        if cache_bytes is not None and cache_bytes < 0:
            raise ValueError(
                f"cache_bytes: got {cache_bytes}, expected 0 (keep nothing between batches) or more"
            )
        self.scorer_id = scorer_id
        self.aggregation = aggregation
        self.sees_attempts = False  # an ORM that was trained on chains of attempts does
        self.max_batch_tokens = max_batch_tokens

        self._encoding = encoding
        self.encode_head = encoding.encode_head
        # Samples of one problem often repeat its steps.
        self.encode_step = lru_cache(maxsize=2**14)(encoding.encode_step)

        self.model, self._model = model, StepModel(model, calibration)
        self.scores_steps = self._model.scores_steps
        self.context_length = self._model.context_length
        self.is_whole = self._model.is_whole
        self._cache = new_step_cache(self._model.layout, cache_bytes)

        # In the order in which they came: the first are the first to be computed.
        self._requests: dict[StepNode, list[asyncio.Future[float]]] = {}
        self._scheduler: asyncio.Task[None] | None = None

    @property
    def n_cached_bytes(self) -> int:
        return self._cache.n_bytes

    @asynccontextmanager
    async def session(self, question: str) -> AsyncIterator[IncrementalTree]:
        """A tree for one question; leaving it frees what it cached. Raises ValueError if the question alone
        fills the context.
        """
        tree = self.new_tree(question)
        try:
            yield tree
        finally:
            tree.close()

    def new_tree(self, question: str) -> IncrementalTree:
        return IncrementalTree(self, self.encode_head(question))

    @asynccontextmanager
    async def chat_session(self, messages: Sequence[Message]) -> AsyncIterator[IncrementalTree]:
        """A tree behind a chat that shows more than the question: a verifier of revisions sees the earlier
        attempts too.

        `data_gen.records.chats` says how such a chat is laid out. Raises InputError for scorers of other
        projects, whose encodings know no chats.
        """
        if not isinstance(self._encoding, ScorerEncoding):
            raise InputError(
                f"{type(self._encoding).__name__} encodes questions; expected a scorer that `train-orm` wrote"
            )
        tree = IncrementalTree(self, self._encoding.encode_chat(messages))
        try:
            yield tree
        finally:
            tree.close()

    def request(self, node: StepNode) -> "asyncio.Future[float]":
        """The score of `node` once a batch has computed it. The task that computes scores lives as long as
        there are requests.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[float] = loop.create_future()
        self._requests.setdefault(node, []).append(future)
        if self._scheduler is None or self._scheduler.done():
            self._scheduler = loop.create_task(self._run())
            self._scheduler.add_done_callback(self._fail_unanswered)
        return future

    def forget(self, node: StepNode) -> None:
        """Drop what is cached of a node and all below it."""
        nodes = [node]
        while nodes:
            node = nodes.pop()
            self._cache.discard(node)
            nodes += node.children.values()

    async def _run(self) -> None:
        while self._requests:
            await until_quiet(lambda: len(self._requests), FULL_WAVE)
            for batch in self._next_wave().batches(self.max_batch_tokens):
                self._compute(batch)
            self._answer()

    def _fail_unanswered(self, scheduler: "asyncio.Task[None]") -> None:
        """If the task failed or was cancelled, so are all open requests: otherwise their callers would wait
        for ever.
        """
        error = None if scheduler.cancelled() else scheduler.exception()
        if error is None and not scheduler.cancelled():
            return

        for future in chain.from_iterable(self._requests.values()):
            if error is None:
                future.cancel()
            elif not future.done():
                future.set_exception(error)
        self._requests.clear()

    def _answer(self) -> None:
        """Answer the requests whose scores are there, refuse those whose session was closed, keep the others
        that are still wanted.
        """
        requests, self._requests = self._requests, {}
        for node, futures in requests.items():
            # The future of a caller who was cancelled is done.
            wanted = [future for future in futures if not future.done()]
            if node.score is not None:
                for future in wanted:
                    future.set_result(node.score)
            elif node.tree.is_closed:
                for future in wanted:
                    future.set_exception(
                        RuntimeError("the scoring session was closed before this score was computed")
                    )
            elif wanted:
                self._requests[node] = wanted

    def _next_wave(self) -> Wave:
        """Rows for the first requests, up to `BATCHES_PER_WAVE` batches of tokens."""
        self._cache.unpin()
        # Between two waves sessions are closed and callers cancelled: their requests go first.
        self._answer()

        wave = Wave(self._model, self._cache)
        for node in self._requests:
            wave.add(node)
            if wave.n_tokens >= BATCHES_PER_WAVE * self.max_batch_tokens:
                break
        return wave

    def _compute(self, batch: Sequence[Row]) -> None:
        """One forward pass over the rows; scores, cache and usage are written only when it is done."""
        pasts = [self._cache.path(row.past) for row in batch]
        ids = [[token for node in row.nodes for token in node.token_ids] for row in batch]
        scored = [self._scored(row) for row in batch]
        ends = [
            [node.n_path_tokens - row.n_past - 1 for node in nodes]
            for row, nodes in zip(batch, scored, strict=True)
        ]

        scores, packed = self._model.forward(pasts, ids, ends)

        for row, nodes, row_scores, segments in zip(batch, scored, scores, packed, strict=True):
            for node, score in zip(nodes, row_scores, strict=True):
                # A step that is computed again after an eviction keeps the score it had: rounding could
                # change the last digits.
                if node.score is None:
                    node.score = score
            if row.n_kept:
                kept = row.nodes[: row.n_kept]
                sizes = [len(node.token_ids) for node in kept]
                self._cache.store(kept, segments[: sum(sizes)].split(sizes))
            self._count_usage(row)

    def _scored(self, row: Row) -> list[StepNode]:
        """The nodes of the row that this pass gives scores: all but the head, which has none.

        In a long row of a LongRoPE model the positions of its short beginnings mean something else than in a
        row of their own, so those get no score from it.
        """
        is_long = self._model.is_long(row.n_tokens)
        return [
            node
            for node in row.nodes
            if node.parent is not None and self._model.is_long(node.n_path_tokens) == is_long
        ]

    def _count_usage(self, row: Row) -> None:
        is_whole = self._model.is_whole(row.n_tokens)
        n_rescored = sum(len(node.token_ids) for node in row.nodes if node.is_computed) if is_whole else 0
        for node in row.nodes:
            node.is_computed = True
        row.nodes[0].tree.usage += ScorerUsage(
            n_new=row.n_new,
            n_reused=row.n_past,
            n_rescored=n_rescored,
            n_pairs=passed(row.n_past, row.n_new).n_pairs,
        )
