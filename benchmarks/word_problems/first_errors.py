"""Located first errors to be read by hand: thirty of a run, each of another problem, drawn by a hash.

`first_errors.md` is for reading: question, reference answer, the lines of a solution with the located one
marked. Who reads one writes the index of the first line that is wrong to them, counted from 0, into its
`read` in first_errors.jsonl (-1: no line is wrong), without looking at rollouts; `collect` counts how often
that is the located one.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from data_gen.files.jsonl import read_jsonl, write_jsonl, write_text
from data_gen.files.run_folder import read_records
from data_gen.records.draw_keys import derive_seed
from data_gen.records.first_error import first_error
from data_gen.records.solutions import LabeledSolution, Problem

N_SHOWN = 30


@dataclass(frozen=True)
class ShownError:
    problem_id: str
    sample_index: int
    question: str
    gold_answer: str
    steps: tuple[str, ...]
    located: int
    read: int | None = None


def located_errors(runs: Sequence[Path]) -> Iterator[ShownError]:
    """Every solution of labeled runs in which a first error was located."""
    for run in runs:
        problems = {each.problem_id: each for each in read_records(run / "problems.jsonl", Problem)}
        for labeled in read_records(run / "labels.jsonl", LabeledSolution):
            error = first_error(labeled.labels)
            if False in labeled.labels and error is not None:
                solution = labeled.graded.solution
                problem = problems[solution.problem_id]
                steps = tuple(step.strip("\n") for step in labeled.steps)
                yield ShownError(
                    problem.problem_id, solution.index, problem.question, problem.gold_answer, steps, error
                )


def choose(errors: Sequence[ShownError], n: int = N_SHOWN) -> list[ShownError]:
    """One of a problem, in an order that a hash gives."""

    def place(error: ShownError) -> int:
        return derive_seed("first errors", error.problem_id, error.sample_index)

    of_problem: dict[str, ShownError] = {}
    for error in sorted(errors, key=place):
        of_problem.setdefault(error.problem_id, error)
    return list(of_problem.values())[:n]


def write_errors(runs: Sequence[Path], folder: Path) -> None:
    """Both files, unless they are there: somebody may have read them."""
    if (folder / "first_errors.jsonl").exists():
        return
    chosen = choose(list(located_errors(runs)))
    write_text(folder / "first_errors.md", "\n".join(page(chosen)))
    write_jsonl(
        folder / "first_errors.jsonl",
        TypeAdapter(list[ShownError]).dump_python(chosen, mode="json"),
    )


def page(errors: Sequence[ShownError]) -> Iterator[str]:
    yield "# Located first errors\n"
    for number, error in enumerate(errors):
        yield f"## {number}: {error.problem_id}, sample {error.sample_index}\n"
        yield f"{error.question}\n\nRight answer: {error.gold_answer}\n"
        for index, step in enumerate(error.steps):
            mark = "  <-- located" if index == error.located else ""
            yield f"    {index}  {step}{mark}"
        yield ""


def read_errors(folder: Path) -> list[ShownError]:
    adapter = TypeAdapter(ShownError)
    rows = read_jsonl(folder / "first_errors.jsonl")
    return [adapter.validate_json(json.dumps(fields), strict=True) for _, fields in rows]


def agreement(errors: Sequence[ShownError]) -> dict[str, int]:
    """How many were shown and read, and in how many of those the located line is the one that was read."""
    read = [error for error in errors if error.read is not None]
    return {
        "n_located": len(errors),
        "n_read": len(read),
        "n_same": sum(error.read == error.located for error in read),
        "n_no_error": sum(error.read == -1 for error in read),
    }
