"""What a score says of a label, for the card of a published model and for what is measured there."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from prm_train.examples.targets import LabelAlgebra

# Least in the mean where a score is the mean target
PROPER_LOSSES = ("binary_cross_entropy", "cross_entropy", "mse")


@dataclass(frozen=True)
class ScoreMeaning:
    """What a score, as `load_scorer` gives it, says of a label of `algebra`: its probability, the value of
    the path, or an order alone.

    `calibrated_for` are the semantics of that label where it is another than that of the training.
    """

    algebra: LabelAlgebra
    says: Literal["probability", "value", "order"]
    calibrated_for: str | None = None


def label_algebra(settings: Mapping[str, Any]) -> LabelAlgebra:
    """The label settings among those of a training; defaults for those that are not there."""
    return LabelAlgebra(
        **{each.name: settings[each.name] for each in fields(LabelAlgebra) if each.name in settings}
    )
