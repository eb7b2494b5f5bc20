"""What `prm-train route fit` measured: the records of route-report.json.

Accuracies and shares are fractions of problems, costs means a problem; intervals are 95 % bootstrap ones over
problems. All of it is of problems that had no part in the thresholds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from data_gen.files.stored_record import StoredRecord
from prm_train.allocation.results import AllocationRun
from prm_train.metrics.estimators import Interval
from prm_train.search.allocation import Unit


@dataclass(frozen=True)
class RoutePoint:
    """A way to answer: accuracy at its cost by unit, and the share of questions that get no more than one
    sample.
    """

    accuracy: Interval
    cost: Mapping[Unit, float]
    simple_share: float


@dataclass(frozen=True)
class CurvePoint:
    """With another score from which the simple answer stands; the other threshold is the router's."""

    accept_from: float
    point: RoutePoint


@dataclass(frozen=True)
class WrongRoutings:
    """Shares of all problems; see `prm_train.routing.thresholds.Routed`. `n_wrong_simple` and
    `n_right_complex` count problems both ways, as the sums of their shares: simple path taken though it was
    wrong and the complex one right; complex path taken though the simple one was right.
    """

    wrong_simple: Interval
    hard_right: Interval
    unsure_right: Interval
    spoiled: Interval
    n_wrong_simple: float
    n_right_complex: float
    wrong_stage: Interval | None = None  # newer than the first reports


@dataclass(frozen=True, kw_only=True)
class RouteReport(StoredRecord):
    """route-report.json. `reference` is what every question would get without a router, `complex_path` what
    the router searches with in the end, `stages` what it tries before that. `always_complex` is without
    them. `saved` is by unit the share of the reference's cost that the router does not spend,
    `accuracy_difference` its accuracy minus that of the reference on the same problems.

    `over_mix` is its accuracy minus that of a mix that sends questions to either path by lot and costs as
    much: what its decisions are worth. `large_share` of the questions are answered by a large policy.
    `judged_on` says which problems these are.
    """

    WRITTEN_BY = "`prm-train route fit`"

    n_fitted: int
    n_judged: int
    n_failed: int
    judged_on: str
    unit: Unit
    tolerance: float
    caution: float
    reference_path: str
    complex_path: tuple[str, ...]
    stages: tuple[str, ...] = ()
    router: RoutePoint
    reference: RoutePoint
    always_complex: RoutePoint
    always_simple: RoutePoint
    saved: Mapping[Unit, Interval]
    accuracy_difference: Interval
    over_mix: Interval
    wrong: WrongRoutings
    curve: tuple[CurvePoint, ...]
    large_share: float = 0.0
    run: AllocationRun | None = None
