"""`prm-train build`: training rows from sampled and labeled runs. A pure function of what the runs hold: no
draw is made.

    prm          steps with labels and the counts behind them             from labels.jsonl
    orm          solutions with their verdicts                            from solutions.jsonl, as the rest
    orm_pairs    a right and a wrong solution of one question
    orm_history  a solution after earlier attempts, with its verdict
    revision     wrong attempts, the closest last, then a right answer
    distill      solutions for a policy to learn, also from folders of `prm-train search` among the runs

Writes <kind>.jsonl, or <kind>-train.jsonl and <kind>-validation.jsonl with a `validation_share` (whole
questions on one side), contamination.jsonl where test sets are named, and build.json: the settings, where the
rows come from, what they hold and what was left out by reason.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_gen.files.jsonl import write_jsonl
from data_gen.files.result_tables import counted, result_table
from data_gen.grading.graders import compares_exactly
from data_gen.records.solutions import GradedSolution, LabeledSolution, Problem
from data_gen.rows.build_record import BuildRecord, Contamination, KindSummary
from data_gen.rows.by_question import RecordsByQuestion, read_problems
from data_gen.rows.contamination import find_contamination
from data_gen.rows.distill import Teachers, distill_rows
from data_gen.rows.facts import RowFacts, describe_run, label_meaning
from data_gen.rows.filters import Filter, usable_solutions
from data_gen.rows.layouts import AnyRow, RowKind
from data_gen.rows.orm import history_rows, orm_pairs, orm_rows, shuffled_chains
from data_gen.rows.prm import prm_rows
from data_gen.rows.revision import DistanceAudit, revision_rows
from data_gen.rows.search_candidates import is_search
from data_gen.rows.settings import BuildConfig
from data_gen.rows.split import published_split
from data_gen.sampling.summary import RunSettings
from data_gen.settings.errors import InputError
from data_gen.settings.parse import dump_config, parse_config, run_command

logger = logging.getLogger(__name__)


class Builder:
    """The rows of each kind, question by question; what is left out is counted in `left_out`."""

    def __init__(self, config: BuildConfig, problems: dict[str, Problem]) -> None:
        self.config = config
        self.left_out = {kind: Counter[str]() for kind in config.kinds}
        self.audit = DistanceAudit()
        self._filter = Filter(config.filters.max_characters, has_second_opinion(config))
        self._samples: RecordsByQuestion[GradedSolution] | None = None
        self._labeled: RecordsByQuestion[LabeledSolution] | None = None
        self._teachers: Teachers | None = None
        check_runs(config)
        if "distill" in config.kinds:
            self._teachers = Teachers(config.runs, problems, config.distill)
        if set(config.kinds) - {"prm", "distill"}:
            self._samples = RecordsByQuestion(
                [run / "solutions.jsonl" for run in config.runs], GradedSolution, problems
            )
        if "prm" in config.kinds:
            self._labeled = RecordsByQuestion(
                [run / "labels.jsonl" for run in config.runs], LabeledSolution, problems
            )

    def rows(self, kind: RowKind, problem: Problem) -> Sequence[AnyRow]:
        """The rows of one kind for one question."""
        config, left_out = self.config, self.left_out[kind]
        if kind == "prm":
            assert self._labeled is not None
            from_labels, reasons = prm_rows(problem, self._labeled.of(problem), config.labels, self._filter)
            left_out.update(reasons)
            return from_labels
        if kind == "distill":
            assert self._teachers is not None
            taught = self._teachers.of(problem)
            limit = config.filters.max_characters
            learnt, reasons = distill_rows(problem, taught, config.distill, limit, config.seed)
            left_out.update(reasons)
            return learnt
        assert self._samples is not None
        usable, reasons = usable_solutions(problem, self._samples.of(problem), self._filter)
        left_out.update(reasons)
        if kind == "orm":
            return orm_rows(problem, usable)
        if kind == "orm_pairs":
            return orm_pairs(problem, usable, config.pairs, config.seed)
        if kind == "orm_history":
            chains = shuffled_chains(problem, usable, config.history_attempts, config.seed)
            return [
                row
                for chain in chains
                for row in history_rows(problem, chain, config.history_attempts, config.chain)
            ]
        trajectories, reasons, audit = revision_rows(
            problem, usable, config.revision, config.chain, config.seed
        )
        left_out.update(reasons)
        self.audit.merge(audit)
        return trajectories


def check_runs(config: BuildConfig) -> None:
    """Raises InputError where rows other than distill rows are asked of a search."""
    others = [kind for kind in config.kinds if kind != "distill"]
    searches = [run for run in config.runs if is_search(run)]
    if others and searches:
        raise InputError(
            f"{searches[0]}: holds the results of a search, from which only distill rows are built; got "
            f"kinds {', '.join(config.kinds)}"
        )


def has_second_opinion(config: BuildConfig) -> bool:
    """`auto` asks the lenient comparison unless the grader of every run compares values exactly, as the
    built-in task's does.
    """
    if config.filters.second_opinion != "auto":
        return config.filters.second_opinion == "always"
    return not all(_grades_exactly(run) for run in config.runs)


def _grades_exactly(run: Path) -> bool:
    settings = RunSettings.of(run)
    if settings is None:
        return False
    return compares_exactly(settings.grader, settings.problems.source)


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(BuildConfig, argv)
    problems = read_problems(config.runs)
    # Before anything is written: a damaged summary is refused at once
    runs = tuple(map(describe_run, config.runs))
    kept, contamination = list(problems.values()), None
    if config.contamination.test_sets:
        kept, contamination = write_contamination(kept, config)
    builder = Builder(config, problems)
    sides: dict[str, list[Problem]] = {"train": [], "validation": []}
    for problem in kept:
        sides[published_split(problem, config.validation_share)].append(problem)
    written = {kind: write_kind(kind, sides, builder) for kind in config.kinds}
    record = BuildRecord(
        config=dump_config(config),
        runs=runs,
        n_problems=len(problems),
        contamination=contamination,
        n_problems_by_split={split: len(some) for split, some in sides.items() if some},
        files={kind: file_names(kind, config) for kind in config.kinds},
    )
    record.with_kinds(written).write(config.output / "build.json")
    logger.info(
        "%s:\n%s",
        config.output,
        result_table({kind: rows_in_words(summary) for kind, summary in written.items()}),
    )


def rows_in_words(summary: KindSummary) -> str:
    return f"{summary.n_rows:,} rows" + (
        f"; left out: {counted(summary.left_out)}" if summary.left_out else ""
    )


def write_contamination(problems: list[Problem], config: BuildConfig) -> tuple[list[Problem], Contamination]:
    """Write the matches with the test sets. Returns the problems that stay, and the counts."""
    matches, test_sets = find_contamination(problems, config.contamination)
    write_jsonl(config.output / "contamination.jsonl", map(asdict, matches))
    matching = {match.problem_id for match in matches}
    n_dropped = len(matching) if config.contamination.drop else 0
    found = Contamination(test_sets, len(matching), n_dropped)
    logger.info(
        "contamination: %s; %d problems match, %d left out",
        json.dumps(asdict(found)["test_sets"]),
        len(matching),
        n_dropped,
    )
    if not config.contamination.drop:
        return problems, found
    kept = [problem for problem in problems if problem.problem_id not in matching]
    if not kept:
        raise InputError(
            f"contamination: each of the {len(problems)} problems is in a test set; no rows are left"
        )
    return kept, found


def file_names(kind: RowKind, config: BuildConfig) -> dict[str, str]:
    """By split."""
    if not config.validation_share:
        return {"train": f"{kind}.jsonl"}
    return {"train": f"{kind}-train.jsonl", "validation": f"{kind}-validation.jsonl"}


def write_kind(kind: RowKind, sides: Mapping[str, Sequence[Problem]], builder: Builder) -> KindSummary:
    """Write the files of one kind, row by row. Returns what is in them."""
    config = builder.config
    row_facts = RowFacts(kind)

    def rows(problems: Sequence[Problem]) -> Iterator[dict[str, Any]]:
        for problem in problems:
            for row in builder.rows(kind, problem):
                row_facts.add(row)
                yield asdict(row)

    by_split = {
        split: write_jsonl(config.output / name, rows(sides[split]))
        for split, name in file_names(kind, config).items()
    }
    summary = KindSummary(
        n_rows=sum(by_split.values()),
        n_rows_by_split=by_split,
        left_out=dict(sorted((+builder.left_out[kind]).items())),
        label_meaning=label_meaning(kind, config.labels),
        distances=builder.audit.table() if kind == "revision" else None,
        **row_facts.counts(),
    )
    if kind == "revision":
        logger.info(
            "edits from right answers to wrong attempts, means:\n%s", "\n".join(builder.audit.lines())
        )
    if not summary.n_rows:
        logger.warning("%s: no rows (left out: %s)", kind, json.dumps(summary.left_out))
    return summary


if __name__ == "__main__":
    run_command(main, "build")
