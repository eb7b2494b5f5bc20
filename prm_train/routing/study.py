"""A router fitted on some problems and judged on others: a search of its own, or the other folds of the same
one, where the estimate from the prompt is fitted without them, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_gen.settings.errors import InputError
from prm_train.allocation.early_stop import saved_share
from prm_train.allocation.folds import Rule, Table, bins_of, fold_numbers
from prm_train.allocation.folds import choose as choose_arms
from prm_train.metrics.difficulty import Floats, PassRateFit, fit_pass_rates, quantile_edges
from prm_train.metrics.estimators import Interval, bootstrap_interval, paired_difference
from prm_train.routing.large import LargeAnswers, large_candidates, with_large
from prm_train.routing.paths import Costed, Paths, joined
from prm_train.routing.report import CurvePoint, RoutePoint, WrongRoutings
from prm_train.routing.stages import Mix, graded_steps, with_stage
from prm_train.routing.thresholds import (
    Enough,
    Routed,
    Thresholds,
    accept_candidates,
    always_complex,
    always_simple,
    choose,
    routed,
)
from prm_train.search.allocation import Unit

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
N_BUDGETS = 12


@dataclass(frozen=True)
class FitSettings:
    """Those of `RouteConfig` that say how a router is chosen and judged."""

    unit: Unit = "tokens"
    tolerance: float = 0.0
    caution: float = 0.0
    n_bins: int = 3
    prior: float = 20.0
    n_folds: int = 5
    seed: int = 0
    n_stages: int = 0


@dataclass(frozen=True, eq=False)
class Searched:
    """The problems of a search with the paths by the place of each choice that a complex path may be made of,
    and where prompts are read their states (problem, hidden), what reading costs, and the pass rates
    (problem,).

    `reference` is accuracy and cost (problem,) of what all of them would get without a router; `large` are
    the answers of a large policy, if there is one.
    """

    parts: Mapping[int, Paths]
    reference: tuple[Floats, Costed]
    large: LargeAnswers | None = None
    states: Floats | None = None
    read: Costed | None = None
    rates: Floats | None = None

    def __len__(self) -> int:
        return len(self.reference[0])

    def only(self, problems: Bools) -> "Searched":
        right, cost = self.reference
        return Searched(
            {place: each.only(problems) for place, each in self.parts.items()},
            (right[problems], {unit: each[problems] for unit, each in cost.items()}),
            None if self.large is None else self.large.only(problems),
            None if self.states is None else self.states[problems],
            None if self.read is None else {unit: each[problems] for unit, each in self.read.items()},
            None if self.rates is None else self.rates[problems],
        )

    def paths(self, pass_at_1: Floats | None, mix: Mix, large_from: float | None = None) -> Paths:
        """Without the large policy where `large_from` is None."""
        whole = self.parts[mix.places[0]]
        if pass_at_1 is not None:
            bins = bins_of(pass_at_1, mix.edges).tolist()
            whole = joined([self.parts[place] for place in mix.places], bins)
            whole = replace(whole, pass_at_1=pass_at_1, read=self.read)
        for step in reversed(mix.steps):
            whole = with_stage(self.parts[step.place], whole, step.accept_from)
        if large_from is None:
            return whole
        assert self.large is not None
        return with_large(whole, self.large, large_from)


@dataclass(frozen=True)
class Fitted:
    """`fit` is None where the router estimates nothing, `large_from` where it asks no large policy; `scores`
    are all that were tried for `accept_from`.
    """

    mix: Mix
    at: Thresholds
    fit: PassRateFit | None
    scores: tuple[float, ...]
    large_from: float | None = None


def fit_router(
    problems: Searched, settings: FitSettings, given: Mix | None = None, known: PassRateFit | None = None
) -> Fitted:
    """Complex path (unless it is given) and thresholds by these problems: the cheapest that are as accurate
    as the reference, with an estimate from prompts and without. `known` is such an estimate that was fitted
    elsewhere; without it one is fitted here, and each problem's own is that of the folds without it.

    Raises InputError where nothing is as accurate.
    """
    fit, pass_at_1 = known, None
    if problems.states is not None:
        if known is not None:
            pass_at_1 = known.predict(problems.states)
        else:
            assert problems.rates is not None
            fit = fit_pass_rates(problems.states, problems.rates)
            pass_at_1 = cross_predicted(problems.states, problems.rates, settings)
    enough = Enough(problems.reference[0], settings.tolerance, settings.caution)
    best: tuple[float, Mix, Thresholds, Floats | None, float | None] | None = None
    for mix, estimates in _tried(problems, settings, given, pass_at_1, enough):
        alone = problems.paths(estimates, mix)
        for large_from in (None, *(large_candidates(alone) if problems.large is not None else ())):
            paths = alone if large_from is None else problems.paths(estimates, mix, large_from)
            found = choose(paths, settings.unit, enough)
            if found is not None and (best is None or found[0] < best[0]):
                best = found[0], mix, found[1], estimates, large_from
    if best is None:
        raise InputError(
            f"reference: solves {enough.wanted.mean():.1%} of the problems that are fitted on; the complex "
            "path solves less, with the simple one before it or without, expected another method, or more "
            "tolerance"
        )
    _, mix, at, estimates, large_from = best
    scores = tuple(accept_candidates(problems.paths(estimates, mix)))
    return Fitted(mix, at, None if estimates is None else fit, scores, large_from)


def _tried(
    problems: Searched,
    settings: FitSettings,
    given: Mix | None,
    pass_at_1: Floats | None,
    enough: Enough,
) -> Iterator[tuple[Mix, Floats | None]]:
    """Complex paths, each without the estimate (None) where it needs none, and with it where there is one."""
    mixes = [Mix((place,)) for place in problems.parts] if given is None else [given]
    if given is None and settings.n_stages:
        mixes += [
            replace(mix, steps=steps)
            for mix in tuple(mixes)
            for steps in graded_steps(
                problems.parts, problems.paths(None, mix), settings.unit, enough, settings.n_stages
            )
        ]
    yield from ((mix, None) for mix in mixes if not mix.edges)
    if pass_at_1 is None:
        return
    if given is None:
        mixes += by_difficulty(problems, settings, pass_at_1)
    yield from ((mix, pass_at_1) for mix in mixes)


def by_difficulty(problems: Searched, settings: FitSettings, pass_at_1: Floats) -> list[Mix]:
    """As an allocation shares a budget among bins of difficulty (Snell et al. 2024, section 3.2), for budgets
    up to what the reference costs.
    """
    alone = [always_complex(each) for each in problems.parts.values()]
    right = np.stack([each for each, _ in alone], axis=1)
    cost = np.stack([each[settings.unit] for _, each in alone], axis=1)
    table, edges = Table(right, cost, right, cost), quantile_edges(pass_at_1, settings.n_bins)
    rule = Rule("quantile", settings.n_bins, "mean", settings.prior)
    most = max(float(problems.reference[1][settings.unit].mean()), float(cost.mean(axis=0).min()))
    places, bins = list(problems.parts), bins_of(pass_at_1, edges)
    found = [
        choose_arms(table, bins, settings.n_bins, rule, budget)
        for budget in np.geomspace(cost.mean(axis=0).min(), most, N_BUDGETS)
    ]
    mixes = {tuple(places[arm] for arm in arms): None for arms in found if arms and len(set(arms)) > 1}
    return [Mix(each, edges) for each in mixes]


def cross_predicted(states: Floats, rates: Floats, settings: FitSettings) -> Floats:
    """pass@1 of each problem by a fit to the problems of other folds."""
    folds, found = fold_numbers(len(rates), settings.n_folds, settings.seed), np.zeros(len(rates))
    for fold in np.unique(folds):
        own = folds == fold
        found[own] = fit_pass_rates(states[~own], rates[~own]).predict(states[own])
    return found


@dataclass(frozen=True, eq=False)
class Judged:
    """Of problems that had no part in the fit: their paths, accuracy and cost of the reference, what the
    router does, and what it would do at each score that was tried.
    """

    paths: Paths
    reference: tuple[Floats, Costed]
    router: Routed
    curve: Sequence[tuple[float, Routed]]
    alone: Paths  # of the complex path's last search, without its stages


def judge(problems: Searched, fitted: Fitted) -> Judged:
    pass_at_1 = None if fitted.fit is None else fitted.fit.predict(problems.states)  # type: ignore[arg-type]
    paths = problems.paths(pass_at_1, fitted.mix, fitted.large_from)
    # Of a router that never tries a sample, what it would be worth to try one
    at = fitted.at if paths.pass_at_1 is not None else replace(fitted.at, simple_from=0.0)
    curve = [(score, routed(paths, replace(at, accept_from=score))) for score in fitted.scores]
    alone = problems.paths(pass_at_1, replace(fitted.mix, steps=()), fitted.large_from)
    return Judged(paths, problems.reference, routed(paths, fitted.at), curve, alone)


def cross_judge(
    problems: Searched, settings: FitSettings, given: Mix | None = None, known: PassRateFit | None = None
) -> list[Judged]:
    """Of each fold, by a router that is fitted to the others."""
    folds = fold_numbers(len(problems), settings.n_folds, settings.seed + 1)
    found = []
    for fold in np.unique(folds):
        fitted = fit_router(problems.only(folds != fold), settings, given, known)
        found.append(judge(problems.only(folds == fold), fitted))
    return found


class Verdict:
    """What the judged problems, of all folds together, show."""

    def __init__(self, judged: Sequence[Judged], settings: FitSettings) -> None:
        self._judged, self._seed, self.unit = judged, settings.seed, settings.unit
        self._router = [each.router for each in judged]
        self._reference = _whole([each.reference for each in judged])
        self._complex = _whole([always_complex(each.alone) for each in judged])
        self._simple = _whole([always_simple(each.paths) for each in judged])
        self._right, self._cost = _whole([(each.right, each.cost) for each in self._router])

    def __len__(self) -> int:
        return len(self._right)

    def _interval(self, values: Floats) -> Interval:
        return bootstrap_interval(np.clip(values, 0.0, 1.0), np.random.default_rng(self._seed))

    def _difference(self, one: Floats, other: Floats) -> Interval:
        return paired_difference(one, other, np.random.default_rng(self._seed))

    def _point(self, right: Floats, cost: Costed, share: float) -> RoutePoint:
        costs: dict[Unit, float] = {unit: float(each.mean()) for unit, each in cost.items()}
        return RoutePoint(self._interval(right), costs, share)

    def _of(self, found: Sequence[Routed]) -> RoutePoint:
        right, cost = _whole([(each.right, each.cost) for each in found])
        share = np.concatenate([each.simple for each in found])
        return self._point(right, cost, float(share.mean()))

    @property
    def router(self) -> RoutePoint:
        return self._of(self._router)

    @property
    def reference(self) -> RoutePoint:
        return self._point(*self._reference, 0.0)

    @property
    def always_complex(self) -> RoutePoint:
        return self._point(*self._complex, 0.0)

    @property
    def always_simple(self) -> RoutePoint:
        return self._point(*self._simple, 1.0)

    @property
    def large_share(self) -> float:
        return float(np.concatenate([each.large for each in self._router]).mean())

    @property
    def costs_of_reference(self) -> Costed:
        """(problem,)"""
        return self._reference[1]

    @property
    def costs_alone(self) -> Costed:
        """Of the complex path, where every question gets it (problem,)."""
        return self._complex[1]

    @property
    def saved(self) -> dict[Unit, Interval]:
        paid = self._reference[1]
        return {
            unit: saved_share(self._cost[unit], paid[unit], self._seed) for unit in self._cost if unit in paid
        }

    @property
    def accuracy_difference(self) -> Interval:
        return self._difference(self._right, self._reference[0])

    @property
    def over_mix(self) -> Interval:
        """Over sending each question to the complex path with a probability at which that costs the same."""
        low, high, paid = (cost[self.unit].mean() for cost in (self._simple[1], self._complex[1], self._cost))
        share = float(np.clip((paid - low) / (high - low), 0.0, 1.0)) if high > low else 1.0
        return self._difference(self._right, (1 - share) * self._simple[0] + share * self._complex[0])

    @property
    def wrong(self) -> WrongRoutings:
        def whole(name: str) -> Floats:
            return np.concatenate([getattr(each, name) for each in self._router])

        return WrongRoutings(
            wrong_simple=self._interval(whole("wrong_simple")),
            hard_right=self._interval(whole("hard_right")),
            unsure_right=self._interval(whole("unsure_right")),
            spoiled=self._interval(whole("spoiled")),
            wrong_stage=self._interval(whole("wrong_stage")),
            n_wrong_simple=float(whole("wrong_simple").sum()),
            n_right_complex=float(whole("hard_right").sum() + whole("unsure_right").sum()),
        )

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        return tuple(self._curve())

    def _curve(self) -> Iterator[CurvePoint]:
        """By the place of a score among those tried: folds have scores of their own."""
        for points in zip(*(each.curve for each in self._judged), strict=True):
            score = float(np.mean([score for score, _ in points]))
            yield CurvePoint(score, self._of([found for _, found in points]))


def _whole(parts: Sequence[tuple[Floats, Costed]]) -> tuple[Floats, dict[Unit, Floats]]:
    """Accuracy and cost (problem,) of all folds, one behind the other."""
    units: list[Unit] = [unit for unit in parts[0][1] if unit != "generations"]
    return np.concatenate([right for right, _ in parts]), {
        unit: np.concatenate([cost[unit] for _, cost in parts]) for unit in units
    }
