"""Records of several runs, question by question: the solutions of one question stand together, whatever file
and line they came from.

What is kept in memory grows with the questions, not with their solutions: each file is scanned once for the
places of a question's lines, and they are read when they are asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from data_gen.files.run_folder import read_records
from data_gen.records.solutions import GradedSolution, LabeledSolution, Problem
from data_gen.rows.search_candidates import is_search, search_problems
from data_gen.settings.errors import InputError

Record = TypeVar("Record", GradedSolution, LabeledSolution)


def read_problems(runs: Sequence[Path]) -> dict[str, Problem]:
    """The problems of all runs by id, of searches those that are finished. Raises InputError where one id
    names two problems.
    """
    problems: dict[str, Problem] = {}
    for run in runs:
        found = search_problems(run) if is_search(run) else read_records(run / "problems.jsonl", Problem)
        for problem in found:
            if problems.setdefault(problem.problem_id, problem) != problem:
                raise InputError(
                    f"{run}: problem {problem.problem_id} is another problem in an earlier run; expected one "
                    "id a problem"
                )
    return problems


class _Span(NamedTuple):
    """Lines of one file that follow each other: bytes [start, end), the first of them being line `number`
    (from 1).
    """

    path: Path
    number: int
    start: int
    end: int


@dataclass
class _SolutionPart:
    problem_id: str


@dataclass
class _GradedPart:
    solution: _SolutionPart


@dataclass
class _LabeledPart:
    graded: _GradedPart


class RecordsByQuestion(Generic[Record]):
    """The records of some files by problem_id."""

    def __init__(self, paths: Sequence[Path], kind: type[Record], problems: dict[str, Problem]) -> None:
        """Scan the files. Raises InputError for a line that is no such record, and for a problem that is not
        among `problems`.
        """
        self._adapter: TypeAdapter[Record] = TypeAdapter(kind)
        self._kind = kind.__name__
        self._spans: dict[str, list[_Span]] = {}
        for path in paths:
            self._scan(path, kind is LabeledSolution, problems)

    def of(self, problem: Problem) -> list[Record]:
        """The records of a problem, file after file, in their order there."""
        records = []
        for span in self._spans.get(problem.problem_id, ()):
            with span.path.open("rb") as file:
                file.seek(span.start)
                lines = file.read(span.end - span.start).split(b"\n")
            for number, line in enumerate(lines[: len(lines) - (not lines[-1])], span.number):
                try:
                    records.append(self._adapter.validate_json(line))
                except ValidationError as error:
                    raise self._fault(span.path, number, error) from error
        return records

    def _scan(self, path: Path, is_labeled: bool, problems: dict[str, Problem]) -> None:
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected the command before this one to have written it")
        part: TypeAdapter[_LabeledPart | _GradedPart] = TypeAdapter(
            _LabeledPart if is_labeled else _GradedPart
        )
        start = 0
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    found = part.validate_json(line)
                except ValidationError as error:
                    raise self._fault(path, number, error) from error
                problem_id = (found.graded if isinstance(found, _LabeledPart) else found).solution.problem_id
                if problem_id not in problems:
                    raise InputError(
                        f"{path}:{number}: problem {problem_id}: not one of the {len(problems)} problems of "
                        "these runs"
                    )
                self._place(problem_id, _Span(path, number, start, start + len(line)))
                start += len(line)

    def _place(self, problem_id: str, line: _Span) -> None:
        spans = self._spans.setdefault(problem_id, [])
        if spans and spans[-1].path == line.path and spans[-1].end == line.start:
            spans[-1] = spans[-1]._replace(end=line.end)
        else:
            spans.append(line)

    def _fault(self, path: Path, number: int, error: ValidationError) -> InputError:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return InputError(
            f"{path}:{number}: not a {self._kind}: {where}: {first['msg']}, got {str(first['input'])[:80]!r}"
        )
