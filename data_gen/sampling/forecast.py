"""What a run will cost, from a pilot of its own problems.

The pilot is twenty problems spread evenly over the source. Their draws go into the run's ledger, so they are
part of the run and nothing is spent on the forecast. Problems differ much in cost (a hard one has longer and
more wrong solutions, and wrong ones are what takes rollouts), so each total comes with an interval.
"""

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

N_PILOT = 20
N_RESAMPLES = 2000
LEVEL = 0.9


@dataclass(frozen=True)
class Total:
    """An expected total, and the interval that holds the true one with 90 % probability."""

    expected: float
    low: float
    high: float


def pilot_positions(n_problems: int, n_pilot: int = N_PILOT) -> list[int]:
    """The middles of `n_pilot` equal parts of 0 … n_problems - 1; everything where there are fewer
    problems.
    """
    if n_problems <= n_pilot:
        return list(range(n_problems))
    return [(2 * part + 1) * n_problems // (2 * n_pilot) for part in range(n_pilot)]


def forecast_total(costs: Sequence[float], n_problems: int, rng: random.Random) -> Total:
    """The total over `n_problems` of which the pilot's `costs` are known.

    Two things are uncertain about the rest: its mean, by the bootstrap over the pilot (widened by sqrt(m / (m
    - 1)), since a resample of m costs spreads less than m new ones), and how far a sum of so many costs
    strays from its mean. Raises ValueError for a pilot of fewer than two problems where there are more.
    """
    known, n_pilot = math.fsum(costs), len(costs)
    n_rest = n_problems - n_pilot
    if n_rest == 0:
        return Total(known, known, known)
    if n_pilot < 2:
        raise ValueError(
            f"a pilot of {n_pilot} problems for {n_problems}; expected at least 2, since one says nothing "
            "about the spread"
        )
    mean, spread = statistics.fmean(costs), statistics.stdev(costs)
    widening = math.sqrt(n_pilot / (n_pilot - 1))
    totals = []
    for _ in range(N_RESAMPLES):
        resampled = mean + widening * (sum(rng.choices(costs, k=n_pilot)) / n_pilot - mean)
        totals.append(known + max(0.0, n_rest * resampled + math.sqrt(n_rest) * spread * rng.gauss(0, 1)))
    totals.sort()
    tail = round((1 - LEVEL) / 2 * N_RESAMPLES)
    return Total(known + n_rest * mean, totals[tail], totals[-1 - tail])


def forecast(
    costs: Sequence[Mapping[str, float]], n_problems: int, seconds_per_token: float | None, seed: int = 0
) -> dict[str, Total]:
    """A total for each name in the `costs` of the pilot's problems, and `seconds` where it is known how long
    a generated token takes.

    Seconds are those of the pilot's rate: an engine whose batch the pilot did not fill will be faster.
    """
    totals = {
        name: forecast_total([cost[name] for cost in costs], n_problems, random.Random(seed))
        for name in costs[0]
    }
    if seconds_per_token is not None:
        totals["seconds"] = Total(
            *(value * seconds_per_token for value in asdict(totals["n_generated"]).values())
        )
    return totals


def forecast_text(totals: Mapping[str, Total], n_problems: int) -> str:
    """A table for a person."""
    lines = [f"forecast for {n_problems} problems (90 % interval):"]
    for name, total in totals.items():
        expected, low, high = map(_shown, asdict(total).values())
        lines.append(f"  {name.removeprefix('n_'):>20} {expected:>16}   [{low}, {high}]")
    if "seconds" in totals:
        lines[-1] += " at the pilot's rate: a fuller batch is faster"
    return "\n".join(lines)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value < 1e13 else f"{value:.3g}"
