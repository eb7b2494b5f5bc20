"""Verdicts on cases that graders get wrong: `PRM_TRAIN_DATA=folder python -m benchmarks.cases --cases FILE`
(a minute).

FILE holds one object a line: `gold`, `given`, `expected` (`correct`, `incorrect`, or several joined by `|`,
`unknown` among them) and `mode`: `compare` for a bare answer, `grade` for a whole solution; others are
skipped. A false positive is a wrong answer that was called correct, a false negative a right one that was
called incorrect, an unknown one without the verdict that was due. The ProcessBench solutions of GSM8K and
MATH are joined with the gold answers of both by the text of their question, and compared with
`final_answer_correct`.

Writes benchmarks/results/cases.json, with the counts of benchmarks.architectures where they are there.
"""

import argparse
import asyncio
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from data_gen.answers.find import find_answer, find_boxed
from data_gen.grading.graders import MathGrader
from data_gen.records.solutions import Problem, Solution
from data_gen.records.verdicts import Verdict

RESULTS = Path(__file__).parent / "results"


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def verdict_on(grader: MathGrader, gold: str, text: str) -> Verdict:
    return asyncio.run(grader.grade(Problem("p", "", gold), Solution("p", 0, text))).verdict


def grade_cases(grader: MathGrader, path: Path) -> dict[str, int]:
    """Counts of the cases whose verdict is not one of those expected."""
    counts = Counter({"false_positive": 0, "false_negative": 0, "unknown": 0, "n": 0})
    for case in read_lines(path):
        if case["mode"] not in ("compare", "grade"):
            continue
        judge = (
            grader.compare if case["mode"] == "compare" else lambda gold, text: verdict_on(grader, gold, text)
        )
        verdict = judge(case["gold"], case["given"])
        counts["n"] += 1
        if verdict.kind.value not in case["expected"].split("|"):
            kind = (
                "unknown"
                if verdict.is_unknown
                else "false_positive"
                if verdict.is_correct
                else "false_negative"
            )
            counts[kind] += 1
            print(f"{kind}: {case['gold']!r} | {case['given'][-100:]!r} | expected {case['expected']}")
    return dict(counts)


def gold_answers(data: Path) -> dict[str, str | None]:
    """By question, of GSM8K and of MATH."""
    golds = {
        row["question"].strip(): find_answer(row["answer"])
        for name in ("test", "train")
        for row in read_lines(data / f"gsm8k/{name}.jsonl")
    }
    for name in ("test", "math500"):
        rows = read_lines(data / f"math/{name}.jsonl")
        golds |= {row["problem"].strip(): row.get("answer") or find_boxed(row["solution"]) for row in rows}
    return golds


def grade_processbench(grader: MathGrader, data: Path) -> dict[str, int]:
    """Solutions without a verdict, and those whose verdict is not `final_answer_correct`."""
    golds, counts = gold_answers(data), Counter({"n": 0, "unknown": 0, "disagree": 0})
    for name in ("gsm8k", "math"):
        for row in json.loads((data / f"processbench/{name}.json").read_text()):
            gold = golds.get(row["problem"].strip())
            if gold is None:
                continue
            verdict = verdict_on(grader, gold, "\n\n".join(row["steps"]))
            counts["n"] += 1
            counts["unknown"] += verdict.is_unknown
            counts["disagree"] += not verdict.is_unknown and verdict.is_correct != row["final_answer_correct"]
    return dict(counts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=RESULTS / "cases.json")
    arguments = parser.parse_args()
    grader = MathGrader(timeout_seconds=10)
    facts: dict[str, Any] = {"grading": grade_cases(grader, arguments.cases)}
    facts["processbench_join"] = grade_processbench(grader, Path(os.environ["PRM_TRAIN_DATA"]))
    architectures = RESULTS / "architectures.json"
    if architectures.exists():
        names = ("n", "prm", "orm", "search", "engine", "errors")
        facts["architectures"] = {name: json.loads(architectures.read_text())[name] for name in names}
    arguments.output.write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
