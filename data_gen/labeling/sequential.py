"""What success counts say of a probability of success: intervals, and a sequential test that stops as soon as
it has decided.

- `clopper_pearson`: exact interval where the number of rollouts was fixed beforehand.
- `anytime_interval`: interval that holds at every moment at once, so that drawing may stop whenever the
  counts look good. It mixes the likelihood ratio over a Beta(1/2, 1/2) prior: E_n(p) = B(1/2 + s, 1/2 + n -
  s) / B(1/2, 1/2) / (p^s (1 - p)^(n - s)) is a martingale of mean 1 at the true p, so by Ville's inequality
  P(exists n: E_n(p) >= 1/alpha) <= alpha (Robbins 1970).
- `SequentialTest`: Wald's sequential probability ratio test (Wald 1945), here of "this step destroyed most of
  the value" against "not".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

# An interval misses the true value at most this often.
ALPHA = 0.05


def _smallest(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The smallest p in [low, high] for which `holds(p)` is True, to within 1e-12; it must be True for every
    larger p, too.
    """
    # Each turn halves the interval: 2 ** -40 is below 1e-12.
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return (low + high) / 2


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _probability_at_least(n_correct: int, n: int, p: float) -> float:
    """P(X >= n_correct) for X ~ Binomial(n, p), 0 < p < 1."""
    log_p, log_q = math.log(p), math.log1p(-p)
    terms = (
        math.exp(
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * log_p + (n - k) * log_q
        )
        for k in range(n_correct, n + 1)
    )
    return math.fsum(terms)


@lru_cache(maxsize=65536)
def clopper_pearson(n_correct: int, n: int, alpha: float = ALPHA) -> tuple[float, float]:
    """The exact interval for p after a number of draws n that was fixed beforehand (Clopper and Pearson
    1934). (0, 1) for n = 0.

    It holds the p that neither tail of the binomial distribution rejects at alpha / 2.
    """
    _check_counts(n_correct, n)
    low = (
        0.0
        if n_correct == 0
        else _smallest(lambda p: _probability_at_least(n_correct, n, p) >= alpha / 2, 0.0, 1.0)
    )
    high = (
        1.0
        if n_correct == n
        else _smallest(lambda p: 1 - _probability_at_least(n_correct + 1, n, p) <= alpha / 2, 0.0, 1.0)
    )
    return low, high


@lru_cache(maxsize=65536)
def anytime_interval(n_correct: int, n: int, alpha: float = ALPHA) -> tuple[float, float]:
    """The p with E_n(p) < 1 / alpha: these intervals hold for all n at once with probability 1 - alpha. (0,
    1) for n = 0.
    """
    _check_counts(n_correct, n)
    n_wrong = n - n_correct
    log_mixture = _log_beta(0.5 + n_correct, 0.5 + n_wrong) - _log_beta(0.5, 0.5)

    def is_inside(p: float) -> bool:
        log_likelihood = (n_correct * math.log(p) if n_correct else 0.0) + (
            n_wrong * math.log1p(-p) if n_wrong else 0.0
        )
        return log_mixture - log_likelihood < -math.log(alpha)

    # The likelihood is greatest at the observed share, so one end of the interval lies on each side of it.
    best = n_correct / n if n else 0.5
    low = 0.0 if n_correct == 0 else _smallest(is_inside, 0.0, best)
    high = 1.0 if n_wrong == 0 else _smallest(lambda p: not is_inside(p), best, 1.0)
    return low, high


def intersect(interval: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The intersection of two intervals. If it is empty, one of them missed the value, and the first one is
    returned as it is.
    """
    low, high = max(interval[0], other[0]), min(interval[1], other[1])
    return (low, high) if low <= high else interval


def _check_counts(n_correct: int, n: int) -> None:
    if not 0 <= n_correct <= n:
        raise ValueError(f"{n_correct} correct of {n} rollouts; expected 0 <= n_correct <= n_rollouts")


@dataclass(frozen=True)
class SequentialTest:
    """H0: p <= p_low against H1: p >= p_high.

    H1 is accepted wrongly with probability at most about `false_positive_rate`, H0 with at most
    `false_negative_rate`. For p between p_low and p_high either may be accepted. Raises ValueError unless 0 <
    p_low < p_high < 1 and both rates lie in (0, 1/2).
    """

    p_low: float
    p_high: float
    false_positive_rate: float
    false_negative_rate: float

    def __post_init__(self) -> None:
        if not 0 < self.p_low < self.p_high < 1:
            raise ValueError(f"p_low {self.p_low} and p_high {self.p_high}: expected 0 < p_low < p_high < 1")
        if not (0 < self.false_positive_rate < 0.5 and 0 < self.false_negative_rate < 0.5):
            raise ValueError(
                f"error rates {self.false_positive_rate} and {self.false_negative_rate}: expected both "
                "between 0 and 0.5"
            )

    def log_ratio(self, n_correct: int, n: int) -> float:
        """Log-likelihood of p_high minus that of p_low."""
        return n_correct * math.log(self.p_high / self.p_low) + (n - n_correct) * math.log(
            (1 - self.p_high) / (1 - self.p_low)
        )

    def decide(self, n_correct: int, n: int) -> bool | None:
        """True to accept H1, False to accept H0, None to go on drawing."""
        log_ratio = self.log_ratio(n_correct, n)
        if log_ratio >= math.log((1 - self.false_negative_rate) / self.false_positive_rate):
            return True
        if log_ratio <= math.log(self.false_negative_rate / (1 - self.false_positive_rate)):
            return False
        return None

    def leaning(self, n_correct: int, n: int) -> bool:
        """Whether H1 is the likelier one, for a test that was cut short."""
        return self.log_ratio(n_correct, n) > 0
