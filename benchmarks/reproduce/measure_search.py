"""The search half of a seed, from the folders of its searches."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.reproduce.measured import Point, SearchHalf, Stopped, Values, check_answered
from benchmarks.reproduce.plan import SPLITS, ReproduceConfig, scored_folders
from data_gen.settings.errors import InputError
from prm_train.allocation.allocate import read_predictor
from prm_train.allocation.early_stop import Replay, early_stop, stoppable_methods
from prm_train.allocation.folds import Rule, cross_validated
from prm_train.allocation.study import FIXED, Study, StudySettings
from prm_train.evaluation.choosers import scorer_scores, vote_by
from prm_train.evaluation.choosing import Chosen, accuracies, choose_settings, sample_counts
from prm_train.evaluation.comparison import Comparison, settings_in_words
from prm_train.evaluation.costs import Costs, mean
from prm_train.evaluation.difficulty import DifficultyPredictor, read_difficulties
from prm_train.evaluation.evaluate import check_results
from prm_train.evaluation.shards import FinishedSearch, check_chosen_for, read_search
from prm_train.evaluation.tree_methods import accuracies as tree_accuracies
from prm_train.evaluation.tree_methods import votes_of
from prm_train.metrics.difficulty import Floats
from prm_train.quickstart import search_folders
from prm_train.search.model_flops import models_flops
from prm_train.search.results import ProblemResult

WEIGHTED, ORM, MORE_ORM = "prm_weighted", "orm_weighted", "orm_more_weighted"
LOOKAHEADS = {"lookahead": (2, (4, 8)), "lookahead:lookahead=3": (4, (4, 16))}  # by spec: k + 1, and N
FOLDS, SHUFFLE = 5, 0
N_DIGITS = 6


def measure_search(config: ReproduceConfig) -> SearchHalf:
    """Raises InputError where a folder is missing, a problem failed or the folders do not belong together."""
    search = config.search
    validation, test = (read_search(search_folders(search, split)) for split in SPLITS)
    more = [read_search(scored_folders(config, split)) for split in SPLITS]
    for one, other in zip((validation, test), more, strict=True):
        for each in (one, other):
            check_answered(each.results, ",".join(map(str, each.folders)))
        check_same_draws(one, other)
    return search_half(validation, test, more[0].results, more[1].results, search.output / "difficulty")


def check_same_draws(one: FinishedSearch, other: FinishedSearch) -> None:
    """Raises InputError unless both have the same scored samples of the same problems."""
    texts = [
        [(result.problem.problem_id, [each.text for each in result.scored]) for result in each.results]
        for each in (one, other)
    ]
    if texts[0] != texts[1]:
        names = (",".join(map(str, each.folders)) for each in (one, other))
        raise InputError(
            f"{' and '.join(names)}: other samples; expected the second to score those of the first"
        )


def search_half(
    validation: FinishedSearch,
    test: FinishedSearch,
    more_on_validation: Sequence[ProblemResult],
    more_on_test: Sequence[ProblemResult],
    difficulty: Path,
) -> SearchHalf:
    """`more_…` are the results of the second ORM on the same problems."""
    check_chosen_for(validation, test)
    chosen = choose_settings(validation.results)
    check_results(validation.results, test.results, chosen)
    flops = models_flops(test.config)
    comparison = Comparison(test.results, chosen, 0, (), test.config.step_separator, flops)
    on_validation, solved = (
        {**solved_by(Comparison(each.results, chosen, 0)), MORE_ORM: orm_weighted(more)}
        for each, more in ((validation, more_on_validation), (test, more_on_test))
    )
    last = max(solved[WEIGHTED])
    orms = {name: float(on_validation[name][last].mean()) for name in (ORM, MORE_ORM)}
    costs = Costs(test.results, test.config.step_separator, flops)
    study = study_of(costs, chosen, read_predictor(difficulty, test), difficulty)
    quintiles = comparison.quintiles()
    assert quintiles is not None  # the search draws for difficulty
    return SearchHalf(
        solved={
            name: {n: values_of(each) for n, each in at.items()}
            for name, at in solved.items()
            if not name.endswith(("_early", "_margin")) and name != "logprob"
        },
        mean_flops=mean_flops(comparison, costs),
        fifths=tuple(map(int, quintiles)),
        strongest_orm=max(orms, key=orms.__getitem__),
        validation_of_orms=orms,
        same_budget={n: better_at(n, on_validation) for n in budgets_of_lookahead()},
        settings=settings_in_words(comparison),
        best_of_n=best_of_n_points(study),
        allocated=allocated_points(study),
        early_stop=stopped(Costs(validation.results, costs.separator, flops), costs, chosen),
    )


def solved_by(comparison: Comparison) -> dict[str, dict[int, NDArray[np.float64]]]:
    """The methods of a report, and each search with its own settings and vote."""
    results = comparison.results
    specs = {
        spec: {n: tree_accuracies(results, spec, n, votes_of(results[0], spec, ())[0]) for n in at}
        for spec, at in results[0].trees.items()
    }
    return {**comparison.correct(), **specs}


def orm_weighted(results: Sequence[ProblemResult]) -> dict[int, NDArray[np.float64]]:
    choose = partial(vote_by, scorer_scores("orm", "last"))
    return {n: accuracies(results, results[0].temperature, choose, n) for n in sample_counts(results)}


def budgets_of_lookahead() -> list[int]:
    return sorted({factor * n for factor, sizes in LOOKAHEADS.values() for n in sizes})


def better_at(n: int, on_validation: Mapping[str, Mapping[int, NDArray[np.float64]]]) -> str:
    """Of weighted best-of-N and beam search; of equals the first."""
    return max((WEIGHTED, "beam"), key=lambda name: float(on_validation[name][n].mean()))


def mean_flops(comparison: Comparison, costs: Costs) -> dict[str, dict[int, float]]:
    """Of methods and of searches, where they are known."""
    methods = {
        name: {n: each.flops for n, each in at.items() if each.flops is not None}
        for name, at in comparison.tokens().items()
    }
    trees = {
        spec: {
            n: known.flops
            for n in at
            if (known := mean(costs.of_run(each.trees[spec][n]) for each in costs.results)).flops is not None
        }
        for spec, at in costs.results[0].trees.items()
    }
    return {**methods, **trees}


def study_of(costs: Costs, chosen: Chosen, predictor: DifficultyPredictor, folder: Path) -> Study:
    """With the defaults of `prm-train allocate`."""
    settings = StudySettings(FOLDS, SHUFFLE, prior=20.0, n_bins=5)
    return Study(costs, chosen, predictor, read_difficulties(folder, costs.results), settings)


def best_of_n_points(study: Study) -> dict[int, Point]:
    return {
        arm.choice.n: point(arm.mean.accuracy, arm.mean.cost["flops"])
        for arm in study.arms
        if arm.choice.method == WEIGHTED
    }


def allocated_points(study: Study) -> dict[str, tuple[Point, ...]]:
    """By estimate of difficulty, and of the best fixed choice: what the folds that had no part in a choice
    say of it, for each budget that pays for it.
    """
    least_to_most = study.budgets("flops")
    between = [float(np.sqrt(a * b)) for a, b in pairwise(least_to_most)]
    ways = {kind: (study.table(kind, "flops"), each) for kind, each in study.estimates.items()}
    nothing = np.zeros(len(study.folds))
    rules = {kind: Rule("quantile", 5, "mean") for kind in ways} | {FIXED: Rule(None, prior=0.0)}
    found: dict[str, tuple[Point, ...]] = {}
    for kind, (table, rates) in {**ways, FIXED: (study.table(None, "flops"), nothing)}.items():
        outcomes = (
            cross_validated(table, rates, study.folds, rules[kind], budget)
            for budget in sorted((*least_to_most, *between))
        )
        found[kind] = tuple(point(each.accuracy, each.spent) for each in outcomes if each is not None)
    return found


def stopped(validation: Costs, test: Costs, chosen: Chosen) -> Stopped:
    """Of the Beta rule on PRM-weighted best-of-N at the largest N."""
    n = sample_counts(test.results)[-1]
    (method,) = (each for each in stoppable_methods(test.results, chosen, n) if each.name == WEIGHTED)
    replay = Replay(test, method, n)
    stop = early_stop(Replay(validation, method, n), replay, "beta", 0)
    all_right, all_paid = replay.run(lambda block, weights: len(block))
    if stop.chosen is None:
        return Stopped(values_of(all_right), values_of(all_paid))
    right, paid = replay.run(stop.chosen.n_drawn)
    each = (values_of(all_right), values_of(all_paid), values_of(right), values_of(paid))
    return Stopped(*each, threshold=stop.chosen.confidence)


def point(accuracy: Floats, flops: Floats) -> Point:
    return Point(values_of(accuracy), tuple(round(float(each)) for each in flops))


def values_of(values: Floats) -> Values:
    return tuple(round(float(each), N_DIGITS) for each in values)
