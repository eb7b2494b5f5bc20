"""What `prm-train allocate` measured: the records of allocation-report.json.

Accuracies are fractions, costs and budgets means a problem in the unit that is named.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from data_gen.files.stored_record import StoredRecord
from prm_train.allocation.early_stop import EarlyStop
from prm_train.allocation.folds import Bins
from prm_train.allocation.savings import Saving
from prm_train.metrics.estimators import Interval
from prm_train.search.allocation import Sharing, Unit


@dataclass(frozen=True)
class Gain:
    """Over a baseline within the same budget: what that achieves and spends (`accuracy`, `spent`), the paired
    difference, and how much less compute reaches the same accuracy.
    """

    baseline: str
    accuracy: float
    spent: float
    difference: Interval
    saving: Saving


@dataclass(frozen=True)
class AllocationRow:
    """A way of choosing within a budget, on problems that had no part in it. `by_bin` is what all problems
    together choose, the easiest bin first; `gains` are over the best fixed choice of the same folds, over
    best-of-N, and over the same by difficulties that were shuffled (`blind`): how much of it is due to the
    estimate, and not to a mix of methods.
    """

    difficulty: str
    bins: Bins
    sharing: Sharing
    unit: Unit
    budget: float
    accuracy: Interval
    spent: float
    by_bin: tuple[str, ...]
    gains: tuple[Gain, ...]


@dataclass(frozen=True)
class CurvePoint:
    """Best-of-N at an N on all problems; costs by unit."""

    n: int
    accuracy: Interval
    cost: Mapping[Unit, float]


@dataclass(frozen=True)
class BinAccuracy:
    """The best that a method achieves in each bin (the easiest first) within a budget: N and the accuracy at
    it on all problems, which choose it, too, so it is flattered. None where the budget pays for no N.
    """

    method: str
    budget: float
    n: tuple[int | None, ...]
    accuracy: tuple[float | None, ...]


@dataclass(frozen=True)
class AllocationRun:
    """What made an allocation: the command, the version and the commit of the code, and the day (UTC)."""

    command: str
    code: str
    date: str


@dataclass(frozen=True, kw_only=True)
class AllocationReport(StoredRecord):
    """allocation-report.json. `bin_table` is that of the setting that allocation.json is of; `run` is None in
    reports of earlier versions.
    """

    WRITTEN_BY = "`prm-train allocate`"

    n_problems: int
    n_failed: int
    n_arms: int
    n_folds: int
    prior: float
    seed: int
    best_of_n: str
    curve: tuple[CurvePoint, ...]
    rows: tuple[AllocationRow, ...]
    bin_table: tuple[BinAccuracy, ...] = ()
    early_stops: tuple[EarlyStop, ...] = ()
    notes: tuple[str, ...] = ()
    run: AllocationRun | None = None
