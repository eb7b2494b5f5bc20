"""A scorer that claims no more than what held-out solutions have shown: a remedy against searches that find
the scores which are too high by mistake.

Each score is replaced by a lower bound of the chance that a step with such a score is right:

    bins     held-out scores in bins of about as many labels each, counted when the scorer was trained or
             calibrated (`Reliability` in its config.json)
    bound    the lower end of the one-sided Wilson interval (Wilson 1927) of a bin's share of right labels
    repair   a bin gets the highest bound of the bins up to it: chances are taken to rise with the score, so
             what bounds them for a lower score bounds them for a higher one

All scores of a bin become one number. What held-out data cannot tell apart, a search cannot either: ties go
to the earliest draw, which is the policy's choice and not the best of many errors. The price is that true
differences within a bin are lost.

The labels of a question depend on each other, so the number of questions in a bin counts as its number of
trials. Soft labels vary less than the binomial says, so for them the bound is low rather than high. Bounds
hold for paths like the held-out ones; a search hard enough finds others.
"""

from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import accumulate
from statistics import NormalDist
from typing import Any

from data_gen.records.chats import Message
from data_gen.records.draw_keys import content_hash
from prm_train.checkpoints.calibration import Reliability, ScoreBin
from prm_train.encoding.aggregation import Aggregation
from prm_train.metrics.estimators import wilson_ends
from prm_train.scoring.protocol import ChatScorer, CountedTree, Scorer, ScorerUsage, ScoringTree


def lower_bounds(bins: Sequence[ScoreBin], confidence: float) -> list[float]:
    """One a bin, none below the one before it."""
    z = NormalDist().inv_cdf(confidence)  # of one side
    lows = (wilson_ends(each.share_right, each.n_questions, z)[0] for each in bins)
    return list(accumulate(lows, max))


class CautiousScorer:
    """`scorer` with the lower bounds of its scores."""

    def __init__(self, scorer: Scorer, reliability: Reliability, confidence: float) -> None:
        self._scorer = scorer
        self._lows = [each.low for each in reliability.bins]
        self._bounds = lower_bounds(reliability.bins, confidence)
        self.scores_steps = scorer.scores_steps
        self.aggregation: Aggregation = scorer.aggregation
        self.sees_attempts = isinstance(scorer, ChatScorer) and scorer.sees_attempts
        self.scorer_id = content_hash("cautious", scorer.scorer_id, self._lows, self._bounds)

    def bound(self, score: float) -> float:
        return self._bounds[bisect_right(self._lows, score) - 1]

    @asynccontextmanager
    async def session(self, question: str) -> AsyncIterator["CautiousTree"]:
        async with self._scorer.session(question) as tree:
            yield self._cautious(tree)

    @asynccontextmanager
    async def chat_session(self, messages: Sequence[Message]) -> AsyncIterator["CautiousTree"]:
        """Raises ValueError for a scorer that was not trained to see attempts."""
        if not isinstance(self._scorer, ChatScorer):
            raise ValueError(f"scorer {self.scorer_id}: cannot be shown earlier attempts")
        async with self._scorer.chat_session(messages) as tree:
            yield self._cautious(tree)

    def _cautious(self, tree: ScoringTree) -> "CautiousTree":
        return (CountedCautiousTree if isinstance(tree, CountedTree) else CautiousTree)(self, tree)


class CautiousTree:
    """See `prm_train.scoring.protocol.ScoringTree`; nodes and costs are those of the tree behind it."""

    def __init__(self, scorer: CautiousScorer, tree: Any) -> None:
        self.root: Any = tree.root
        self.usage: ScorerUsage = tree.usage
        self._scorer, self._tree = scorer, tree

    def extend(self, parent: Any, step: str) -> Any:
        return self._tree.extend(parent, step)

    async def score(self, node: Any) -> float:
        """The lower bound for the score at the end of the node's step."""
        score = await self._tree.score(node)
        self.usage = self._tree.usage
        return self._scorer.bound(score)


class CountedCautiousTree(CautiousTree):
    """Of a tree that says what its paths cost."""

    def path_tokens(self, nodes: Sequence[Any]) -> tuple[int, ...]:
        """See `prm_train.scoring.protocol.CountedTree`."""
        sizes: tuple[int, ...] = self._tree.path_tokens(nodes)
        return sizes
