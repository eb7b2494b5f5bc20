"""The candidates of a search, read from the results.jsonl that `prm-train search` writes (docs/rows.md), as
far as rows are built from them.

Of each file the places of its lines are kept in memory, not the candidates.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from data_gen.files.stored_record import StoredRecord
from data_gen.records.solutions import Problem
from data_gen.settings.errors import InputError

RESULTS = "results.jsonl"
SAMPLES = "samples"
Part = TypeVar("Part")


@dataclass(frozen=True)
class FoundCandidate:
    """The part of a candidate that rows are built from. `scores` holds by scorer those of its steps, or of
    its end alone. `is_correct` is False where the verdict is unknown, too. `multiplicity` is how many equal
    paths it stands for.
    """

    text: str
    answer: str | None
    is_correct: bool
    is_finished: bool = True
    is_unknown: bool = False
    answer_class: str | None = None
    scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    multiplicity: int = 1


@dataclass(frozen=True)
class _Run:
    spec: str
    n: int
    temperature: float
    candidates: tuple[FoundCandidate, ...]


@dataclass(frozen=True)
class _Result:
    temperature: float
    runs: tuple[_Run, ...]
    failure: str = ""


@dataclass(frozen=True)
class _ProblemPart:
    problem: Problem


@dataclass(frozen=True)
class SearchTotals(StoredRecord):
    """The part of search.json that says how much a search found, and what it took: scored candidates, tokens
    of the policy and of the scorers.
    """

    WRITTEN_BY = "`prm-train search`"

    n_candidates: int = 0
    n_generated: int = 0
    n_scorer_new: int = 0


def is_search(folder: Path) -> bool:
    """Whether a folder holds results of a search, and is no sampled run."""
    return (folder / RESULTS).is_file() and not (folder / "solutions.jsonl").is_file()


def search_problems(folder: Path) -> Iterator[Problem]:
    """Of the finished problems. Raises InputError for a line that is no result."""
    return (problem for problem, _, _ in _places(folder / RESULTS))


class SearchCandidates:
    """The candidates of one method of a search, by problem: `spec` as results.jsonl spells it.

    Of `samples` those that scorers scored are taken, the first `n` of them; of a search in a tree those that
    it found with `n`. `n` None: all samples, the largest N.
    """

    def __init__(self, folder: Path, spec: str, n: int | None) -> None:
        """Raises InputError for a line that is no result."""
        self._path, self._spec, self._n = folder / RESULTS, spec, n
        self._results: TypeAdapter[_Result] = TypeAdapter(_Result)
        self._places = {problem.problem_id: place for problem, *place in _places(self._path)}

    def of(self, problem: Problem) -> Sequence[FoundCandidate] | None:
        """None where the search failed on the problem, or has not come to it. Raises InputError where it has
        no such method.
        """
        if problem.problem_id not in self._places:
            return None
        number, start = self._places[problem.problem_id]
        with self._path.open("rb") as file:
            file.seek(start)
            result = _read(self._results, file.readline(), f"{self._path}:{number}")
        if result.failure:
            return None
        runs = [run for run in result.runs if run.spec == self._spec]
        if self._spec == SAMPLES:
            runs = [run for run in runs if run.temperature == result.temperature]
        elif self._n is not None:
            runs = [run for run in runs if run.n == self._n]
        if not runs:
            known = ", ".join(sorted({f"{run.spec} (N = {run.n})" for run in result.runs}))
            wanted = self._spec if self._n is None else f"{self._spec} with N = {self._n}"
            raise InputError(f"{self._path}:{number}: no candidates of {wanted}; there are {known or 'none'}")
        candidates = max(runs, key=lambda run: run.n).candidates
        return candidates if self._spec != SAMPLES else candidates[: self._n]


def _places(path: Path) -> Iterator[tuple[Problem, int, int]]:
    """Each problem, the number of its line and where that begins. A last line that a killed search cut short
    is left out.
    """
    part: TypeAdapter[_ProblemPart] = TypeAdapter(_ProblemPart)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the results of `prm-train search`")
    start = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            yield _read(part, line, f"{path}:{number}").problem, number, start
            start += len(line)


def _read(adapter: TypeAdapter[Part], line: bytes, where: str) -> Part:
    try:
        return adapter.validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{where}: not a search result: {place}: {first['msg']}") from error
