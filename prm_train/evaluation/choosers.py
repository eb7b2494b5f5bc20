"""Choosers: from the samples of a problem to the one that answers."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from prm_train.encoding.aggregation import Aggregation
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.voting import best_of, logprob_scores, path_scores, weighted_vote

Scores = Callable[[Sequence[Candidate]], list[float | None]]
Chooser = Callable[[Sequence[Candidate]], Candidate | None]
LogprobKind = Literal["sum", "mean"]
LogprobForm = Literal["sum, best", "mean, best", "sum, weighted", "mean, weighted"]


def best_by(score: Scores, candidates: Sequence[Candidate]) -> Candidate | None:
    """Vanilla best-of-N under a score."""
    return best_of(candidates, score(candidates))


def vote_by(score: Scores, candidates: Sequence[Candidate]) -> Candidate | None:
    """Weighted best-of-N under a score."""
    return weighted_vote(candidates, score(candidates))


def relative_exp(scores: Scores) -> Scores:
    """Log-probabilities exponentiated, as the weights of a vote; relative to the highest, so that those of
    long texts do not vanish.
    """

    def weights(candidates: Sequence[Candidate]) -> list[float | None]:
        logs = scores(candidates)
        highest = max((log for log in logs if log is not None), default=0.0)
        return [None if log is None else math.exp(log - highest) for log in logs]

    return weights


def by_logprob(form: LogprobForm) -> Chooser:
    kind: LogprobKind = "sum" if form.startswith("sum") else "mean"
    scores: Scores = partial(logprob_scores, form=kind)
    return partial(vote_by, relative_exp(scores)) if form.endswith("weighted") else partial(best_by, scores)


def all_alike(candidates: Sequence[Candidate]) -> list[float | None]:
    """One vote each."""
    return [1.0] * len(candidates)


def scorer_scores(name: str, how: Aggregation) -> Scores:
    return partial(path_scores, scorer=name, how=how)


def anyone_right(candidates: Sequence[Candidate]) -> Candidate | None:
    """The choice of somebody who knows the answer: pass@N, and of one candidate pass@1."""
    return next((candidate for candidate in candidates if candidate.is_correct), None)
