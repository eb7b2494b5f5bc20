"""`prm-train sample`: draw solutions for problems and grade them. Draws go into the run's ledger; running
again continues it.

`--forecast true` draws for twenty of the problems, says what the whole will cost, and ends; `--dry_run true`
runs the same pipeline in the folder `dry-run` with a simulated policy, to see without a model that a config
works.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from data_gen.files.progress_bar import Progress
from data_gen.files.result_tables import counted, result_table, token_words
from data_gen.files.run_folder import read_records, records_in_order, work_through
from data_gen.files.run_identity import check_folder, check_run, claim_run
from data_gen.grading.graders import Grader, load_grader
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger, has_draws
from data_gen.policies.first_prompt import say_prompt, try_prompt
from data_gen.policies.metered import MeteredPolicy
from data_gen.policies.protocol import Policy
from data_gen.problems.sources import Selection, select_problems, write_problems
from data_gen.records.sampling import Usage
from data_gen.records.solutions import GradedSolution, Problem
from data_gen.sampling.pilot import pilot_problems, report_forecast, say_if_simulated
from data_gen.sampling.run_policy import load_run_policy
from data_gen.sampling.settings import DRY_RUN, SampleConfig
from data_gen.sampling.solutions import NO_ROOM, draw_solutions
from data_gen.sampling.summary import SampleSummary, run_facts
from data_gen.settings.errors import InputError
from data_gen.settings.parse import load_yaml, parse_config, run_command

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sampled:
    """The solutions of one problem, and what their draws cost when they were made, in this run or an earlier
    one.
    """

    solutions: tuple[GradedSolution, ...]
    usage: Usage


class SampleCounts:
    """What is told of a sampling run, counted while its results pass by. A label here is a verdict that is
    not unknown.
    """

    def __init__(self) -> None:
        self.n_problems = 0
        self.usage = Usage()
        self.verdicts = Counter[str]()
        self.finish_reasons = Counter[str]()
        self.without_room: list[str] = []  # problems whose prompt does not fit into the policy's context

    def add(self, sampled: Sampled) -> None:
        self.n_problems += 1
        self.usage += sampled.usage
        for each in sampled.solutions:
            self.verdicts[f"{each.verdict.kind}{':' * bool(each.verdict.reason)}{each.verdict.reason}"] += 1
            self.finish_reasons[each.solution.finish_reason.value] += 1
        if sampled.solutions[0].verdict.reason == NO_ROOM:
            self.without_room.append(sampled.solutions[0].solution.problem_id)

    @property
    def n_labels(self) -> int:
        return self.verdicts["correct"] + self.verdicts["incorrect"]

    def summary(self, policy: MeteredPolicy, config: SampleConfig) -> SampleSummary:
        n_solutions = self.verdicts.total()
        return SampleSummary(
            n_problems=self.n_problems,
            n_solutions=n_solutions,
            verdicts=dict(sorted(self.verdicts.items())),
            finish_reasons=dict(sorted(self.finish_reasons.items())),
            problems_without_room=self.without_room,
            pass_at_1=self.verdicts["correct"] / n_solutions,
            n_generated=self.usage.n_generated,
            n_prefilled=self.usage.n_prefilled,
            n_cached=self.usage.n_cached,
            tokens_per_label=round(self.usage.n_generated / max(self.n_labels, 1), 1),
            **run_facts(policy, self.n_labels, config),
        )


async def sample_problems(
    problems: Iterable[Problem],
    policy: Policy,
    grader: Grader,
    ledger: Ledger,
    config: SampleConfig,
    take: Callable[[int, Sampled], None],
) -> None:
    """Draw and grade; `take` gets the number of a problem and its solutions as soon as it has them all."""
    params = config.params(config.temperature)

    async def one(problem: Problem) -> Sampled:
        recorded = LedgerPolicy(policy, ledger, problem)
        return Sampled(
            await draw_solutions(recorded, grader, params, range(config.n_samples)), recorded.usage
        )

    await work_through(problems, one, take, config.n_open)
    ledger.commit()  # before any file names the draws


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(SampleConfig, argv)
    run = config.output / DRY_RUN if config.dry_run else config.output
    settings = replace(config, output=run, forecast=False)
    check_run(run, settings, is_begun=is_begun(settings))
    if config.policy.model:
        config.policy.check()
    selection = select_problems(config.problems)
    load_grader(config.grader, config.problems.source)
    policy = load_run_policy(config, selection.problems)
    question = selection.problems[0].question
    if config.dry_run:
        try_prompt(config.policy, question)
    else:
        say_prompt(config.policy, policy.encode_prompt, question)
    n_problems = len(selection.problems)
    if config.ledger is not None:
        check_folder(config.ledger.parent)
    with Ledger(settings.ledger_path) as ledger:
        claim_sample(settings, selection, policy.policy_id)
        del selection  # from here on the problems are read from the file
        if config.forecast:
            forecast_sampling(run, n_problems, MeteredPolicy(policy), ledger, config)
        else:
            sample_run(run, n_problems, MeteredPolicy(policy), ledger, config)


def is_begun(config: SampleConfig) -> bool:
    """Whether the folder holds something that belongs to its settings: solutions, or draws of its own. A dry
    run is made anew.
    """
    run = config.output
    return not config.dry_run and ((run / "solutions.jsonl").exists() or has_draws(run / "ledger.sqlite"))


def claim_sample(config: SampleConfig, selection: Selection, policy_id: str) -> None:
    """The settings, the problems and the policy of the run into its folder. Raises InputError where it was
    begun with others.
    """
    run, has_begun = config.output, is_begun(config)
    if has_begun and (run / "problems.jsonl").exists():
        check_same_problems(run, selection.problems)
    is_growing = has_begun and (run / "config.json").exists() and n_samples_of(run) < config.n_samples
    claim_run(run, config, {"policy": policy_id}, is_begun=has_begun)
    write_problems(run, selection)
    if is_growing:
        (run / "sample.json").unlink(missing_ok=True)  # the run is not at its end any more


def n_samples_of(run: Path) -> int:
    return load_yaml(SampleConfig, run / "config.json").n_samples


def check_same_problems(run: Path, problems: Sequence[Problem]) -> None:
    """Raises InputError where the source has other problems now than when the run began."""
    path = run / "problems.jsonl"
    for number, (old, new) in enumerate(zip_longest(read_records(path, Problem), problems), 1):
        if old != new:
            was, now = (
                f"{each.question[:60]!r} with answer {each.gold_answer[:40]!r}" if each else "no problem"
                for each in (old, new)
            )
            raise InputError(
                f"{path}:{number}: the problems have changed since this run began: was {was}, got {now}; put "
                "back the old source, or "
                "choose another output folder"
            )


def sample_run(
    run: Path, n_problems: int, policy: MeteredPolicy, ledger: Ledger, config: SampleConfig
) -> None:
    """Solutions of all problems of the run into solutions.jsonl, and sample.json."""
    problems, grader = (
        read_records(run / "problems.jsonl", Problem),
        load_grader(config.grader, config.problems.source),
    )
    counts = SampleCounts()
    with (
        records_in_order(run / "solutions.jsonl", GradedSolution) as add,
        Progress(
            "sample",
            n_problems,
            lambda: policy.line(counts.n_labels, counts.usage),
            counts=lambda: policy.counts(counts.usage),
        ) as progress,
    ):

        def take(number: int, sampled: Sampled) -> None:
            add(number, sampled.solutions)
            counts.add(sampled)
            progress.update()

        asyncio.run(sample_problems(problems, policy, grader, ledger, config, take))
        if len(counts.without_room) == n_problems:
            raise InputError(
                f"the prompt of problem {counts.without_room[0]}, as those of all {n_problems}, leaves no "
                "room in the policy's context of "
                f"{policy.context_length} tokens; expected shorter problems, or a policy with a longer "
                "context"
            )
    if counts.without_room:
        shown = ", ".join(counts.without_room[:5])
        logger.warning(
            "%d problems fill the policy's context of %d tokens and got no solution, sample.json names them: "
            "%s",
            *(len(counts.without_room), policy.context_length, shown),
        )
    summary = counts.summary(policy, config)
    summary.write(run / "sample.json")
    logger.info("%s:\n%s", run / "sample.json", sample_table(summary, counts.n_labels, policy))
    say_if_simulated(config)
    logger.info(
        "solutions: %s; next: prm-train label --run %s%s",
        run / "solutions.jsonl",
        config.output,
        " --dry_run true" * config.dry_run,
    )


def sample_table(summary: SampleSummary, n_labels: int, policy: MeteredPolicy) -> str:
    rows = {
        "problems": f"{summary.n_problems:,}",
        "solutions": f"{summary.n_solutions:,}: {counted(summary.verdicts)}",
        "pass@1": f"{summary.pass_at_1:.4f}",
        "ended by": counted(summary.finish_reasons),
        "tokens": token_words(summary.usage, f"{summary.tokens_per_label:,} a verdict"),
        "this time": f"{policy.seconds:,.1f} s for {policy.n_draws:,} draws, "
        f"{policy.line(n_labels, summary.usage)}",
    }
    return result_table(rows)


def forecast_sampling(
    run: Path, n_problems: int, policy: MeteredPolicy, ledger: Ledger, config: SampleConfig
) -> None:
    """Sample the pilot, and write forecast-sample.json."""
    grader = load_grader(config.grader, config.problems.source)
    costs: list[dict[str, float]] = []

    def take(number: int, sampled: Sampled) -> None:
        counts = SampleCounts()
        counts.add(sampled)
        usage = {
            "n_generated": sampled.usage.n_generated,
            "n_prefilled": sampled.usage.n_prefilled,
            "n_cached": sampled.usage.n_cached,
        }
        costs.append({"n_labels": counts.n_labels, "n_draws": len(sampled.solutions), **usage})

    pilot = pilot_problems(run, n_problems)
    asyncio.run(sample_problems(pilot, policy, grader, ledger, config, take))
    report_forecast(run / "forecast-sample.json", costs, n_problems, policy, config)


if __name__ == "__main__":
    run_command(main, "sample")
