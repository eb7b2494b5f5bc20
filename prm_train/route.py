"""`prm-train route fit`: which questions one sample answers and which get a search, learnt from the results
of `prm-train search`.

    prm-train route fit --validation runs/math/validation --test runs/math/test --output runs/math/route

A question takes the simple path, one sample that the scorer judges, if its prompt does not look too hard;
the answer stands if its score is high enough, and otherwise the question goes on to the complex path: a
method with its N, or those of an allocation's bins, before which cheaper searches may end it. Complex path
and thresholds are the cheapest that solve as many validation problems as what every question would get
without a router, the `reference` (FrugalGPT, Chen et al. 2023; prm_train/search/routing/router.py states the
rules and their sources). router.json is for `solve --router` and `serve`; route-report.json says what it is
worth on problems that had no part in it: those of `test`, or without them the other folds of validation.
"""

import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime

import numpy as np

from data_gen.files.run_identity import check_folder
from data_gen.models.names import check_inputs
from data_gen.process.machine import code_version
from data_gen.sampling.draw_settings import DrawSettings
from data_gen.settings.errors import InputError
from data_gen.settings.parse import command_line, parse_config, run_command
from prm_train.allocation.allocate import read_predictor
from prm_train.allocation.compare_sizes import check_same_problems
from prm_train.allocation.results import AllocationRun
from prm_train.estimate_difficulty import PromptReader
from prm_train.evaluation.choosing import Chosen, choose_settings, has_scores
from prm_train.evaluation.costs import Costs
from prm_train.evaluation.difficulty import target_rates
from prm_train.evaluation.shards import ALLOCATION, FinishedSearch, check_chosen_for, read_search
from prm_train.metrics.difficulty import PassRateFit
from prm_train.routing.large import LargeAnswers, large_answers
from prm_train.routing.paths import Costed, PathMaker
from prm_train.routing.plan import Plan, plan_of
from prm_train.routing.report import RouteReport
from prm_train.routing.settings import RouteConfig
from prm_train.routing.study import (
    FitSettings,
    Fitted,
    Judged,
    Searched,
    Verdict,
    cross_judge,
    fit_router,
    judge,
)
from prm_train.routing.tables import route_table
from prm_train.routing.thresholds import NEVER, Thresholds, routed
from prm_train.scoring.flops import ForwardFlops
from prm_train.scoring.work import passed
from prm_train.search.allocation import PROMPT, Unit
from prm_train.search.model_flops import models_flops
from prm_train.search.routing.router import Router, ScorerName, Stage

logger = logging.getLogger(__name__)
FILE, REPORT_FILE = "router.json", "route-report.json"


def given_fit(config: RouteConfig, search: FinishedSearch) -> PassRateFit | None:
    """Raises InputError for one of other models, or of none."""
    if config.difficulty is None:
        return None
    predictor = read_predictor(config.difficulty, search)
    if PROMPT not in predictor.fits:
        raise InputError(f"difficulty: {config.difficulty} predicts nothing from prompts")
    return predictor.fits[PROMPT]


def read_costs(n_prompt: Sequence[int], flops: ForwardFlops | None) -> Costed:
    """What reading the prompts for the estimate costs (problem,)."""
    found: dict[Unit, np.ndarray] = {"tokens": np.array(n_prompt, dtype=np.float64)}
    if flops is not None:
        found["flops"] = np.array([flops.of(passed(0, each), 0) for each in n_prompt])
    return found


def searched(
    maker: PathMaker,
    plan: Plan,
    reader: PromptReader | None,
    places: Iterable[int] | None = None,
    large: LargeAnswers | None = None,
) -> Searched:
    """With the paths of the choices at `places` (None: of all)."""
    wanted = range(len(plan.choices)) if places is None else places
    parts = {place: maker.paths(plan.choices[place]) for place in wanted}
    states = read = rates = None
    if reader is not None:
        states, n_prompt = reader.read([each.problem.question for each in maker.results])
        read = read_costs(n_prompt, maker.costs.flops.get("policy"))
        rates = target_rates(maker.results, 0)
    if plan.reference is not None:
        block = maker.arms.arm(plan.reference.method, plan.reference.n).mean
        return Searched(parts, (block.accuracy, block.cost), large, states, read, rates)
    # An allocation, which pays for its estimate, too
    assert plan.given is not None
    assert plan.fit is not None
    assert states is not None
    unfinished = Searched(parts, (np.zeros(len(states)), {}), large, states, read, rates)
    whole = routed(unfinished.paths(plan.fit.predict(states), plan.given), Thresholds(NEVER, NEVER))
    return replace(unfinished, reference=(whole.right, whole.cost))


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


@dataclass(frozen=True, eq=False)
class Material:
    """What fits read: the paths of validation problems and, if there are any, of test problems."""

    validation: FinishedSearch
    makers: Sequence[PathMaker]
    reader: PromptReader | None
    n_failed: int  # of the problems that are judged
    large: Sequence[LargeAnswers | None]
    large_id: str | None = None  # of the large policy


def read_material(config: RouteConfig) -> Material:
    searches = read_searches(config)
    validation = searches[0]
    makers, n_failed = makers_of(config, searches, choose_settings(validation.results))
    if config.n_folds > len(makers[0].results):
        raise InputError(f"n_folds: got {config.n_folds}; expected at most {len(makers[0].results)}")
    reader = PromptReader(validation, config.policy, config.device) if config.prompt_head else None
    large, large_id = read_large(config, searches)
    return Material(validation, makers, reader, n_failed, large, large_id)


def read_large(
    config: RouteConfig, searches: Sequence[FinishedSearch]
) -> tuple[list[LargeAnswers | None], str | None]:
    """The answers of the large policy to the problems of each search, and its id. Raises InputError where it
    answered other problems, or its FLOPs are not known.
    """
    if not config.large:
        return [None] * len(searches), None
    found: list[LargeAnswers | None] = []
    theirs = [read_search(each) for each in (config.large, config.large_test) if each]
    for ours, large in zip(searches, theirs, strict=True):
        check_same_problems(ours, large)
        costs = Costs(large.results, large.config.step_separator, models_flops(large.config))
        try:
            found.append(large_answers(costs, [each.problem.problem_id for each in ours.results]))
        except ValueError as error:
            raise InputError(f"large: {error}") from None
    if len({each.models["policy"] for each in theirs}) > 1:
        raise InputError("large, large_test: got two policies, expected one")
    return found, theirs[0].models["policy"]


def settings_of(config: RouteConfig) -> FitSettings:
    return FitSettings(
        config.unit,
        config.tolerance,
        config.caution,
        config.n_bins,
        config.prior,
        config.n_folds,
        config.seed,
        config.n_stages,
    )


def fit_and_judge(config: RouteConfig, material: Material) -> tuple[Plan, Fitted, list[Judged]]:
    """Raises InputError for what the searches do not hold, and where nothing is as accurate as the
    reference.
    """
    makers, reader, settings = material.makers, material.reader, settings_of(config)
    plan = plan_of(config, makers[0], material.validation, given_fit(config, material.validation))
    problems = searched(makers[0], plan, reader, None, material.large[0])
    if config.unit not in problems.parts[0].units:
        raise InputError("unit: got flops; expected tokens: the FLOPs of policy or scorer are not known here")
    fitted = fit_router(problems, settings, plan.given, plan.fit)
    if not config.test:
        return plan, fitted, cross_judge(problems, settings, plan.given, plan.fit)
    places = fitted.mix.all_places
    return plan, fitted, [judge(searched(makers[1], plan, reader, places, material.large[1]), fitted)]


def route_fit(config: RouteConfig) -> tuple[RouteReport, Router]:
    material = read_material(config)
    plan, fitted, judged = fit_and_judge(config, material)
    verdict, maker = Verdict(judged, settings_of(config)), material.makers[0]
    report = report_of(config, verdict, plan, fitted, len(maker.results), material.n_failed)
    return report, router_of(material, plan, fitted)


def router_of(material: Material, plan: Plan, fitted: Fitted) -> Router:
    search, maker = material.validation, material.makers[0]
    models = {name: each for name, each in search.models.items() if name != ALLOCATION}
    if fitted.large_from is not None and material.large_id is not None:
        models["large"] = material.large_id
    return Router(
        models=models,
        draws=DrawSettings(**{each.name: getattr(search.config, each.name) for each in fields(DrawSettings)}),
        scorer=maker.scorer,
        aggregation=maker.aggregation,
        accept_from=fitted.at.accept_from,
        complex=tuple(plan.choices[place] for place in fitted.mix.places),
        simple_from=fitted.at.simple_from,
        fit=fitted.fit,
        edges=fitted.mix.edges,
        large_from=fitted.large_from,
        stages=tuple(Stage(plan.choices[step.place], step.accept_from) for step in fitted.mix.steps),
    )


def report_of(
    config: RouteConfig, verdict: Verdict, plan: Plan, fitted: Fitted, n_fitted: int, n_failed: int
) -> RouteReport:
    run = AllocationRun(command_line("route", config), code_version(), datetime.now(UTC).date().isoformat())
    stages = tuple(f"{plan.choices[step.place]} from {step.accept_from:.3f}" for step in fitted.mix.steps)
    choices = tuple(str(plan.choices[place]) for place in fitted.mix.places)
    return RouteReport(
        n_fitted=n_fitted,
        n_judged=len(verdict),
        n_failed=n_failed,
        judged_on="test problems" if config.test else "of them, by folds that did not fit them",
        unit=config.unit,
        tolerance=config.tolerance,
        caution=config.caution,
        reference_path="the allocation" if plan.reference is None else str(plan.reference),
        complex_path=choices,
        stages=stages,
        router=verdict.router,
        reference=verdict.reference,
        always_complex=verdict.always_complex,
        always_simple=verdict.always_simple,
        saved=verdict.saved,
        accuracy_difference=verdict.accuracy_difference,
        over_mix=verdict.over_mix,
        wrong=verdict.wrong,
        curve=verdict.curve,
        large_share=verdict.large_share,
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
