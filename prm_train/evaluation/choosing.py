"""Choosers (samples of a problem → the one that answers), what they achieve, and the settings that validation
problems choose for them.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from data_gen.files.stored_record import StoredRecord
from prm_train.encoding.aggregation import Aggregation
from prm_train.evaluation.tree_methods import choose_trees
from prm_train.metrics.estimators import block_accuracy
from prm_train.metrics.ranking import auroc
from prm_train.search.results import ProblemResult
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.voting import (
    Vote,
    best_of,
    is_right,
    logprob_scores,
    majority_vote,
    path_scores,
    weighted_vote,
)

T = TypeVar("T")
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


def probabilities(form: LogprobKind, candidates: Sequence[Candidate]) -> list[float | None]:
    """`logprob_scores` exponentiated, as the weights of a vote; relative to the highest, so that those of
    long texts do not vanish.
    """
    scores = logprob_scores(candidates, form)
    highest = max((score for score in scores if score is not None), default=0.0)
    return [None if score is None else math.exp(score - highest) for score in scores]


def by_logprob(form: LogprobForm) -> Chooser:
    kind: LogprobKind = "sum" if form.startswith("sum") else "mean"
    if form.endswith("weighted"):
        return partial(vote_by, partial(probabilities, kind))
    return partial(best_by, partial(logprob_scores, form=kind))


def scorer_scores(name: str, how: Aggregation) -> Scores:
    return partial(path_scores, scorer=name, how=how)


def anyone_right(candidates: Sequence[Candidate]) -> Candidate | None:
    """The choice of somebody who knows the answer: pass@N, and of one candidate pass@1."""
    return next((candidate for candidate in candidates if candidate.is_correct), None)


def accuracies(
    results: Sequence[ProblemResult], temperature: float, choose: Chooser, n: int
) -> NDArray[np.float64]:
    """One accuracy a problem: the mean over blocks of `n` candidates of whether the chosen one is right (none
    chosen: wrong).
    """

    return np.array(
        [
            block_accuracy(result.samples[temperature], n, lambda block: is_right(choose(block)))
            for result in results
        ]
    )


def within_problem_aurocs(
    results: Sequence[ProblemResult], temperature: float, scores: Scores
) -> NDArray[np.float64]:
    """AUROC inside each problem that has both right and wrong candidates; without a score a candidate ranks
    last, without a verdict it is left out.
    """
    areas = []
    for result in results:
        candidates = [candidate for candidate in result.samples[temperature] if not candidate.is_unknown]
        ranks = [-math.inf if score is None else score for score in scores(candidates)]
        area = auroc(ranks, [candidate.is_correct for candidate in candidates])
        if area is not None:
            areas.append(area)
    return np.array(areas)


@dataclass(frozen=True)
class Chosen(StoredRecord):
    """What validation problems decide: chosen.json of a quickstart."""

    WRITTEN_BY = "`prm-train quickstart`"

    pass_at_1_temperature: float
    majority: Mapping[int, float]  # N → temperature
    logprob: Mapping[int, tuple[float, LogprobForm]]  # N → temperature and form
    logprob_auroc: LogprobKind
    prm_aggregation: Aggregation
    # strategy → N → spec and vote, of the searches in a tree that validation problems were searched with
    trees: Mapping[str, Mapping[int, tuple[str, Vote]]] = field(default_factory=dict)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Every temperature that a method of the test needs."""
        return tuple(
            sorted(
                {self.pass_at_1_temperature, *self.majority.values(), *(t for t, _ in self.logprob.values())}
            )
        )


def sample_counts(results: Sequence[ProblemResult]) -> list[int]:
    """The N at which methods are compared: powers of 2 up to the number of candidates."""
    n_samples = len(results[0].scored)
    return [2**i for i in range(n_samples.bit_length()) if 2**i <= n_samples]


def choose_settings(results: Sequence[ProblemResult]) -> Chosen:
    """The settings that are best on validation problems: for the baselines at each N, so that no N is
    compared with a weak baseline.
    """
    scored, temperatures = results[0].temperature, sorted(results[0].samples)

    def best(candidates: Iterable[T], accuracy: Callable[[T], NDArray[np.float64]]) -> T:
        return max(candidates, key=lambda candidate: float(accuracy(candidate).mean()))

    def best_majority(n: int) -> float:
        return best(temperatures, lambda t: accuracies(results, t, majority_vote, n))

    def best_logprob(n: int) -> tuple[float, LogprobForm]:
        forms = [(t, form) for t in temperatures for form in get_args(LogprobForm)]
        return best(forms, lambda form: accuracies(results, form[0], by_logprob(form[1]), n))

    return Chosen(
        pass_at_1_temperature=best(temperatures, lambda t: accuracies(results, t, anyone_right, 1)),
        majority={n: best_majority(n) for n in sample_counts(results)},
        logprob={n: best_logprob(n) for n in sample_counts(results)},
        logprob_auroc=best(
            get_args(LogprobKind),
            lambda kind: within_problem_aurocs(results, scored, partial(logprob_scores, form=kind)),
        ),
        prm_aggregation=best(
            get_args(Aggregation),
            lambda how: within_problem_aurocs(results, scored, scorer_scores("prm", how)),
        ),
        trees=choose_trees(results),
    )
