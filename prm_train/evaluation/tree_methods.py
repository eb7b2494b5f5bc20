"""Searches in a tree as methods of a report: one for each strategy that ran and each vote among its paths."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prm_train.encoding.aggregation import Aggregation
from prm_train.search.results import ProblemResult, StrategyRun, StrategySettings, TreeStrategyName
from prm_train.search.strategies import TREE_STRATEGIES
from prm_train.search.voting import Vote, is_right, tree_votes, weighted_vote


@dataclass(frozen=True)
class TreeMethod:
    """A strategy with a vote. `n` are the N that it ran with, ascending; `settings` are those of all its
    runs.
    """

    strategy: TreeStrategyName
    vote: Vote
    n: tuple[int, ...]
    settings: StrategySettings

    @property
    def name(self) -> str:
        """The strategy's for its own vote."""
        return (
            self.strategy
            if self.vote == TREE_STRATEGIES[self.strategy].votes[0]
            else f"{self.strategy}_{self.vote}"
        )

    def is_right(self, run: StrategyRun, how: Aggregation) -> bool:
        return is_right(weighted_vote(run.candidates, tree_votes(run.candidates, "prm", how, self.vote)))

    def accuracies(
        self, results: Sequence[ProblemResult], how: Aggregation
    ) -> dict[int, NDArray[np.float64]]:
        """By N, 1.0 for each problem that the vote solved. `how` makes a path's score of its step scores."""
        return {
            n: np.array([float(self.is_right(result.runs_of(self.strategy)[n], how)) for result in results])
            for n in self.n
        }

    @property
    def words(self) -> str:
        """Its settings for a person."""
        settings = self.settings
        scores = f"{settings.aggregation} of the step scores"
        if self.strategy == "particle_filter":
            share = settings.resample_below
            when = (
                "at every step"
                if share == 1
                else f"when fewer than {share:g} of the particles are effective"
                if share
                else "never"
            )
            power = "" if settings.exponent == 1 else f" to the power of {settings.exponent:g}"
            return f"weights by {scores}{power}, resampled {when}"
        vote = " and weighs their votes" if self.vote == "score" else ", also for the vote"
        return f"M = {settings.width}, {scores} ranks paths{vote}"


def tree_methods(result: ProblemResult, more_votes: Sequence[Vote] = ()) -> Iterator[TreeMethod]:
    """Of the searches that a problem was searched with, under the votes of each strategy and `more_votes`."""
    for name, strategy in TREE_STRATEGIES.items():
        runs = result.runs_of(name)
        if runs:
            (settings,) = {run.settings for run in runs.values()}
            for vote in dict.fromkeys((*strategy.votes, *more_votes)):
                yield TreeMethod(name, vote, tuple(sorted(runs)), settings)
