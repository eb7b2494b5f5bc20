"""What a validation during training reports, from the logits at the labeled places of the whole validation
set to named numbers.

    loss, n_labels                         mean log loss in nats, unweighted, and over how many places
    step_auroc, step_within_problem_auroc  order of right and wrong steps, over all and inside a question
    step_brier, step_ece                   distance of scores from targets
    step_value_brier, ..._floor            distance from the shares of right rollouts, and what the true
                                           values would get
    first_error_f1, ..._accuracy_on_...    ProcessBench's measure at threshold 0.5; first_error_best_f1,
                                           ..._threshold: at the best one
    step_auroc_at_3, step_brier_at_5_to_8  the same for steps 3 and 5 to 8 of their solutions alone (from 1)

An ORM has auroc, within_problem_auroc, pair_accuracy, brier and ece. What is undefined (an AUROC of right
steps alone) is left out. Soft targets count as right from 0.5 up where a measure asks for labels.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from data_gen.records.first_error import NO_ERROR, first_error_f1
from prm_train.examples.examples import Example
from prm_train.metrics.estimators import expected_calibration_error, reliability_bins
from prm_train.metrics.ranking import (
    Floats,
    auroc,
    best_threshold,
    brier,
    brier_noise_floor,
    log_loss,
    pair_accuracy,
    predicted_error,
    right_between,
    sigmoid,
    within_problem_auroc,
)

N_SINGLE = 4  # steps that have numbers of their own; those behind them share: 5 to 8, 9 to 16, 17 to 32, ...
Row = NDArray[np.floating]


def step_metrics(logits: Sequence[Row], examples: Sequence[Example]) -> dict[str, float]:
    """Of a PRM: `logits` holds for each example those of its places (S,)."""
    flat = np.concatenate(logits).astype(float)
    targets = _flat(example.targets for example in examples)
    questions = [example.question for example in examples for _ in example.targets]
    places = {
        **_quality(flat, targets),
        "within_problem_auroc": within_problem_auroc(flat, targets >= 0.5, questions),
        **_value_brier(sigmoid(flat), examples),
    }
    found = {f"step_{name}": value for name, value in places.items()}
    found |= _first_errors([sigmoid(row) for row in logits], examples)
    found |= _by_position(flat, targets, _flat(example.step_indices for example in examples).astype(int))
    return _defined(found) | {"loss": log_loss(flat, targets), "n_labels": len(flat)}


def outcome_metrics(logits: Row, targets: Row, questions: Sequence[str]) -> dict[str, float]:
    """Of an ORM: logits and labels (N,) of whole solutions."""
    flat, labels = logits.astype(float), targets.astype(float)
    found = {
        **_quality(flat, labels),
        "within_problem_auroc": within_problem_auroc(flat, labels >= 0.5, questions),
        "pair_accuracy": pair_accuracy(flat, labels >= 0.5, questions),
    }
    return _defined(found) | {"loss": log_loss(flat, labels), "n_labels": len(flat)}


def _quality(logits: Floats, targets: Floats) -> dict[str, float | None]:
    """Scores tie where logits do not (in floating point, far from 0), so order is read from logits."""
    scores = sigmoid(logits)
    ece = expected_calibration_error(reliability_bins(scores, targets))
    return {"auroc": auroc(logits, targets >= 0.5), "brier": brier(scores, targets), "ece": ece}


def _value_brier(scores: Floats, examples: Sequence[Example]) -> dict[str, float | None]:
    n_rollouts = _flat(example.n_rollouts or (0,) * len(example.targets) for example in examples)
    n_correct = _flat(example.n_correct or (0,) * len(example.targets) for example in examples)
    is_known = n_rollouts >= 2
    if not is_known.any():
        return {}
    c, n = n_correct[is_known], n_rollouts[is_known]
    return {"value_brier": brier(scores[is_known], c / n), "value_brier_floor": brier_noise_floor(c, n)}


def _first_errors(scores: Sequence[Floats], examples: Sequence[Example]) -> dict[str, float | None]:
    """Steps without a place count as right: those after an error do not matter, those before it are few."""
    known = [
        (row, example)
        for row, example in zip(scores, examples, strict=True)
        if example.first_error is not None
    ]
    places = [_place(example) for _, example in known]
    at_half = first_error_f1([predicted_error(list(row), 0.5) for row, _ in known], places)
    bounds = [right_between(list(row), place) for (row, _), place in zip(known, places, strict=True)]
    best = best_threshold(bounds, [place != NO_ERROR for place in places]) or (None, None)
    return {
        "first_error_f1": at_half.f1,
        "first_error_accuracy_on_erroneous": at_half.accuracy_on_erroneous,
        "first_error_accuracy_on_correct": at_half.accuracy_on_correct,
        "first_error_best_threshold": best[0],
        "first_error_best_f1": best[1],
    }


def _place(example: Example) -> int:
    """Which of its places the first error is at."""
    assert example.first_error is not None
    return NO_ERROR if example.first_error == NO_ERROR else example.step_indices.index(example.first_error)


def _by_position(logits: Floats, targets: Floats, steps: NDArray[np.int64]) -> dict[str, float | None]:
    """Step s (from 1) up to N_SINGLE alone, then 5 to 8, 9 to 16, ..."""
    found: dict[str, float | None] = {}
    first = 1
    while first <= steps.max() + 1:
        last = first if first <= N_SINGLE else 2 * (first - 1)
        here = (first - 1 <= steps) & (steps <= last - 1)
        if here.any():
            name = f"{first}" if first == last else f"{first}_to_{last}"
            found |= {
                f"step_{measure}_at_{name}": value
                for measure, value in _quality(logits[here], targets[here]).items()
            }
        first = last + 1
    return found


def _flat(rows: Iterable[Sequence[float]]) -> Floats:
    return np.array([value for row in rows for value in row], dtype=float)


def _defined(found: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in found.items() if value is not None}
