"""What config.json says of the scores of a checkpoint: their calibration, thresholds for them, and how often
scores of which size were right. Loads without torch.
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


@dataclass(frozen=True)
class ScoreBin:
    """Scores from `low` to the next bin's: on how many held-out labels, of how many questions, and the share
    of these that was right (the mean of soft ones).
    """

    low: float
    n_labels: int
    n_questions: int
    share_right: float


@dataclass(frozen=True)
class Reliability:
    """How often a score of some size is right, on questions that fitted neither the network nor its
    calibration. The bins ascend, and the first begins at 0.
    """

    bins: tuple[ScoreBin, ...]
    version: Literal[1] = 1  # of what is counted; a later way to count has another
