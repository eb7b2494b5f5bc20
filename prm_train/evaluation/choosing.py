"""What choosers achieve, and the settings that validation problems choose for them."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from data_gen.files.stored_record import StoredRecord
from data_gen.grading.pass_at_k import pass_at_k
from prm_train.encoding.aggregation import Aggregation
from prm_train.evaluation.baselines import CHOOSERS, has_measures
from prm_train.evaluation.choosers import (
    Chooser,
    LogprobForm,
    LogprobKind,
    Scores,
    all_alike,
    anyone_right,
    best_by,
    by_logprob,
    scorer_scores,
    vote_by,
)
from prm_train.evaluation.tree_methods import choose_trees
from prm_train.metrics.estimators import block_accuracy
from prm_train.metrics.ranking import auroc
from prm_train.metrics.subsets import best_at_k, vote_at_k
from prm_train.search.results import ProblemResult
from prm_train.strategies.baselines import Baseline
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.voting import Vote, class_of, is_right, logprob_scores, majority_vote

T = TypeVar("T")


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


@dataclass(frozen=True)
class ExpectedAccuracy:
    """Expected accuracy of a selection among k of the candidates of one problem, and how it was found: over
    all subsets of k candidates (`metrics.subsets`), or over the disjoint blocks of k.
    """

    value: float
    method: Literal["subsets", "blocks"]


def expected_accuracy(
    candidates: Sequence[Candidate],
    k: int,
    selection: Literal["pass", "best", "vote"],
    scores: Scores = all_alike,
) -> ExpectedAccuracy:
    """Of pass@k, best-of-k or a weighted vote (by default a majority) under a score.

    Over subsets wherever `metrics.subsets` can: always, but for votes whose weights differ too much; those
    are over blocks. A score must look at nothing but its candidate.
    """
    is_correct = [candidate.is_correct for candidate in candidates]
    if selection == "pass":
        return ExpectedAccuracy(pass_at_k(len(candidates), sum(is_correct), k), "subsets")
    can_be = [
        score if candidate.can_vote else None
        for candidate, score in zip(candidates, scores(candidates), strict=True)
    ]
    if selection == "best":
        return ExpectedAccuracy(best_at_k(can_be, is_correct, k), "subsets")
    answers = [
        None if score is None else class_of(candidate)
        for candidate, score in zip(candidates, can_be, strict=True)
    ]
    found = vote_at_k(answers, [score or 0.0 for score in can_be], is_correct, k)
    if found is not None:
        return ExpectedAccuracy(found, "subsets")
    return ExpectedAccuracy(
        block_accuracy(candidates, k, lambda block: is_right(vote_by(scores, block))), "blocks"
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
    """What validation problems decide: chosen.json beside a report."""

    WRITTEN_BY = "`prm-train evaluate`"

    pass_at_1_temperature: float
    majority: Mapping[int, float]  # N → temperature
    logprob: Mapping[int, tuple[float, LogprobForm]]  # N → temperature and form; empty without log-probs
    logprob_auroc: LogprobKind
    prm_aggregation: Aggregation  # which tells right from wrong samples best
    # prm_weighted and prm_vanilla → N → what makes the weight, or the rank, of a sample of its step scores
    selections: Mapping[str, Mapping[int, Aggregation]] = field(default_factory=dict)
    baselines: Mapping[Baseline, Mapping[int, tuple[float, str]]] = field(
        default_factory=dict
    )  # N → temperature and form
    # strategy → N → spec and vote, of the searches in a tree that validation problems were searched with
    trees: Mapping[str, Mapping[int, tuple[str, Vote]]] = field(default_factory=dict)

    def aggregation(self, method: str, n: int) -> Aggregation:
        """Of `prm_weighted` or `prm_vanilla` at N."""
        return self.selections.get(method, {}).get(n, self.prm_aggregation)

    @property
    def vote_aggregation(self) -> Aggregation:
        """Of the weighted vote at the largest N: for searches in a tree that were not tuned themselves."""
        at = self.selections.get("prm_weighted", {})
        return at[max(at)] if at else self.prm_aggregation

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Every temperature that a method of the test needs."""
        pairs = [pair for at in (self.logprob, *self.baselines.values()) for pair in at.values()]
        return tuple(sorted({self.pass_at_1_temperature, *self.majority.values(), *(t for t, _ in pairs)}))


def has_logprobs(results: Sequence[ProblemResult]) -> bool:
    """Whether the policy said log-probabilities of its samples: a simulated one says 0 for all of them."""
    return any(
        candidate.n_tokens and candidate.logprob_sum != 0
        for result in results
        for candidates in result.samples.values()
        for candidate in candidates
    )


def sample_counts(results: Sequence[ProblemResult]) -> list[int]:
    """The N at which methods are compared: powers of 2 up to the number of candidates."""
    n_samples = len(results[0].scored)
    return [2**i for i in range(n_samples.bit_length()) if 2**i <= n_samples]


def has_scores(results: Sequence[ProblemResult], scorer: str) -> bool:
    """Whether any sample has been scored by it."""
    return any(scorer in candidate.scores for result in results for candidate in result.scored)


def mean_of(values: NDArray[np.float64]) -> float:
    """0 of nothing: of AUROCs where no problem has both right and wrong samples."""
    return float(values.mean()) if values.size else 0.0


def aggregations_by_rank(results: Sequence[ProblemResult]) -> list[Aggregation]:
    """What makes one score of the PRM's step scores; what tells right from wrong samples best comes first."""

    def worth(how: Aggregation) -> float:
        return mean_of(within_problem_aurocs(results, results[0].temperature, scorer_scores("prm", how)))

    return sorted(get_args(Aggregation), key=worth, reverse=True)


def choose_settings(results: Sequence[ProblemResult]) -> Chosen:
    """The settings that are best on validation problems: for the baselines at each N, so that no N is
    compared with a weak baseline.
    """
    scored, temperatures = results[0].temperature, sorted(results[0].samples)

    def best(candidates: Iterable[T], accuracy: Callable[[T], NDArray[np.float64]]) -> T:
        return max(candidates, key=lambda candidate: mean_of(accuracy(candidate)))

    def best_majority(n: int) -> float:
        return best(temperatures, lambda t: accuracies(results, t, majority_vote, n))

    def best_logprob(n: int) -> tuple[float, LogprobForm]:
        forms = [(t, form) for t in temperatures for form in get_args(LogprobForm)]
        return best(forms, lambda form: accuracies(results, form[0], by_logprob(form[1]), n))

    def best_form(name: Baseline, n: int) -> tuple[float, str]:
        forms = [(t, form) for t in temperatures for form in CHOOSERS[name]]
        return best(forms, lambda pair: accuracies(results, pair[0], CHOOSERS[name][pair[1]], n))

    # What ranks best need not weigh best: by their mean, scores differ too little to outvote the majority.
    # Ties go to what ranks best.
    by_rank = aggregations_by_rank(results)

    def best_aggregation(
        choose: Callable[[Scores, Sequence[Candidate]], Candidate | None], n: int
    ) -> Aggregation:
        def accuracy(how: Aggregation) -> NDArray[np.float64]:
            return accuracies(results, scored, partial(choose, scorer_scores("prm", how)), n)

        return best(by_rank, accuracy)

    selections = {"prm_weighted": vote_by, "prm_vanilla": best_by} if has_scores(results, "prm") else {}
    measured = [name for name in CHOOSERS if any(has_measures(name, result.scored) for result in results)]
    with_logprobs = sample_counts(results) if has_logprobs(results) else []
    return Chosen(
        pass_at_1_temperature=best(temperatures, lambda t: accuracies(results, t, anyone_right, 1)),
        majority={n: best_majority(n) for n in sample_counts(results)},
        logprob={n: best_logprob(n) for n in with_logprobs},
        logprob_auroc=best(
            get_args(LogprobKind),
            lambda kind: within_problem_aurocs(results, scored, partial(logprob_scores, form=kind)),
        ),
        prm_aggregation=by_rank[0],
        selections={
            name: {n: best_aggregation(choose, n) for n in sample_counts(results)}
            for name, choose in selections.items()
        },
        baselines={name: {n: best_form(name, n) for n in sample_counts(results)} for name in measured},
        trees=choose_trees(results),
    )
