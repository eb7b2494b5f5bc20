"""What allocations are worth on the problems of a search: by estimate of difficulty, bins, unit and budget,
beside the best fixed choice and best-of-N.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import get_args

import numpy as np

from data_gen.sampling.draw_settings import DrawSettings
from data_gen.settings.errors import InputError
from prm_train.allocation.arms import UNITS, Arm, ArmMaker, with_estimate
from prm_train.allocation.early_stop import EarlyStop
from prm_train.allocation.folds import (
    Bins,
    Outcome,
    Rule,
    Table,
    bin_means,
    bins_of,
    cross_validated,
    fitted,
    fold_numbers,
)
from prm_train.allocation.results import AllocationReport, AllocationRow, BinAccuracy, CurvePoint, Gain
from prm_train.allocation.savings import resample_weights, saving
from prm_train.evaluation.choosing import Chosen
from prm_train.evaluation.costs import Costs
from prm_train.evaluation.difficulty import DifficultyPredictor, ProblemDifficulty
from prm_train.evaluation.methods import stops_early
from prm_train.metrics.difficulty import Floats
from prm_train.metrics.estimators import Interval, bootstrap_interval, paired_difference
from prm_train.search.allocation import ORACLE, PROMPT, SCORE, Allocation, BudgetChoices, Sharing, Unit

BEST_OF_N = ("prm_weighted", "orm_weighted", "majority")  # the first of them that there is
FIXED = "best fixed choice"
BLIND = "blind"  # estimates of other problems, for nothing: what mixing methods achieves without any
SLACK = 1.05


@dataclass(frozen=True)
class StudySettings:
    """Those of `AllocateConfig` that say how arms are chosen and judged."""

    n_folds: int
    seed: int
    prior: float
    n_bins: int
    methods: tuple[str, ...] = ()
    early_stop_arms: bool = True


@dataclass(frozen=True)
class Way:
    """A way to spend a budget in a unit: by which estimate of difficulty, in which bins, shared how."""

    difficulty: str
    bins: Bins
    sharing: Sharing
    unit: Unit


class Study:
    """Raises InputError for a method that there is not."""

    def __init__(
        self,
        costs: Costs,
        chosen: Chosen,
        predictor: DifficultyPredictor,
        difficulties: Sequence[ProblemDifficulty],
        settings: StudySettings,
    ) -> None:
        self.settings, self.predictor = settings, predictor
        self._maker, self._difficulties = ArmMaker(costs.results, chosen, costs), difficulties
        self.every_arm = every = self._maker.arms
        names = {arm.choice.method for arm in every}
        unknown = set(settings.methods) - names
        if unknown:
            raise InputError(f"methods: got {min(unknown)}; expected some of {', '.join(sorted(names))}")
        self.best_of_n = next(name for name in BEST_OF_N if name in names)
        self.arms = [
            arm
            for arm in every
            if (not settings.methods or arm.choice.method in settings.methods)
            and (settings.early_stop_arms or not stops_early(arm.choice.method))
        ]
        self._curve_arms = [arm for arm in every if arm.choice.method == self.best_of_n]
        self.units = [unit for unit in UNITS if all(unit in arm.mean.cost for arm in every)]
        self.estimates = {
            kind: np.array([each.pass_at_1[kind] for each in difficulties])
            for kind in difficulties[0].pass_at_1
        }
        shuffled = np.random.default_rng(settings.seed).permutation(next(iter(self.estimates.values())))
        self.estimates[BLIND] = shuffled
        self.folds = fold_numbers(len(difficulties), settings.n_folds, settings.seed)
        self._weights = resample_weights(len(difficulties), settings.seed)
        self._tables: dict[tuple[str | None, Unit], Table] = {}
        self._baselines: dict[tuple[str, Way, float], Outcome | None] = {}

    def table(self, kind: str | None, unit: Unit) -> Table:
        """Of all arms behind an estimate of difficulty (None: behind none)."""
        if (kind, unit) not in self._tables:
            self._tables[kind, unit] = self._table(kind, unit, self.arms)
        return self._tables[kind, unit]

    def curve_table(self, unit: Unit) -> Table:
        """Of best-of-N at each N."""
        return self._table(None, unit, self._curve_arms)

    def _table(self, kind: str | None, unit: Unit, arms: Sequence[Arm]) -> Table:
        n_prompt = [
            each.cost[PROMPT].n_prefilled if PROMPT in each.cost else 0 for each in self._difficulties
        ]
        estimate = self._maker.estimate(kind or ORACLE, self.predictor.n_draws, n_prompt)
        is_drawn = kind == SCORE
        # An estimate that has read the first samples of a problem has chosen for them and no others
        tested = [arm.first if is_drawn and arm.is_of_scored else arm.mean for arm in arms]
        return Table(
            np.stack([arm.mean.accuracy for arm in arms], axis=1),
            np.stack([with_estimate(arm, arm.mean, unit, estimate, is_drawn) for arm in arms], axis=1),
            np.stack([block.accuracy for block in tested], axis=1),
            np.stack(
                [
                    with_estimate(arm, block, unit, estimate, is_drawn)
                    for arm, block in zip(arms, tested, strict=True)
                ],
                axis=1,
            ),
        )

    def budgets(self, unit: Unit, given: Sequence[float] = ()) -> list[float]:
        """Those given, or what best-of-N costs at each N, with so much more that it can pay for its N by the
        mean over any folds.
        """
        return list(given) or [SLACK * float(arm.mean.cost[unit].mean()) for arm in self._curve_arms]

    def _parts(self, way: Way) -> tuple[Table, Floats, Rule]:
        """What `cross_validated` takes."""
        rule = Rule(way.bins, self.settings.n_bins, way.sharing, self.settings.prior)
        return self.table(way.difficulty, way.unit), self.estimates[way.difficulty], rule

    def baseline(self, name: str, way: Way, budget: float) -> Outcome | None:
        """The best fixed choice, best-of-N, or the same way by blind estimates within a budget, by the same
        folds.
        """
        key = name, way, budget
        if key not in self._baselines:
            if name == BLIND:
                parts = self._parts(replace(way, difficulty=BLIND))
            else:
                table = self.table(None, way.unit) if name == FIXED else self.curve_table(way.unit)
                parts = table, np.zeros(len(self.folds)), Rule(None, prior=0.0)
            table, rates, rule = parts
            self._baselines[key] = cross_validated(table, rates, self.folds, rule, budget)
        return self._baselines[key]

    def curve(self, name: str, way: Way, budgets: Sequence[float]) -> list[tuple[Floats, Floats]]:
        """Accuracy and cost of a baseline (problem,): of best-of-N at each N, of others at each budget."""
        if name == self.best_of_n:
            return [(arm.mean.accuracy, arm.mean.cost[way.unit]) for arm in self._curve_arms]
        found = [self.baseline(name, way, budget) for budget in budgets]
        return [(each.accuracy, each.spent) for each in found if each is not None]

    def row(self, way: Way, budget: float, budgets: Sequence[float]) -> AllocationRow | None:
        """None where the budget does not pay for it."""
        table, rates, rule = self._parts(way)
        outcome = cross_validated(table, rates, self.folds, rule, budget)
        whole = fitted(table, rates, np.ones(len(rates), dtype=bool), rule, budget)
        if outcome is None or whole is None:
            return None
        gains = [
            self._gain(outcome, name, way, budget, budgets)
            for name in (FIXED, self.best_of_n, BLIND)
            if name != way.difficulty
        ]
        return AllocationRow(
            way.difficulty,
            way.bins,
            way.sharing,
            way.unit,
            budget,
            self._interval(outcome.accuracy),
            float(outcome.spent.mean()),
            tuple(str(self.arms[arm].choice) for arm in whole[1]),
            tuple(gain for gain in gains if gain is not None),
        )

    def _gain(
        self, outcome: Outcome, name: str, way: Way, budget: float, budgets: Sequence[float]
    ) -> Gain | None:
        other = self.baseline(name, way, budget)
        if other is None:
            return None
        rng = np.random.default_rng(self.settings.seed)
        return Gain(
            name,
            float(other.accuracy.mean()),
            float(other.spent.mean()),
            paired_difference(outcome.accuracy, other.accuracy, rng),
            saving(outcome.accuracy, outcome.spent, self.curve(name, way, budgets), self._weights),
        )

    def _interval(self, values: Floats) -> Interval:
        return bootstrap_interval(values, np.random.default_rng(self.settings.seed))

    @cached_property
    def best_of_n_curve(self) -> tuple[CurvePoint, ...]:
        return tuple(
            CurvePoint(
                arm.choice.n,
                self._interval(arm.mean.accuracy),
                {unit: float(arm.mean.cost[unit].mean()) for unit in self.units},
            )
            for arm in self._curve_arms
        )

    def report(
        self,
        budgets: Mapping[Unit, Sequence[float]],
        n_failed: int,
        bin_table: Sequence[BinAccuracy],
        stops: Sequence[EarlyStop],
    ) -> AllocationReport:
        """In every unit (with the budgets given for it, or those of best-of-N), for every estimate."""
        rows = []
        for unit in self.units:
            every = self.budgets(unit, budgets[unit])
            ways = [
                Way(kind, bins, sharing, unit)
                for kind, bins, sharing in product(self.estimates, get_args(Bins), get_args(Sharing))
            ]
            found = [self.row(way, budget, every) for way, budget in product(ways, every)]
            rows += [row for row in found if row is not None]
        return AllocationReport(
            n_problems=len(self.folds),
            n_failed=n_failed,
            n_arms=len(self.arms),
            n_folds=self.settings.n_folds,
            prior=self.settings.prior,
            seed=self.settings.seed,
            best_of_n=self.best_of_n,
            curve=self.best_of_n_curve,
            rows=tuple(rows),
            bin_table=tuple(bin_table),
            early_stops=tuple(stops),
        )

    def allocation(
        self,
        way: Way,
        given: Sequence[float],
        models: Mapping[str, str],
        draws: DrawSettings,
    ) -> Allocation:
        """As all problems choose it. Raises InputError where no budget pays for it."""
        table, rates, rule = self._parts(way)
        budgets, edges = self.budgets(way.unit, given), rule.edges(rates)
        found = []
        for budget in budgets:
            whole = fitted(table, rates, np.ones(len(rates), dtype=bool), rule, budget)
            outcome = cross_validated(table, rates, self.folds, rule, budget)
            if whole is not None and outcome is not None:
                choices = tuple(self.arms[arm].choice for arm in whole[1])
                mean = float(outcome.accuracy.mean()), float(outcome.spent.mean())
                found.append(BudgetChoices(budget, choices, *mean))
        if not found:
            raise InputError(
                f"budgets: none of {', '.join(f'{each:g}' for each in budgets)} {way.unit} pays for the "
                f"estimate of difficulty ({way.difficulty}) and a method; expected more"
            )
        return Allocation(
            models=models,
            difficulty=way.difficulty,
            fit=self.predictor.fits[way.difficulty],
            draws=draws,
            aggregation=self.predictor.aggregation,
            n_draws=self.predictor.n_draws,
            edges=edges,
            unit=way.unit,
            sharing=way.sharing,
            budgets=tuple(found),
        )

    def bin_table(self, way: Way, given: Sequence[float]) -> list[BinAccuracy]:
        """What each method achieves in each bin within each budget, on all problems."""
        table, rates, rule = self._parts(way)
        edges = rule.edges(rates)
        numbers, n_bins = bins_of(rates, edges), len(edges) + 1
        accuracy, cost = (bin_means(each, numbers, n_bins, 0.0) for each in (table.accuracy, table.cost))
        found = []
        for budget, method in product(
            self.budgets(way.unit, given), dict.fromkeys(arm.choice.method for arm in self.arms)
        ):
            own = [i for i, arm in enumerate(self.arms) if arm.choice.method == method]
            best: list[int | None] = []
            for number in range(n_bins):
                within = [i for i in own if cost[number, i] <= budget]
                best.append(max(within, key=list(accuracy[number]).__getitem__, default=None))
            found.append(
                BinAccuracy(
                    method,
                    budget,
                    tuple(None if i is None else self.arms[i].choice.n for i in best),
                    tuple(None if i is None else float(accuracy[b, i]) for b, i in enumerate(best)),
                )
            )
        return found
