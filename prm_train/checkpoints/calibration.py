"""What config.json says of the scores of a checkpoint: their calibration, and thresholds for them. Loads
without torch.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Calibration:
    """score = sigmoid(scale * logit + bias), where `logit` is what the network alone says. The default
    changes nothing.
    """

    method: Literal["none", "temperature", "platt"] = "none"
    scale: float = 1.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(
                f"calibration: got scale {self.scale}, expected more than 0, since scores must keep their "
                "order"
            )


UNCALIBRATED = Calibration()


@dataclass(frozen=True)
class Threshold:
    """A step is wrong if its score is below `value`. `tuned_on`: the solutions that chose it; `f1`,
    ProcessBench's, is of others.
    """

    tuned_on: str
    value: float
    f1: float | None = None
