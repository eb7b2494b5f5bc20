"""`prm-train search`: draw, score and search a set of problems. It writes evidence, one line a problem;
`evaluate` makes accuracies of it.

Draws go into a ledger and a finished problem is appended to results.jsonl at once, so an interrupted search
goes on where it stopped.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path

from pydantic import TypeAdapter

from data_gen.files.jsonl import write_text
from data_gen.files.run_clock import RunClock
from data_gen.files.run_folder import for_each
from data_gen.files.run_identity import check_folder, check_run, claim_run
from data_gen.grading.graders import load_grader
from data_gen.ledger.store import Ledger, has_draws
from data_gen.models.names import check_inputs
from data_gen.policies.first_prompt import say_prompt
from data_gen.policies.metered import server_counts
from data_gen.policies.protocol import need_chat_policy
from data_gen.problems.sources import select_problems, write_counts
from data_gen.records.draw_keys import content_hash
from data_gen.records.solutions import Problem
from data_gen.sampling.draw_settings import DrawSettings
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.scoring.ensemble import scorer_ids
from prm_train.scoring.foreign.settings import AUTO
from prm_train.scoring.protocol import Scorer
from prm_train.search.allocation import AllocatedSolver
from prm_train.search.failures import FailureLimit
from prm_train.search.forecast import pilot_of, report_forecast
from prm_train.search.results import ProblemResult, read_begun_results, read_results
from prm_train.search.searcher import Searcher
from prm_train.search.settings import SearchConfig
from prm_train.search.solve import as_allocated
from prm_train.search.solve_settings import SolveSettings
from prm_train.search.solving.solver import Solver
from prm_train.search.summary import search_table, summarize
from prm_train.search.traces import TRACES, keep_traces_of, traces_into
from prm_train.strategies.baselines import load_confidence

logger = logging.getLogger(__name__)


def load_scorers(config: SearchConfig) -> dict[str, Scorer]:
    """The PRM and the ORM that are named. Raises InputError where one is the other."""
    scorers = dict[str, Scorer]()
    for name, folder, prm_format in (("prm", config.prm, config.prm_format), ("orm", config.orm, AUTO)):
        if folder is None:
            continue
        scorers[name] = config.scorer.load(folder, config.policy, prm_format)
        if scorers[name].scores_steps != (name == "prm"):
            kinds = ("an ORM, which scores whole solutions", "a PRM, which scores steps")
            is_prm = scorers[name].scores_steps
            raise InputError(
                f"{name} {folder}: {kinds[is_prm]}; expected {kinds[not is_prm].partition(',')[0]} "
                f"(--{'prm' if is_prm else 'orm'})"
            )
    return scorers


def load_allocated(searcher: Searcher) -> AllocatedSolver:
    """What answers by the allocation of a search, with its PRM, or else its ORM."""
    config = searcher.config
    shared = {each.name: getattr(config, each.name) for each in fields(DrawSettings)}
    settings = SolveSettings(
        max_steps=config.max_steps,
        allocation=config.allocation,
        allocation_budget=config.allocation_budget,
        **shared,
    )
    scorer = searcher.scorers.get("prm", searcher.scorers.get("orm"))
    solver = as_allocated(Solver(settings, searcher.policy, scorer, searcher.grader, searcher.ledger))
    assert isinstance(solver, AllocatedSolver)
    return solver


async def search_problems(
    problems: list[Problem], done: list[ProblemResult], searcher: Searcher, clock: RunClock
) -> None:
    """Search what results.jsonl does not hold yet, and what failed: the fault may have been mended.

    Raises InputError where so many problems fail that the fault is not theirs.
    """
    path, adapter = searcher.config.output / "results.jsonl", TypeAdapter(ProblemResult)
    answered = [result for result in done if not result.failure]
    if len(answered) < len(done):
        logger.info("%d problems that failed are searched again", len(done) - len(answered))
    if path.exists():  # drops a line that was cut short
        write_text(path, "".join(adapter.dump_json(result).decode() + "\n" for result in answered))
    finished = {result.problem.problem_id for result in answered}
    keep_traces_of(path.with_name(TRACES), finished)
    limit = FailureLimit(len(problems), len(answered))
    rest = [problem for problem in problems if problem.problem_id not in finished]
    if not rest:
        return
    with path.open("a") as file, ExitStack() as stack:
        if searcher.config.trace:
            searcher = replace(searcher, take_trace=stack.enter_context(traces_into(path.with_name(TRACES))))

        n_generated = 0

        async def one(problem: Problem) -> None:
            nonlocal n_generated
            result = await searcher.search(problem)
            n_generated += result.usage.n_generated
            file.write(adapter.dump_json(result).decode() + "\n")
            file.flush()
            limit.add(result)

        async with clock.running():
            await for_each(
                rest,
                one,
                what="search",
                unit="problems",
                at_once=64,
                counts=lambda: {"n_generated": n_generated, **server_counts(searcher.policy)},
            )
    limit.check_any_answered()


def forecast_search(
    problems: list[Problem], done: list[ProblemResult], searcher: Searcher, clock: RunClock
) -> None:
    """Search the pilot, and write forecast-search.json."""
    pilot, ledger = pilot_of(problems), searcher.ledger
    n_before, begun = ledger.total_usage().n_generated, time.perf_counter()
    asyncio.run(search_problems(pilot, done, searcher, clock))
    seconds, n_made = time.perf_counter() - begun, ledger.total_usage().n_generated - n_before
    results, names = (
        read_results(searcher.config.output / "results.jsonl"),
        {problem.problem_id for problem in pilot},
    )
    n_generated = sum(each.usage.n_generated for each in results if each.problem.problem_id in names)
    # Draws that a ledger holds take no time: a rate is known where this process has made all of them
    report_forecast(searcher.config, len(problems), results, names, seconds if n_made >= n_generated else 0.0)


def is_begun(folder: Path) -> bool:
    """Whether a run folder holds something that belongs to its settings: results, or draws of its own."""
    return (folder / "results.jsonl").exists() or has_draws(folder / "ledger.sqlite")


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(SearchConfig, argv)
    settings = replace(config, forecast=False)
    results = config.output / "results.jsonl"
    check_run(config.output, settings, is_begun=is_begun(config.output))
    if config.ledger is not None:
        check_folder(config.ledger.parent)
    config.policy.check()
    config.revision_policy.check()
    check_inputs(config)
    check_inputs(config.scorer, "scorer.")
    clock = RunClock(config.output / "seconds.json")
    selection = select_problems(config.problems)
    grader = load_grader(config.grader, config.problems.source)
    policy = config.policy.load()
    say_prompt(config.policy, policy.encode_prompt, selection.problems[0].question)
    reviser = policy if config.revision_model is None else config.revision_policy.load()
    if any(spec.has_reviser for spec in config.specs):
        need_chat_policy(reviser)
    scorers = load_scorers(config)
    confidence = load_confidence(config.baselines, config.policy, config.confidence_window)
    with Ledger(config.ledger_path) as ledger:
        done = read_begun_results(results, selection.problems)
        models = {"policy": policy.policy_id}
        for name, scorer in scorers.items():
            models |= scorer_ids(name, scorer)
        if reviser is not policy:
            models["revision_model"] = reviser.policy_id
        if config.allocation is not None:
            models["allocation"] = content_hash(config.allocation.read_text())
        claim_run(config.output, settings, models, is_begun=is_begun(config.output))
        write_counts(config.output, selection)
        searcher = Searcher(config, policy, ledger, grader, scorers, confidence, reviser)
        if config.allocation is not None:
            searcher = replace(searcher, allocated=load_allocated(searcher))
        if config.forecast:
            forecast_search(selection.problems, done, searcher, clock)
            return
        asyncio.run(search_problems(selection.problems, done, searcher, clock))
    # What is saved: a run that finds everything done reports the same seconds.
    summary = summarize(read_results(results), clock.saved)
    summary.write(config.output / "search.json")
    logger.info("%s:\n%s", config.output / "search.json", search_table(summary))
    logger.info("results: %s; next: prm-train evaluate --validation … --test … --output …", results)


if __name__ == "__main__":
    run_command(main, "search")
