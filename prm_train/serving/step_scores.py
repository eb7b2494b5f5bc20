"""Scores of steps as replies hold them: a step that has no score is null, with the reason, and never 0."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from data_gen.policies.servers.http_requests import BadRequestError
from data_gen.policies.servers.server_errors import ServerError
from data_gen.settings.errors import InputError
from prm_train.encoding.aggregation import Aggregation, aggregate
from prm_train.scoring.protocol import Scorer, ScorerUsage, ScoringTree
from prm_train.serving.answering import BEHIND_FAILED
from prm_train.serving.chats import Asked, scorer_for
from prm_train.serving.operations.accounts import charge

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepScore:
    """A score in [0, 1], or why there is none."""

    score: float | None
    failure: str | None = None


@dataclass(frozen=True)
class PathScores:
    """Of one solution: of a PRM a score for each step, of an ORM one for its end."""

    scores: tuple[StepScore, ...]
    aggregation: Aggregation
    usage: ScorerUsage

    @property
    def score(self) -> float | None:
        """Of the whole path; unknown where a step's is."""
        known = [each.score for each in self.scores if each.score is not None]
        return aggregate(known, self.aggregation) if known and len(known) == len(self.scores) else None

    @property
    def failures(self) -> list[dict[str, Any]]:
        return [
            {"index": place, "reason": each.failure}
            for place, each in enumerate(self.scores)
            if each.failure is not None
        ]


def open_tree(scorer: Scorer, asked: Asked) -> AbstractAsyncContextManager[ScoringTree]:
    """Raises BadRequestError for a chat that the scorer cannot read; entering it, too, for one too long."""
    return scorer_for(scorer, asked).session(asked.question.question)


async def score_path(scorer: Scorer, asked: Asked, steps: Sequence[str]) -> PathScores:
    """Charges what was computed, also for a client that goes away. Raises BadRequestError where the scorer
    cannot read what was asked.
    """
    try:
        async with open_tree(scorer, asked) as tree:
            try:
                found = await _score_path(tree, steps, scorer.scores_steps)
            finally:
                charge(tree.usage.n_new)
            return PathScores(tuple(found), scorer.aggregation, tree.usage)
    except InputError as error:
        raise BadRequestError(str(error)) from error


async def _score_path(tree: ScoringTree, steps: Sequence[str], scores_steps: bool) -> list[StepScore]:
    nodes, failure = [tree.root], None
    for place, step in enumerate(steps):
        try:
            nodes.append(tree.extend(nodes[-1], step))
        except ValueError as error:  # a blank step, or one beyond the context
            failure = f"step {place}: {error}"
            break
    if not scores_steps:
        return [StepScore(None, failure)] if failure else await score_nodes(tree, nodes[-1:])
    found = await score_nodes(tree, nodes[1:])
    return found + [StepScore(None, failure)] * (len(steps) - len(found))


async def score_nodes(tree: ScoringTree, nodes: Sequence[Any]) -> list[StepScore]:
    """Side by side, so that they are computed together."""
    return list(await asyncio.gather(*(_score_node(tree, node) for node in nodes)))


async def _score_node(tree: ScoringTree, node: Any) -> StepScore:
    try:
        return StepScore(await tree.score(node))
    except ServerError as error:
        logger.warning("%s", error)
        return StepScore(None, BEHIND_FAILED)
    except InputError as error:
        return StepScore(None, str(error))
    except Exception as error:
        # Whatever it is, this score is unknown, and the reply says so; the log has the rest
        logger.exception("no score for a step")
        return StepScore(None, f"the scorer failed: {type(error).__name__}")
