"""`prm-train publish-candidates`: the ledger of sampled runs as one frozen file of candidates, on which
anybody's scorer can be measured without sampling again.

    prm-train publish-candidates --runs runs/math --output candidates.jsonl
    prm-train benchmark best-of-n --rows candidates.jsonl --checkpoint Qwen/Qwen2.5-Math-PRM-7B

Each problem has its first `n` solutions in the order of their draws, with steps, answers and verdicts; one
that has fewer is left out and counted. What a row holds: `data_gen.rows.candidates`. The command says the
SHA-256 of the file, by which others know that they measure on the same candidates.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from data_gen.files.jsonl import write_jsonl
from data_gen.files.result_tables import counted, result_table
from data_gen.files.stored_record import StoredRecord
from data_gen.models.names import check_inputs
from data_gen.publishing.scrubbing import refuse_secrets
from data_gen.records.solutions import GradedSolution
from data_gen.records.steps import check_separator
from data_gen.rows.by_question import RecordsByQuestion, read_problems
from data_gen.rows.candidates import CandidatesRow, candidates_row
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command


@dataclass(frozen=True)
class PublishCandidatesConfig:
    """Write sampled solutions as frozen candidates."""

    runs: tuple[Path, ...] = field(
        metadata={"is_input": True, "help": "run folders of sample: shards of one job, or one run"}
    )
    output: Path = field(metadata={"help": ".jsonl file for one row a problem"})
    n: Annotated[int, Ge(1)] | None = field(
        default=None, metadata={"help": "number of candidates of each problem; null: all"}
    )
    step_separator: str | None = field(
        default=None, metadata={"help": "text that ends a step; null: that of the runs"}
    )

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("runs: got none, expected one or more run folders")
        if self.step_separator is not None:
            check_separator(self.step_separator)


@dataclass(frozen=True)
class StepSettings(StoredRecord):
    """The part of a run's config.json that says what a step is."""

    WRITTEN_BY = "`prm-train sample`"

    step_separator: str


@dataclass
class Counts:
    n_problems: int = 0
    n_too_few: int = 0
    sizes: Counter[int] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)

    def add(self, row: CandidatesRow) -> None:
        self.n_problems += 1
        self.sizes[len(row.candidates)] += 1
        for each in row.candidates:
            self.verdicts[f"{each.verdict}{':' * bool(each.reason)}{each.reason}"] += 1


def separator_of(config: PublishCandidatesConfig) -> str:
    """Raises InputError where the runs have several."""
    if config.step_separator is not None:
        return config.step_separator
    found = {StepSettings.read(run / "config.json").step_separator for run in config.runs}
    if len(found) > 1:
        raise InputError(f"runs: their steps end with {sorted(found)}; expected one step_separator")
    return found.pop()


def frozen_rows(config: PublishCandidatesConfig, counts: Counts) -> Iterator[CandidatesRow]:
    """Raises InputError where two runs hold solutions of one problem under the same index: they are of other
    draws.
    """
    separator, problems = separator_of(config), read_problems(config.runs)
    samples = RecordsByQuestion([run / "solutions.jsonl" for run in config.runs], GradedSolution, problems)
    for problem in problems.values():
        graded = sorted(samples.of(problem), key=lambda each: each.solution.index)
        indices = [each.solution.index for each in graded]
        if len(set(indices)) < len(indices):
            raise InputError(
                f"runs: problem {problem.problem_id} has two solutions {max(indices, key=indices.count)}; "
                "expected runs of different problems"
            )
        if not graded or (config.n is not None and len(graded) < config.n):
            counts.n_too_few += 1
            continue
        row = candidates_row(problem, graded[: config.n], separator)
        counts.add(row)
        yield row


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(PublishCandidatesConfig, argv)
    check_inputs(config)
    counts = Counts()
    part = config.output.with_name(f".{config.output.name}.part")
    try:
        write_jsonl(part, map(asdict, frozen_rows(config, counts)))
        if not counts.n_problems:
            raise InputError(
                f"runs: none of {counts.n_too_few} problems has {config.n or 1} solutions to publish"
            )
        refuse_secrets([part])
        part.replace(config.output)
    finally:
        part.unlink(missing_ok=True)
    digest = hashlib.sha256(config.output.read_bytes()).hexdigest()
    sizes = sorted(counts.sizes)
    rows = {
        "problems": f"{counts.n_problems:,}"
        + (f", {counts.n_too_few:,} more have too few solutions" if counts.n_too_few else ""),
        "candidates": f"{f'{sizes[0]} to ' * (len(sizes) > 1)}{sizes[-1]} of each problem: "
        f"{counted(counts.verdicts)}",
        "written": str(config.output),
        "sha256": digest,
    }
    sys.stdout.write(result_table(rows) + "\n")


if __name__ == "__main__":
    run_command(main, "publish-candidates")
