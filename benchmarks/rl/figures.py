"""What docs/rl_analysis.md asks for, of several seeds."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.rl.measured import Arm, Curve, Measured
from benchmarks.rl.plan import ARMS, BASE, SEARCHED
from data_gen.settings.errors import InputError
from prm_train.metrics.estimators import Interval
from prm_train.metrics.training_seeds import interval_over_seeds

N_LAST = 5  # looks that make an arm's end
TOLERANCE = 0.01  # below the end of `outcome` that counts as having reached it
N_SMOOTHED = 3
FALLEN, GROWN = 0.1, 1.5  # a collapse: accuracy fell by so much, or completions have so many times the tokens
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}  # by number of seeds
MOST_SEEDS = max(T_95)
MEASURES = ("greedy", "pass_at_1", "pass_at_64", "weighted_16")


def figures(seeds: Sequence[Measured]) -> dict[str, Any]:
    """By arm: steps to the level against those of `outcome`, accuracy at the end, collapse and cost. Raises
    InputError for seeds that cannot be put together.
    """
    _check(seeds)
    rng = np.random.default_rng(0)
    steps = {arm: steps_figures(seeds, arm) for arm in ARMS}
    collapses = {arm: [collapse(each.arms[arm]) for each in seeds] for arm in ARMS}
    return {
        "seeds": len(seeds),
        "seed_numbers": [each.seed for each in seeds],
        "settings": seeds[0].settings,
        "machine": sorted({each.machine for each in seeds}),
        "steps_ratio": {arm: figures["ratio"] for arm, figures in steps.items()},
        "sum_collapses": sum(each["collapsed"] for each in collapses["hacked_sum"]),
        "steps": steps,
        "accuracy": {arm: end_figures(seeds, arm) for arm in ARMS},
        "searched": {arm: searched_figures(seeds, arm, rng) for arm in SEARCHED},
        "collapse": collapses,
        "curves": {arm: mean_curve([each.arms[arm].solved for each in seeds]) for arm in ARMS},
        "cost": {arm: cost_figures(seeds, arm) for arm in ARMS},
    }


def _check(seeds: Sequence[Measured]) -> None:
    numbers = [each.seed for each in seeds]
    if len(set(numbers)) < len(numbers) or len(numbers) > MOST_SEEDS:
        raise InputError(f"seeds: got {numbers}, expected different ones, at most {MOST_SEEDS}")
    other = next((each for each in seeds if each.settings != seeds[0].settings), None)
    if other is not None:
        raise InputError(
            f"settings: got {other.settings} of seed {other.seed}, expected those of seed {numbers[0]}: "
            f"{seeds[0].settings}"
        )


# --- steps


def end(arm: Arm) -> float:
    """Share of the validation problems that greedy answers solve in the last looks."""
    return float(np.mean([value for _, value in arm.solved[-N_LAST:]]))


def steps_to(curve: Curve, level: float) -> float | None:
    """The first step at which the mean of three looks in a row, of which it is the middle one, is at least
    `level`; None where it never is.
    """
    for around in zip(*(curve[i:] for i in range(N_SMOOTHED)), strict=False):
        if np.mean([value for _, value in around]) >= level:
            return float(around[1][0])
    return None


def steps_figures(seeds: Sequence[Measured], arm: str) -> dict[str, Any]:
    """Ratios of a seed's steps to the level to those of its `outcome`. A seed that never reaches it counts
    with all of its steps, which is too few, and is named in `n_never`.
    """
    steps, ratios, n_never = [], [], 0
    for each in seeds:
        level = end(each.arms["outcome"]) - TOLERANCE
        own, base = (steps_to(each.arms[name].solved, level) for name in (arm, "outcome"))
        n_never += own is None
        steps.append(each.arms[arm].solved[-1][0] if own is None else own)
        ratios.append(steps[-1] / max(base or each.arms["outcome"].solved[-1][0], 1.0))
    # Ratios are averaged as logarithms: half and twice as many steps cancel
    interval = over_seeds([math.log(max(each, 1e-3)) for each in ratios], math.exp)
    return {"steps": steps, "ratio": interval, "n_never": n_never}


# --- ends


def end_figures(seeds: Sequence[Measured], arm: str) -> dict[str, Any]:
    ends = [end(each.arms[arm]) for each in seeds]
    differences = [own - end(each.arms["outcome"]) for own, each in zip(ends, seeds, strict=True)]
    return {
        "before": over_seeds([each.arms[arm].solved[0][1] for each in seeds]),
        "end": over_seeds(ends),
        "above_outcome": over_seeds(differences),
    }


def searched_figures(seeds: Sequence[Measured], arm: str, rng: np.random.Generator) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in MEASURES:
        own = [getattr(each.searched[arm], name) for each in seeds]
        base = [getattr(each.searched[BASE], name) for each in seeds]
        changes = [np.subtract(one, other) for one, other in zip(own, base, strict=True)]
        found[name] = shown(interval_over_seeds(own, rng, "own"))
        if arm != BASE:
            found[f"{name}_above_base"] = shown(interval_over_seeds(changes, rng, "own", bounds=(-1.0, 1.0)))
    return found


# --- collapse


def collapse(arm: Arm) -> dict[str, Any]:
    """Whether accuracy fell, or completions grew; from how many steps to how many; the scorer's AUROC; the
    step at which the monitor said to stop.
    """
    values = [value for _, value in arm.solved]
    grown = _ends(arm.n_tokens)
    return {
        "fell_by": round(max(0.0, values[0] - end(arm)), 4),
        "tokens": grown,
        "steps": _ends(arm.n_steps),
        "auroc": _ends(arm.auroc),
        "alarm_at": arm.alarm_at,
        "collapsed": values[0] - end(arm) >= FALLEN or (grown is not None and grown[1] >= GROWN * grown[0]),
    }


def _ends(curve: Curve) -> list[float] | None:
    """Means of the first and of the last looks."""
    if not curve:
        return None
    values = [value for _, value in curve]
    return [round(float(np.mean(values[:N_LAST])), 3), round(float(np.mean(values[-N_LAST:])), 3)]


# --- the rest


def cost_figures(seeds: Sequence[Measured], arm: str) -> dict[str, float]:
    arms = [each.arms[arm] for each in seeds]
    return {
        "n_generated": round(float(np.mean([each.n_generated for each in arms]))),
        "cpu_seconds": round(float(np.mean([each.cpu_seconds for each in arms])), 1),
    }


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Over seeds, at the steps that all have."""
    by_step: list[Mapping[float, float]] = [{step: value for step, value in curve} for curve in curves]
    steps = sorted(set.intersection(*(set(each) for each in by_step)))
    return [[step, round(float(np.mean([each[step] for each in by_step])), 4)] for step in steps]


def over_seeds(values: Sequence[float], scale: Callable[[float], float] = float) -> dict[str, float | None]:
    """Mean over seeds and its 95 % interval by Student's t; no interval of a single seed."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return {"mean": round(scale(mean), 4), "low": None, "high": None}
    half = T_95[len(values)] * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    low, middle, high = (round(scale(each), 4) for each in (mean - half, mean, mean + half))
    return {"mean": middle, "low": low, "high": high}


def shown(interval: Interval) -> dict[str, float | None]:
    return {name: round(value, 4) for name, value in asdict(interval).items()}
