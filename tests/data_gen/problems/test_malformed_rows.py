"""1,000 generated malformed rows, over every reader of rows: each is refused by file and line, none is
swallowed.

A good row of each kind is broken in one place, in ways that cannot leave it good: as bytes (cut off, bad
UTF-8, no JSON) and as a row (a field gone or of the wrong type, a number out of range, lengths and tags that
do not fit). The broken row stands at a random line among good ones, and the error must name that line.
"""

import copy
import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from data_gen.convert import FORMATS
from data_gen.files.jsonl import read_objects
from data_gen.judging.stored_judgements import read_judgements
from data_gen.problems.sources import ProblemSource, load_problems
from data_gen.rows.layouts import OrmRow, PrmRow, read_rows
from data_gen.settings.errors import InputError

Json = dict[str, Any]
Place = tuple[str | int, ...]
N_ROWS = 1_000
N_LINES = 5


class Reader(NamedTuple):
    """`good(i)` is the i-th good row. `wrong` maps a place to values that do not fit it; `breaks` break a row
    in other ways.
    """

    read: Callable[[Path], Iterable[object]]
    good: Callable[[int], Json]
    wrong: dict[Place, Sequence[Any]]
    breaks: Sequence[Callable[[Json], None]] = ()
    optional: Sequence[Place] = ()  # a row without them is good


def with_format(name: Any) -> Callable[[Path], Iterable[object]]:
    return lambda path: [
        FORMATS[name].read(fields, f"{path}:{number}") for number, fields in read_objects(path)
    ]


def problems(path: Path) -> list[object]:
    return list(load_problems(ProblemSource(source=str(path))))


def put(place: Place, value: Any) -> Callable[[Json], None]:
    def change(row: Json) -> None:
        parent: Any = row
        for key in place[:-1]:
            parent = parent[key]
        parent[place[-1]] = value

    return change


def drop_last(name: str) -> Callable[[Json], None]:
    return lambda row: row[name].pop()


def replaced(name: str, old: str, new: str) -> Callable[[Json], None]:
    return lambda row: row.update({name: row[name].replace(old, new)})


NOT_TEXT: Sequence[Any] = (None, [], {}, True, 3, 0.5, ["a"])
NOT_LIST: Sequence[Any] = (None, {}, True, 3, "a", {"a": 1})
NOT_DICT: Sequence[Any] = (None, [], True, 3, "a", [{}])
NOT_LABEL: Sequence[Any] = (-100, -1, 0, 1, 2, 10**30, "true", "+", [], {}, 1.5, -0.1)
NOT_COUNT: Sequence[Any] = (-1, 0.5, "3", True, None, [], {})
STEPS = ["3 * 4 = 12", "2 + 12 = 15"]

TRL = Reader(
    with_format("trl"),
    lambda i: {"prompt": f"What is {i} + 3 * 4?", "completions": STEPS, "labels": [True, False]},
    {
        ("prompt",): (*NOT_TEXT, "", " \n"),
        ("completions",): (*NOT_LIST, [], ["a"], ["a", "b", "c"]),
        ("completions", 1): (*NOT_TEXT, "", "\t"),
        ("labels",): (*NOT_LIST, [], [True], [True, 0.5]),
        ("labels", 0): NOT_LABEL,
    },
    (drop_last("labels"), drop_last("completions")),
)
SHEPHERD = Reader(
    with_format("math_shepherd"),
    lambda i: {
        "input": f"What is {i} + 3? Step 1: 3 ки\nStep 2: {i} + 3 ки",
        "label": f"What is {i} + 3? Step 1: 3 +\nStep 2: {i} + 3 -",
        "task": "GSM8K",
    },
    {("input",): (*NOT_TEXT, "", "ки"), ("label",): (*NOT_TEXT, "", "+ -")},
    (
        replaced("input", "3 ки\n", "3\n"),
        replaced("input", "ки", "ки ки"),
        replaced("input", "ки", "KИ"),
        replaced("input", "ки", "к"),
        replaced("label", "3 +\n", "3 \n"),
        replaced("label", " -", ""),
        replaced("label", "3 +\n", "3 0\n"),
        replaced("label", "Step 2", "Step 3"),
        replaced("input", "Step 1: 3", "Step 1: Step 1: 3"),
        replaced("input", "What", "Whаt"),
        lambda row: row.update(input=row["input"] + "\nStep 3: more"),
        lambda row: row.update(label=row["label"] + "\nStep 3: more +"),
        lambda row: row.update(input=row["label"], label=row["input"]),
    ),
    [("task",)],
)
PRM800K = Reader(
    with_format("prm800k"),
    lambda i: {
        "labeler": "e9",
        "question": {"problem": f"What is {i}?"},
        "label": {
            "steps": [
                {
                    "completions": [{"text": "A", "rating": 1}, {"text": "B", "rating": -1}],
                    "human_completion": None,
                    "chosen_completion": 0,
                },
                {
                    "completions": [{"text": "C", "rating": 0}],
                    "human_completion": {"text": "H", "rating": None},
                    "chosen_completion": None,
                },
            ]
        },
    },
    {
        ("question",): NOT_DICT,
        ("question", "problem"): (*NOT_TEXT, ""),
        ("label",): NOT_DICT,
        ("label", "steps"): NOT_LIST,
        ("label", "steps", 0): NOT_DICT,
        ("label", "steps", 0, "completions"): (None, [], {}, True, "A", ["A"]),
        ("label", "steps", 0, "completions", 1): NOT_DICT,
        ("label", "steps", 0, "completions", 1, "text"): (*NOT_TEXT, "", " "),
        ("label", "steps", 0, "completions", 1, "rating"): (2, -2, 10**30, 1.0, "1", True, [], {}),
        ("label", "steps", 0, "chosen_completion"): (2, -1, 10**30, 0.0, "0", False, []),
        ("label", "steps", 1, "human_completion"): ([], "H", 3, {}, {"text": "H"}, {"rating": 1}),
    },
    (),
    [("labeler",)],
)


def aps_flat(i: int) -> Json:
    steps = [
        {"solution_prefix": f"Q{i}?", "mc_value": 0.5},
        {"solution_prefix": f"Q{i}?\n\nA", "mc_value": 1.0},
    ]
    return {"question": f"Q{i}?", "final_answer": "3", "reasoning_steps": steps, "question_id": i}


NOT_VALUE: Sequence[Any] = (None, True, "0.5", [], {}, 1.5, -0.5, 2, -1, 10**30)
APS_FLAT = Reader(
    with_format("openr_aps"),
    aps_flat,
    {
        ("question",): (*NOT_TEXT, "", "Other?"),
        ("reasoning_steps",): NOT_LIST,
        ("reasoning_steps", 1): NOT_DICT,
        ("reasoning_steps", 1, "solution_prefix"): (*NOT_TEXT, "", "A", "Q"),
        ("reasoning_steps", 1, "mc_value"): NOT_VALUE,
    },
    (put(("reasoning_steps", 1, "extra"), 1),),
    [("final_answer",), ("question_id",)],
)
APS_TREE = Reader(
    with_format("openr_aps_tree"),
    lambda i: {
        "question": f"Q{i}?",
        "reasoning_steps": {
            "text": f"Q{i}?",
            "mc_value": 0.5,
            "children": [{"text": "A", "mc_value": 1.0, "children": []}],
        },
    },
    {
        ("question",): (*NOT_TEXT, "", "Other?"),
        ("reasoning_steps",): NOT_DICT,
        ("reasoning_steps", "text"): (*NOT_TEXT, "", "Other?"),
        ("reasoning_steps", "mc_value"): NOT_VALUE,
        ("reasoning_steps", "children"): NOT_LIST,
        ("reasoning_steps", "children", 0): NOT_DICT,
        ("reasoning_steps", "children", 0, "text"): NOT_TEXT,
        ("reasoning_steps", "children", 0, "mc_value"): NOT_VALUE,
        ("reasoning_steps", "children", 0, "children"): NOT_LIST,
    },
    (put(("reasoning_steps", "extra"), 1),),
)
PROCESSBENCH = Reader(
    with_format("processbench"),
    lambda i: {
        "id": f"gsm8k-{i}",
        "generator": "m",
        "problem": f"Q{i}?",
        "steps": ["A", "B"],
        "final_answer_correct": False,
        "label": 1,
    },
    {
        ("id",): ([], {}, True, 3),
        ("generator",): ([], {}, True, 3),
        ("problem",): (*NOT_TEXT, "", " "),
        ("steps",): (*NOT_LIST, [], ["A"]),
        ("steps", 0): (*NOT_TEXT, "", " "),
        ("final_answer_correct",): ([], {}, "no", 0, 1.0),
        ("label",): (2, -2, 10**30, 1.0, "1", True, None, []),
    },
    (drop_last("steps"),),
)
JUDGEMENTS = Reader(
    read_judgements,
    lambda i: {"problem_id": f"p{i}", "index": i, "first_error": 1, "reason": ""},
    {
        ("problem_id",): NOT_TEXT,
        ("index",): NOT_COUNT,
        ("first_error",): (-2, 1.0, "1", True, [], {}),
        ("reason",): NOT_TEXT,
    },
    (),
    [("reason",)],
)
EVIDENCE = {
    "n_correct": [3, 0],
    "n_rollouts": [4, 8],
    "n_unknown": [0, 1],
    "stopping": ["first_success"] * 2,
    "method": ["rollouts"] * 2,
}
PRM_ROWS = Reader(
    lambda path: read_rows(path, PrmRow),
    lambda i: {
        "problem_id": f"p{i}",
        "prompt": f"Q{i}?",
        "completions": STEPS,
        "labels": [True, None],
        **EVIDENCE,
    },
    {
        ("problem_id",): NOT_TEXT,
        ("prompt",): NOT_TEXT,
        ("completions",): (*NOT_LIST, [], ["a"]),
        ("completions", 0): NOT_TEXT,
        ("labels",): (*NOT_LIST, [], [True]),
        ("labels", 0): (*NOT_LABEL, 0.5),
        ("n_correct",): (*NOT_LIST, [], [3]),
        ("n_correct", 0): (*NOT_COUNT, 5, 10**30),
        ("n_rollouts", 1): (*NOT_COUNT, 10**30),
        ("n_unknown", 0): (*NOT_COUNT, 2, 10**30),
        ("stopping", 0): NOT_TEXT,
        ("method",): (*NOT_LIST, [], ["rollouts"]),
    },
    (drop_last("n_rollouts"), drop_last("n_unknown"), drop_last("labels")),
    [("problem_id",), *((name,) for name in EVIDENCE)],
)
ORM_ROWS = Reader(
    lambda path: read_rows(path, OrmRow),
    lambda i: {"problem_id": f"p{i}", "prompt": f"Q{i}?", "completion": "It is 3.", "label": True},
    {
        ("problem_id",): NOT_TEXT,
        ("prompt",): NOT_TEXT,
        ("completion",): NOT_TEXT,
        ("label",): (*NOT_LABEL, 0.5, None),
    },
    (),
    [("problem_id",)],
)
PROBLEMS = Reader(
    problems,
    lambda i: {"problem": f"Q{i}?", "answer": str(i)},
    {
        ("problem",): (None, [], {}, True, "", " ", ["a"]),
        ("answer",): ({}, True, {"a": 1}, [["1"]], ["1", "2"]),
    },
    # The question of the first line with another answer
    (lambda row: row.update(problem="Q0?", answer="another"),),
)
READERS = {
    "trl": TRL,
    "math_shepherd": SHEPHERD,
    "prm800k": PRM800K,
    "openr_aps": APS_FLAT,
    "openr_aps_tree": APS_TREE,
    "processbench": PROCESSBENCH,
    "judgements": JUDGEMENTS,
    "prm rows": PRM_ROWS,
    "orm rows": ORM_ROWS,
    "problems": PROBLEMS,
}


# --- breaking a row


def broken_text(row: Json, rng: random.Random) -> bytes:
    """A line that is no JSON object in UTF-8."""
    line = json.dumps(row, ensure_ascii=False).encode()
    text, place = line.decode(), rng.randrange(1, len(line))
    name = rng.choice(list(row))
    return rng.choice(
        [
            line[:place],  # an object ends with its last byte, so any part of it is broken
            line[:place] + rng.choice([b"\xff", b"\xc0\xaf", b"\xed\xa0\x80"]) + line[place:],
            line + rng.choice([b"}", b",", b" {}", b"\x00", line]),
            json.dumps({**row, "number": float(rng.choice(["nan", "inf", "-inf"]))}).encode(),
            f'{text[:-1]}, "number": {"9" * 5_000}}}'.encode(),
            f'{text[:-1]}, "number": 1e{rng.randrange(400, 9_999)}}}'.encode(),
            f'{text[:-1]}, "{name}": null}}'.encode(),
            f'{text[:-1]}, "half": "\\ud8{rng.randrange(10, 99)}"}}'.encode(),
            f'{text[:-1]}, "deep": {"[" * 50_000}'.encode(),
            f'{text[:-1]}, "deep": {"[" * 50_000}{"]" * 50_000}}}'.encode(),
            repr(row).encode(),  # Python's notation
            json.dumps([row]).encode(),
            json.dumps(text).encode(),
            rng.choice(
                [
                    b"null",
                    b"true",
                    b"17",
                    b'"text"',
                    b"[]",
                    b"{",
                    b"}",
                    b"\x80\x04}",
                    b"<html>",
                    b"id,label",
                    bytes(range(128, 160)),
                ]
            ),
            text.replace(":", ";", 1).encode(),
            text.replace('"', "'").encode(),
        ]
    )


def remove(row: Json, place: Place) -> None:
    parent: Any = row
    for key in place[:-1]:
        parent = parent[key]
    del parent[place[-1]]


def broken_row(reader: Reader, row: Json, rng: random.Random) -> Json:
    """A JSON object that is no such row."""
    row = copy.deepcopy(row)
    needed = [place for place in reader.wrong if place not in reader.optional and isinstance(place[-1], str)]
    kind = rng.random()
    if kind < 0.25:
        remove(row, rng.choice(needed))
    elif kind < 0.5 and reader.breaks:
        rng.choice(reader.breaks)(row)
    else:
        place = rng.choice(list(reader.wrong))
        put(place, rng.choice(reader.wrong[place]))(row)
    return row


def malformed(name: str, number: int) -> tuple[bytes, int]:
    """A file of good rows with one broken row, and the line of that."""
    rng, reader = random.Random(f"{name} {number}"), READERS[name]
    at = rng.randrange(1, N_LINES)
    lines = [json.dumps(reader.good(i)).encode() for i in range(N_LINES)]
    row = reader.good(at)
    is_text = rng.random() < 0.4
    lines[at] = (
        broken_text(row, rng)
        if is_text
        else json.dumps(broken_row(reader, row, rng), ensure_ascii=rng.random() < 0.5).encode()
    )
    return b"\n".join(lines) + b"\n", at + 1


@pytest.mark.parametrize("name", READERS)
def test_good_rows_are_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(READERS[name].good(i)) + "\n" for i in range(N_LINES)))
    assert len(list(READERS[name].read(path))) == N_LINES


@pytest.mark.parametrize("name", READERS)
def test_every_malformed_row_is_refused_by_file_and_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for number in range(N_ROWS // len(READERS)):
        content, line = malformed(name, number)
        path.write_bytes(content)
        shown = content.split(b"\n")[line - 1][:300]
        try:
            read = list(READERS[name].read(path))
        except InputError as error:
            message = str(error)
            assert message.startswith(f"{path}:{line}:") or message.startswith(f"{path}:{line}, "), (
                f"{message}\n{shown!r}"
            )
            assert len(message) < 1_000, f"an error of {len(message)} characters"
            message.encode()  # can be printed
        else:
            pytest.fail(f"{name} {number}, line {line}: {len(read)} rows were read, among them {shown!r}")


def test_there_are_a_thousand_different_ones() -> None:
    found = {malformed(name, number)[0] for name in READERS for number in range(N_ROWS // len(READERS))}
    assert N_ROWS % len(READERS) == 0
    assert len(found) > 700  # some breaks leave nothing to draw, as `null`
