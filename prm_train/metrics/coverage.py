"""Coverage: the share of problems that k draws solve, against k, and power laws of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_gen.grading.pass_at_k import pass_at_k
from prm_train.metrics.estimators import N_RESAMPLES, Interval, bootstrap_interval

Form = Literal["log", "failure"]  # of what is a k^b: log pass@k, or 1 - pass@k
Floats = NDArray[np.float64]
N_DOUBLED = 2  # how often the largest k is doubled, for what a law says of more draws than there are


@dataclass(frozen=True)
class PowerLaw:
    """`log`: log(pass@k) = a k^b with a, b < 0 (Brown et al. 2024, eq. 1); `failure`: 1 - pass@k = a k^b.

    Intervals are over problems. `n_points` of the curve were fitted, `largest_residual` is the largest
    distance of pass@k from the fit there; `n_without_fit` resamples have none, and are not in the intervals.
    `band` is pass@k by the law, of the problems and of their resamples, at each k of the curve and beyond it
    (empty in records of earlier versions).
    """

    form: Form
    a: Interval
    b: Interval
    n_points: int
    largest_residual: float
    n_without_fit: int = 0
    band: Mapping[int, Interval] = field(default_factory=dict)

    def at(self, k: float) -> float:
        """pass@k by the law."""
        power = self.a.mean * k**self.b.mean
        return math.exp(power) if self.form == "log" else 1 - power


@dataclass(frozen=True)
class Coverage:
    """pass@k over problems by k, over all subsets of k draws, and the laws that fit it; none where fewer than
    two points can be fitted.
    """

    curve: Mapping[int, Interval]
    laws: tuple[PowerLaw, ...] = ()


def coverage(
    n_correct: Sequence[int],
    n: int,
    ks: Sequence[int],
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
) -> Coverage:
    """Of problems of whose `n` draws so many are right."""
    rates = np.array([[pass_at_k(n, each, k) for k in ks] for each in n_correct], dtype=np.float64)  # (P, K)
    curve = {k: bootstrap_interval(rates[:, i], rng, n_resamples) for i, k in enumerate(ks)}
    forms: tuple[Form, ...] = ("log", "failure")
    laws = (fit_power_law(rates, ks, form, rng, n_resamples) for form in forms)
    return Coverage(curve, tuple(law for law in laws if law is not None))


def fit_power_law(
    pass_rates: Floats,
    ks: Sequence[int],
    form: Form,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
) -> PowerLaw | None:
    """Least squares of the logarithm of log(1 / pass@k), or of 1 - pass@k, against log k: on these axes the
    law is a line. `pass_rates` holds pass@k of each problem at each k (problem, k).

    Points at which no problem or every problem is solved have no logarithm, and are left out. None where
    fewer than two are left.
    """
    curve = pass_rates.mean(axis=0)
    slopes, intercepts = _lines(curve[None], ks, form)
    if np.isnan(slopes[0]):
        return None
    chances = np.full(len(pass_rates), 1 / len(pass_rates))
    resampled = rng.multinomial(len(pass_rates), chances, size=n_resamples) @ pass_rates / len(pass_rates)
    some_slopes, some_intercepts = _lines(resampled, ks, form)
    is_fitted = ~np.isnan(some_slopes)
    if not is_fitted.any():
        return None
    sign = -1.0 if form == "log" else 1.0
    a, b = sign * math.exp(intercepts[0]), float(slopes[0])
    is_used = (curve > 0) & (curve < 1)
    some_a, some_b = sign * np.exp(some_intercepts[is_fitted]), some_slopes[is_fitted]
    fitted = _by_law(form, np.array([a]), np.array([b]), ks)[0]
    return PowerLaw(
        form,
        _around(a, some_a),
        _around(b, some_b),
        int(is_used.sum()),
        float(np.abs(fitted - curve)[is_used].max()),
        int((~is_fitted).sum()),
        _band(form, (a, b), (some_a, some_b), (*ks, *(max(ks) * 2**i for i in range(1, N_DOUBLED + 1)))),
    )


def _by_law(form: Form, a: Floats, b: Floats, ks: Sequence[int]) -> Floats:
    """pass@k (resample, k) by laws of the numbers `a` and `b` (resample,), which may leave [0, 1]."""
    powers = a[:, None] * np.asarray(ks, dtype=np.float64) ** b[:, None]
    return np.exp(powers) if form == "log" else 1 - powers


def _band(
    form: Form, best: tuple[float, float], resampled: tuple[Floats, Floats], ks: Sequence[int]
) -> dict[int, Interval]:
    a, b = (np.array([each]) for each in best)
    estimate = _by_law(form, a, b, ks)[0].clip(0.0, 1.0)
    values = _by_law(form, *resampled, ks).clip(0.0, 1.0)
    return {k: _around(float(estimate[i]), values[:, i]) for i, k in enumerate(ks)}


def _lines(curves: Floats, ks: Sequence[int], form: Form) -> tuple[Floats, Floats]:
    """Slope and intercept of each curve (C, K) on logarithmic axes; NaN where fewer than two points have a
    place there.
    """
    is_used = (curves > 0) & (curves < 1)
    inner = np.where(is_used, curves, 0.5)
    y = np.log(-np.log(inner)) if form == "log" else np.log1p(-inner)
    x = np.broadcast_to(np.log(np.asarray(ks, dtype=np.float64)), curves.shape)
    weights, n = is_used.astype(np.float64), is_used.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        x_mean, y_mean = (weights * x).sum(axis=1) / n, (weights * y).sum(axis=1) / n
        x_off, y_off = x - x_mean[:, None], y - y_mean[:, None]
        slopes = (weights * x_off * y_off).sum(axis=1) / (weights * x_off**2).sum(axis=1)
    slopes[n < 2] = np.nan
    return slopes, y_mean - slopes * x_mean


def _around(estimate: float, resampled: Floats) -> Interval:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))
