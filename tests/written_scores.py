"""A scorer whose scores the test writes down."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.protocol import PathTooLongError, ScorerUsage

TOO_LONG = "!"  # a step that does not fit


class WrittenScores:
    """A PRM that gives each step the score that stands for its text, and 0.5 to others."""

    scorer_id, scores_steps = "written", True
    aggregation: Aggregation = "min"
    root, usage = "", ScorerUsage()

    def __init__(self, scores: Mapping[str, float]) -> None:
        self.scores = scores

    @asynccontextmanager
    async def session(self, question: str) -> AsyncIterator["WrittenScores"]:
        yield self

    def extend(self, parent: str, step: str) -> str:
        if step == TOO_LONG:
            raise PathTooLongError("too long")
        return step

    async def score(self, node: str) -> float:
        return self.scores.get(node, 0.5)
