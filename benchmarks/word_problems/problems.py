"""The problem files of a run: which problem is shown, sampled, chosen by, or tested with.

    solutions.jsonl     shown to the policy with their solutions (SFT): {"question", "answer", "solution"}
    train.jsonl         sampled and labeled, for the scorers: {"question", "answer"}
    validation.jsonl    on which settings are chosen
    mawps_asdiv.jsonl   tested: MAWPS and ASDiv, two or more operations
    svamp.jsonl         tested: SVAMP, another distribution
    counts.json         how many of each, and what was left out by reason

MAWPS and ASDiv hold many variants of one problem (other names and numbers). A template (`template_of`) is on
one side of every line above, and a test or validation set holds at most two problems of it: more would count
one success several times. SVAMP shares no template with them; the question of a test is in no other file.

GSM8K has its own test set; its training problems are divided among the other files in their order.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from benchmarks.word_problems.equations import (
    NoSolutionError,
    n_operations,
    solution_of,
    template_of,
    written,
)
from data_gen.files.jsonl import read_objects, write_jsonl, write_text
from data_gen.records.draw_keys import derive_seed
from data_gen.settings.errors import InputError

PER_TEMPLATE = 2
FILES = ("solutions", "train", "validation", "mawps_asdiv", "svamp")


@dataclass(frozen=True)
class Sizes:
    """Numbers of problems. Of MAWPS and ASDiv, training has problems of one operation, too."""

    n_test: int = 300
    n_svamp: int = 300
    n_validation: int = 60
    n_train: int = 200  # of two or more operations
    n_train_simple: int = 160  # of one
    n_solutions_simple: int = 900  # of one, shown; those of more are all that are left


@dataclass(frozen=True)
class WordProblem:
    question: str
    answer: str
    solution: str
    n_operations: int


def write_word_problems(data: Path, folder: Path, sizes: Sizes) -> None:
    """All files from `data`/svamp. Raises InputError where it lacks one, or has too few problems."""
    left_out = Counter[str]()
    problems = list(read_mawps(data / "svamp" / "mawps_asdiv_train.jsonl", left_out))
    sets = split(problems, sizes, left_out)
    svamp = read_svamp(data / "svamp" / "svamp.json", sizes.n_svamp, left_out)
    seen = {template_of(problem.question) for found in sets.values() for problem in found}
    shared = [each for each in svamp if template_of(each["question"]) in seen]
    if shared:
        raise InputError(f"{data}: SVAMP shares {len(shared)} templates with MAWPS and ASDiv; expected none")
    rows = {name: [_row(each, name) for each in found] for name, found in sets.items()}
    write(folder, rows | {"svamp": svamp}, left_out)


def write_gsm8k(
    data: Path,
    folder: Path,
    n_validation: int,
    n_test: int,
    n_train: int | None = None,
    n_shown: int | None = None,
) -> None:
    """All files but svamp.jsonl from `data`/gsm8k: the last `n_train` training problems are sampled (None:
    half), the others shown (None: all of them). No variant of a test problem (one of 7,473 is) is among them.
    """
    test = [_gsm8k(fields) for _, fields in read_objects(data / "gsm8k" / "test.jsonl")]
    tested, left_out = {template_of(each["question"]) for each in test}, Counter[str]()
    found = []
    for _, fields in read_objects(data / "gsm8k" / "train.jsonl"):
        problem = _gsm8k(fields)
        if template_of(problem["question"]) in tested:
            left_out["variant of a test problem"] += 1
        else:
            found.append(problem)
    validation, rest = found[:n_validation], found[n_validation:]
    n_rest = len(rest) // 2 if n_train is None else max(0, len(rest) - n_train)
    asked = {
        "train": rest[n_rest:],
        "validation": validation,
        "gsm8k": sorted(test, key=lambda each: derive_seed("test", each["question"]))[:n_test],
    }
    bare = {
        name: [{key: row[key] for key in ("question", "answer")} for row in rows]
        for name, rows in asked.items()
    }
    write(folder, {"solutions": rest[:n_rest][:n_shown], **bare}, left_out)


def write(folder: Path, rows: dict[str, list[dict[str, str]]], left_out: Counter[str]) -> None:
    for name, found in rows.items():
        if not found:
            raise InputError(f"{folder}: no problem is left for {name}; expected smaller sets")
        write_jsonl(folder / f"{name}.jsonl", found)
    counts = {"problems": {name: len(found) for name, found in rows.items()}, "left_out": dict(left_out)}
    write_text(folder / "counts.json", json.dumps(counts, indent=1) + "\n")


def read_mawps(path: Path, left_out: Counter[str]) -> Iterator[WordProblem]:
    """Each question once; one that comes with two answers is left out as a whole."""
    answers: dict[str, set[str]] = {}
    rows = [fields for _, fields in read_objects(path)]
    for fields in rows:
        answers.setdefault(fields["question"], set()).add(fields["answer"])
    seen = set[str]()
    for fields in rows:
        question = fields["question"]
        try:
            if len(answers[question]) > 1:
                raise NoSolutionError("a question with two answers")
            if question in seen:
                raise NoSolutionError("a question that was there before")
            solution = solution_of(fields["equation"], fields["answer"])
        except NoSolutionError as error:
            left_out[str(error)] += 1
            continue
        seen.add(question)
        answer = solution.rpartition("#### ")[2]
        yield WordProblem(question, answer, solution, n_operations(fields["equation"]))


def split(
    problems: Sequence[WordProblem], sizes: Sizes, left_out: Counter[str]
) -> dict[str, list[WordProblem]]:
    """By template, in an order that a hash gives. Raises InputError where there are too few."""
    groups: dict[str, list[WordProblem]] = {}
    for problem in problems:
        groups.setdefault(template_of(problem.question), []).append(problem)
    order = sorted(groups, key=lambda template: derive_seed("word problems", template))
    sets: dict[str, list[WordProblem]] = {name: [] for name in FILES[:-1]}
    simple = {"train": 0, "solutions": 0}
    for template in order:
        group = groups[template]
        hard = [problem for problem in group if problem.n_operations > 1]
        if hard and len(sets["mawps_asdiv"]) < sizes.n_test:
            _take_few(sets["mawps_asdiv"], hard, group, left_out)
        elif hard and len(sets["validation"]) < sizes.n_validation:
            _take_few(sets["validation"], hard, group, left_out)
        elif hard:
            n_hard = sum(problem.n_operations > 1 for problem in sets["train"])
            sets["train" if n_hard < sizes.n_train else "solutions"] += group
        else:
            name = "train" if simple["train"] < sizes.n_train_simple else "solutions"
            if name == "solutions" and simple[name] >= sizes.n_solutions_simple:
                left_out["problems of one operation beyond those wanted"] += len(group)
                continue
            simple[name] += len(group)
            sets[name] += group
    wanted = {"mawps_asdiv": sizes.n_test, "validation": sizes.n_validation, "solutions": 1}
    for name, n in wanted.items():
        if len(sets[name]) < n:
            raise InputError(f"{name}: {len(sets[name])} problems of two or more operations, expected {n}")
    return sets


def _take_few(
    found: list[WordProblem],
    hard: Sequence[WordProblem],
    group: Sequence[WordProblem],
    left_out: Counter[str],
) -> None:
    found += hard[:PER_TEMPLATE]
    left_out["further variants of test and validation problems"] += len(group) - len(hard[:PER_TEMPLATE])


def read_svamp(path: Path, n: int, left_out: Counter[str]) -> list[dict[str, str]]:
    """`n` of them, in an order that a hash gives, whose questions differ."""
    found: dict[str, dict[str, str]] = {}
    for _, fields in read_objects(path):
        question = f"{fields['Body'].strip()} {fields['Question'].strip()}"
        if question in found:
            left_out["SVAMP: a question that was there before"] += 1
            continue
        try:
            answer = written(Fraction(str(fields["Answer"])))
        except NoSolutionError as error:
            left_out[f"SVAMP: {error}"] += 1
            continue
        found[question] = {"question": question, "answer": answer}
    return sorted(found.values(), key=lambda each: derive_seed("svamp", each["question"]))[:n]


def _row(problem: WordProblem, name: str) -> dict[str, str]:
    row = {"question": problem.question, "answer": problem.answer}
    return row | {"solution": problem.solution} if name == "solutions" else row


def _gsm8k(fields: dict[str, str]) -> dict[str, str]:
    """Without the calculator notes, which no policy here has been shown."""
    solution = re.sub(r"<<[^>]*>>", "", fields["answer"]).strip()
    return {
        "question": fields["question"],
        "answer": solution.rpartition("####")[2].strip().replace(",", ""),
        "solution": solution,
    }
