"""Revision trajectories from real solutions, and what keeps right answers out of their wrong attempts.

`PRM_TRAIN_DATA=… python -m benchmarks.revision_rows` (seconds of one core) writes
benchmarks/results/revisions.json:

- distances: four models' solutions of the GSM8K test questions (samples/gsm8k_model_solutions.jsonl of
  openai/grade-school-math) as attempts; how close the closest wrong attempt is to a right answer, how often
  two are equally close, and how often the length-normalized distance would choose another one. `as_stored`
  takes the file's own labels, `filtered` the rows as `prm-train build` would write them;
- injected_misses: eight solutions each of 100 questions by Qwen2.5-Math (samples/qwen_math_cot_100.jsonl of
  QwenLM/Qwen2.5-Math), 91 % of them right. A share p of the right ones is called wrong at random; how many of
  the last attempts shown as wrong are then right, with no guard, with the floor under the wrong pool, and
  with the second opinion.

`--rows FILE` also writes the filtered GSM8K rows.
"""

import argparse
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from data_gen.answers.find import find_answer
from data_gen.files.jsonl import read_jsonl
from data_gen.problems.layouts import question_id
from data_gen.records.chats import ChainPrompts
from data_gen.records.solutions import GradedSolution, Problem, Solution
from data_gen.records.verdicts import CORRECT, INCORRECT, unknown
from data_gen.rows.filters import Filter, right_and_wrong, usable_solutions
from data_gen.rows.layouts import RevisionRow, write_rows
from data_gen.rows.revision import DistanceAudit, RevisionSettings, revision_rows, targets

RESULT = Path(__file__).parent / "results" / "revisions.json"
WRITERS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
MISS_SHARES = (0.01, 0.02, 0.05)
N_REPEATS = 20
UNGUARDED = RevisionSettings(p_false_negative=0)

Question = tuple[Problem, list[GradedSolution]]


def read_gsm8k(path: Path) -> list[Question]:
    """Each question with its four solutions, graded as the file says; a solution without an answer line has
    no verdict.
    """
    questions = []
    for _, fields in read_jsonl(path):
        problem = Problem(
            question_id(fields["question"]), fields["question"], find_answer(fields["ground_truth"]) or ""
        )
        solutions = []
        for index, each in enumerate(fields[writer] for writer in WRITERS):
            answer = find_answer(each["solution"])
            verdict = unknown("no_answer") if answer is None else CORRECT if each["is_correct"] else INCORRECT
            solutions.append(
                GradedSolution(Solution(problem.problem_id, index, each["solution"]), answer, verdict)
            )
        questions.append((problem, solutions))
    return questions


def golden_figures(questions: Sequence[Question]) -> dict[str, Any]:
    return {"as_stored": _as_stored(questions), "filtered": _filtered(questions)[0]}


def _as_stored(questions: Sequence[Question]) -> dict[str, Any]:
    """Every stored solution, repeated texts and those without an answer (stored as wrong) included."""
    audit, n_mixed = DistanceAudit(), 0
    for problem, solutions in questions:
        right, wrong = right_and_wrong(solutions)
        n_mixed += bool(right and wrong)
        for target in targets(problem, right, wrong, replace(UNGUARDED, max_attempts=0), seed=0):
            audit.add(target, wrong)
    entry = audit.table()["all"]
    return {"n_mixed_questions": n_mixed, "n_targets_with_choice": entry["n_with_choice"]} | {
        name: entry[name] for name in ("closest_mean", "random_mean", "n_ties", "n_other_under_normalized")
    }


def _filtered(questions: Sequence[Question]) -> tuple[dict[str, Any], list[RevisionRow]]:
    rows, left_out, audit = [], Counter[str](), DistanceAudit()
    for problem, solutions in questions:
        usable, reasons = usable_solutions(problem, solutions, Filter())
        some, more_reasons, distances = revision_rows(
            problem, usable, RevisionSettings(), ChainPrompts(), seed=0
        )
        rows += some
        left_out += reasons + more_reasons
        audit.merge(distances)
    kinds = {kind: count for kind, count in sorted(Counter(row.kind for row in rows).items())}
    return {
        "n_rows": len(rows),
        "kinds": kinds,
        "left_out": dict(sorted(left_out.items())),
        "distances": audit.table(),
    }, rows


# --- right answers that were called wrong


def read_qwen(path: Path) -> list[Question]:
    questions = []
    for _, fields in read_jsonl(path):
        problem = Problem(question_id(fields["question"]), fields["question"], str(fields["gt"]))
        written = zip(fields["code"], fields["pred"], fields["score"], strict=True)
        solutions = [
            GradedSolution(
                Solution(problem.problem_id, index, text), answer, CORRECT if is_right else INCORRECT
            )
            for index, (text, answer, is_right) in enumerate(written)
        ]
        questions.append((problem, solutions))
    return questions


def injected_misses(questions: Sequence[Question]) -> dict[str, dict[str, float | int]]:
    """Share of the last attempts shown as wrong that are right, by share of misses and guard; `n_shown` is
    without a guard.
    """
    guards = {
        "no_guard": (Filter(second_opinion=False), UNGUARDED),
        "floor": (Filter(second_opinion=False), RevisionSettings()),
        "second_opinion": (Filter(), UNGUARDED),
        "both": (Filter(), RevisionSettings()),
    }
    figures: dict[str, dict[str, float | int]] = {}
    for p in MISS_SHARES:
        entry = figures.setdefault(str(p), {})
        for name, (rule, settings) in guards.items():
            settings = replace(settings, p_false_negative=p) if settings.p_false_negative else settings
            shown = [
                is_right
                for repeat in range(N_REPEATS)
                for is_right in _last_attempts(questions, p, rule, settings, repeat)
            ]
            entry[name] = round(sum(shown) / len(shown), 3)
            entry[f"n_shown_{name}"] = len(shown)
    return figures


def _last_attempts(
    questions: Sequence[Question], p: float, rule: Filter, settings: RevisionSettings, repeat: int
) -> list[bool]:
    """Whether each attempt that is shown last is right, after a share p of the right ones was called
    wrong.
    """
    noise, found = Random(repeat), []
    for problem, solutions in questions:
        is_right = {each.solution.index: each.verdict.is_correct for each in solutions}
        graded = [
            replace(each, verdict=INCORRECT) if each.verdict.is_correct and noise.random() < p else each
            for each in solutions
        ]
        rows, _, _ = revision_rows(
            problem, usable_solutions(problem, graded, rule)[0], settings, ChainPrompts(), seed=repeat
        )
        found += [is_right[row.sample_indices[-2]] for row in rows if row.kind == "revision"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=Path, help="also write the filtered rows here")
    rows_path = parser.parse_args().rows
    samples = Path(os.environ["PRM_TRAIN_DATA"]) / "samples"
    gsm8k = read_gsm8k(samples / "gsm8k_model_solutions.jsonl")
    if rows_path:
        write_rows(rows_path, _filtered(gsm8k)[1])
    misses = injected_misses(read_qwen(samples / "qwen_math_cot_100.jsonl"))
    result = {
        "command": "python -m benchmarks.revision_rows",
        "distances": golden_figures(gsm8k),
        "injected_misses": misses,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
