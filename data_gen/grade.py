r"""`prm-train grade`: verdicts on model outputs that stand in a file with their gold answers.

    {"question": "What is 3 + 4?", "answer": "7", "response": "3 + 4 = 7\nAnswer: 7"}
    {"question": "What is 3 + 4?", "answer": "7", "samples": ["It is 7.", "It is 8."]}

    prm-train grade --rows outputs.jsonl --layout.answer_field answer --outputs response --output runs/graded

Rows with one question are one problem. The output folder gets verdicts.jsonl (one row an output), orm.jsonl
(`train-orm` reads it; an unknown verdict is no label and makes no row) and summary.json with the verdicts by
field and pass@k. An unknown verdict counts as a failure there; beside it stands what pass@k would be if every
unknown were right.
"""

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge

from data_gen.answers.find import find_answer
from data_gen.files.bad_rows import BAD_ROWS_HELP, BadRows, Skipped, read_good_rows
from data_gen.files.jsonl import read_objects, write_jsonl
from data_gen.files.result_tables import counted, result_table
from data_gen.files.run_folder import for_each
from data_gen.files.stored_record import StoredRecord
from data_gen.grading.graders import Grader, GraderName, load_grader
from data_gen.grading.pass_at_k import pass_at_k
from data_gen.models.names import check_inputs
from data_gen.problems.layouts import ProblemLayout, read_problem
from data_gen.problems.row_fields import field_value
from data_gen.records.solutions import GradedSolution, Problem, Solution
from data_gen.rows.layouts import OrmRow, write_rows
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command

logger = logging.getLogger(__name__)
QUESTIONS = ("problem", "question", "prompt")


@dataclass(frozen=True)
class GradeConfig:
    """Grade model outputs in a file."""

    rows: Path = field(
        metadata={"is_input": True, "help": ".jsonl or .json file of questions, gold answers and outputs"}
    )
    outputs: tuple[str, ...] = field(
        metadata={"help": "names of the fields with outputs, each a text or a list of texts; nested as a.b"}
    )
    output: Path = field(metadata={"help": "folder for verdicts.jsonl, orm.jsonl and summary.json"})
    layout: ProblemLayout = field(default_factory=ProblemLayout)
    grader: GraderName = field(
        default="auto",
        metadata={
            "help": "what compares answers: math, exact, choice, a built-in task's own by its name, or a "
            "function as module:function; auto: math"
        },
    )
    k: tuple[Annotated[int, Ge(1)], ...] = field(
        default=(),
        metadata={"help": "the k of pass@k; []: powers of 2 up to the outputs that every problem has"},
    )
    gold_in_text: bool = field(
        default=False,
        metadata={
            "help": "the gold answer stands in a reference solution, and is found there as in an output"
        },
    )
    bad_rows: BadRows = field(default="error", metadata={"help": BAD_ROWS_HELP})

    def __post_init__(self) -> None:
        if not self.outputs:
            raise ValueError("outputs: got none, expected the names of one or more fields")


class Output(NamedTuple):
    """One output of a model, and the field that it stands in."""

    problem: Problem
    field: str
    text: str


class Graded(NamedTuple):
    output: Output
    graded: GradedSolution


@dataclass(frozen=True)
class PassAtK:
    """With unknown verdicts as failures, and if every unknown were right."""

    value: float
    if_unknown_were_right: float


@dataclass(frozen=True)
class GradeSummary(StoredRecord):
    """`verdicts` and `verdicts_by_field` count by `correct`, `incorrect` or `unknown:reason`; `skipped` names
    the rows that were left out.
    """

    WRITTEN_BY = "`prm-train grade`"

    grader: str
    n_problems: int
    n_outputs: int
    verdicts: dict[str, int]
    verdicts_by_field: dict[str, dict[str, int]]
    pass_at_k: dict[int, PassAtK]
    n_orm_rows: int
    skipped: tuple[str, ...]


def read_outputs(config: GradeConfig, skipped: Skipped) -> list[Output]:
    """Raises InputError for a row without question, gold answer or outputs, and for a question with two gold
    answers (or leaves it out, as `bad_rows` says).
    """
    problems: dict[str, Problem] = {}

    def read(fields: Mapping[str, Any], where: str) -> list[Output]:
        problem = read_problem(fields, _layout(fields, config), where)
        if config.gold_in_text:
            problem = _with_stated_answer(problem, where)
        if problems.setdefault(problem.problem_id, problem) != problem:
            raise InputError(f"{where}: an earlier row has another gold answer for {problem.question[:60]!r}")
        return [
            Output(problem, name, text)
            for name in config.outputs
            for text in _texts(field_value(fields, name, where), name, where)
        ]

    return read_good_rows(config.rows, read_objects(config.rows), read, config.bad_rows, skipped)


def _layout(fields: Mapping[str, Any], config: GradeConfig) -> ProblemLayout:
    """That of the config; of a row with a reference solution the answer as it stands, and the question under
    one of its usual names.
    """
    layout = config.layout
    if not config.gold_in_text:
        return layout
    question = next((each for each in QUESTIONS if each in fields), None)
    return replace(layout, format="generic", problem_field=layout.problem_field or question)


def _with_stated_answer(problem: Problem, where: str) -> Problem:
    answer = find_answer(problem.gold_answer)
    if answer is None:
        raise InputError(f"{where}: the reference solution states no answer: {problem.gold_answer[-60:]!r}")
    return replace(problem, gold_answer=answer)


def _texts(value: Any, name: str, where: str) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{where}: field {name!r}: got {value!r:.60}, expected a text or a list of texts")
    return texts


async def grade_outputs(outputs: Sequence[Output], grader: Grader) -> list[Graded]:
    """The verdicts in the order of the outputs."""
    counts = Counter[str]()
    solutions = []
    for output in outputs:
        problem_id = output.problem.problem_id
        solutions.append((output, Solution(problem_id, counts[problem_id], output.text)))
        counts[problem_id] += 1

    async def one(pair: tuple[Output, Solution]) -> Graded:
        return Graded(pair[0], await grader.grade(pair[0].problem, pair[1]))

    return await for_each(solutions, one, what="grade", unit="outputs")


def pass_rates(graded: Sequence[Graded], ks: Sequence[int]) -> dict[int, PassAtK]:
    """pass@k over problems, each with all of its outputs. Raises InputError for a k that a problem has not as
    many outputs for.
    """
    counts: dict[str, list[int]] = {}  # outputs, right ones, unknown ones
    for each in graded:
        own = counts.setdefault(each.output.problem.problem_id, [0, 0, 0])
        verdict = each.graded.verdict
        for place, flag in enumerate((True, verdict.is_correct, verdict.is_unknown)):
            own[place] += flag
    least = min(n for n, _, _ in counts.values())
    if ks and max(ks) > least:
        raise InputError(f"k: got {max(ks)}, but a problem has {least} outputs; expected at most {least}")
    return {
        k: PassAtK(
            fmean(pass_at_k(n, right, k) for n, right, _ in counts.values()),
            fmean(pass_at_k(n, right + unknown, k) for n, right, unknown in counts.values()),
        )
        for k in (ks or [2**i for i in range(least.bit_length())])
    }


def verdict_name(graded: GradedSolution) -> str:
    verdict = graded.verdict
    return f"{verdict.kind}{':' * bool(verdict.reason)}{verdict.reason}"


def summarize(
    graded: Sequence[Graded], config: GradeConfig, grader: Grader, skipped: Skipped
) -> GradeSummary:
    by_field: dict[str, Counter[str]] = {name: Counter() for name in config.outputs}
    for each in graded:
        by_field[each.output.field][verdict_name(each.graded)] += 1
    return GradeSummary(
        grader=grader.grader_version,
        n_problems=len({each.output.problem.problem_id for each in graded}),
        n_outputs=len(graded),
        verdicts=dict(sorted(sum(by_field.values(), Counter()).items())),
        verdicts_by_field={name: dict(sorted(counts.items())) for name, counts in by_field.items()},
        pass_at_k=pass_rates(graded, config.k),
        n_orm_rows=sum(not each.graded.verdict.is_unknown for each in graded),
        skipped=tuple(skipped.rows),
    )


def verdict_row(graded: Graded) -> dict[str, Any]:
    problem, own = graded.output.problem, graded.graded
    return {
        "problem_id": problem.problem_id,
        "question": problem.question,
        "gold_answer": problem.gold_answer,
        "field": graded.output.field,
        "index": own.solution.index,
        "text": own.solution.text,
        "answer": own.answer,
        "verdict": own.verdict.kind.value,
        "reason": own.verdict.reason,
    }


def orm_row(graded: Graded) -> OrmRow:
    problem = graded.output.problem
    return OrmRow(problem.problem_id, problem.question, graded.output.text, graded.graded.verdict.is_correct)


def summary_table(summary: GradeSummary, output: Path) -> str:
    rows = {
        "problems": f"{summary.n_problems:,}",
        "outputs": f"{summary.n_outputs:,}: {counted(summary.verdicts)}",
    }
    if len(summary.verdicts_by_field) > 1:
        rows |= {f"  {name}": counted(counts) for name, counts in summary.verdicts_by_field.items()}
    for k, found in summary.pass_at_k.items():
        most = found.if_unknown_were_right
        beside = f" ({most:.4f} if every unknown were right)" if most != found.value else ""
        rows[f"pass@{k}"] = f"{found.value:.4f}{beside}"
    left_out = f"{len(summary.skipped)}, as {summary.skipped[0]}" if summary.skipped else ""
    return result_table(rows | {"left out": left_out, "written": str(output)})


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(GradeConfig, argv)
    check_inputs(config)
    skipped = Skipped()
    outputs = read_outputs(config, skipped)
    grader = load_grader(config.grader, str(config.rows))
    graded = asyncio.run(grade_outputs(outputs, grader))
    summary = summarize(graded, config, grader, skipped)
    write_jsonl(config.output / "verdicts.jsonl", map(verdict_row, graded))
    known = [each for each in graded if not each.graded.verdict.is_unknown]
    write_rows(config.output / "orm.jsonl", [orm_row(each) for each in known])
    summary.write(config.output / "summary.json")
    sys.stdout.write(summary_table(summary, config.output) + "\n")


if __name__ == "__main__":
    run_command(main, "grade")
