"""Problems with known answers, from the built-in task, JSONL or JSON files, or a dataset of the Hub; how a
row is read: `problem_rows`.

Nothing is left out silently: a row that cannot be used is an error that names it, or counted by reason in the
log and the run's record.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from data_gen.files.jsonl import read_objects
from data_gen.files.remote_files import local_copy
from data_gen.files.run_folder import write_records
from data_gen.files.stored_record import StoredRecord
from data_gen.problems.layouts import (
    AnswerNotFoundError,
    NoAnswerError,
    ProblemLayout,
    question_id,
    read_problem,
)
from data_gen.problems.tasks import DEFAULT_TASK, TASKS, task_of
from data_gen.records.draw_keys import content_hash, derive_seed
from data_gen.records.solutions import Problem
from data_gen.settings.errors import InputError

__all__ = [
    "ProblemSource",
    "Selection",
    "load_problems",
    "question_id",
    "select_problems",
    "write_counts",
    "write_problems",
]
logger = logging.getLogger(__name__)
BUILT_IN = ", ".join(f"'{name}'" for name in TASKS)


@dataclass(frozen=True)
class ProblemSource(ProblemLayout):
    """Which problems a command works on, and how their rows are read."""

    source: str = field(
        default=DEFAULT_TASK.source,
        metadata={
            "help": f"where the problems come from: {BUILT_IN} (built in), a .jsonl or .json file (also in "
            "object storage, as s3://bucket/problems.jsonl), a folder, or a Hub dataset"
        },
    )
    n: int | None = field(
        default=None,
        metadata={
            "help": "number of problems; null: all of them (the built-in task has no end and needs a number)"
        },
    )
    offset: int = field(default=0, metadata={"help": "number of problems to skip at the beginning"})
    shard: str | None = field(
        default=None,
        metadata={
            "help": "'i/n': only the i-th (counted from 0) of n parts of those problems, divided by a hash "
            "of the question"
        },
    )
    split: str | None = field(
        default=None, metadata={"help": "split of the built-in task or of a dataset; null: train"}
    )
    hub_config: str | None = field(default=None, metadata={"help": "configuration of a Hub dataset"})
    seed: int = field(default=0, metadata={"help": "seed of the built-in task"})
    duplicates: Literal["error", "first"] = field(
        default="error",
        metadata={
            "help": "what to do with a question (or id) that comes again with another answer: refuse it, or "
            "keep only its first row"
        },
    )
    skip_without_answer: bool = field(
        default=False,
        metadata={
            "help": "leave out and count rows whose text states no gold answer, as is always done with empty "
            "answers and placeholders"
        },
    )


class Row(NamedTuple):
    """A row as it was read, and where it stands."""

    where: str
    fields: Mapping[str, Any]


class Selection(NamedTuple):
    """The problems of a command, and how many rows of the whole source were left out by reason."""

    problems: list[Problem]
    left_out: dict[str, int]


@dataclass(frozen=True)
class ProblemCounts(StoredRecord):
    """problems.json: how many problems a run has, and how many rows of their source were left out by
    reason.
    """

    n_problems: int
    left_out: dict[str, int]


def load_problems(source: ProblemSource) -> list[Problem]:
    """The problems of `select_problems`."""
    return select_problems(source).problems


def select_problems(source: ProblemSource) -> Selection:
    """The problems that `source` names, in its order, each question once.

    `offset` and `n` choose from the source, then `shard` takes its part, so the shards of one config make up
    the whole. Raises InputError for a row that cannot be used, an id or question that comes twice with
    different content, and an empty result.
    """
    _check(source)
    left_out = Counter[str]()
    task = task_of(source.source)
    problems = (
        task.problems(source.seed, source.split or "train") if task else iter(list(_read(source, left_out)))
    )
    for reason, count in left_out.items():
        logger.warning("%s: left out %d rows: %s", source.source, count, reason)
    chosen = list(islice(problems, source.offset, None if source.n is None else source.offset + source.n))
    if source.shard is not None:
        index, n_shards = shard_numbers(source.shard)
        chosen = [problem for problem in chosen if shard_of(problem, n_shards) == index]
    if not chosen:
        reasons = "".join(f"; left out {count} rows: {reason}" for reason, count in left_out.items())
        raise InputError(
            f"{source.source}: no problem is left (offset {source.offset}, n {source.n}, shard "
            f"{source.shard}){reasons}"
        )
    return Selection(chosen, dict(left_out))


def shard_numbers(shard: str) -> tuple[int, int]:
    """i and n of 'i/n'. Raises InputError."""
    index, slash, n_shards = shard.partition("/")
    if not (slash and index.isdecimal() and n_shards.isdecimal() and int(index) < int(n_shards)):
        raise InputError(f"shard: got {shard!r}, expected 'i/n' with 0 <= i < n, for example 0/4")
    return int(index), int(n_shards)


def shard_of(problem: Problem, n_shards: int) -> int:
    """Which of the shards 0 … n_shards - 1 a problem is in."""
    return derive_seed("shard", problem.question) % n_shards


def stretch_of_shard(n_rows: int, index: int, n_shards: int) -> range:
    """The places of the rows of a shard of rows; the shards one after the other are all rows in order."""
    return range(n_rows * index // n_shards, n_rows * (index + 1) // n_shards)


def write_problems(run: Path, selection: Selection) -> None:
    """The problems of a run into problems.jsonl, and what `write_counts` writes."""
    write_records(run / "problems.jsonl", Problem, selection.problems)
    write_counts(run, selection)


def write_counts(run: Path, selection: Selection) -> None:
    """`ProblemCounts` into problems.json."""
    ProblemCounts(len(selection.problems), selection.left_out).write(run / "problems.json")


def _check(source: ProblemSource) -> None:
    if source.n is not None and source.n < 1:
        raise InputError(f"n: got {source.n}, expected at least 1")
    if source.offset < 0 or source.offset + (source.n or 0) >= 2**63:
        raise InputError(
            f"offset: got {source.offset} before {source.n} problems, expected 0 or more, and a place that "
            "can be counted to"
        )
    if source.shard is not None:
        shard_numbers(source.shard)
    if task_of(source.source):
        if source.n is None:
            raise InputError("n: the built-in task has no end; say how many problems")
        if source.split not in (None, "train", "validation", "test"):
            raise InputError(f"split: got {source.split!r}, expected train, validation or test")
    elif _is_file(source) and source.split is not None:
        raise InputError(
            f"split: got {source.split!r} for {source.source}, but a file has no splits; use offset, n or "
            "shard"
        )


def _is_file(source: ProblemSource) -> bool:
    return Path(source.source).suffix in (".jsonl", ".json") or Path(source.source).is_file()


# --- reading


def _read(source: ProblemSource, left_out: Counter[str]) -> Iterator[Problem]:
    seen: dict[str, tuple[str, str]] = {}  # where an id stands, and the hash of its problem
    for row in _rows(source):
        try:
            problem = read_problem(row.fields, source, row.where)
        except NoAnswerError as missing:
            if isinstance(missing, AnswerNotFoundError) and not source.skip_without_answer:
                raise
            left_out[missing.reason] += 1
            continue
        content = content_hash(problem.question, problem.gold_answer, problem.other_answers)
        where, earlier = seen.setdefault(problem.problem_id, (row.where, content))
        what = "id" if source.id_field else "question"
        if where == row.where:
            yield problem
        elif earlier == content:
            left_out["the same problem again"] += 1
        elif source.duplicates == "first":
            left_out[f"the same {what} again, with other content"] += 1
        else:
            raise InputError(
                f"{row.where}: the {what} of {where} again, with other content: {problem.question[:80]!r} "
                "(duplicates: first takes the first row of each)"
            )


def _rows(source: ProblemSource) -> Iterator[Row]:
    if not _is_file(source):
        yield from _dataset_rows(source)
        return
    with local_copy(source.source) as path:
        for number, fields in read_objects(path):
            yield Row(f"{source.source}:{number}", fields)


def _dataset_rows(source: ProblemSource) -> Iterator[Row]:
    import datasets

    name, split = source.source, source.split or "train"
    try:
        if (Path(name) / "state.json").exists() or (Path(name) / "dataset_dict.json").exists():
            saved = datasets.load_from_disk(name)
            rows = saved[split] if isinstance(saved, datasets.DatasetDict) else saved
        else:
            rows = datasets.load_dataset(name, source.hub_config, split=split)
    except (
        datasets.exceptions.DatasetsError,
        FileNotFoundError,
        ConnectionError,
        ValueError,
        KeyError,
    ) as error:
        raise InputError(
            f"source {name!r}, split {split!r}: no such file, folder or dataset that loads: {error}"
        ) from error
    return (Row(f"{name}[{index}]", fields) for index, fields in enumerate(rows))
