"""A graded complex path: before its last search cheaper ones, its stages, whose answer stands if it is sure
enough (the cascade of FrugalGPT, Chen et al. 2023, between budgets of one policy and verifier).

What two votes among samples share is paid for once. Searches in a tree are counted as if they shared nothing,
though in use the larger one finds some of its first steps drawn: replayed costs are upper bounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prm_train.metrics.difficulty import Floats
from prm_train.routing.paths import Costed, Paths
from prm_train.routing.thresholds import Enough, always_complex
from prm_train.search.allocation import Unit

N_SURE = 16  # thresholds that are tried of a stage
CHEAPER = 0.6  # what a stage costs at most of what follows it
N_BEST = 6  # graded paths that are gone on with


@dataclass(frozen=True)
class Step:
    """A stage: the place of its choice (see `study.Searched.parts`), and the sureness from which its answer
    stands.
    """

    place: int
    accept_from: float


@dataclass(frozen=True)
class Mix:
    """A complex path: the places of the choices (see `study.Searched.parts`) of the bins between `edges`, and
    the stages before them.
    """

    places: tuple[int, ...]
    edges: tuple[float, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def all_places(self) -> set[int]:
        return {*self.places, *(step.place for step in self.steps)}


def with_stage(stage: Paths, rest: Paths, accept_from: float) -> Paths:
    """`rest` with the search of `stage` before its complex path."""
    stands, is_shared = _stands(stage, accept_from), _shares(stage, rest)

    def paid(alone: Costed, both: Costed) -> Mapping[Unit, Floats]:
        return {
            unit: np.where(stands, alone[unit], both[unit] if is_shared else alone[unit] + rest.complex[unit])
            for unit in rest.units
        }

    wrong = stands * (1 - stage.complex_right) * rest.complex_right
    return replace(
        rest,
        complex_right=np.where(stands, stage.complex_right, rest.complex_right),
        complex=paid(stage.complex, rest.complex),
        escalated=paid(stage.escalated, rest.escalated),
        confidence=np.where(stands, stage.confidence, rest.confidence),
        counts=np.minimum(stage.counts, rest.counts),
        n_drawn=stage.n_drawn,
        wrong_stage=wrong if rest.wrong_stage is None else wrong + ~stands * rest.wrong_stage,
    )


def _stands(stage: Paths, accept_from: float) -> NDArray[np.bool_]:
    """(problem, draw), never without an answer."""
    return stage.sure >= max(accept_from, np.finfo(float).tiny)


def _shares(stage: Paths, rest: Paths) -> bool:
    return 0 < stage.n_drawn <= rest.n_drawn


def graded_steps(
    parts: Mapping[int, Paths], last: Paths, unit: Unit, enough: Enough, most: int
) -> list[tuple[Step, ...]]:
    """Stages that make `last`, every question's complex path, cheaper at no loss that is not `enough`: the
    cheapest of one stage, of two, ..., of `most`, each made of the cheapest of one less with a stage before.
    """
    costs = {place: _mean_cost(each, unit) for place, each in parts.items()}
    tried: list[tuple[float, tuple[Step, ...], Paths]] = [(_mean_cost(last, unit), (), last)]
    found: list[tuple[float, tuple[Step, ...]]] = []
    for _ in range(most):
        longer: list[tuple[float, tuple[Step, ...], Paths]] = []
        for whole, steps, rest in tried:
            first = costs[steps[0].place] if steps else whole
            for place, stage in parts.items():
                if costs[place] <= CHEAPER * first:
                    longer += _tried(place, stage, steps, rest, unit, enough)
        best = sorted(longer, key=lambda each: each[0])[:N_BEST]
        found += [each[:2] for each in best]
        tried = [
            (cost, steps, with_stage(parts[steps[0].place], rest, steps[0].accept_from))
            for cost, steps, rest in best
        ]
    return [steps for _, steps in sorted(found, key=lambda each: each[0])[:N_BEST]]


def _tried(
    place: int, stage: Paths, steps: tuple[Step, ...], rest: Paths, unit: Unit, enough: Enough
) -> list[tuple[float, tuple[Step, ...], Paths]]:
    """Mean cost and steps of each threshold that loses nothing, and `rest`: what `with_stage` comes to in one
    unit, which is faster.
    """
    counts = np.minimum(stage.counts, rest.counts)
    if not (counts.sum(axis=1) > 0).all():
        return []
    shares, before, found = counts / counts.sum(axis=1, keepdims=True), _mean_cost(rest, unit), []
    alone, after = stage.complex[unit], rest.complex[unit]
    both = after if _shares(stage, rest) else alone + after
    for accept_from in sure_candidates(stage):
        stands = _stands(stage, accept_from)
        cost = float((np.where(stands, alone, both) * shares).sum(axis=1).mean())
        right = np.where(stands, stage.complex_right, rest.complex_right)
        if cost < before and enough.holds((right * shares).sum(axis=1)):
            found.append((cost, (Step(place, accept_from), *steps), rest))
    return found


def sure_candidates(stage: Paths) -> list[float]:
    """Ascending: quantiles of what its answers are."""
    known = stage.sure[stage.counts > 0]
    return sorted({*np.quantile(known, np.arange(1, N_SURE) / N_SURE, method="higher").tolist()})


def _mean_cost(paths: Paths, unit: Unit) -> float:
    return float(always_complex(paths)[1][unit].mean())
