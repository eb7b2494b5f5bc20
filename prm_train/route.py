"""`prm-train route fit`: which questions one sample answers and which get a search, learnt from the results
of `prm-train search`.

    prm-train route fit --validation runs/math/validation --test runs/math/test --output runs/math/route

A question takes the simple path, one sample that the scorer judges, if its prompt does not look too hard;
the answer stands if its score is high enough, and otherwise the question goes on to the complex path: a
method with its N, or those of an allocation's bins. Complex path and thresholds are the cheapest that solve
as many validation problems as what every question would get without a router, the `reference` (FrugalGPT,
Chen et al. 2023; prm_train/search/routing/router.py states the rules and their sources). router.json is for
`solve --router` and `serve`; route-report.json says what it is worth on problems that had no part in it:
those of `test`, or without them the other folds of validation.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np

from data_gen.files.run_identity import check_folder
from data_gen.models.names import check_inputs
from data_gen.process.machine import code_version
from data_gen.sampling.draw_settings import DrawSettings
from data_gen.settings.errors import InputError
from data_gen.settings.parse import command_line, parse_config, run_command
from prm_train.allocation.allocate import read_predictor
from prm_train.allocation.arms import ArmMaker
from prm_train.allocation.results import AllocationRun
from prm_train.estimate_difficulty import PromptReader
from prm_train.evaluation.choosing import Chosen, choose_settings, has_scores
from prm_train.evaluation.costs import Costs
from prm_train.evaluation.difficulty import target_rates
from prm_train.evaluation.shards import ALLOCATION, FinishedSearch, check_chosen_for, read_search
from prm_train.metrics.difficulty import PassRateFit
from prm_train.routing.paths import Costed, PathMaker
from prm_train.routing.report import RouteReport
from prm_train.routing.study import (
    Candidate,
    FitSettings,
    Fitted,
    Searched,
    Verdict,
    cross_judge,
    fit_router,
    judge,
)
from prm_train.routing.tables import route_table
from prm_train.scoring.flops import ForwardFlops
from prm_train.scoring.work import passed
from prm_train.search.allocation import PROMPT, Allocation, Choice, Unit
from prm_train.search.model_flops import models_flops
from prm_train.search.routing.router import Router, ScorerName

logger = logging.getLogger(__name__)
FILE, REPORT_FILE = "router.json", "route-report.json"
SLACK, MOST_CANDIDATES = 0.02, 24  # of complex paths that are tried: accuracy below the reference, how many


@dataclass(frozen=True)
class RouteConfig:
    """Learn which questions one sample answers and which get a search."""

    validation: tuple[Path, ...] = field(
        metadata={"is_input": True, "help": "folders of `prm-train search` on the problems to fit on"}
    )
    output: Path = field(metadata={"help": "folder for router.json and route-report.json"})
    action: Literal["fit"] = field(
        default="fit", metadata={"help": "may be given as the first word, without --action"}
    )
    test: tuple[Path, ...] = field(
        default=(),
        metadata={
            "is_input": True,
            "help": "folders of `prm-train search` on problems to judge on; none: other folds of validation",
        },
    )
    method: str | None = field(
        default=None,
        metadata={
            "help": "the complex path's method, as in report.json; null: what is cheapest with the rest"
        },
    )
    n: int | None = field(default=None, metadata={"help": "its N; null: the largest that was searched"})
    reference: str | None = field(
        default=None,
        metadata={
            "help": "method that answers without a router; null: the complex path, if that is given, "
            "otherwise what solves most validation problems"
        },
    )
    reference_n: int | None = field(default=None, metadata={"help": "its N; null: the largest"})
    allocation: Path | None = field(
        default=None,
        metadata={
            "is_input": True,
            "help": "allocation.json of `prm-train allocate --estimate prompt`: its bins say method and N",
        },
    )
    allocation_budget: float | None = field(
        default=None,
        metadata={"help": "which of its budgets: the largest within this; null: its largest"},
    )
    scorer: ScorerName | None = field(
        default=None, metadata={"help": "what judges the sample: prm or orm; null: prm, if there is one"}
    )
    prompt_head: bool = field(
        default=True,
        metadata={"help": "estimate difficulty from the policy's state of the prompt; it is loaded for that"},
    )
    difficulty: Path | None = field(
        default=None,
        metadata={
            "is_input": True,
            "help": "folder of `prm-train estimate-difficulty`, whose prediction from prompts is taken; it "
            "must not have been fitted on these problems. null: fitted on validation, by folds",
        },
    )
    unit: Unit = field(
        default="tokens", metadata={"help": "what is to be saved: tokens (policy and scorer) or flops"}
    )
    tolerance: float = field(
        default=0.0,
        metadata={"help": "accuracy that may be lost on validation, as a fraction of the problems"},
    )
    n_folds: int = field(default=5, metadata={"help": "number of folds of the validation problems"})
    seed: int = field(default=0, metadata={"help": "seed of the folds and of the bootstrap"})
    policy: str | None = field(
        default=None,
        metadata={"help": "where the policy is now; null: where the search found it", "is_execution": True},
    )
    device: str = field(default="cpu", metadata={"help": "device of the policy", "is_execution": True})

    def __post_init__(self) -> None:
        if self.n_folds < 2:
            raise ValueError(f"n_folds: got {self.n_folds}, expected 2 or more")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance: got {self.tolerance}, expected 0 to less than 1")
        if self.unit == "generations":
            raise ValueError("unit: got generations, expected tokens or flops")
        for name, of in (("n", "method"), ("reference_n", "reference")):
            if getattr(self, name) is not None and getattr(self, of) is None:
                raise ValueError(f"{name}: has no effect without {of}; expected it to be left out")
        if self.allocation is None and self.allocation_budget is not None:
            raise ValueError("allocation_budget: has no effect without allocation")
        if self.allocation is not None and (self.method is not None or self.difficulty is not None):
            name = "method" if self.method is not None else "difficulty"
            raise ValueError(f"{name}: got it with an allocation, which has its own; expected one of them")
        if not self.prompt_head and (self.allocation is not None or self.difficulty is not None):
            raise ValueError("prompt_head: got false with an estimate from prompts, expected true")


@dataclass(frozen=True)
class Plan:
    """What may be the complex path: choices, and the edges between their bins. `reference` is None where it
    is the first of them; `fit` is the estimate that bins rest on, or that was given.
    """

    candidates: tuple[tuple[Choice, ...], ...]
    reference: Choice | None = None
    edges: tuple[float, ...] = ()
    fit: PassRateFit | None = None


def plan_of(config: RouteConfig, arms: ArmMaker, search: FinishedSearch) -> Plan:
    """Raises InputError for what the searches do not hold."""
    reference = None
    if config.reference is not None:
        reference = named_choice(arms, config.reference, config.reference_n)
    if config.allocation is not None:
        return replace(plan_of_allocation(config, config.allocation, arms, search), reference=reference)
    fit = None
    if config.difficulty is not None:
        predictor = read_predictor(config.difficulty, search)
        if PROMPT not in predictor.fits:
            raise InputError(f"difficulty: {config.difficulty} predicts nothing from prompts")
        fit = predictor.fits[PROMPT]
    if config.method is not None:
        return Plan(((named_choice(arms, config.method, config.n),),), reference, fit=fit)
    by_accuracy = sorted(
        arms.arms, key=lambda arm: (-arm.mean.accuracy.mean(), arm.mean.cost["tokens"].mean())
    )
    best = by_accuracy[0] if reference is None else arms.arm(reference.method, reference.n)
    # Others are no candidates: the simple path can hardly make up for what they solve less
    wanted = best.mean.accuracy.mean() - config.tolerance - SLACK
    paid = best.mean.cost["tokens"].mean()
    others = [
        arm.choice
        for arm in by_accuracy
        if arm.mean.accuracy.mean() >= wanted and arm.mean.cost["tokens"].mean() <= paid
    ]
    choices = dict.fromkeys((best.choice, *others[:MOST_CANDIDATES]))
    return Plan(tuple((each,) for each in choices), best.choice, fit=fit)


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
    return Plan((choices,), None, allocation.edges, allocation.fit)


def read_costs(n_prompt: Sequence[int], flops: ForwardFlops | None) -> Costed:
    """What reading the prompts for the estimate costs (problem,)."""
    found: dict[Unit, np.ndarray] = {"tokens": np.array(n_prompt, dtype=np.float64)}
    if flops is not None:
        found["flops"] = np.array([flops.of(passed(0, each), 0) for each in n_prompt])
    return found


def searched(
    maker: PathMaker, plan: Plan, reader: PromptReader | None, flops: ForwardFlops | None
) -> Searched:
    made = {
        choice: maker.paths(choice) for choice in {each: None for part in plan.candidates for each in part}
    }
    candidates = [Candidate([made[each] for each in part], plan.edges) for part in plan.candidates]
    reference = None
    if plan.reference is not None:
        block = maker.arms.arm(plan.reference.method, plan.reference.n).mean
        reference = block.accuracy, block.cost
    if reader is None:
        return Searched(candidates, reference)
    states, n_prompt = reader.read([each.problem.question for each in maker.results])
    rates = target_rates(maker.results, 0)
    return Searched(candidates, reference, states, read_costs(n_prompt, flops), rates)


def scorer_of(config: RouteConfig, validation: FinishedSearch) -> ScorerName:
    known: list[ScorerName] = [each for each in ("prm", "orm") if has_scores(validation.results, each)]
    if not known or config.scorer not in (None, *known):
        raise InputError(
            f"scorer: got {config.scorer or 'none'}; expected one whose scores are in validation: "
            f"{', '.join(known) or 'there are none'}"
        )
    return config.scorer or known[0]


def makers_of(
    config: RouteConfig, searches: Sequence[FinishedSearch], chosen: Chosen
) -> tuple[list[PathMaker], int]:
    """Of validation and test, and how many problems of the judged one failed. Raises InputError for a scorer
    that there is not.
    """
    scorer, found, n_failed = scorer_of(config, searches[0]), [], 0
    for search in searches:
        results = [each for each in search.results if not each.failure]
        n_failed = len(search.results) - len(results)
        costs = Costs(results, search.config.step_separator, models_flops(search.config))
        how = "last" if scorer == "orm" else chosen.prm_aggregation
        found.append(PathMaker(costs, chosen, scorer, how))
    return found, n_failed


def read_searches(config: RouteConfig) -> list[FinishedSearch]:
    validation = read_search(config.validation)
    if not config.test:
        return [validation]
    test = read_search(config.test)
    check_chosen_for(validation, test)
    shared = {each.problem.question for each in validation.results} & {
        each.problem.question for each in test.results
    }
    if shared:
        raise InputError(
            f"{len(shared)} test questions are validation questions too; expected none: {min(shared)!r:.80}"
        )
    return [validation, test]


def route_fit(config: RouteConfig) -> tuple[RouteReport, Router]:
    searches = read_searches(config)
    validation = searches[0]
    chosen = choose_settings(validation.results)
    makers, n_failed = makers_of(config, searches, chosen)
    if config.n_folds > len(makers[0].results):
        raise InputError(f"n_folds: got {config.n_folds}; expected at most {len(makers[0].results)}")
    plan = plan_of(config, makers[0].arms, validation)
    reader = PromptReader(validation, config.policy, config.device) if config.prompt_head else None
    problems = [searched(maker, plan, reader, maker.costs.flops.get("policy")) for maker in makers]
    if config.unit not in problems[0].candidates[0].parts[0].units:
        raise InputError("unit: got flops; expected tokens: the FLOPs of policy or scorer are not known here")
    settings = FitSettings(config.unit, config.tolerance, config.n_folds, config.seed)
    fitted = fit_router(problems[0], settings, plan.fit)
    judged = [judge(problems[1], fitted)] if config.test else cross_judge(problems[0], settings, plan.fit)
    report = report_of(config, Verdict(judged, settings), plan, fitted, len(problems[0]), n_failed)
    return report, router_of(validation, makers[0], plan, fitted)


def router_of(search: FinishedSearch, maker: PathMaker, plan: Plan, fitted: Fitted) -> Router:
    return Router(
        models={name: each for name, each in search.models.items() if name != ALLOCATION},
        draws=DrawSettings(**{each.name: getattr(search.config, each.name) for each in fields(DrawSettings)}),
        scorer=maker.scorer,
        aggregation=maker.aggregation,
        accept_from=fitted.at.accept_from,
        complex=plan.candidates[fitted.place],
        simple_from=fitted.at.simple_from,
        fit=fitted.fit,
        edges=plan.edges,
    )


def report_of(
    config: RouteConfig, verdict: Verdict, plan: Plan, fitted: Fitted, n_fitted: int, n_failed: int
) -> RouteReport:
    run = AllocationRun(command_line("route", config), code_version(), datetime.now(UTC).date().isoformat())
    choices = tuple(map(str, plan.candidates[fitted.place]))
    return RouteReport(
        n_fitted=n_fitted,
        n_judged=len(verdict),
        n_failed=n_failed,
        judged_on="test problems" if config.test else "of them, by folds that did not fit them",
        unit=config.unit,
        tolerance=config.tolerance,
        reference_path="the complex path" if plan.reference is None else str(plan.reference),
        complex_path=choices,
        router=verdict.router,
        reference=verdict.reference,
        always_complex=verdict.always_complex,
        always_simple=verdict.always_simple,
        saved=verdict.saved,
        accuracy_difference=verdict.accuracy_difference,
        over_mix=verdict.over_mix,
        wrong=verdict.wrong,
        curve=verdict.curve,
        run=run,
    )


def main(argv: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if argv is None else argv)
    is_action = bool(words) and not words[0].startswith("-")
    config = parse_config(RouteConfig, ["--action", *words] if is_action else words)
    check_inputs(config)
    check_folder(config.output)
    report, router = route_fit(config)
    config.output.mkdir(parents=True, exist_ok=True)
    router.write(config.output / FILE)
    report.write(config.output / REPORT_FILE)
    logger.info("%s:\n%s", config.output / FILE, route_table(report, router))


if __name__ == "__main__":
    run_command(main, "route")
