"""What a search will cost, from a pilot of its own problems: twenty, spread evenly over the source, which are
searched as a part of the run.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from data_gen.files.stored_record import StoredRecord
from data_gen.records.solutions import Problem
from data_gen.sampling.forecast import Total, forecast, forecast_text, pilot_positions
from prm_train.scoring.flops import ForwardFlops
from prm_train.scoring.work import Work
from prm_train.search.failures import failures_in_words
from prm_train.search.model_flops import flops_of_cost, models_flops
from prm_train.search.results import SAMPLES, Cost, ProblemResult
from prm_train.search.settings import SearchConfig

logger = logging.getLogger(__name__)
FORECAST = "forecast-search.json"


@dataclass(frozen=True)
class MethodForecast:
    """What a method that runs alone is expected to take on all problems; `flops` None: not known."""

    method: str
    n_generated: float
    n_scored: float
    flops: float | None


@dataclass(frozen=True, kw_only=True)
class SearchForecast(StoredRecord):
    """forecast-search.json: totals of the whole run by what is counted, and of each of its methods."""

    n_problems: int
    n_pilot: int
    totals: Mapping[str, Total]
    methods: tuple[MethodForecast, ...]


def pilot_of(problems: Sequence[Problem]) -> list[Problem]:
    return [problems[position] for position in pilot_positions(len(problems))]


def report_forecast(
    config: SearchConfig, n_problems: int, results: Sequence[ProblemResult], pilot: set[str], seconds: float
) -> None:
    """Write and show the forecast that the pilot's results make. `seconds` are those of searching all of the
    pilot; 0 where the ledger held some of its draws before.
    """
    found = [result for result in results if result.problem.problem_id in pilot]
    flops = models_flops(config)
    costs = [_cost(result, config, flops) for result in found]
    n_generated = sum(cost["n_generated"] for cost in costs)
    totals = forecast(costs, n_problems, seconds / n_generated if seconds and n_generated else None)
    if "seconds" in totals:
        totals["seconds_left"] = _left(totals["seconds"], seconds, n_problems, len(found), len(results))
    methods = tuple(_methods([result for result in found if not result.failure], n_problems, flops))
    SearchForecast(n_problems=n_problems, n_pilot=len(found), totals=totals, methods=methods).write(
        config.output / FORECAST
    )
    logger.info("%s\n%s", forecast_text(totals, n_problems), methods_table(methods))
    failed = {result.problem.problem_id: result.failure for result in found if result.failure}
    if failed:
        logger.warning("%s", failures_in_words(failed, len(found)))
    if "seconds" not in totals:
        logger.info(
            "no time: the ledger held draws of the pilot before; the forecast that made all of them had one"
        )


def _cost(result: ProblemResult, config: SearchConfig, flops: Mapping[str, ForwardFlops]) -> dict[str, float]:
    """Of one problem: what several methods share counts once. FLOPs are of weights alone (of two scorers as
    if both were the PRM), and left out where those of a model are not known.
    """
    usage, scored = result.usage, result.scorer_usage
    cost: dict[str, float] = {
        "n_generated": usage.n_generated,
        "n_prefilled": usage.n_prefilled,
        "n_cached": usage.n_cached,
        "n_scored": scored.n_new,
    }
    scorers = [name for name, folder in (("prm", config.prm), ("orm", config.orm)) if folder is not None]
    if {"policy", *scorers} <= flops.keys():
        drawn = flops["policy"].of(Work(usage.n_generated + usage.n_prefilled), usage.n_generated)
        read = sum(flops[name].of(Work(scored.n_new), scored.n_new) for name in scorers[:1])
        cost["flops_of_weights"] = drawn + read
    return cost


def _left(total: Total, seconds: float, n_problems: int, n_pilot: int, n_done: int) -> Total:
    """Of the problems that are not searched yet, in proportion to those beyond the pilot."""
    share = (n_problems - n_done) / max(n_problems - n_pilot, 1)
    return Total(*(share * (value - seconds) for value in (total.expected, total.low, total.high)))


def _methods(
    results: Sequence[ProblemResult], n_problems: int, flops: Mapping[str, ForwardFlops]
) -> Iterator[MethodForecast]:
    """Of the methods of a search, on problems that did not fail: `flops` with attention."""

    def expected(name: str, writer: str, scorer: str | None, costs: Sequence[Cost]) -> MethodForecast:
        share = n_problems / len(costs)
        spent = [flops_of_cost(flops, writer, scorer, cost) for cost in costs]
        known = [each for each in spent if each is not None]
        return MethodForecast(
            name,
            share * sum(cost.policy.n_generated for cost in costs),
            share * sum(cost.scorer.n_new for cost in costs),
            share * sum(known) if len(known) == len(spent) else None,
        )

    for number, first in enumerate(results[0].runs if results else ()):
        runs = [result.runs[number] for result in results]
        is_samples = first.strategy == SAMPLES
        name = f"{first.spec} N = {first.n}" + f" T = {first.temperature:g}" * is_samples
        scorer = first.scorer if first.settings and first.scorer != "none" else None
        yield expected(name, first.writer, scorer, [run.cost for run in runs])
        if is_samples and first.temperature == results[0].temperature:
            for each, scoring in enumerate(results[0].scorings):
                costs = [
                    replace(run.cost, scorer=result.scorings[each].usage)
                    for run, result in zip(runs, results, strict=True)
                ]
                yield expected(f"{name}, {scoring.scorer}", first.writer, scoring.scorer, costs)


def methods_table(methods: Sequence[MethodForecast]) -> str:
    """A line for each method."""
    width = max(26, *(len(each.method) for each in methods))
    lines = [f"  {'by method, if it ran alone':<{width}} {'generated':>14} {'scored':>14} {'FLOPs':>9}"]
    for each in methods:
        flops = "–" if each.flops is None else f"{each.flops:.3g}"
        lines.append(
            f"  {each.method:<{width}} {each.n_generated:>14,.0f} {each.n_scored:>14,.0f} {flops:>9}"
        )
    return "\n".join(lines)
