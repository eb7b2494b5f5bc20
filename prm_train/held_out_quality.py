"""How well the published scores tell right from wrong on questions that training did not see: intervals for the card.

Scores are those that `load_scorer` gives, calibrated. Labels are the targets that training would have taken from the rows, right from 0.5
up. Order is measured of every scorer; the distance of scores from labels (Brier) only where a score is the probability of the label: not
of a PRM that learnt values, whose distance from a hard label is no fault, nor of a Bradley-Terry reward that no calibration gave a zero
point.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from data_gen.rows import AnyRow, OrmPair, PrmRow, RevisionRow
from prm_train.calibration import fits_calibration
from prm_train.checkpoints import CheckpointFacts
from prm_train.evaluation.estimators import Interval, bootstrap_interval
from prm_train.metrics import Floats, auroc, brier, sigmoid
from prm_train.targets import LabelAlgebra, step_targets

Labels = tuple[bool | None, ...]


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


def is_probability(facts: CheckpointFacts, algebra: LabelAlgebra) -> bool:
    """Whether a score, as `load_scorer` gives it, is meant as the probability of its label."""
    if facts.is_reward:
        return facts.calibration.method == "platt"
    return facts.kind in ("orm", "implicit_prm") or algebra.label_kind == "hard"


def held_out_quality(
    questions: Sequence[str], logits: Sequence[Floats], labels: Sequence[Labels], facts: CheckpointFacts, with_brier: bool
) -> tuple[Mapping[str, Interval], int]:
    """Intervals (95 %, over questions) by name, and of how many questions. One entry a path; `logits` are those of `load_scorer`'s scores.

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
    return {name: bootstrap_interval(values, rng) for name, values in found.items() if values}, len(groups)
