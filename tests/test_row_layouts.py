"""docs/rows.md: every example is read by the command's own reader, and every field of a row type is
explained.
"""

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest

from data_gen import convert
from data_gen.files.jsonl import read_objects
from data_gen.files.run_folder import read_records
from data_gen.formats.lookup import FormatName
from data_gen.judging.stored_judgements import read_judgements
from data_gen.problems.sources import load_problems
from data_gen.records.solutions import GradedSolution, LabeledSolution, Problem
from data_gen.rows.layouts import ROW_TYPES, PrmRow, read_rows
from data_gen.rows.search_candidates import FoundCandidate, SearchCandidates, search_problems
from data_gen.sampling.settings import SampleConfig
from data_gen.settings.parse import parse_config
from prm_train.benchmarking.candidate_sets import read_candidate_set
from prm_train.benchmarking.pairs import read_pair
from prm_train.benchmarking.prmbench import read_row as read_prmbench_row
from prm_train.benchmarking.scored import stored_scores
from prm_train.search.results import read_results
from prm_train.training.best_of_n import read_candidates

PAGE = (Path(__file__).parents[1] / "docs/rows.md").read_text()
GOLDS = [["72", "1", "14", "B", "B"], ["51"], ["14"]]


class Example(NamedTuple):
    """The words behind ```json, and the lines of the block."""

    words: tuple[str, ...]
    text: str


EXAMPLES = [
    Example(tuple(shlex.split(words.replace("$'\\n\\n'", "'\n\n'"))), text)
    for words, text in re.findall(r"^```json (.+)\n([\s\S]+?)^```$", PAGE, re.MULTILINE)
]
READERS: dict[str, Callable[[Path], Sequence[object]]] = {
    **{name: partial(read_rows, kind=kind) for name, kind in ROW_TYPES.items()},
    "problem records": lambda path: list(read_records(path, Problem)),
    "solution records": lambda path: list(read_records(path, GradedSolution)),
    "label records": lambda path: list(read_records(path, LabeledSolution)),
    "judgements": lambda path: list(read_judgements(path)),
    "results": read_results,
    "candidates": read_candidates,
    "frozen candidates": lambda path: [
        read_candidate_set(fields, "row", "auto", "\n") for _, fields in read_objects(path)
    ],
    "solution pairs": lambda path: [
        pair for _, fields in read_objects(path) for pair in read_pair(fields, "row", "\n")
    ],
    "prmbench": lambda path: [
        each for _, fields in read_objects(path) for each in read_prmbench_row(fields, "row")
    ],
    "scores": lambda path: list(stored_scores([path], "\n")),
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: " ".join(example.words[:3]))
def test_every_example_is_read_line_by_line(tmp_path: Path, example: Example) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(example.text)
    read: Sequence[Any]
    match example.words:
        case ("problems", *settings):
            words = ["--output", "x", "--problems.source", str(path), "--policy.model", "any", *settings]
            config = parse_config(SampleConfig, words)
            read = load_problems(config.problems)
            assert [problem.gold_answer for problem in read] in GOLDS
        case ("convert", *settings):
            convert.main(
                ["--input", str(path), *settings, "--output", str(tmp_path / "out.jsonl"), "--to", "trl"]
            )
            read = read_rows(tmp_path / "out.jsonl", PrmRow)
            for row in read:
                assert (row.prompt, row.completions[0].removeprefix("Step 1: ")) == (
                    "What is 2 + 3 * 4?",
                    "3 * 4 = 12",
                )
                assert row.labels[0] or row.low[0] == 0.75
        case words:
            read = READERS[" ".join(words)](path)
    assert len(read) == example.text.count("\n")


def test_build_reads_the_candidates_that_search_wrote(tmp_path: Path) -> None:
    (text,) = (example.text for example in EXAMPLES if example.words == ("results",))
    (tmp_path / "results.jsonl").write_text(text)
    (result,) = read_results(tmp_path / "results.jsonl")
    assert list(search_problems(tmp_path)) == [result.problem]
    for run in result.runs:
        found = SearchCandidates(tmp_path, run.spec, None).of(result.problem)
        names = [each.name for each in fields(FoundCandidate)]
        assert found == tuple(
            FoundCandidate(**{name: getattr(each, name) for name in names}) for each in run.candidates
        )


def test_every_layout_has_an_example() -> None:
    kinds = [example.words for example in EXAMPLES]
    assert {" ".join(words) for words in kinds if words[0] not in ("problems", "convert")} == READERS.keys()
    formats = {words[2] for words in kinds if words[0] == "convert"}
    assert formats == {*get_args(FormatName), "generic"} - {"trl"}  # TRL's is that of PRM rows


@pytest.mark.parametrize("kind", ROW_TYPES)
def test_every_field_of_a_row_is_explained(kind: str) -> None:
    section = next(section for section in PAGE.split("\n## ") if f"```json {kind}\n" in section)
    words = set(re.findall(r"`(\w+)`", re.sub(r"^```[\s\S]+?^```", "", section, flags=re.MULTILINE)))
    assert {field.name for field in fields(ROW_TYPES[kind])} - words == set()  # type: ignore[index]
