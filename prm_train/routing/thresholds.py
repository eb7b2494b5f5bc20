"""The two thresholds of a router: what comes of them on problems whose paths are known, and how they are
chosen.

The rule is that of FrugalGPT (Chen et al. 2023, section 3): among thresholds that lose no accuracy (`Enough`
says what that is), the cheapest. It is tried on a grid: for `simple_from` 0, the deciles of the estimates,
and never, for `accept_from` 0, 39 quantiles of the scores, and never, which is as accurate as the complex
path.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from prm_train.metrics.difficulty import Floats
from prm_train.routing.paths import NO_SCORE, Costed, Paths
from prm_train.search.allocation import Unit

Bools = NDArray[np.bool_]
N_SCORES, N_ESTIMATES = 40, 10
NEVER = 2.0  # as a threshold of scores, which are at most 1
EQUAL = 1e-9  # of accuracies that are sums of the same numbers in another order


@dataclass(frozen=True)
class Thresholds:
    """See `Router`."""

    simple_from: float
    accept_from: float


@dataclass(frozen=True, eq=False)
class Routed:
    """What comes of thresholds, all (problem,), means over the draws that stand for the simple path's: the
    accuracy, the cost, the share of questions that the simple path answers, and the shares that are routed
    wrongly:

    - `wrong_simple`: the simple answer stands though it is wrong, and the complex path is right;
    - `hard_right`: the question goes to the complex path at once, though the simple answer is right;
    - `unsure_right`: the simple answer is right, and yet the complex path is asked;
    - `spoiled`: of the last two those in which the complex path is wrong;
    - `wrong_stage`: a stage of the complex path ends it though it is wrong, and what follows is right.

    `large` is the share that a large policy answers, behind the complex path.
    """

    right: Floats
    cost: Costed
    simple: Floats
    wrong_simple: Floats
    hard_right: Floats
    unsure_right: Floats
    spoiled: Floats
    large: Floats
    wrong_stage: Floats


def decisions(paths: Paths, at: Thresholds) -> tuple[Bools, Bools]:
    """Which questions skip the simple path (problem,), and which samples stand (problem, draw)."""
    is_hard = np.full(len(paths.score), at.simple_from >= NEVER)
    if paths.pass_at_1 is not None:
        is_hard |= paths.pass_at_1 < at.simple_from
    # A sample without an answer is never enough, whatever the threshold
    stands = (paths.score >= max(at.accept_from, 0.0)) & (paths.score > NO_SCORE) & ~is_hard[:, None]
    return is_hard, stands


def _right(paths: Paths, stands: Bools) -> Floats:
    """(problem, draw)"""
    return np.where(stands, paths.simple_right, paths.complex_right)


def _cost(paths: Paths, unit: Unit, is_hard: Bools, stands: Bools) -> Floats:
    """(problem, draw), without reading the prompt."""
    asked = np.where(is_hard[:, None], paths.complex[unit], paths.escalated[unit])
    return np.where(stands, paths.simple[unit], asked)


def routed(paths: Paths, at: Thresholds) -> Routed:
    is_hard, stands = decisions(paths, at)
    hard = np.broadcast_to(is_hard[:, None], stands.shape)
    simple_right, complex_right = paths.simple_right > 0, paths.complex_right
    wasted = simple_right & ~stands

    def mean(values: Floats) -> Floats:
        found: Floats = (values * paths.counts).sum(axis=1) / paths.counts.sum(axis=1)
        return found

    read = paths.read or {}
    return Routed(
        mean(_right(paths, stands)),
        {unit: mean(_cost(paths, unit, is_hard, stands)) + read.get(unit, 0.0) for unit in paths.units},
        mean(stands.astype(np.float64)),
        mean((stands & ~simple_right) * complex_right),
        mean((wasted & hard).astype(np.float64)),
        mean((wasted & ~hard).astype(np.float64)),
        mean(wasted * (1 - complex_right)),
        mean(np.zeros(stands.shape) if paths.asks_large is None else paths.asks_large * ~stands),
        mean(np.zeros(stands.shape) if paths.wrong_stage is None else paths.wrong_stage * ~stands),
    )


def always_complex(paths: Paths) -> tuple[Floats, Costed]:
    """Accuracy and cost (problem,) where nothing is estimated and no sample drawn first."""
    counts = paths.counts / paths.counts.sum(axis=1, keepdims=True)
    cost = {unit: (paths.complex[unit] * counts).sum(axis=1) for unit in paths.units}
    return (paths.complex_right * counts).sum(axis=1), cost


def always_simple(paths: Paths) -> tuple[Floats, Costed]:
    """The same where the sample stands whatever it is; its score, which nobody reads, is counted."""
    counts = paths.counts / paths.counts.sum(axis=1, keepdims=True)
    cost = {unit: (paths.simple[unit] * counts).sum(axis=1) for unit in paths.units}
    return (paths.simple_right * counts).sum(axis=1), cost


def accept_candidates(paths: Paths) -> list[float]:
    """Ascending: from any answer to none."""
    known = paths.score[(paths.score > NO_SCORE) & (paths.counts > 0)]
    shares = np.arange(1, N_SCORES) / N_SCORES
    found = np.quantile(known, shares, method="higher").tolist() if known.size else []
    return [0.0, *found, NEVER]


def simple_candidates(paths: Paths) -> list[float]:
    """Ascending, from every question on the simple path to none."""
    if paths.pass_at_1 is None:
        return [0.0, NEVER]
    shares = np.arange(1, N_ESTIMATES) / N_ESTIMATES
    return [0.0, *np.quantile(paths.pass_at_1, shares, method="higher").tolist(), NEVER]


def choose(paths: Paths, unit: Unit, enough: "Enough") -> tuple[float, Thresholds] | None:
    """The cheapest thresholds in a unit with which enough problems are solved, and their mean cost; of
    equally cheap ones the first. None if there are none.
    """
    shares = paths.counts / paths.counts.sum(axis=1, keepdims=True)
    read = 0.0 if paths.read is None else float(paths.read[unit].mean())
    best: tuple[float, Thresholds] | None = None
    for at in (Thresholds(*pair) for pair in product(simple_candidates(paths), accept_candidates(paths))):
        is_hard, stands = decisions(paths, at)
        cost = float((_cost(paths, unit, is_hard, stands) * shares).sum(axis=1).mean()) + read
        is_cheaper = best is None or cost < best[0]
        if is_cheaper and enough.holds((_right(paths, stands) * shares).sum(axis=1)):
            best = cost, at
    return best


@dataclass(frozen=True, eq=False)
class Enough:
    """When a router solves as many problems as the reference, whose accuracy is `wanted` (problem,): the mean
    difference, less `caution` of its standard errors over problems, is at least -`tolerance`.

    Among hundreds of thresholds and searches the cheapest one that seems as accurate is mostly a lucky one.
    With a caution of 2 the lower end of the difference's 95 % interval has to be within the tolerance, as
    where it is tested that one treatment is no worse than another.
    """

    wanted: Floats
    tolerance: float = 0.0
    caution: float = 0.0

    def holds(self, right: Floats) -> bool:
        difference = right - self.wanted
        error = float(difference.std(ddof=1)) / len(difference) ** 0.5 if len(difference) > 1 else 0.0
        return float(difference.mean()) - self.caution * error >= -self.tolerance - EQUAL
