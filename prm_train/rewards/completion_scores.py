"""Scores of the steps of a batch of completions in one call: completions of one question share a tree, so
each distinct token is computed once, and all trees share the scorer's waves.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from data_gen.process.event_loops import run_apart
from data_gen.settings.errors import InputError
from prm_train.encoding.aggregation import aggregate
from prm_train.scoring.protocol import Scorer, ScorerUsage, ScoringTree

logger = logging.getLogger(__name__)
NO_STEP = "no step"


@dataclass(frozen=True)
class CompletionScores:
    """Of one completion: of a PRM a score in [0, 1] for each step, of an ORM one for its end; or why there
    are none. A score that failed is unknown, and so is the completion's: there is no 0 for it.
    """

    scores: tuple[float, ...] = ()
    failure: str | None = None


@dataclass(frozen=True)
class ScoredBatch:
    completions: tuple[CompletionScores, ...]
    usage: ScorerUsage


def score_completions(
    scorer: Scorer, questions: Sequence[str], solutions: Sequence[Sequence[str]]
) -> ScoredBatch:
    """`solutions[i]` are the step texts, without separators, of a completion for `questions[i]`. What cannot
    be scored (no step, too long for the scorer, its server gone) says so, and holds up no other.
    """
    return run_apart(gather_scores(scorer, questions, solutions))


def whole_score(scorer: Scorer, scored: CompletionScores) -> float | None:
    """The score of the completion as a whole, by the scorer's aggregation; None where it failed."""
    return None if scored.failure else aggregate(scored.scores, scorer.aggregation)


async def gather_scores(
    scorer: Scorer, questions: Sequence[str], solutions: Sequence[Sequence[str]]
) -> ScoredBatch:
    """`score_completions` for callers in an event loop; calls that run side by side share waves, too."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, (question, steps) in enumerate(zip(questions, solutions, strict=True)):
        if steps:
            places[question].append(place)
    scored = [CompletionScores(failure=NO_STEP)] * len(questions)

    async def score_question(question: str, own: list[int]) -> ScorerUsage:
        found, usage = await _score_question(scorer, question, [solutions[place] for place in own])
        for place, each in zip(own, found, strict=True):
            scored[place] = each
        return usage

    usages = await asyncio.gather(*(score_question(*each) for each in places.items()))
    failures = Counter(each.failure for each in scored if each.failure)
    if failures.total() > failures[NO_STEP]:  # a scorer that is gone would go unseen: nothing is learnt
        told = ", ".join(f"{reason} {n}" for reason, n in failures.most_common())
        logger.warning("no scores for %d of %d completions: %s", failures.total(), len(scored), told)
    return ScoredBatch(tuple(scored), sum(usages, ScorerUsage()))


async def _score_question(
    scorer: Scorer, question: str, solutions: Sequence[Sequence[str]]
) -> tuple[list[CompletionScores], ScorerUsage]:
    async with AsyncExitStack() as stack:
        try:
            tree = await stack.enter_async_context(scorer.session(question))
        except InputError as error:  # a question that is too long
            return [CompletionScores(failure=_reason(error))] * len(solutions), ScorerUsage()
        found = await asyncio.gather(*(_score_path(tree, steps, scorer.scores_steps) for steps in solutions))
        return found, tree.usage


async def _score_path(tree: ScoringTree, steps: Sequence[str], scores_steps: bool) -> CompletionScores:
    try:
        nodes: list[Any] = [tree.root]
        for step in steps:
            nodes.append(tree.extend(nodes[-1], step))
        await tree.score(nodes[-1])  # its ancestors are scored on the way
        asked = nodes[1:] if scores_steps else nodes[-1:]
        return CompletionScores(tuple([await tree.score(node) for node in asked]))
    except InputError as error:
        return CompletionScores(failure=_reason(error))


def _reason(error: InputError) -> str:
    """What is counted: the kind of fault, without the numbers of this completion."""
    return type(error).__name__.removesuffix("Error")
