"""One score for a whole path from the scores of its steps: the only place that knows how."""

import math
import sys
from collections.abc import Sequence
from typing import Literal, assert_never

Aggregation = Literal["min", "prod", "last", "mean"]


def aggregate(scores: Sequence[float], how: Aggregation) -> float:
    """The score of a path, in [0, 1] as its step scores are.

    min and prod read each score as "this step is right" (labels that stop at the first error: Lightman et al.
    2023, Wang et al. 2024); last reads it as the value of the prefix that ends there (soft labels: Snell et
    al. 2024, App. E). Raises ValueError if there is no score.
    """
    if not scores:
        raise ValueError("aggregate: got no step score, expected at least one")
    match how:
        case "min":
            return min(scores)
        case "prod":
            return math.prod(scores)
        case "last":
            return scores[-1]
        case "mean":
            return math.fsum(scores) / len(scores)
        case _:
            assert_never(how)


def log_score(score: float) -> float:
    """The natural logarithm of a score; that of 0 is that of the smallest number above it, so that every
    product of scores has one.
    """
    return math.log(max(score, sys.float_info.min))
