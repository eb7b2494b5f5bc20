"""How far rounding moves a number that a checkpoint gives, by the precision of its weights."""

import math
from dataclasses import dataclass

# Largest difference of a score. In 16 bits every weight is rounded to about 1 part in 256 (bfloat16) or 2,048
# (float16).
SCORE_TOLERANCES = {"float32": 1e-5, "float16": 0.01, "bfloat16": 0.05}
# The same of log-probs and of rewards, which are as large as logits, and so is their rounding.
LOGIT_TOLERANCES = {"float32": 1e-4, "float16": 0.05, "bfloat16": 0.25}
# Rounding moves few scores so far and most of them hardly, a fault moves many: so much of the tolerance is
# allowed in the mean of so many scores or more. Rounded weights took at most 2 % of it on 48 rows, by small
# checkpoints of all kinds.
MEAN_SHARE, MIN_SCORES = 0.1, 16


@dataclass(frozen=True)
class Bounds:
    """How much of a difference rounding explains: of one score, and in the mean of all, if that is
    bounded.
    """

    largest: float
    mean: float | None

    def hold(self, largest: float, mean: float) -> bool:
        """Never where a score is no number: `max` may miss a NaN, the mean does not."""
        return largest <= self.largest and math.isfinite(mean) and (self.mean is None or mean <= self.mean)

    def __str__(self) -> str:
        return f"at most {self.largest:g}" + ("" if self.mean is None else f", in the mean {self.mean:g}")


def bounds(n_scores: int, tolerance: float) -> Bounds:
    """Of so many scores, each of which may differ by `tolerance`."""
    return Bounds(tolerance, MEAN_SHARE * tolerance if n_scores >= MIN_SCORES else None)
