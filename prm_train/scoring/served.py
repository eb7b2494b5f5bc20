"""The scorer whose model runs behind servers that speak vLLM's `/pooling`: here are its encoding, what its
numbers mean, and the tree of steps.

The life of a request::

    tree.score(node) ── _new ── until_quiet ── _send_wave ── _ask, one request a path ── _answered ── score

A path goes out whole, as token ids, and one request of a PRM brings the scores of all its steps. So of the
steps that a wave asks for, those that other asked ones go on from get no request, and what was scored once is
answered from memory. A server computes every token of every request: vLLM reads no cache of prefixes where it
classifies tokens. That is what `usage` says: all tokens are new, `n_rescored` of them for another time.
Requests that failed and were repeated are not in it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate

from data_gen.policies.servers.pool_of_loop import PoolOfLoop
from data_gen.policies.servers.replicas import Replicas, ServerCounts
from data_gen.policies.servers.requests import RequestSettings
from prm_train.checkpoints.facts import UNCALIBRATED, Calibration
from prm_train.encoding.aggregation import Aggregation
from prm_train.metrics.ranking import sigmoid
from prm_train.scoring.incremental import IncrementalTree, StepEncoding
from prm_train.scoring.pooling import Pooling
from prm_train.scoring.protocol import ScorerUsage
from prm_train.scoring.quiet import until_quiet
from prm_train.scoring.step_cache import StepNode
from prm_train.scoring.work import passed

FULL_WAVE = 256


@dataclass(frozen=True)
class Servers:
    """Where replicas of one model are. `context_length` is the longest path that they and the model read."""

    replicas: Replicas
    settings: RequestSettings
    context_length: int


class ServedScorer:
    """A PRM or ORM behind `servers`: see `prm_train.scoring.protocol.Scorer`. `prm_train.kinds.served` opens
    one.

    Its scores are those of `IncrementalScorer`, from the logits that the servers return. A request that
    fails is repeated; where all attempts fail, ServerError (an InputError) ends the session's scores: there
    is no score for what nobody computed.
    """

    def __init__(
        self,
        servers: Servers,
        pooling: Pooling,
        encoding: StepEncoding,
        *,
        scorer_id: str,
        aggregation: Aggregation = "min",
        calibration: Calibration = UNCALIBRATED,
    ) -> None:
        self.scorer_id, self.scores_steps = scorer_id, pooling.scores_steps
        self.aggregation: Aggregation = aggregation
        self.context_length = servers.context_length
        self.encode_head = encoding.encode_head
        # Samples of one problem often repeat its steps.
        self.encode_step = lru_cache(maxsize=2**14)(encoding.encode_step)
        self._pooling, self._calibration = pooling, calibration
        self._pool = PoolOfLoop(servers.replicas, servers.settings)
        self._waiting: dict[StepNode, list[asyncio.Future[float]]] = {}
        self._new: list[StepNode] = []  # of those, what no request under way will answer
        self._under_way: dict[StepNode, asyncio.Task[None]] = {}  # what will answer each of the others
        self._sender: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def session(self, question: str) -> AsyncIterator[IncrementalTree]:
        """A tree for one question; leaving it ends its requests. Raises PathTooLongError if the question
        alone fills the context.
        """
        tree = IncrementalTree(self, self.encode_head(question))
        try:
            yield tree
        finally:
            tree.close()

    @property
    def server_counts(self) -> ServerCounts:
        return self._pool.counts

    def is_whole(self, n_path_tokens: int) -> bool:
        """Every path is computed from its head on each time."""
        return True

    def request(self, node: StepNode) -> "asyncio.Future[float]":
        """The score of `node` once a server has computed it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[float] = loop.create_future()
        if node not in self._waiting and node not in self._under_way:
            self._new.append(node)
        self._waiting.setdefault(node, []).append(future)
        if self._sender is None or self._sender.done():
            self._sender = loop.create_task(self._send_waves())
        return future

    def forget(self, node: StepNode) -> None:
        """End the requests for a node and all below it."""
        nodes = [node]
        while nodes:
            node = nodes.pop()
            if node in self._under_way:
                self._under_way[node].cancel()
            nodes += node.children.values()

    async def _send_waves(self) -> None:
        while self._new:
            await until_quiet(lambda: len(self._new), FULL_WAVE)
            wave, self._new = self._new, []
            inner = {above for node in wave for above in node.path()[:-1]} if self.scores_steps else ()
            for end in wave:
                if end.tree.is_closed:
                    self._fail([end], _closed())
                elif end not in inner:
                    self._send(end)

    def _send(self, end: StepNode) -> None:
        task = asyncio.create_task(self._ask(end))
        for node in self._answered_by(end):
            self._under_way.setdefault(node, task)
        task.add_done_callback(partial(self._answered, end))

    def _answered_by(self, end: StepNode) -> list[StepNode]:
        """The nodes that a request for the path to `end` gives scores: of an ORM, which reads solutions at
        their ends, that one.
        """
        return end.path()[1:] if self.scores_steps else [end]

    async def _ask(self, end: StepNode) -> None:
        """Scores and usage are written only when a sound reply is there."""
        path = end.path()
        ids = [token for node in path for token in node.token_ids]
        wanted = self._answered_by(end)
        ends = [n - 1 for n in accumulate(len(node.token_ids) for node in path)][-len(wanted) :]
        pool = await self._pool.get()
        found = await pool.post(
            "/pooling",
            self._pooling.request(ids),
            len(ids),
            None,
            sum(ids),
            lambda body: self._pooling.read(body, ids, ends),
        )
        for node, numbers in zip(wanted, found, strict=True):
            # A step that is computed again keeps the score it had: rounding could change the last digits
            if node.score is None:
                node.score = self._score(numbers)
        n_rescored = sum(len(node.token_ids) for node in path if node.is_computed)
        for node in path:
            node.is_computed = True
        end.tree.usage += ScorerUsage(len(ids), 0, n_rescored, passed(0, len(ids)).n_pairs)

    def _score(self, numbers: list[float]) -> float:
        logit = numbers[-1] - numbers[0] if self.scores_steps else numbers[0]
        return float(sigmoid(self._calibration.scale * logit + self._calibration.bias))

    def _answered(self, end: StepNode, task: "asyncio.Task[None]") -> None:
        """Tell those who wait: the scores, or why there are none."""
        nodes = self._answered_by(end)
        own = [node for node in nodes if self._under_way.get(node) is task]
        for node in own:
            del self._under_way[node]
        if task.cancelled():
            self._fail(own, _closed())
        elif (error := task.exception()) is not None:
            self._fail(own, error)
        else:
            for node in nodes:
                for future in self._waiting.pop(node, ()):
                    if not future.done():  # its caller was cancelled
                        assert node.score is not None
                        future.set_result(node.score)

    def _fail(self, nodes: Iterable[StepNode], error: BaseException) -> None:
        for node in nodes:
            for future in self._waiting.pop(node, ()):
                if not future.done():
                    future.set_exception(error)


def _closed() -> RuntimeError:
    return RuntimeError("the scoring session was closed before this score was computed")
