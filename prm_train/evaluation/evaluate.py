"""`prm-train evaluate`: accuracies, differences and verifier quality from the results of `prm-train search`,
as JSON, HTML and a table.

Everything that has to be chosen (temperatures of the baselines, the form of log-prob selection, the
aggregation of step scores) is chosen on validation problems, by `choosing`. Accuracies at N come from
disjoint blocks of N among the candidates of a test problem, difficulty from further draws that no accuracy
uses.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_gen.models.names import check_inputs
from data_gen.problems.tasks import task_of_problem
from data_gen.settings.errors import InputError
from data_gen.settings.parse import command_line, parse_config, run_command
from prm_train.evaluation.choosers import anyone_right
from prm_train.evaluation.choosing import Chosen, accuracies, choose_settings, has_logprobs, sample_counts
from prm_train.evaluation.comparison import Comparison, settings_in_words
from prm_train.evaluation.difficulty import read_difficulties
from prm_train.evaluation.facts import (
    example_solutions,
    label_statistics,
    loss_curves,
    run_facts,
    step_quality,
)
from prm_train.evaluation.pictures.figures import write_figures
from prm_train.evaluation.report import summary_table, write_report
from prm_train.evaluation.results import SearchReport
from prm_train.evaluation.revision_facts import revision_facts
from prm_train.evaluation.shards import FinishedSearch, check_chosen_for, read_search
from prm_train.metrics.coverage import coverage
from prm_train.metrics.estimators import N_QUINTILES, Interval, difficulty_quintiles
from prm_train.search.allocation import ORACLE
from prm_train.search.failures import failures_in_words
from prm_train.search.model_flops import models_flops
from prm_train.search.results import ProblemResult
from prm_train.strategies.voting import TreeVote


@dataclass(frozen=True)
class EvaluateConfig:
    """Make a report of one or more shards of a search on test problems, with settings chosen on validation
    problems.
    """

    validation: tuple[Path, ...] = field(
        metadata={"is_input": True, "help": "folders of `prm-train search` on validation problems"}
    )
    test: tuple[Path, ...] = field(
        metadata={"is_input": True, "help": "folders of `prm-train search` on test problems"}
    )
    output: Path = field(metadata={"help": "folder for report.html and report.json"})
    labeled: tuple[Path, ...] = field(
        default=(), metadata={"help": "folders of `prm-train label`, for the report's section on labels"}
    )
    prm: Path | None = field(
        default=None, metadata={"is_input": True, "help": "the trained PRM, for its loss curve"}
    )
    orm: Path | None = field(
        default=None, metadata={"is_input": True, "help": "the trained ORM, for its loss curve"}
    )
    stages: Path | None = field(
        default=None,
        metadata={
            "is_input": True,
            "help": "folder of the quickstart's stage files, for the report's section on costs",
        },
    )
    difficulty: Path | None = field(
        default=None,
        metadata={
            "is_input": True,
            "help": "folder of `prm-train estimate-difficulty` for the test problems, to report accuracies "
            "by predicted difficulty, too",
        },
    )
    more_votes: tuple[TreeVote, ...] = field(
        default=(),
        metadata={
            "help": "votes to report of every beam, tree and particle search beside its own: score (of the "
            "path), weight (how often the "
            "policy wrote the path, and its score), prior (distinct paths: score times probability under the "
            "policy)"
        },
    )
    figures: Path | None = field(
        default=None,
        metadata={"help": "folder for the plots of the report, each as SVG with its data as CSV"},
    )
    seed: int = field(default=0, metadata={"help": "seed of the bootstrap that makes the intervals"})


def check_results(validation: Sequence[ProblemResult], test: Sequence[ProblemResult], chosen: Chosen) -> None:
    """Raises InputError if the test problems are too few, were seen in validation, or lack samples that the
    chosen settings need.
    """
    shared = {result.problem.question for result in validation} & {result.problem.question for result in test}
    if shared:
        raise InputError(
            f"{len(shared)} of {len(test)} test questions are validation questions too; expected none: "
            f"{min(shared)!r:.80}"
        )
    if has_logprobs(test) != bool(chosen.logprob):
        with_them, without = ("validation", "test") if chosen.logprob else ("test", "validation")
        raise InputError(
            f"{with_them} has log-probabilities of its samples and {without} has none; expected them in "
            "both, or in none, to select by them"
        )
    missing = [t for t in chosen.temperatures if t not in test[0].samples]
    if missing:
        raise InputError(
            f"test: no samples at T = {missing}, which validation chose; expected them among "
            "other_temperatures of the search"
        )
    if len(test) < N_QUINTILES:
        raise InputError(
            f"test: {len(test)} problems, expected at least {N_QUINTILES} for the difficulty quintiles"
        )


def evaluate(config: EvaluateConfig) -> tuple[SearchReport, Chosen]:
    """The report, and the settings that validation chose for it."""
    validation, test = read_search(config.validation), read_search(config.test)
    check_chosen_for(validation, test)
    chosen = choose_settings(validation.results)
    check_results(validation.results, test.results, chosen)
    return report_of(config, validation, test, chosen), chosen


def report_of(
    config: EvaluateConfig, validation: FinishedSearch, test: FinishedSearch, chosen: Chosen
) -> SearchReport:
    results = test.results
    flops = models_flops(test.config)
    separator = test.config.step_separator
    comparison = Comparison(results, chosen, config.seed, config.more_votes, separator, flops)
    correct, quintiles = comparison.correct(), comparison.quintiles()
    pass_at_1 = {"pass_at_1": {1: accuracies(results, comparison.scored_temperature, anyone_right, 1)}}

    return SearchReport(
        run=run_facts(
            config.stages,
            {"validation": validation, "test": test},
            config.labeled,
            {"PRM": config.prm, "ORM": config.orm},
            flops,
            command_line("evaluate", config),
            config.output,
        ),
        accuracy={
            name: {n: comparison.interval(values) for n, values in curve.items()}
            for name, curve in correct.items()
        },
        accuracy_by_quintile=by_fifth(comparison, correct, quintiles) if quintiles is not None else {},
        accuracy_by_predicted_quintile=by_predicted_quintile(comparison, correct, config.difficulty),
        tokens=comparison.tokens(),
        settings=settings_in_words(comparison),
        single_samples=comparison.single_samples(),
        coverage=coverage(
            [sum(candidate.is_correct for candidate in result.scored) for result in results],
            comparison.n_samples,
            sample_counts(results),
            np.random.default_rng(config.seed),
        ),
        revisions=revision_facts(results, comparison.trees, test.config.revision_model, config.seed),
        pass_at_1_by_quintile=(
            by_fifth(comparison, pass_at_1, quintiles)["pass_at_1"][1] if quintiles is not None else ()
        ),
        paired=comparison.paired(correct),
        verifiers=comparison.verifiers(),
        reliability=step_quality(results).bins if "prm_weighted" in correct else (),
        losses=loss_curves(config.prm, config.orm),
        labels=label_statistics(config.labeled),
        examples=example_solutions(results, separator),
        notes=(
            *failure_notes({"validation": validation.results, "test": test.results}),
            *allocation_notes(results),
            *report_notes(comparison),
        ),
    )


def allocation_notes(results: Sequence[ProblemResult]) -> Iterator[str]:
    """What an allocation solved, where the search was given one."""
    found = [result.allocated for result in results if result.allocated is not None]
    if found:
        solved = np.mean([each.is_correct for each in found])
        tokens = np.mean([each.n_tokens for each in found])
        yield (
            f"By its allocation the test solved {solved:.1%} of {len(found)} problems, for {tokens:,.0f} "
            "tokens a problem, the estimate of difficulty included."
        )


def failure_notes(results: Mapping[str, Sequence[ProblemResult]]) -> Iterator[str]:
    """By split, how many problems failed."""
    for split, found in results.items():
        failed = {result.problem.problem_id: result.failure for result in found if result.failure}
        if failed:
            yield (
                f"{split}: {failures_in_words(failed, len(found))}. No method has solved them; costs are "
                "those of the others."
            )


def by_predicted_quintile(
    comparison: Comparison, correct: Mapping[str, Mapping[int, NDArray[np.float64]]], folder: Path | None
) -> dict[str, dict[str, dict[int, tuple[Interval, ...]]]]:
    """Accuracies on fifths of the problems by each prediction of pass@1 in a folder, the easiest first."""
    if folder is None:
        return {}
    predicted = [each.pass_at_1 for each in read_difficulties(folder, comparison.results)]
    quintiles = {
        kind: difficulty_quintiles([each[kind] for each in predicted])
        for kind in predicted[0]
        if kind != ORACLE
    }
    return {kind: by_fifth(comparison, correct, fifth) for kind, fifth in quintiles.items()}


def by_fifth(
    comparison: Comparison, table: Mapping[str, Mapping[int, NDArray[np.float64]]], fifths: NDArray[np.int64]
) -> dict[str, dict[int, tuple[Interval, ...]]]:
    """A table of accuracies on each fifth of the problems, of which `fifths` holds the numbers."""
    return {
        name: {
            n: tuple(comparison.interval(values[fifths == number]) for number in range(N_QUINTILES))
            for n, values in curve.items()
        }
        for name, curve in table.items()
    }


def report_notes(comparison: Comparison) -> Iterator[str]:
    """What a reader has to know of the task, of difficulty and of costs."""
    task = task_of_problem(comparison.results[0].problem)
    yield from task.report_notes if task else ()
    if not comparison.chosen.logprob:
        yield "The policy said no log-probabilities of its samples, so there is no selection by them."
    if comparison.quintiles() is not None:
        yield "Difficulty quintiles are made from draws that no accuracy is computed from."
    else:
        yield "The search made no draws for difficulty (n_difficulty_draws), so there are no quintiles of it."
    yield (
        "N samples cost what they alone cost: the prompt once, and for a scorer the question and each "
        "distinct step behind the same steps once."
    )
    if comparison.methods_without_tokens:
        yield (
            f"Costs of {', '.join(comparison.methods_without_tokens)} are left out: the search did not store "
            "the scorer's tokens of each step (an earlier version, or a scorer that does not say them)."
        )
    uncounted = [name for name, flops in comparison.flops.items() if not flops.is_counted]
    if uncounted:
        yield (
            f"FLOPs of {', '.join(uncounted)} are 2 for each parameter and token: config.json does not say "
            "how the model is built, or it is built in a way that is not counted here."
        )
    yield "FLOPs of methods are those of weights and attention; those of stages are of weights alone."


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(EvaluateConfig, argv)
    check_inputs(config)
    report, chosen = evaluate(config)
    chosen.write(config.output / "chosen.json")
    write_report(report, config.output / "report.html")
    if config.figures is not None:
        write_figures(report, config.figures)
    sys.stdout.write(summary_table(report) + f"\n\nreport: {config.output / 'report.html'}\n")


if __name__ == "__main__":
    run_command(main, "evaluate")
