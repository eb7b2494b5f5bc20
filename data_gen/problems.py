r"""Problems with known answers, from the built-in task, JSONL or JSON files, or a dataset of the Hub.

    {"question": "Natalia sold clips to 48 of her friends ...", "answer": "Natalia sold 48/2 = ...\n#### 72"}      gsm8k
    {"problem": "How many vertical asymptotes ...", "solution": "... has $\\boxed{2}$ vertical asymptotes."}        math
    {"problem": "...", "answer": "..."}, or whatever `problem_field` and `answer_field` name                        generic

Nothing is left out silently: a row without a usable answer is an error that names it, or counted in the log where the config allows it.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from data_gen.answers import find_boxed
from data_gen.arithmetic import draw_problems
from data_gen.config import InputError
from data_gen.jsonl import read_objects
from data_gen.records import Problem, content_hash, derive_seed

logger = logging.getLogger(__name__)
ARITHMETIC = "arithmetic"


@dataclass(frozen=True)
class ProblemSource:
    """Which problems a command works on."""

    source: str = field(
        default=ARITHMETIC, metadata={"help": "'arithmetic' (built in), a .jsonl or .json file, a folder, or a Hub dataset"}
    )
    format: Literal["auto", "gsm8k", "math", "generic"] = field(default="auto", metadata={"help": "layout of the rows; auto looks at each"})
    problem_field: str = field(default="problem", metadata={"help": "field of the question in generic rows"})
    answer_field: str = field(default="answer", metadata={"help": "field of the gold answer in generic rows"})
    id_field: str | None = field(default=None, metadata={"help": "field of a unique id; null: a hash of the question"})
    n: int | None = field(default=None, metadata={"help": "how many problems; null: all (the built-in task has no end and needs a number)"})
    offset: int = field(default=0, metadata={"help": "problems to pass over before the first"})
    shard: str | None = field(
        default=None, metadata={"help": "'i/n': the i-th (from 0) of n parts of those problems, by hash of the question"}
    )
    split: str | None = field(default=None, metadata={"help": "split of the built-in task or of a dataset; null: train"})
    hub_config: str | None = field(default=None, metadata={"help": "configuration of a Hub dataset"})
    seed: int = field(default=0, metadata={"help": "seed of the built-in task"})
    skip_without_answer: bool = field(default=False, metadata={"help": "leave out and count rows whose gold answer is missing"})


class Row(NamedTuple):
    """A row as it was read, and where it stands."""

    where: str
    fields: Mapping[str, Any]


def load_problems(source: ProblemSource) -> list[Problem]:
    """The problems that `source` names, in its order, each question once.

    `offset` and `n` choose from the source, then `shard` takes its part, so the shards of one config make up the whole. Raises InputError
    for a row that cannot be used, an id or question that comes twice with different content, and an empty result.
    """
    _check(source)
    problems = draw_problems(source.seed, source.split or "train") if source.source == ARITHMETIC else iter(list(_read(source)))
    chosen = list(islice(problems, source.offset, None if source.n is None else source.offset + source.n))
    if source.shard is not None:
        index, n_shards = map(int, source.shard.split("/"))
        chosen = [problem for problem in chosen if derive_seed("shard", problem.question) % n_shards == index]
    if not chosen:
        raise InputError(f"{source.source}: no problem is left (offset {source.offset}, n {source.n}, shard {source.shard})")
    return chosen


def question_id(question: str) -> str:
    """The problem_id of a question that comes without one."""
    return content_hash("problem", question)[:16]


def _check(source: ProblemSource) -> None:
    if source.n is not None and source.n < 1:
        raise InputError(f"n: got {source.n}, expected at least 1")
    if source.offset < 0:
        raise InputError(f"offset: got {source.offset}, expected 0 or more")
    if source.shard is not None:
        index, slash, n_shards = source.shard.partition("/")
        if not (slash and index.isdecimal() and n_shards.isdecimal() and int(index) < int(n_shards)):
            raise InputError(f"shard: got {source.shard!r}, expected 'i/n' with 0 <= i < n, for example 0/4")
    if source.source == ARITHMETIC:
        if source.n is None:
            raise InputError("n: the built-in task has no end; say how many problems")
        if source.split not in (None, "train", "validation", "test"):
            raise InputError(f"split: got {source.split!r}, expected train, validation or test")
    elif _is_file(source) and source.split is not None:
        raise InputError(f"split: got {source.split!r} for {source.source}, but a file has no splits; use offset, n or shard")


def _is_file(source: ProblemSource) -> bool:
    return Path(source.source).suffix in (".jsonl", ".json") or Path(source.source).is_file()


# --- reading


def _read(source: ProblemSource) -> Iterator[Problem]:
    ids: dict[str, Row] = {}
    n_without_answer = n_repeated = 0
    for row in _rows(source):
        problem = _as_problem(row, source)
        if problem is None:
            n_without_answer += 1
            continue
        earlier = ids.setdefault(problem.problem_id, row)
        if earlier is row:
            yield problem
        elif _as_problem(earlier, source) == problem:
            n_repeated += 1
        else:
            what = "id" if source.id_field else "question"
            raise InputError(f"{row.where}: the {what} of {earlier.where} again, with other content: {problem.question[:80]!r}")
    for count, reason in ((n_without_answer, "no gold answer"), (n_repeated, "the same problem again")):
        if count:
            logger.warning("%s: left out %d rows: %s", source.source, count, reason)


def _rows(source: ProblemSource) -> Iterator[Row]:
    if _is_file(source):
        return (Row(f"{source.source}:{number}", fields) for number, fields in read_objects(source.source))
    return _dataset_rows(source)


def _dataset_rows(source: ProblemSource) -> Iterator[Row]:
    import datasets

    name, split = source.source, source.split or "train"
    try:
        if (Path(name) / "state.json").exists() or (Path(name) / "dataset_dict.json").exists():
            saved = datasets.load_from_disk(name)
            rows = saved[split] if isinstance(saved, datasets.DatasetDict) else saved
        else:
            rows = datasets.load_dataset(name, source.hub_config, split=split)
    except (datasets.exceptions.DatasetsError, FileNotFoundError, ConnectionError, ValueError, KeyError) as error:
        raise InputError(f"source {name!r}, split {split!r}: no such file, folder or dataset that loads: {error}") from error
    return (Row(f"{name}[{index}]", fields) for index, fields in enumerate(rows))


# --- from a row to a problem


def _as_problem(row: Row, source: ProblemSource) -> Problem | None:
    """The problem of a row; None if it has no gold answer and the config lets that pass."""
    layout = _layout(row.fields) if source.format == "auto" else source.format
    if layout == "gsm8k":
        question, gold_answer = _text(row, "question"), _gsm8k_answer(_text(row, "answer"))
        where_expected = "a last line '#### n' in field answer"
    elif layout == "math":
        question = _text(row, "problem")
        gold_answer = _text(row, "answer") if "answer" in row.fields else (find_boxed(_text(row, "solution")) or "").strip()
        where_expected = "field answer, or \\boxed{...} in field solution"
    else:
        question, gold_answer = _text(row, source.problem_field), _text(row, source.answer_field)
        where_expected = f"field {source.answer_field}"
    if not question:
        raise InputError(f"{row.where}: the question is empty")
    if not gold_answer:
        if source.skip_without_answer:
            return None
        raise InputError(f"{row.where}: no gold answer; expected {where_expected} (skip_without_answer: true leaves such rows out)")
    problem_id = _text(row, source.id_field) if source.id_field else question_id(question)
    return Problem(problem_id, question, gold_answer)


def _layout(fields: Mapping[str, Any]) -> str:
    if isinstance(fields.get("question"), str) and "####" in str(fields.get("answer")):
        return "gsm8k"
    return "math" if "problem" in fields and "solution" in fields else "generic"


def _gsm8k_answer(answer: str) -> str:
    _, mark, final = answer.rpartition("####")
    return final.strip().replace(",", "") if mark else ""


def _text(row: Row, name: str) -> str:
    """A field as text; numbers are written out. Raises InputError that lists the fields present."""
    if name not in row.fields:
        raise InputError(f"{row.where}: no field {name!r}; fields present: {', '.join(map(repr, row.fields))}")
    value = row.fields[name]
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise InputError(f"{row.where}: field {name!r}: got {type(value).__name__}, expected text or a number")
    return "" if value is None else str(value).strip()
