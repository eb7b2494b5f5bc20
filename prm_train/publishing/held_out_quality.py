"""What a published score means, and how well it tells right from wrong on questions that training did not
see: intervals for the card.

Scores are those that `load_scorer` gives, calibrated. Labels are the targets that the calibration (or the
training, if there was no calibration) would read from the rows; a target of 0.5 or more counts as right.

- Every scorer is measured by how well it orders right and wrong (AUROC).
- Only where a score is the probability of the label is its distance from the label measured too (Brier
  score). That is not so for a PRM that learnt values, which are meant to differ from hard labels, nor for a
  loss that only orders steps, unless a calibration followed.
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
    """The mean over `n_questions` questions, with its 95 % interval."""

    interval: Interval
    n_questions: int


def held_out_quality(
    questions: Sequence[str],
    logits: Sequence[Floats],
    labels: Sequence[Labels],
    facts: CheckpointFacts,
    with_brier: bool,
) -> Mapping[str, QuestionInterval]:
    """Intervals by name, none over fewer than MIN_QUESTIONS. `questions`, `logits` and `labels` have one
    entry for each path.

    `logits` are the log-odds of `load_scorer`'s scores. AUROC is computed inside each question that has both
    right and wrong labels. Questions that the calibration was fitted on are left out.
    """
    is_calibrated = facts.calibration.method != "none"
    # Question → (logit, label) of each labeled score
    judged: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for question, path_logits, path_labels in zip(questions, logits, labels, strict=True):
        if path_labels and not (is_calibrated and fits_calibration(question)):
            judged[question] += [
                (float(logit), label)
                for logit, label in zip(path_logits, path_labels, strict=True)
                if label is not None
            ]

    by_question = [tuple(zip(*pairs, strict=True)) for pairs in judged.values() if pairs]
    measures = {
        "AUROC inside a question": [
            area for values, right in by_question if (area := auroc(values, right)) is not None
        ],
        "Brier score": [brier(sigmoid(values), right) for values, right in by_question] if with_brier else [],
    }

    rng = np.random.default_rng(0)
    return {
        name: QuestionInterval(bootstrap_interval(values, rng), len(values))
        for name, values in measures.items()
        if len(values) >= MIN_QUESTIONS
    }
