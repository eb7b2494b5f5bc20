"""Calibration: making scores mean probabilities, on solutions of questions that training never saw.

A network trained on probabilities gives probabilities on data like its training data, and too sure ones where
it has overfitted; the logits of a Bradley-Terry model have no zero point at all. Two remedies, each one
line::

    temperature    score = sigmoid(scale * logit)           (Guo et al. 2017, section 4.2: scale is 1 / T)
    platt          score = sigmoid(scale * logit + bias)    (Platt 1999)

fitted by maximum likelihood. Both keep the order of scores (scale > 0): votes by `min` and `last`, AUROC and
best-of-N by them do not change; `prod`, `mean`, weighted votes, a fixed threshold and whatever reads a score
as a probability do.

Half of the questions fit the calibration and tune the threshold, the other half says how good both are.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_gen.records.draw_keys import derive_seed
from data_gen.records.first_error import NO_ERROR
from data_gen.settings.errors import InputError
from prm_train.checkpoints.calibration import Calibration, Reliability, ScoreBin, Threshold
from prm_train.examples.examples import Example
from prm_train.metrics.estimators import expected_calibration_error, reliability_bins
from prm_train.metrics.ranking import Floats, best_threshold, brier, f1_at, log_loss, right_between, sigmoid
from prm_train.metrics.training_report import CalibrationFit as CalibrationFit
from prm_train.metrics.training_report import Quality as Quality

logger = logging.getLogger(__name__)

Method = Literal["none", "temperature", "platt"]
N_ITERATIONS = 100
OWN_VALIDATION = "own validation"
N_BINS = 10


class CalibrationError(InputError):
    """No calibration can be had from these solutions."""


def calibrate(
    logits: Sequence[NDArray[np.floating]], examples: Sequence[Example], method: Method
) -> CalibrationFit:
    """Fit on half of the questions, measure on the others. `logits` holds for each example those of its
    places (S,).

    Raises CalibrationError if a half is empty or lacks right or wrong places, if higher logits mean worse
    solutions, and if the log loss of the other half gets worse (too few questions to fit on, or nothing to
    gain): then the network's own scores are better.
    """
    halves: tuple[list[int], list[int]] = ([], [])
    for index, example in enumerate(examples):
        halves[not fits_calibration(example.question)].append(index)
    for half in halves:
        _check_half(half, examples)
    fitting, measuring = halves
    calibration = fit(*_places(logits, examples, fitting), method)
    z, targets, _ = _places(logits, examples, measuring)
    found = CalibrationFit(
        calibration,
        len({examples[i].question for i in fitting}),
        len({examples[i].question for i in measuring}),
        len(z),
        quality(z, targets),
        quality(calibrated(z, calibration), targets),
        _thresholds(logits, examples, halves, calibration),
    )
    logger.info(
        "calibration %s on %d questions: scale %.4g, bias %.4g; on %d others log loss %.4f -> %.4f, Brier "
        "%.4f -> %.4f, ECE %.4f -> %.4f",
        *(method, found.n_questions_fitted, calibration.scale, calibration.bias, found.n_questions_measured),
        *(
            found.before.log_loss,
            found.after.log_loss,
            found.before.brier,
            found.after.brier,
            found.before.ece,
            found.after.ece,
        ),
    )
    if found.after.log_loss > found.before.log_loss:
        raise CalibrationError(
            f"calibration {method} on {found.n_questions_fitted} questions makes log loss on "
            f"{found.n_questions_measured} others worse: "
            f"{found.before.log_loss:.4f} -> {found.after.log_loss:.4f}; the network's own scores are better"
        )
    return found


def fits_calibration(question: str) -> bool:
    """Whether the question is of the half that a calibration is fitted on; the other half says how good it
    is.
    """
    return derive_seed("calibration question", question) % 2 == 0


def fit(logits: Floats, targets: Floats, weights: Floats, method: Method) -> Calibration:
    """The scale, and for `platt` the bias, of highest likelihood. Targets in [0, 1] may be soft; all arrays
    are (N,).

    A right target counts as (n + 1) / (n + 2), n the number of right ones, a wrong one as 1 / (n + 2), soft
    ones between them, as in Platt's paper: so separable scores get a finite scale. Raises CalibrationError if
    the likelihood has no maximum with a scale above 0.
    """
    if method == "none":
        return Calibration()
    columns = [logits, np.ones_like(logits)] if method == "platt" else [logits]
    features = np.stack(columns, axis=1)  # (N, 1 or 2)
    n_right, n_wrong = (weights * targets).sum(), (weights * (1 - targets)).sum()
    smooth = targets * (n_right + 1) / (n_right + 2) + (1 - targets) / (n_wrong + 2)
    parameters = _maximum_likelihood(features, smooth, weights)
    if not parameters[0] > 0:
        raise CalibrationError(
            f"calibration {method}: the best scale is {parameters[0]:.3g}: higher logits do not mean better "
            "here"
        )
    return Calibration(method, float(parameters[0]), float(parameters[1]) if method == "platt" else 0.0)


def calibrated(logits: Floats, calibration: Calibration) -> Floats:
    """Logits whose sigmoids are the calibrated scores."""
    return calibration.scale * logits + calibration.bias


def quality(logits: Floats, targets: Floats) -> Quality:
    scores = sigmoid(logits)
    return Quality(
        log_loss(logits, targets),
        brier(scores, targets),
        expected_calibration_error(reliability_bins(scores, targets)),
    )


def reliability_of(
    logits: Sequence[NDArray[np.floating]], examples: Sequence[Example], calibration: Calibration
) -> Reliability:
    """Counts of held-out labels by score, for bounds of what a score means (`prm_train.scoring.cautious`): of
    the questions that did not fit the calibration, or of all where none was fitted.
    """
    is_fitted = calibration.method != "none"
    held_out = [i for i, each in enumerate(examples) if not (is_fitted and fits_calibration(each.question))]
    z, targets, _ = _places(logits, examples, held_out)
    questions = [examples[i].question for i in held_out for _ in examples[i].targets]
    return Reliability(score_bins(sigmoid(calibrated(z, calibration)), targets, questions))


def score_bins(
    scores: Floats, targets: Floats, questions: Sequence[str], n_bins: int = N_BINS
) -> tuple[ScoreBin, ...]:
    """At most `n_bins` bins with about as many of the scores (N,) each; equal scores are in one bin. No bin
    is empty.
    """
    ordered = np.sort(scores)
    lows = np.unique(ordered[[k * len(ordered) // n_bins for k in range(n_bins)]])
    lows[0] = 0.0
    bins = np.searchsorted(lows, scores, side="right") - 1
    return tuple(
        ScoreBin(
            float(low),
            int((bins == i).sum()),
            len({question for question, own in zip(questions, bins, strict=True) if own == i}),
            float(targets[bins == i].mean()),
        )
        for i, low in enumerate(lows)
    )


def _maximum_likelihood(features: Floats, targets: Floats, weights: Floats) -> Floats:
    """Logistic regression of `targets` on `features` (N, K) without intercept, by Newton's method; steps that
    do not help are halved.
    """
    product = partial(np.einsum, "nk,k->n")  # not BLAS, whose threads cost more than they save here
    parameters = np.zeros(features.shape[1])
    parameters[0] = 1.0
    loss = log_loss(product(features, parameters), targets, weights)
    for _ in range(N_ITERATIONS):
        scores = sigmoid(product(features, parameters))
        gradient = np.einsum("nk,n->k", features, weights * (scores - targets))
        curvature = np.einsum("nk,n,nl->kl", features, weights * scores * (1 - scores), features)
        step = np.linalg.solve(curvature + 1e-9 * np.trace(curvature) * np.eye(len(gradient)), gradient)
        while (
            new_loss := log_loss(product(features, parameters - step), targets, weights)
        ) > loss and np.abs(step).max() > 1e-12:
            step = step / 2
        if loss - new_loss < 1e-14:
            break
        parameters, loss = parameters - step, new_loss
    return parameters


def _places(
    logits: Sequence[NDArray[np.floating]], examples: Sequence[Example], indices: Sequence[int]
) -> tuple[Floats, Floats, Floats]:
    """Logits, targets and weights of all places of some examples, (N,) each."""
    targets = np.array([target for i in indices for target in examples[i].targets])
    weights = np.array([weight for i in indices for weight in examples[i].weights])
    return np.concatenate([logits[i] for i in indices]).astype(float), targets, weights


def _check_half(half: Sequence[int], examples: Sequence[Example]) -> None:
    targets = [target for i in half for target in examples[i].targets]
    if not any(target > 0 for target in targets) or not any(target < 1 for target in targets):
        n_questions = len({example.question for example in examples})
        raise CalibrationError(
            f"calibration on {len(examples)} solutions of {n_questions} questions: one half of the questions "
            f"has {len(targets)} labels; "
            "expected right and wrong ones in both"
        )


def _thresholds(
    logits: Sequence[NDArray[np.floating]],
    examples: Sequence[Example],
    halves: tuple[list[int], list[int]],
    calibration: Calibration,
) -> tuple[Threshold, ...]:
    """0.5 and the best one on the fitting half, with their F1 on the other; none where no first errors are
    known (an ORM).
    """
    bounds, kinds = [], []
    for half in halves:
        known = [(i, error) for i in half if (error := examples[i].first_error) is not None]
        places = [
            NO_ERROR if error == NO_ERROR else examples[i].step_indices.index(error) for i, error in known
        ]
        scores = [sigmoid(calibrated(logits[i].astype(float), calibration)) for i, _ in known]
        bounds.append([right_between(list(row), place) for row, place in zip(scores, places, strict=True)])
        kinds.append([place != NO_ERROR for place in places])
    best = best_threshold(bounds[0], kinds[0])
    if best is None or best_threshold(bounds[1], kinds[1]) is None:
        return ()
    values = [0.5, best[0]]
    f1 = f1_at(values, np.array(bounds[1]), np.array(kinds[1]))
    return tuple(
        Threshold(*each)
        for each in zip(("none (fixed)", OWN_VALIDATION), values, map(float, f1), strict=True)
    )
