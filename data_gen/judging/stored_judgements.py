"""What a judge said of solutions, one JSON line each, appended as they come and read again by the run that
goes on after a kill.

    {"problem_id": "p7", "index": 3, "first_error": 1, "reason": "", "asked": "9f0c…", "answer": "Paragraph 0
    is right. … \\\\boxed{1}"}

`first_error` is a step from 0, -1 for none, null for unknown (then `reason` says why). Judgements made
elsewhere need problem_id, index and first_error alone. ProcessBench serves as a judge too: its solutions are
recognised by question and steps.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from data_gen.files.jsonl import read_jsonl, read_objects
from data_gen.files.locks import lock
from data_gen.formats import processbench
from data_gen.formats.stepwise import RowError, take
from data_gen.records.draw_keys import content_hash
from data_gen.records.first_error import NO_ERROR
from data_gen.settings.errors import InputError

logger = logging.getLogger(__name__)
Key = tuple[str, int]


@dataclass(frozen=True)
class Judgement:
    """A judge's first error in the solution `index` of a problem; `asked` is a hash of all that the answer
    depends on ("": not known).
    """

    problem_id: str
    index: int
    first_error: int | None
    reason: str = ""
    asked: str = ""
    answer: str = ""

    @property
    def key(self) -> Key:
        return self.problem_id, self.index


def read_judgements(path: Path) -> Iterator[Judgement]:
    """The judgements of a file. Raises InputError naming file and line for a bad one, and for a second,
    different one of a solution.
    """
    seen: dict[Key, tuple[int, int | None]] = {}
    for number, fields in read_jsonl(path):
        where = f"{path}:{number}"
        problem_id, index = take(fields, "problem_id", (str,), where), take(fields, "index", (int,), where)
        first_error = take(fields, "first_error", (int, type(None)), where)
        texts = [take({name: "", **fields}, name, (str,), where) for name in ("reason", "asked", "answer")]
        if first_error is not None and first_error < NO_ERROR:
            raise RowError(
                where,
                "first_error is no step",
                f": got {first_error}, expected {NO_ERROR} (none), 0 or more, or null (unknown)",
            )
        earlier, earlier_error = seen.setdefault((problem_id, index), (number, first_error))
        if earlier_error != first_error:
            raise RowError(
                where,
                "another judgement of the solution of an earlier line",
                f": line {earlier} says {earlier_error}",
            )
        yield Judgement(problem_id, index, first_error, *texts)


class JudgementLog:
    """A file of judgements that grows. In memory it keeps no answers."""

    def __init__(self, descriptor: int, found: dict[Key, Judgement]) -> None:
        self._descriptor = descriptor
        self._found = found

    def find(self, key: Key, asked: str) -> Judgement | None:
        """What is stored of a solution. Raises InputError where it answered another question: other steps,
        model, prompt or settings.
        """
        found = self._found.get(key)
        if found is not None and found.asked not in ("", asked):
            raise InputError(
                f"solution {key[1]} of problem {key[0]}: the stored judgement is of other steps or from "
                "another judge or prompt; "
                "choose another output folder, or delete its judgements.jsonl"
            )
        return found

    def append(self, judgement: Judgement) -> None:
        """In the file when this returns: it outlives the process, whatever ends it."""
        line = json.dumps(asdict(judgement), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        while line:
            line = line[os.write(self._descriptor, line) :]
        self._found[judgement.key] = Judgement(
            judgement.problem_id, judgement.index, judgement.first_error, judgement.reason, judgement.asked
        )


@contextmanager
def open_judgements(path: Path) -> Iterator[JudgementLog]:
    """The log in a file, for one process at a time; half a last line, left by a kill in the middle of a
    write, is cut off.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if not lock(file.fileno(), path):
            raise InputError(f"{path}: another process writes judgements here; expected one at a time")
        size = path.stat().st_size
        whole = _end_of_whole_lines(path)
        if whole < size:
            logger.warning(
                "%s: cut off half a judgement (%d bytes), which is asked for again", path, size - whole
            )
            file.truncate(whole)
        found = {
            each.key: Judgement(*each.key, each.first_error, each.reason, each.asked)
            for each in read_judgements(path)
        }
        yield JudgementLog(file.fileno(), found)
        os.fsync(file.fileno())


def _end_of_whole_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(len(line) for line in file if line.endswith(b"\n"))


# --- ProcessBench as the judge


def solution_hash(question: str, steps: Sequence[str]) -> str:
    """Of a solution's words, outer blanks of its steps aside."""
    return content_hash("judged solution", question.strip(), [step.strip() for step in steps])


def read_processbench_errors(path: Path) -> dict[str, int]:
    """People's first errors by `solution_hash`. Raises InputError naming the line of a bad row and of one
    that contradicts another.
    """
    errors: dict[str, int] = {}
    for number, fields in read_objects(path):
        where = f"{path}:{number}"
        (row,) = processbench.read_row(fields, where).rows
        if errors.setdefault(solution_hash(row.prompt, row.completions), fields["label"]) != fields["label"]:
            raise RowError(where, "the solution of an earlier row with another label")
    return errors
