"""traces.jsonl beside results.jsonl: what the searches in a tree did on each problem, with `trace: true`."""

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from data_gen.files.jsonl import whole_file
from data_gen.settings.errors import InputError
from prm_train.strategies.trace import TraceNode

TRACES = "traces.jsonl"


@dataclass(frozen=True)
class SearchTrace:
    """Every step that the search with a spec and an N drew."""

    spec: str
    n: int
    nodes: tuple[TraceNode, ...]


@dataclass(frozen=True)
class ProblemTrace:
    """The searches of one problem, in the order in which they ran."""

    problem_id: str
    searches: tuple[SearchTrace, ...]


def read_traces(path: Path) -> Iterator[ProblemTrace]:
    """Its lines, but for a last one that a killed process cut short. Raises InputError for a line that is no
    trace.
    """
    adapter = TypeAdapter(ProblemTrace)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield adapter.validate_json(line)
            except ValidationError as error:
                raise InputError(f"{path}:{number}: not a trace: {error.errors()[0]['msg']}") from error


def keep_traces_of(path: Path, finished: Container[str]) -> None:
    """Before a search goes on: leave only the traces of problems that it has finished, since the others are
    searched again.
    """
    if path.exists():
        adapter = TypeAdapter(ProblemTrace)
        with whole_file(path) as file:
            for trace in read_traces(path):
                if trace.problem_id in finished:
                    file.write(adapter.dump_json(trace).decode() + "\n")


@contextmanager
def traces_into(path: Path) -> Iterator[Callable[[ProblemTrace], None]]:
    """What appends a trace to a file."""
    adapter = TypeAdapter(ProblemTrace)
    with path.open("a") as file:

        def take(trace: ProblemTrace) -> None:
            file.write(adapter.dump_json(trace).decode() + "\n")
            file.flush()

        yield take
