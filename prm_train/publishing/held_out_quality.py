"""What a published score means, and how well it tells right from wrong on questions that training did not see: intervals for the card.

Scores are those that `load_scorer` gives, calibrated. Labels are the targets that the calibration (or the training, if there was no
calibration) would read from the rows; a target of 0.5 or more counts as right.

- Every scorer is measured by how well it orders right and wrong (AUROC).
- Only where a score is the probability of the label is its distance from the label measured too (Brier score). That is not so for a PRM
  that learnt values, which are meant to differ from hard labels, nor for a loss that only orders steps, unless a calibration followed.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from data_gen.rows.layouts import AnyRow, OrmPair, PrmRow, RevisionRow
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.examples.targets import LabelAlgebra, step_targets
from prm_train.metrics.calibration import fits_calibration
from prm_train.metrics.estimators import Interval, bootstrap_interval
from prm_train.metrics.ranking import Floats, auroc, brier, sigmoid

# The label of each score of a path, None where there is none.
Labels = tuple[bool | None, ...]
# Proper scoring rules: the expected loss is least if the score is the expected target.
PROPER_LOSSES = ("binary_cross_entropy", "cross_entropy", "mse")
# An interval over fewer questions would say nothing.
MIN_QUESTIONS = 5


def labels_of(row: AnyRow, n_steps: Sequence[int], facts: CheckpointFacts, algebra: LabelAlgebra) -> tuple[Labels, ...]:
    """For each path of a row the label of each of its scores. `n_steps` holds the number of steps of each path."""
    if isinstance(row, PrmRow):
        return (tuple(None if target is None else target.value >= 0.5 for target in step_targets(row, algebra)),)
    if isinstance(row, RevisionRow):
        return ((),)

    outcomes = (True, False) if isinstance(row, OrmPair) else (row.label,)
    # An implicit PRM scores every step but learns from the outcome alone, which is the label of the last one.
    if facts.kind == "implicit_prm":
        return tuple((*(None,) * (n - 1), label) for n, label in zip(n_steps, outcomes, strict=True))
    return tuple((label,) for label in outcomes)


@dataclass(frozen=True)
class ScoreMeaning:
    """What a score, as `load_scorer` gives it, says about the label that `algebra` reads from a row.

    It `says` the label's probability, the value of the path, or only an order. `calibrated_for` names that label if the calibration read
    the rows otherwise than the training did.
    """

    algebra: LabelAlgebra
    says: Literal["probability", "value", "order"]
    calibrated_for: str | None = None


def score_meaning(facts: CheckpointFacts, training: Mapping[str, Any], calibration: Mapping[str, Any] | None) -> ScoreMeaning:
    """What the scores of a checkpoint mean: that which they were fitted to last.

    `training` holds the settings of the training, {} if they are not known. `calibration` holds the settings by which a later calibration
    read its labels, None without one. Losses that are no proper scoring rule (pqm, focal) and pairs fix only an order. Platt's calibration
    turns it into probabilities; a temperature cannot, since it has no bias.
    """
    is_platt = facts.calibration.method == "platt"
    if facts.kind == "generative_verifier":
        return ScoreMeaning(LabelAlgebra(until_first_error=True), "probability")
    if facts.kind != "prm":
        return ScoreMeaning(LabelAlgebra(), "order" if facts.is_reward and not is_platt else "probability")

    trained = _label_algebra(training)
    meant = trained if calibration is None else _label_algebra(calibration)
    # Without Platt's calibration the loss of the training decides, and it speaks only for the labels that it was fitted to.
    is_fitted = is_platt or (training.get("loss") in PROPER_LOSSES and meant == trained)
    is_known = training or calibration is not None
    other = meant.semantics if calibration is not None and meant.semantics != facts.labels else None
    if not is_fitted or not is_known:
        return ScoreMeaning(meant, "order", other)
    return ScoreMeaning(meant, "probability" if meant.label_kind == "hard" else "value", other)


def _label_algebra(settings: Mapping[str, Any]) -> LabelAlgebra:
    return LabelAlgebra(**{each.name: settings[each.name] for each in fields(LabelAlgebra) if each.name in settings})


@dataclass(frozen=True)
class QuestionInterval:
    """The mean over `n_questions` questions, with its 95 % interval."""

    interval: Interval
    n_questions: int


def held_out_quality(
    questions: Sequence[str], logits: Sequence[Floats], labels: Sequence[Labels], facts: CheckpointFacts, with_brier: bool
) -> Mapping[str, QuestionInterval]:
    """Intervals by name, none over fewer than MIN_QUESTIONS. `questions`, `logits` and `labels` have one entry for each path.

    `logits` are the log-odds of `load_scorer`'s scores. AUROC is computed inside each question that has both right and wrong labels.
    Questions that the calibration was fitted on are left out.
    """
    is_calibrated = facts.calibration.method != "none"
    judged: dict[str, list[tuple[float, bool]]] = defaultdict(list)  # question → (logit, label) of each labeled score
    for question, path_logits, path_labels in zip(questions, logits, labels, strict=True):
        if path_labels and not (is_calibrated and fits_calibration(question)):
            judged[question] += [(float(logit), label) for logit, label in zip(path_logits, path_labels, strict=True) if label is not None]

    by_question = [tuple(zip(*pairs, strict=True)) for pairs in judged.values() if pairs]
    measures = {
        "AUROC inside a question": [area for values, right in by_question if (area := auroc(values, right)) is not None],
        "Brier score": [brier(sigmoid(values), right) for values, right in by_question] if with_brier else [],
    }

    rng = np.random.default_rng(0)
    return {
        name: QuestionInterval(bootstrap_interval(values, rng), len(values))
        for name, values in measures.items()
        if len(values) >= MIN_QUESTIONS
    }
