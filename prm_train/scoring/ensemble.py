"""Several scorers as one, for a cautious score: a path that one of them takes for right by mistake, the
others may not (Coste et al. 2023, "Reward Model Ensembles Help Mitigate Overoptimization").

Each scorer keeps its own tree, so each computes every distinct token once, as it would alone; what an
ensemble costs is the sum. Errors that all share (same rows, same base model) stay.
"""

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal, assert_never

from data_gen.process.side_by_side import side_by_side
from data_gen.records.draw_keys import content_hash
from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.protocol import Scorer, ScorerUsage, ScoringTree

Combination = Literal["mean", "min", "mean_minus_std"]


def combine(scores: Sequence[float], how: Combination, n_std: float = 1.0) -> float:
    """One score in [0, 1] of those of several scorers. mean_minus_std: `n_std` standard deviations (of these
    scores, not an estimate for others) below their mean, 0 at the lowest; of two scores, 1 gives the lower.
    """
    mean = math.fsum(scores) / len(scores)
    match how:
        case "mean":
            return mean
        case "min":
            return min(scores)
        case "mean_minus_std":
            variance = math.fsum((score - mean) ** 2 for score in scores) / len(scores)
            return max(0.0, mean - n_std * math.sqrt(variance))
        case _:
            assert_never(how)


class EnsembleScorer:
    """Gives each step the combined score of `scorers`, which are all PRMs or all ORMs.

    `aggregation` of None is theirs. Raises ValueError for scorers that do not go together.
    """

    def __init__(
        self,
        scorers: Sequence[Scorer],
        how: Combination = "mean",
        *,
        n_std: float = 1.0,
        aggregation: Aggregation | None = None,
    ) -> None:
        if not scorers:
            raise ValueError("ensemble: got no scorer, expected at least one")
        if len({scorer.scores_steps for scorer in scorers}) > 1:
            raise ValueError("ensemble: got PRMs and ORMs, expected one kind")
        if not 0 <= n_std < math.inf:
            raise ValueError(f"ensemble: got n_std {n_std}, expected 0 or more")
        found = sorted({scorer.aggregation for scorer in scorers})
        if aggregation is None and len(found) > 1:
            raise ValueError(
                f"ensemble: got scorers that aggregate by {', '.join(found)}, expected one way or "
                "`aggregation` to name it"
            )
        self.scorers, self.how, self.n_std = tuple(scorers), how, n_std
        self.scores_steps = scorers[0].scores_steps
        self.aggregation: Aggregation = aggregation or scorers[0].aggregation
        knobs = [how, n_std] if how == "mean_minus_std" else [how]
        self.scorer_id = content_hash("ensemble", [scorer.scorer_id for scorer in scorers], *knobs)

    @asynccontextmanager
    async def session(self, question: str) -> AsyncIterator["EnsembleTree"]:
        """A tree of each scorer for one question."""
        async with AsyncExitStack() as stack:
            trees = [await stack.enter_async_context(scorer.session(question)) for scorer in self.scorers]
            yield EnsembleTree(self, trees)

    def ids(self, name: str) -> dict[str, str]:
        """What the scorer under `name` is made of: its own id, and those of its scorers, numbered from 1."""
        own = {f"{name}.{number}": each.scorer_id for number, each in enumerate(self.scorers, 1)}
        return {name: self.scorer_id, **own}


def scorer_ids(name: str, scorer: Scorer) -> dict[str, str]:
    """The id of a scorer, and of an ensemble's those that it is made of, by names that begin with `name`."""
    return scorer.ids(name) if isinstance(scorer, EnsembleScorer) else {name: scorer.scorer_id}


class EnsembleTree:
    """A session's trees, one a scorer: see `prm_train.scoring.protocol.ScoringTree`. A node is the tuple of
    theirs.
    """

    def __init__(self, scorer: EnsembleScorer, trees: Sequence[ScoringTree]) -> None:
        self.root: Any = tuple(tree.root for tree in trees)
        self.usage = ScorerUsage()
        self._scorer, self._trees = scorer, trees

    def extend(self, parent: Any, step: str) -> Any:
        """The child of `parent` with this step. Raises PathTooLongError if one of the scorers does."""
        return tuple(tree.extend(node, step) for tree, node in zip(self._trees, parent, strict=True))

    async def score(self, node: Any) -> float:
        """The combined score in [0, 1] at the end of the node's step."""
        scores = await side_by_side(tree.score(own) for tree, own in zip(self._trees, node, strict=True))
        self.usage = sum((tree.usage for tree in self._trees), ScorerUsage())
        return combine(scores, self._scorer.how, self._scorer.n_std)
