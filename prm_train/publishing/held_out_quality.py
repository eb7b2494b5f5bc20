"""What a published score means, and how well it tells right from wrong on questions that training did not see: intervals for the card.

Scores are those that `load_scorer` gives, calibrated. Labels are the targets that the calibration, or without one the training, would take
from the rows, right from 0.5 up. Order is measured of every scorer; the distance of scores from labels (Brier) only where a score is the
probability of the label: not of a PRM that learnt values, whose distance from a hard label is no fault, nor where a loss orders the steps
alone and no calibration gave the scores a zero point.
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

Labels = tuple[bool | None, ...]
PROPER_LOSSES = ("binary_cross_entropy", "cross_entropy", "mse")  # least in the mean where a score is the mean target
MIN_QUESTIONS = 5  # of an interval


def labels_of(row: AnyRow, n_steps: Sequence[int], facts: CheckpointFacts, algebra: LabelAlgebra) -> tuple[Labels, ...]:
    """For each path of a row the label of each of its scores, None where there is none; `n_steps` are those of its paths."""
    if isinstance(row, PrmRow):
        return (tuple(None if target is None else target.value >= 0.5 for target in step_targets(row, algebra)),)
    if isinstance(row, RevisionRow):
        return ((),)
    outcomes = (True, False) if isinstance(row, OrmPair) else (row.label,)
    if facts.kind == "implicit_prm":
        return tuple((*(None,) * (n - 1), label) for n, label in zip(n_steps, outcomes, strict=True))
    return tuple((label,) for label in outcomes)


@dataclass(frozen=True)
class ScoreMeaning:
    """What a score, as `load_scorer` gives it, says of a label of `algebra`: its probability, the value of the path, or an order alone.

    `calibrated_for` are the semantics of that label where it is another than that of the training.
    """

    algebra: LabelAlgebra
    says: Literal["probability", "value", "order"]
    calibrated_for: str | None = None


def score_meaning(facts: CheckpointFacts, training: Mapping[str, Any], calibration: LabelAlgebra | None) -> ScoreMeaning:
    """`training` holds the settings of the training, {} where nobody knows them; `calibration` the labels that a later calibration was
    fitted on, None where there was none.

    Scores mean what they were last fitted to. A loss that is not proper (pqm, focal) and pairs fix an order alone, which Platt's
    calibration turns into probabilities; a temperature cannot, since it has no bias.
    """
    is_platt = facts.calibration.method == "platt"
    if facts.kind == "generative_verifier":
        return ScoreMeaning(LabelAlgebra(until_first_error=True), "probability")
    if facts.kind != "prm":
        return ScoreMeaning(LabelAlgebra(), "order" if facts.is_reward and not is_platt else "probability")
    trained = _label_algebra(training)
    meant = calibration or trained
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
    """The mean over so many questions, and its 95 % interval."""

    interval: Interval
    n_questions: int


def held_out_quality(
    questions: Sequence[str], logits: Sequence[Floats], labels: Sequence[Labels], facts: CheckpointFacts, with_brier: bool
) -> Mapping[str, QuestionInterval]:
    """Intervals by name, none over fewer than MIN_QUESTIONS. One entry a path; `logits` are those of `load_scorer`'s scores.

    AUROC is that inside a question, over questions with both kinds of label. Questions that fitted the calibration are left out.
    """
    places: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for question, row, row_labels in zip(questions, logits, labels, strict=True):
        if row_labels and not (facts.calibration.method != "none" and fits_calibration(question)):
            places[question] += [(float(logit), label) for logit, label in zip(row, row_labels, strict=True) if label is not None]
    groups = [tuple(zip(*group, strict=True)) for group in places.values() if group]
    found = {
        "AUROC inside a question": [area for values, known in groups if (area := auroc(values, known)) is not None],
        "Brier score": [brier(sigmoid(values), known) for values, known in groups] if with_brier else [],
    }
    rng = np.random.default_rng(0)
    return {name: QuestionInterval(bootstrap_interval(each, rng), len(each)) for name, each in found.items() if len(each) >= MIN_QUESTIONS}
