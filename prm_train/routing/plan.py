"""What a complex path may be made of: one method with its N, those of an allocation, or what is learnt among
the arms of a search that are worth their cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_gen.settings.errors import InputError
from prm_train.allocation.arms import Arm, ArmMaker
from prm_train.evaluation.shards import FinishedSearch
from prm_train.metrics.difficulty import PassRateFit
from prm_train.routing.paths import PathMaker
from prm_train.routing.settings import RouteConfig
from prm_train.routing.stages import Mix
from prm_train.search.allocation import PROMPT, Allocation, Choice, settings_of
from prm_train.search.routing.router import ScorerName
from prm_train.search.solve_settings import OF_SAMPLES, SolveSettings
from prm_train.strategies.tree_searches import parse_strategy

SLACK, MOST_CHOICES = 0.02, 24  # accuracy below that of a cheaper one, and how many


@dataclass(frozen=True)
class Plan:
    """`choices` are those that a complex path may be made of; `given` is the complex path where it is not
    learnt, and `fit` the estimate that its bins rest on, or that was given. `reference` is None where an
    allocation as it is answers every question without a router.
    """

    choices: tuple[Choice, ...]
    reference: Choice | None
    given: Mix | None = None
    fit: PassRateFit | None = None


def plan_of(config: RouteConfig, maker: PathMaker, search: FinishedSearch, fit: PassRateFit | None) -> Plan:
    """`fit` is an estimate from prompts that was made elsewhere. Raises InputError for what the searches do
    not hold.
    """
    reference, arms, scorer = None, maker.arms, maker.scorer
    if config.reference is not None:
        reference = named_choice(arms, config.reference, config.reference_n)
    if config.allocation is not None:
        plan = plan_of_allocation(config, config.allocation, arms, search)
        check_runs(plan.choices, scorer, str(config.allocation))
        return replace(plan, reference=reference)
    if config.method is not None:
        choice = named_choice(arms, config.method, config.n)
        check_runs((choice,), scorer, "method")
        return Plan((choice,), reference or choice, Mix((0,)), fit)
    usable = [arm for arm in arms.arms if why_not(arm.choice, scorer) is None]
    by_cost = sorted(usable, key=lambda arm: (arm.mean.cost["tokens"].mean(), -arm.mean.accuracy.mean()))
    if reference is None:
        reference = max(by_cost, key=lambda arm: arm.mean.accuracy.mean()).choice
    own = (reference,) if why_not(reference, scorer) is None else ()
    choices = dict.fromkeys((*own, *(arm.choice for arm in front(by_cost, MOST_CHOICES - len(own)))))
    return Plan(tuple(choices), reference, None, fit)


def why_not(choice: Choice, scorer: ScorerName) -> str | None:
    """Why `solve` could not run it beside a simple path that this scorer judges; None where it could."""
    try:
        SolveSettings(**settings_of(choice))
    except ValueError as error:
        return str(error)
    if choice.strategy not in OF_SAMPLES and parse_strategy(choice.strategy).is_revisions:
        return "revisions need a model of their own"
    if choice.scorer not in (None, scorer):
        return f"it is judged by the {choice.scorer}, the simple path by the {scorer}"
    return None


def check_runs(choices: Sequence[Choice], scorer: ScorerName, where: str) -> None:
    """Raises InputError for one that `solve` could not run."""
    for each in choices:
        if reason := why_not(each, scorer):
            raise InputError(f"{where}: got {each}, which a router cannot ask for: {reason}")


def front(by_cost: Sequence[Arm], most: int) -> list[Arm]:
    """Arms that solve more than all cheaper ones do, or hardly less: those that lose least, so many at
    most.
    """
    best, losses = 0.0, list[tuple[float, int]]()
    for place, arm in enumerate(by_cost):
        right = float(arm.mean.accuracy.mean())
        losses.append((max(0.0, best - right), place))
        best = max(best, right)
    kept = sorted(place for loss, place in sorted(losses)[:most] if loss <= SLACK)
    return [by_cost[place] for place in kept]


def named_choice(arms: ArmMaker, method: str, n: int | None) -> Choice:
    known = [each for name, each in arms.names if name == method]
    return arms.arm(method, n or max(known, default=1)).choice


def plan_of_allocation(config: RouteConfig, path: Path, arms: ArmMaker, search: FinishedSearch) -> Plan:
    allocation = Allocation.read(path)
    allocation.check_models({name: search.models.get(name, "none") for name in allocation.models}, str(path))
    if allocation.difficulty != PROMPT:
        raise InputError(
            f"{path}: by {allocation.difficulty}, which draws before it decides; expected one of `prm-train "
            f"allocate --estimate {PROMPT}`"
        )
    choices = allocation.at(config.allocation_budget).choices
    for each in choices:
        if arms.arm(each.method, each.n).choice != each:
            raise InputError(
                f"{path}: has {each} with other settings than validation chooses; expected the same problems"
            )
    places = dict.fromkeys(choices)
    mix = Mix(tuple(list(places).index(each) for each in choices), allocation.edges)
    return Plan(tuple(places), None, mix, allocation.fit)
