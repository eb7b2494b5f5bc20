"""How well scores find the first wrong step of a solution, as ProcessBench defines it (Zheng et al. 2024).

The prediction is the first step whose score is below a threshold, or none. F1 is the harmonic mean of two
accuracies: naming the right step where people found an error, naming none where they found none. Where a set
has only one kind of solutions, its F1 is undefined, and the accuracy of that kind stands alone. A threshold
decides as much as the model does, so several are reported::

    0.5               fixed
    cross-fitted      of each fifth of the problems (by a hash of the question) the best on the other four
                      fifths: no solution is measured at a threshold that it helped to choose
    own validation    what training or `prm-train calibrate` has stored in the checkpoint
    tuned on …        the best on one split or file (`tune_on`), which is not part of the mean

Intervals are 95 % bootstrap intervals over problems; thresholds are held fixed in them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_gen.records.draw_keys import derive_seed
from data_gen.records.first_error import NO_ERROR
from prm_train.benchmarking.measures import Places, Resamples, interval, percent, share
from prm_train.benchmarking.rows import JudgedSolution
from prm_train.metrics.estimators import Interval
from prm_train.metrics.ranking import Floats, best_threshold, predicted_error, right_between

N_FOLDS = 5
FIXED, CROSS_FITTED, OWN = "0.5", "cross-fitted", "own validation"
NEVER = (np.inf, -np.inf)  # bounds of a solution whose first error no threshold finds
SWEEP = np.arange(1, 100) / 100
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class FirstErrors:
    """Accuracies and F1 at a threshold. None: there are no such solutions. Of a cross-fitted one `thresholds`
    are those of the folds.
    """

    thresholds: tuple[float, ...]
    accuracy_on_erroneous: float | None
    accuracy_on_correct: float | None
    f1: Interval | None
    chosen_here: bool = False


@dataclass(frozen=True)
class SplitResult:
    """`n_too_long`: solutions of which the scorer's context holds a part; an error that lies beyond it is not
    found. `sweep`: by threshold the two accuracies and F1.
    """

    n_erroneous: int
    n_correct: int
    n_too_long: int
    at: Mapping[str, FirstErrors]
    sweep: Sequence[Mapping[str, float | None]]


@dataclass(frozen=True)
class MeanF1:
    """The plain mean of F1 over the splits that have one and did not choose the threshold."""

    f1: Interval
    n_splits: int


class Split:
    """The solutions of a split whose first error is known, and the scores of their steps (as many as the
    scorer could read).
    """

    def __init__(
        self, solutions: Sequence[JudgedSolution], scores: Sequence[Sequence[float]], seed: int
    ) -> None:
        self.solutions, self.scores = solutions, scores
        self.errors = [NO_ERROR if each.error is None else each.error for each in solutions]
        self.is_erroneous: Flags = np.array([error != NO_ERROR for error in self.errors], dtype=bool)
        self.bounds = self._bounds()
        questions = [each.attempt.question for each in solutions]
        self.folds = np.array([derive_seed("fold", question) % N_FOLDS for question in questions])
        self.resamples = Resamples(questions, seed)

    def _bounds(self) -> Floats:
        """(N, 2) between which thresholds each first error is found, see `right_between`."""
        bounds = []
        for solution, error, row in zip(self.solutions, self.errors, self.scores, strict=True):
            n_needed = len(solution.attempt.steps) if error == NO_ERROR else error + 1
            bounds.append(right_between(row, error) if len(row) >= n_needed else NEVER)
        return np.array(bounds, dtype=float).reshape(len(bounds), 2)

    def best(self, among: Flags | None = None) -> float | None:
        """The best threshold on some of the solutions; None without both kinds."""
        chosen = np.ones(len(self.folds), dtype=bool) if among is None else among
        pairs = [(float(low), float(high)) for low, high in self.bounds[chosen]]
        found = best_threshold(pairs, list(self.is_erroneous[chosen]))
        return None if found is None else found[0]

    def cross_fitted(self) -> Floats | None:
        """(N,) for each solution the best threshold on the folds that are not its own."""
        thresholds = np.empty(len(self.folds))
        for fold in set(self.folds.tolist()):
            best = self.best(self.folds != fold)
            if best is None:
                return None
            thresholds[self.folds == fold] = best
        return thresholds

    def is_right(self, threshold: float | Floats) -> Flags:
        return (self.bounds[:, 0] < threshold) & (threshold <= self.bounds[:, 1])

    def accuracies(self, is_right: Flags, places: Places | None = None) -> tuple[float | None, float | None]:
        """On solutions with an error and without."""
        right, kind = (flags if places is None else flags[places] for flags in (is_right, self.is_erroneous))
        n_erroneous, n_correct = int(kind.sum()), int((~kind).sum())
        return (
            float((right & kind).sum() / n_erroneous) if n_erroneous else None,
            float((right & ~kind).sum() / n_correct) if n_correct else None,
        )


def f1_of(accuracies: tuple[float | None, float | None]) -> float | None:
    erroneous, correct = accuracies
    if erroneous is None or correct is None:
        return None
    return 2 * erroneous * correct / (erroneous + correct) if erroneous + correct else 0.0


def measure(
    splits: Mapping[str, Split], own: float | None = None, tuned: tuple[str, float] | None = None
) -> tuple[dict[str, SplitResult], dict[str, MeanF1], dict[str, dict[str, float | Floats]]]:
    """Results of each split, the mean F1 by threshold, and the thresholds by split and name. `tuned` names a
    split or file and its threshold.
    """
    results: dict[str, SplitResult] = {}
    used: dict[str, dict[str, float | Floats]] = {}
    values: dict[str, list[float]] = {}
    draws: dict[str, list[Floats]] = {}
    for name, split in splits.items():
        used[name] = _thresholds(split, own, tuned)
        at: dict[str, FirstErrors] = {}
        for label, threshold in used[name].items():
            is_right = split.is_right(threshold)
            accuracies, resampled = split.accuracies(is_right), _resampled(split, is_right)
            found = interval(f1_of(accuracies), resampled)
            chosen_here = tuned is not None and label == _tuned_label(tuned) and name == tuned[0]
            shown = sorted({threshold} if isinstance(threshold, float) else set(threshold.tolist()))
            at[label] = FirstErrors(tuple(shown), *accuracies, found, chosen_here)
            if found is not None and not chosen_here:
                values.setdefault(label, []).append(found.mean)
                draws.setdefault(label, []).append(resampled)
        n_erroneous = int(split.is_erroneous.sum())
        n_too_long = sum(
            len(row) < len(solution.attempt.steps)
            for solution, row in zip(split.solutions, split.scores, strict=True)
        )
        results[name] = SplitResult(
            n_erroneous, len(split.errors) - n_erroneous, n_too_long, at, _sweep(split)
        )
    mean = dict[str, MeanF1]()
    for label in dict.fromkeys(label for each in used.values() for label in each):
        if label in values:
            found = interval(float(np.mean(values[label])), np.mean(draws[label], axis=0))
            assert found is not None
            mean[label] = MeanF1(found, len(values[label]))
    return results, mean, used


def _tuned_label(tuned: tuple[str, float]) -> str:
    return f"tuned on {tuned[0]}"


def _thresholds(
    split: Split, own: float | None, tuned: tuple[str, float] | None
) -> dict[str, float | Floats]:
    fitted = split.cross_fitted()
    return (
        {FIXED: 0.5}
        | ({} if fitted is None else {CROSS_FITTED: fitted})
        | ({} if own is None else {OWN: own})
        | ({} if tuned is None else {_tuned_label(tuned): tuned[1]})
    )


def _resampled(split: Split, is_right: Flags) -> Floats:
    return split.resamples.of(lambda places: f1_of(split.accuracies(is_right, places)))


def _sweep(split: Split) -> list[dict[str, float | None]]:
    rows = []
    for threshold in SWEEP.tolist():
        erroneous, correct = accuracies = split.accuracies(split.is_right(threshold))
        rows.append(
            {
                "threshold": threshold,
                "accuracy_on_erroneous": erroneous,
                "accuracy_on_correct": correct,
                "f1": f1_of(accuracies),
            }
        )
    return rows


def predictions(split: Split, thresholds: Mapping[str, float | Floats]) -> list[dict[str, Any]]:
    """A row for each solution: the first error that people found, that each threshold finds (-1: none; null:
    none in the part that the scorer could read), and the scores.
    """
    rows = []
    for place, (solution, scores) in enumerate(zip(split.solutions, split.scores, strict=True)):
        found: dict[str, int | None] = {}
        for name, threshold in thresholds.items():
            own = threshold if isinstance(threshold, float) else float(threshold[place])
            error = predicted_error(scores, own)
            is_whole = error != NO_ERROR or len(scores) == len(solution.attempt.steps)
            found[name] = error if is_whole else None
        rows.append(
            {
                "id": solution.row_id,
                "split": solution.split,
                "question": solution.attempt.question,
                "steps": list(solution.attempt.steps),
                "label": split.errors[place],
                "predicted": found,
                "scores": [*scores, *[None] * (len(solution.attempt.steps) - len(scores))],
            }
        )
    return rows


def table(results: Mapping[str, SplitResult], mean: Mapping[str, MeanF1]) -> str:
    """F1 in percent by split and threshold."""
    lines = [f"{'':<22}{'threshold':>15}{'erroneous':>11}{'correct':>9}{'F1':>7}   95 % interval"]
    for split, found in results.items():
        too_long = f", {found.n_too_long} too long for the scorer" if found.n_too_long else ""
        lines.append(f"{split}: {found.n_erroneous} erroneous, {found.n_correct} correct{too_long}")
        for name, at in found.at.items():
            ends = f"{at.thresholds[0]:.4f}"
            if len(at.thresholds) > 1:
                ends = f"{at.thresholds[0]:.3f} to {at.thresholds[-1]:.3f}"
            accuracies = f"{share(at.accuracy_on_erroneous, 11)}{share(at.accuracy_on_correct, 9)}"
            here = " (chosen here: not in the mean)" if at.chosen_here else ""
            lines.append(f"  {name:<20}{ends:>15}{accuracies}{percent(at.f1)}{here}")
    if len(results) > 1:
        lines.append("mean")
        lines += [
            f"  {name:<20}{f'{each.n_splits} splits':>15}{'':>20}{percent(each.f1)}"
            for name, each in mean.items()
        ]
    return "\n".join(lines)
