"""Rows of benchmarks: the files of a benchmark, read row by row, and what is measured of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from data_gen.files.bad_rows import Skipped, read_good_rows
from data_gen.files.jsonl import read_objects
from data_gen.formats.lookup import Read
from data_gen.formats.stepwise import Label, UnusedRowError
from data_gen.records.first_error import first_error
from data_gen.settings.errors import InputError
from prm_train.benchmarking.settings import BenchmarkConfig
from prm_train.examples.evenly import evenly

T = TypeVar("T")


class Attempt(NamedTuple):
    """What a scorer reads: a question and the steps of a solution."""

    question: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class JudgedSolution:
    """A solution with labels of its steps. `split` is the file, or the class of PRMBench, that it belongs
    to.
    """

    row_id: str
    split: str
    attempt: Attempt
    labels: tuple[Label, ...]

    @property
    def error(self) -> int | None:
        """The first wrong step, from 0; None where the labels leave it open, or are values."""
        hard = [label for label in self.labels if not isinstance(label, float)]
        return first_error(hard) if len(hard) == len(self.labels) else None


@dataclass(frozen=True)
class OfSolutions:
    """What benchmarks of judged solutions share: each is scored once, step by step."""

    solutions: Sequence[JudgedSolution]
    needs_steps = True
    needs_scorer = True

    @property
    def n_measured(self) -> int:
        return len(self.solutions)

    @property
    def attempts(self) -> list[Attempt]:
        return [each.attempt for each in self.solutions]


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The files, those of a folder in the order of their names. Raises InputError for a folder without rows
    and for two files of one name, whose splits would be one.
    """
    files = list[Path]()
    for path in paths:
        found = (
            sorted(each for each in path.iterdir() if each.suffix in (".json", ".jsonl"))
            if (path.is_dir())
            else [path]
        )
        if not found:
            raise InputError(f"rows: {path}: no .json or .jsonl file in it")
        files += found
    names = [each.stem for each in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"rows: two files are called {twice[0]}; expected a name for each split")
    return files


def read_file(
    config: BenchmarkConfig,
    path: Path,
    read: Callable[[Mapping[str, Any], str], Iterable[T]],
    skipped: Skipped,
) -> list[T]:
    """What `read` makes of the rows of a file, of as many as the config asks for; see `read_good_rows`."""
    rows = list(read_objects(path))
    chosen = rows if config.n_rows is None else evenly(rows, config.n_rows)
    return read_good_rows(path, chosen, read, config.bad_rows, skipped, (UnusedRowError,))


def read_judged(config: BenchmarkConfig, path: Path, read: Read, skipped: Skipped) -> list[JudgedSolution]:
    """Solutions with step labels of one file in a public format, as one split."""

    def judged(fields: Mapping[str, Any], where: str) -> list[JudgedSolution]:
        return [
            JudgedSolution(
                str(row.extra.get("id") or f"{where}{f'#{place}' if place else ''}"),
                path.stem,
                Attempt(row.prompt.strip(), row.completions),
                row.labels,
            )
            for place, row in enumerate(read(fields, where).rows)
        ]

    return read_file(config, path, judged, skipped)
