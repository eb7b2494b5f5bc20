"""What a published score means, and how well it tells right from wrong on questions that training did not see: intervals for the card.

Scores are those that `load_scorer` gives, calibrated. Labels are the targets that the calibration, or without one the training, would take
from the rows, right from 0.5 up. Order is measured of every scorer; the distance of scores from labels (Brier) only where a score is the
probability of the label: not of a PRM that learnt values, whose distance from a hard label is no fault, nor where a loss orders the steps
alone and no calibration gave the scores a zero point.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.kinds.paths import Labels
from prm_train.metrics.calibration import fits_calibration
from prm_train.metrics.estimators import Interval, bootstrap_interval
from prm_train.metrics.ranking import Floats, auroc, brier, sigmoid

MIN_QUESTIONS = 5  # of an interval


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
