"""`prm-train benchmark best-of-n`: what a scorer chooses among frozen candidates (`candidate_sets`).

    best       the candidate with the highest score (vanilla best-of-N); of equally high ones a random one, so
               that the order of the file decides nothing
    weighted   the answer whose candidates score most in sum; answers are one where they are written alike
               (`answer_key`), for there is no grader here
    majority   the most frequent answer, without a scorer
    any right  pass@N, the ceiling of every choice
    one        a candidate at random: pass@1

Accuracy at N is the mean over the disjoint blocks of N candidates of a problem (of pass@N the unbiased
estimate), then over problems; `first` is that of the first N alone, as others report it. A candidate that is
unfinished, states no answer or has no score is never chosen; none chosen is wrong. Intervals are 95 % bootstrap
intervals over problems, those of differences paired; where all problems agree, as wide as Wilson's.

In RewardBench 2 nothing can be voted for, and the right candidates stand first: there `best of all` chooses
among all candidates of a row. Its subset Ties has a score of its own, which is not computed here, and is left
out of the mean over subsets.
"""  # noqa: E501

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_gen.files.bad_rows import Skipped
from data_gen.grading.pass_at_k import pass_at_k
from data_gen.settings.errors import InputError
from prm_train.benchmarking.candidate_sets import STORED, CandidateSet, read_candidate_set
from prm_train.benchmarking.measures import Floats, Measured, Resamples, percent
from prm_train.benchmarking.rows import Attempt, files_of, read_file
from prm_train.benchmarking.scored import Scored
from prm_train.benchmarking.settings import BenchmarkConfig
from prm_train.encoding.aggregation import aggregate
from prm_train.metrics.estimators import Interval, blocks
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.voting import is_right, majority_vote, weighted_vote

TIES = "Ties"
Scores = Sequence[float | None]
Method = Callable[[Sequence[Candidate], Scores], float]


@dataclass(frozen=True)
class AtN:
    """Accuracy from blocks of N candidates, and from the first N alone."""

    accuracy: Interval
    first: float


def best(candidates: Sequence[Candidate], scores: Scores) -> float:
    """The share of right ones among the candidates with the highest score."""
    able = [
        (score, candidate.is_correct)
        for candidate, score in zip(candidates, scores, strict=True)
        if score is not None and candidate.can_vote
    ]
    highest = max((score for score, _ in able), default=math.nan)
    top = [is_correct for score, is_correct in able if score == highest]
    return sum(top) / len(top) if top else 0.0


def weighted(candidates: Sequence[Candidate], scores: Scores) -> float:
    return float(is_right(weighted_vote(candidates, scores)))


def majority(candidates: Sequence[Candidate], scores: Scores) -> float:
    return float(is_right(majority_vote(candidates)))


@dataclass(frozen=True)
class BestOfN:
    sets: Sequence[CandidateSet]
    config: BenchmarkConfig
    needs_steps: bool = False
    needs_scorer: bool = False

    @property
    def n_measured(self) -> int:
        return len(self.sets)

    @property
    def attempts(self) -> list[Attempt]:
        return [attempt for each in self.sets for attempt in each.attempts if attempt is not None]

    @property
    def has_scores(self) -> bool:
        """Whether the file itself holds a score of each candidate."""
        return all(STORED in candidate.scores for each in self.sets for candidate in each.candidates)

    @property
    def sizes(self) -> list[int]:
        """The N to measure at. Raises InputError for one that a problem has not as many candidates for."""
        least = min(self.sets, key=lambda each: len(each.candidates))
        n_least = len(least.candidates)
        if self.config.n and max(self.config.n) > n_least:
            raise InputError(
                f"n: got {max(self.config.n)}, but problem {least.problem_id} has {n_least} candidates; "
                f"expected at most {n_least}"
            )
        return list(self.config.n) or [2**i for i in range(n_least.bit_length())]

    @property
    def has_answers(self) -> bool:
        return all(each.has_answers for each in self.sets)

    def measure(self, found: Scored) -> Measured:
        is_scored = bool(found.by_attempt) or self.has_scores
        scores = [self._scores(each, found) for each in self.sets]
        resamples = Resamples([each.question for each in self.sets], self.config.seed)
        one = np.array([np.mean([each.is_correct for each in own.candidates]) for own in self.sets])
        measures: dict[str, Any] = {
            "n_candidates": sum(len(each.candidates) for each in self.sets),
            "n_unknown": sum(candidate.is_unknown for each in self.sets for candidate in each.candidates),
            "n_without_score": sum(score is None for own in scores for score in own) if is_scored else 0,
            "one": resamples.mean(one),
        }
        if self.has_answers:
            measures |= self._by_size(scores, is_scored, resamples)
        else:
            measures |= self._among_all(scores, is_scored, resamples)
        return Measured(
            measures, self._predictions(scores, found), "\n".join(_lines(measures, len(self.sets)))
        )

    def _by_size(self, scores: Sequence[Scores], is_scored: bool, resamples: Resamples) -> dict[str, Any]:
        scorers: dict[str, Method] = {"best": best, "weighted": weighted} if is_scored else {}
        methods: dict[str, Method] = {**scorers, "majority": majority}
        values = {name: self._values(method, scores) for name, method in methods.items()}
        at = {name: {n: _at(own[n], resamples) for n in own} for name, own in values.items()}
        differences = {
            name: {n: _difference(values[name][n], values["majority"][n], resamples) for n in self.sizes}
            for name in scorers
        }
        return {"at": at | {"any right": self._pass_at(resamples)}, "minus_majority": differences}

    def _among_all(self, scores: Sequence[Scores], is_scored: bool, resamples: Resamples) -> dict[str, Any]:
        if not is_scored:
            raise InputError("checkpoint: got none, and no scores; expected a scorer of candidates to choose")
        if self.config.n:
            raise InputError("n: has no effect on chosen and rejected candidates; expected it to be left out")
        right = np.array([best(each.candidates, own) for each, own in zip(self.sets, scores, strict=True)])
        subsets = np.array([each.subset for each in self.sets])
        by_subset = {name: float(right[subsets == name].mean()) for name in dict.fromkeys(subsets.tolist())}
        kept = [value for name, value in by_subset.items() if name != TIES]
        mean = {"mean_over_subsets": float(np.mean(kept))} if len(by_subset) > 1 and kept else {}
        return {"best_of_all": resamples.mean(right), "by_subset": by_subset} | mean

    def _scores(self, own: CandidateSet, found: Scored) -> list[float | None]:
        if found.by_attempt:
            return [None if attempt is None else found.whole(attempt) for attempt in own.attempts]
        return [
            aggregate(each.scores[STORED], found.aggregation) if each.scores else None
            for each in own.candidates
        ]

    def _values(self, method: Method, scores: Sequence[Scores]) -> dict[int, tuple[Floats, Floats]]:
        """By N for each problem the mean over blocks, and the first block."""
        found = {}
        for n in self.sizes:
            rows = [
                [
                    method(some, some_scores)
                    for some, some_scores in zip(blocks(each.candidates, n), blocks(own, n), strict=True)
                ]
                for each, own in zip(self.sets, scores, strict=True)
            ]
            found[n] = np.array([np.mean(row) for row in rows]), np.array([row[0] for row in rows])
        return found

    def _pass_at(self, resamples: Resamples) -> dict[int, AtN]:
        found = {}
        for n in self.sizes:
            rates = [
                pass_at_k(len(each.candidates), sum(own.is_correct for own in each.candidates), n)
                for each in self.sets
            ]
            first = [any(own.is_correct for own in each.candidates[:n]) for each in self.sets]
            found[n] = AtN(resamples.mean(np.array(rates)), float(np.mean(first)))
        return found

    def _predictions(self, scores: Sequence[Scores], found: Scored) -> list[dict[str, Any]]:
        """A row for each candidate. `scores` are null where it has no step, or its file held its score."""
        return [
            {
                "id": each.problem_id,
                "index": candidate.index,
                "question": each.question,
                "steps": list(attempt.steps) if attempt is not None else [],
                "answer": candidate.answer if each.has_answers else None,
                "verdict": "unknown"
                if candidate.is_unknown
                else "correct"
                if candidate.is_correct
                else "incorrect",
                "score": score,
                "scores": found.listed(attempt),
            }
            for each, own in zip(self.sets, scores, strict=True)
            for candidate, attempt, score in zip(each.candidates, each.attempts, own, strict=True)
        ]


def _at(values: tuple[Floats, Floats], resamples: Resamples) -> AtN:
    return AtN(resamples.mean(values[0]), float(values[1].mean()))


def _difference(ours: tuple[Floats, Floats], theirs: tuple[Floats, Floats], resamples: Resamples) -> Interval:
    return resamples.mean(ours[0] - theirs[0], bounds=(-1.0, 1.0))


def _lines(measures: dict[str, Any], n_problems: int) -> list[str]:
    lines = [
        f"{n_problems} problems, {measures['n_candidates']} candidates"
        + (f", {measures['n_unknown']} without a verdict (none is right)" * bool(measures["n_unknown"]))
        + (f", {measures['n_without_score']} without a score" * bool(measures["n_without_score"])),
        f"{'':<12}{'N':>6}{'accuracy':>10}   95 % interval",
        f"  {'one':<10}{1:>6}{percent(measures['one'], 10)}",
    ]
    if "best_of_all" in measures:
        lines.append(f"  {'best of all':<16}{percent(measures['best_of_all'], 10)}")
    for name, at in measures.get("at", {}).items():
        lines += [f"  {name:<10}{n:>6}{percent(found.accuracy, 10)}" for n, found in at.items()]
    for name, differences in measures.get("minus_majority", {}).items():
        lines.append(f"{name} minus majority")
        lines += [f"  {'':<10}{n:>6}{percent(found, 10)}" for n, found in differences.items()]
    for name, value in measures.get("by_subset", {}).items():
        lines.append(f"    {name or 'no subset':<14}{100 * value:>10.1f}")
    if "mean_over_subsets" in measures:
        lines.append(f"  {'mean':<16}{100 * measures['mean_over_subsets']:>10.1f}   (without {TIES})")
    return lines


def read(config: BenchmarkConfig, skipped: Skipped) -> BestOfN:
    def sets(fields: Any, where: str) -> list[CandidateSet]:
        return [read_candidate_set(fields, where, config.candidates_format, config.step_separator)]

    found = [row for path in files_of(config.rows) for row in read_file(config, path, sets, skipped)]
    return BestOfN(found, config)
