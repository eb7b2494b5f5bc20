"""`prm-train label`: label the steps of a run's solutions by Monte Carlo rollouts.

Rollouts go into the run's ledger; running again continues. `--forecast true` labels the solutions of twenty
of the problems, says what the whole will cost, and ends; `--dry_run true` labels what `prm-train sample
--dry_run true` made. labels.jsonl, which `build` reads, holds the labels of the last run; each method's are
kept beside it under labels-<method>.jsonl. `--show 3` prints three of the labeled solutions.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from data_gen.files.jsonl import write_jsonl
from data_gen.files.progress_bar import Progress
from data_gen.files.result_tables import counted, result_table, token_words
from data_gen.files.run_folder import count_lines, read_records, records_in_order, work_through
from data_gen.files.run_identity import check_models
from data_gen.grading.graders import Grader, load_grader
from data_gen.labeling.beliefs import check_of_run, read_beliefs
from data_gen.labeling.problem_tokens import tokens_per_problem
from data_gen.labeling.problems import Labeled, UnknownCountingPolicy, label_problem
from data_gen.labeling.rows_to_score import rows_to_score
from data_gen.labeling.settings import LabelSettings, check_scored, settings_read
from data_gen.labeling.show import keep_by_method, show_labels
from data_gen.labeling.summary import LabelSummary
from data_gen.ledger.store import Ledger
from data_gen.models.names import check_inputs
from data_gen.policies.execution import PolicyExecution
from data_gen.policies.first_prompt import say_prompt
from data_gen.policies.metered import MeteredPolicy
from data_gen.policies.open_problems import n_open_problems
from data_gen.policies.protocol import Policy
from data_gen.records.sampling import Usage
from data_gen.records.solutions import LabeledSolution, Problem
from data_gen.sampling.pilot import pilot_problems, report_forecast, say_if_simulated
from data_gen.sampling.run_policy import load_run_policy
from data_gen.sampling.settings import DRY_RUN, SampleConfig
from data_gen.sampling.summary import run_facts
from data_gen.settings.errors import InputError
from data_gen.settings.parse import load_yaml, parse_config, run_command

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LabelConfig(LabelSettings):
    """Label the steps of the solutions of a run that `sample` made."""

    run: Path = field(metadata={"help": "run folder of `prm-train sample`"})
    policy: PolicyExecution = field(default_factory=PolicyExecution)
    n_open: int | None = field(
        default=None,
        metadata={
            "help": "problems that are labeled at a time: more of them use more servers at once, fewer need "
            "a smaller cache; null: as many as the policy's prefix cache holds, 512 at most"
        },
    )
    forecast: bool = field(
        default=False,
        metadata={
            "help": "label 20 problems spread over the run, print what all of them will cost, and stop"
        },
    )
    dry_run: bool = field(
        default=False,
        metadata={"help": "label the run of `prm-train sample --dry_run true`, which is in run/dry-run"},
    )
    show: int = field(
        default=0,
        metadata={
            "help": "print so many labeled solutions at the end, wrong ones first, and how far labeling "
            "methods agree"
        },
    )

    scores: tuple[Path, ...] = field(
        default=(),
        metadata={
            "is_input": True,
            "help": "files of step scores of the run's wrong solutions, one file a scorer: rows of "
            "--export_rows with `scores`, as `prm-train score` writes them; posterior begins with what "
            "scorers believe, and min_doubt chooses by it",
        },
    )
    export_rows: Path | None = field(
        default=None,
        metadata={
            "help": ".jsonl file for the wrong solutions that would get labels, and nothing else is done: "
            "any program may add `scores` to its rows, and --scores reads them"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_scored(self, is_scored=bool(self.scores))
        if self.n_open is not None and self.n_open < 1:
            raise ValueError(f"n_open: got {self.n_open}, expected at least 1")
        if self.show < 0:
            raise ValueError(f"show: got {self.show}, expected 0 or more")


class LabelCounts:
    """What is told of a labeling run, counted while its results pass by. A label is a step's True or
    False.
    """

    def __init__(self, config: LabelConfig) -> None:
        self.config = config
        self.usage = Usage()
        self.n_rollouts = self.n_solutions = self.n_wrong = self.n_unknown = self.n_movable = 0
        self.labels, self.unlabeled = Counter[str](), Counter[str]()

    def add(self, labeled: Labeled) -> None:
        self.usage += labeled.usage
        self.n_rollouts += labeled.n_rollouts
        self.n_unknown += labeled.n_unknown
        self.unlabeled.update(outcome for outcome in labeled.outcomes if isinstance(outcome, str))
        for each in labeled.solutions:
            self.n_solutions += 1
            self.n_wrong += not each.graded.verdict.is_correct
            self.labels.update(map(str, each.labels))
            self.n_movable += n_movable_labels(each, self.config.method)

    @property
    def n_labels(self) -> int:
        return self.labels["True"] + self.labels["False"]

    def summary(self, policy: MeteredPolicy, sampling: SampleConfig) -> LabelSummary:
        settings = {name: getattr(self.config, name) for name in sorted(settings_read(self.config))}
        if self.config.scores:
            settings["scores"] = ",".join(path.name for path in self.config.scores)
        return LabelSummary(
            method=self.config.method,
            settings=settings,
            n_labeled_solutions=self.n_solutions,
            n_wrong_solutions=self.n_wrong,
            unlabeled=dict(sorted(self.unlabeled.items())),
            labels=dict(sorted(self.labels.items())),
            n_unknown_rollouts=self.n_unknown,
            n_labels_unknowns_could_move=self.n_movable,
            share_of_labels_unknowns_could_move=round(self.n_movable / max(self.n_labels, 1), 6),
            n_rollouts=self.n_rollouts,
            n_generated=self.usage.n_generated,
            n_prefilled=self.usage.n_prefilled,
            n_cached=self.usage.n_cached,
            tokens_per_label=round(self.usage.n_generated / max(self.n_labels, 1), 1),
            tokens_per_labeled_solution=round(self.usage.n_generated / max(self.n_solutions, 1), 1),
            **run_facts(policy, self.n_labels, sampling),
        )


def n_movable_labels(labeled: LabeledSolution, method: str) -> int:
    """At most how many labels of a solution would be others if the rollouts that count as failures for want
    of a verdict had been right.

    A success is never taken back, so True stays True, and False moves only where a rollout without verdict
    was drawn after that step (`every_step`) or after it or a later one (a search). Tests against the value so
    far may move anywhere: every success raises it.
    """
    is_unsure = [estimate.n_unknown > 0 for estimate in labeled.estimates]
    if method in ("sequential", "posterior"):
        return sum(label is not None for label in labeled.labels) * (
            any(is_unsure) or labeled.root.n_unknown > 0
        )
    if method == "every_step":
        return sum(label is False and unsure for label, unsure in zip(labeled.labels, is_unsure, strict=True))
    return sum(label is False and any(is_unsure[step:]) for step, label in enumerate(labeled.labels))


async def label_problems(
    problems: Iterable[Problem],
    policy: Policy,
    grader: Grader,
    ledger: Ledger,
    sampling: SampleConfig,
    config: LabelConfig,
    take: Callable[[int, Labeled], None],
) -> None:
    """Label the solutions of each problem; `take` gets its number and what became of them as soon as all are
    done.
    """
    vocabulary, beliefs = policy.token_bytes(), read_beliefs(config.scores)
    all_problems = read_records(sampling.output / "problems.jsonl", Problem)
    check_of_run(beliefs, (each.problem_id for each in all_problems), sampling.output)

    async def one(problem: Problem) -> Labeled:
        recorded = UnknownCountingPolicy(policy, ledger, problem)
        believed = beliefs.get(problem.problem_id, {})
        return await label_problem(
            recorded, grader, vocabulary, sampling, sampling.n_samples, config, believed
        )

    n_open = config.n_open or n_open_problems(
        policy, tokens_per_problem(sampling, policy.encode_prompt, config)
    )
    await work_through(problems, one, take, n_open)
    ledger.commit()  # before any file names the draws


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(LabelConfig, argv)
    check_inputs(config)
    run = config.run / DRY_RUN if config.dry_run else config.run
    check_sampled(run, may_be_begun=config.forecast)
    sampling = load_yaml(SampleConfig, run / "config.json")
    # The folder may have been moved
    sampling = replace(sampling, output=run, policy=config.policy.of(sampling.policy))
    if config.export_rows is not None:
        rows = rows_to_score(run, sampling.step_separator, config.min_root_share)
        n_rows = write_jsonl(config.export_rows, rows)
        logger.info("%s: %s wrong solutions; next: prm-train score", config.export_rows, f"{n_rows:,}")
        return
    n_problems = count_lines(run / "problems.jsonl")
    policy = load_run_policy(sampling, read_records(run / "problems.jsonl", Problem))
    if not config.dry_run:
        say_prompt(
            sampling.policy,
            policy.encode_prompt,
            next(read_records(run / "problems.jsonl", Problem)).question,
        )
    check_models(run, {"policy": policy.policy_id})
    with Ledger(sampling.ledger_path) as ledger:
        if config.forecast:
            forecast_labeling(run, n_problems, MeteredPolicy(policy), ledger, sampling, config)
        else:
            label_run(run, n_problems, MeteredPolicy(policy), ledger, sampling, config)
    if config.show and not config.forecast:
        show_labels(run, config.show, Console())


def check_sampled(run: Path, *, may_be_begun: bool) -> None:
    """Raises InputError if the run was not sampled to its end; a forecast draws what its twenty problems
    lack.
    """
    for name in ("config.json", "models.json", "problems.jsonl", *(() if may_be_begun else ("sample.json",))):
        if not (run / name).exists():
            raise InputError(
                f"{run / name}: no such file; expected a run that `prm-train sample` finished (started again "
                "it goes on)"
            )


def label_run(
    run: Path,
    n_problems: int,
    policy: MeteredPolicy,
    ledger: Ledger,
    sampling: SampleConfig,
    config: LabelConfig,
) -> None:
    """Labels for all problems of the run into labels.jsonl, and label.json."""
    problems, grader = (
        read_records(run / "problems.jsonl", Problem),
        load_grader(sampling.grader, sampling.problems.source),
    )
    counts = LabelCounts(config)
    with (
        records_in_order(run / "labels.jsonl", LabeledSolution) as add,
        Progress(
            "label",
            n_problems,
            lambda: policy.line(counts.n_labels, counts.usage),
            counts=lambda: policy.counts(counts.usage),
        ) as progress,
    ):

        def take(number: int, labeled: Labeled) -> None:
            add(number, labeled.solutions)
            counts.add(labeled)
            progress.update()

        asyncio.run(label_problems(problems, policy, grader, ledger, sampling, config, take))
    keep_by_method(run, config.method)
    summary = counts.summary(policy, sampling)
    summary.write(run / "label.json")
    logger.info("%s:\n%s", run / "label.json", label_table(summary, counts.n_labels, policy))
    say_if_simulated(sampling)
    logger.info(
        "labels: %s; next: prm-train build --runs %s --output %s", run / "labels.jsonl", run, run / "rows"
    )


def label_table(summary: LabelSummary, n_labels: int, policy: MeteredPolicy) -> str:
    labels = {
        {"True": "right", "False": "wrong"}.get(name, "without a label"): n
        for name, n in summary.labels.items()
    }
    n_unknown, n_movable = summary.n_unknown_rollouts, summary.n_labels_unknowns_could_move
    unknowns = f", {n_unknown:,} of them unknown, which could move {n_movable:,} labels" if n_unknown else ""
    rows = {
        "method": summary.method,
        "solutions": f"{summary.n_labeled_solutions:,} labeled, {summary.n_wrong_solutions:,} of them wrong",
        "not labeled": counted(summary.unlabeled),
        "steps": counted(labels),
        "rollouts": f"{summary.n_rollouts:,}{unknowns}",
        "tokens": token_words(summary.usage, f"{summary.tokens_per_label:,} a label"),
        "this time": f"{policy.seconds:,.1f} s for {policy.n_draws:,} draws, "
        f"{policy.line(n_labels, summary.usage)}",
    }
    return result_table(rows)


def forecast_labeling(
    run: Path,
    n_problems: int,
    policy: MeteredPolicy,
    ledger: Ledger,
    sampling: SampleConfig,
    config: LabelConfig,
) -> None:
    """Label the pilot, and write forecast-label.json."""
    grader = load_grader(sampling.grader, sampling.problems.source)
    costs: list[dict[str, float]] = []

    def take(number: int, labeled: Labeled) -> None:
        counts = LabelCounts(config)
        counts.add(labeled)
        usage = {
            "n_generated": labeled.usage.n_generated,
            "n_prefilled": labeled.usage.n_prefilled,
            "n_cached": labeled.usage.n_cached,
        }
        costs.append(
            {
                "n_labeled_solutions": counts.n_solutions,
                "n_labels": counts.n_labels,
                "n_rollouts": labeled.n_rollouts,
                **usage,
            }
        )

    pilot = pilot_problems(run, n_problems)
    asyncio.run(label_problems(pilot, policy, grader, ledger, sampling, config, take))
    report_forecast(run / "forecast-label.json", costs, n_problems, policy, sampling)


if __name__ == "__main__":
    run_command(main, "label")
