"""`prm-train benchmark prmbench`: PRMBench (Song et al. 2025), solutions into which an error of a known class was
written, every step of them labelled.

    {"original_question": …, "original_process": [steps], "modified_question": …, "modified_process": [steps],
     "error_steps": [3, 4], "classification": "circular", "idx": "prm_test_p1_0"}

The rules are those of the benchmark's own evaluation, with what it leaves open decided here:

- A step is judged good if its score is above `threshold` (0.5), in every class. Scorers that give a second
  score, of redundancy, are compared by it there; scorers here give one.
- PRMScore = 0.5 F1 of good steps + 0.5 F1 of wrong steps, over all steps of a class together. In multi_solutions
  no step is wrong, and PRMScore is the F1 of good steps. An F1 without any step to count is undefined, and then
  so is the score (there it is -1).
- The total is the same formula over the steps of all classes together. Simplicity, soundness and sensitivity are
  the plain means of their classes.
- The original solutions of the rows of redundancy, all of whose steps are right, are the class `correct`, which
  is reported and not in the total.
- Of rows with one class and idx the first counts. Steps that the scorer's context cannot hold are left out, and
  counted. The number at the beginning of a step (`3. ` or `Step 3. `, where it is the third) is taken off.

Intervals are 95 % bootstrap intervals over questions.
"""  # noqa: E501

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_gen.files.bad_rows import Skipped
from data_gen.formats.stepwise import RowError, stepwise, take, take_texts
from prm_train.benchmarking.measures import (
    Measured,
    Places,
    Resamples,
    f1_good,
    f1_wrong,
    percent,
    share,
    step_counts,
)
from prm_train.benchmarking.rows import Attempt, JudgedSolution, OfSolutions, files_of, read_file
from prm_train.benchmarking.scored import Scored
from prm_train.benchmarking.settings import BenchmarkConfig
from prm_train.metrics.estimators import Interval

CATEGORIES = {
    "simplicity": ("redundancy", "circular"),
    "soundness": ("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"),
    "sensitivity": ("missing_condition", "deception", "multi_solutions"),
}
CLASSES = tuple(name for names in CATEGORIES.values() for name in names)
SPELLINGS = {"redundency": "redundancy"}  # that of the published rows
ONLY_GOOD = "multi_solutions"
CORRECT = "correct"
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ClassResult:
    """An F1 or accuracy without a step to count is None. `first_error_accuracy`: of the solutions with an
    error, how often their first wrong step is judged wrong.
    """

    n_solutions: int
    n_steps: int
    n_without_score: int
    prm_score: Interval | None
    f1: float | None
    negative_f1: float | None
    accuracy_on_good_steps: float | None
    accuracy_on_wrong_steps: float | None
    first_error_accuracy: float | None


@dataclass(frozen=True)
class PrmBench(OfSolutions):
    config: BenchmarkConfig

    def measure(self, found: Scored) -> Measured:
        present = {each.split for each in self.solutions}
        classes = {
            name: self._result([each for each in self.solutions if each.split == name], found, name)
            for name in (*CLASSES, CORRECT)
            if name in present
        }
        total = self._result([each for each in self.solutions if each.split != CORRECT], found, "total")
        categories = {
            name: _plain_mean([classes[each].prm_score for each in own if each in classes])
            for name, own in CATEGORIES.items()
        }
        predictions = [
            {
                "id": each.row_id,
                "class": each.split,
                "question": each.attempt.question,
                "steps": list(each.attempt.steps),
                "labels": list(each.labels),
                "judged_good": [score > self.config.threshold for score in found.steps(each.attempt)],
                "scores": found.listed(each.attempt),
            }
            for each in self.solutions
        ]
        measures = {
            "threshold": self.config.threshold,
            "total": total,
            "categories": categories,
            "classes": classes,
        }
        return Measured(measures, predictions, table(total, categories, classes))

    def _result(self, solutions: Sequence[JudgedSolution], found: Scored, name: str) -> ClassResult:
        judged = [
            [score > self.config.threshold for score in found.steps(each.attempt)] for each in solutions
        ]
        counts = np.array(
            [
                step_counts([bool(label) for label in each.labels[: len(own)]], own)
                for each, own in zip(solutions, judged, strict=True)
            ]
        ).reshape(-1, 4)  # (N, 4)
        resamples = Resamples([each.attempt.question for each in solutions], self.config.seed)

        def score(places: Places) -> float | None:
            return prm_score(counts[places].sum(axis=0), name)

        good_as_good, wrong_as_good, wrong_as_wrong, good_as_wrong = all_counts = counts.sum(axis=0)
        firsts = [
            not own[each.error]
            for each, own in zip(solutions, judged, strict=True)
            if each.error is not None and 0 <= each.error < len(own)
        ]
        return ClassResult(
            n_solutions=len(solutions),
            n_steps=int(all_counts.sum()),
            n_without_score=sum(len(each.labels) for each in solutions) - int(all_counts.sum()),
            prm_score=resamples.interval(score),
            f1=f1_good(all_counts),
            negative_f1=f1_wrong(all_counts),
            accuracy_on_good_steps=_ratio(good_as_good, good_as_good + good_as_wrong),
            accuracy_on_wrong_steps=_ratio(wrong_as_wrong, wrong_as_wrong + wrong_as_good),
            first_error_accuracy=_ratio(sum(firsts), len(firsts)),
        )


def prm_score(counts: Counts, name: str) -> float | None:
    """PRMScore of a class, or of all, from `step_counts` (4,); None where an F1 in it is undefined."""
    good, wrong = f1_good(counts), f1_wrong(counts)
    if name in (ONLY_GOOD, CORRECT) or good is None:
        return good
    return None if wrong is None else 0.5 * good + 0.5 * wrong


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _plain_mean(scores: Sequence[Interval | None]) -> float | None:
    """None unless every class that is there has a score."""
    known = [each.mean for each in scores if each is not None]
    return float(np.mean(known)) if known and len(known) == len(scores) else None


def table(
    total: ClassResult, categories: Mapping[str, float | None], classes: Mapping[str, ClassResult]
) -> str:
    lines = [f"{'':<24}{'solutions':>10}{'steps':>8}{'F1':>7}{'neg. F1':>9}{'PRMScore':>10}   95 % interval"]

    def line(name: str, own: ClassResult) -> str:
        without = f", {own.n_without_score} steps without a score" if own.n_without_score else ""
        return (
            f"{name:<24}{own.n_solutions:>10}{own.n_steps:>8}{share(own.f1, 7)}{share(own.negative_f1, 9)}"
            f"{percent(own.prm_score, 10)}{without}"
        )

    for category, names in CATEGORIES.items():
        lines.append(f"{category:<24}{'':>34}{share(categories[category], 10)}")
        lines += [line(f"  {name}", classes[name]) for name in names if name in classes]
    lines.append(line("total", total))
    if CORRECT in classes:
        lines.append(line("correct (not in total)", classes[CORRECT]))
    return "\n".join(lines)


# --- rows


def read(config: BenchmarkConfig, skipped: Skipped) -> PrmBench:
    seen = set[str]()

    def solutions(fields: Mapping[str, Any], where: str) -> list[JudgedSolution]:
        found = [each for each in read_row(fields, where) if each.row_id not in seen]
        seen.update(each.row_id for each in found)
        return found

    rows = [row for path in files_of(config.rows) for row in read_file(config, path, solutions, skipped)]
    return PrmBench(rows, config)


def read_row(fields: Mapping[str, Any], where: str) -> list[JudgedSolution]:
    """The modified solution, and of a row of redundancy the original one. Raises RowError for an unknown
    class and for an error step that is none.
    """
    written = take(fields, "classification", (str,), where)
    name = SPELLINGS.get(written, written)
    if name not in CLASSES:
        raise RowError(
            where, "an unknown classification", f": got {written!r}, expected {', '.join(CLASSES)}"
        )
    steps = take_texts(fields, "modified_process", where)
    wrong = take(fields, "error_steps", (list,), where)
    for number in wrong:
        if type(number) is not int or not 1 <= number <= len(steps):
            raise RowError(
                where, "an error step that is none", f": got {number!r:.20}, expected 1 to {len(steps)}"
            )
    index = str(fields.get("idx") or where)
    asked = "modified_question" if "modified_question" in fields else "question"
    question = take(fields, asked, (str,), where)
    labels = [place not in wrong for place in range(1, len(steps) + 1)]
    found = [_judged(f"{name}_{index}", name, question, steps, labels, where)]
    if name == "redundancy" and "original_process" in fields:
        original = take_texts(fields, "original_process", where)
        question = take(fields, "original_question", (str,), where)
        found.append(
            _judged(f"{CORRECT}_{index}", CORRECT, question, original, [True] * len(original), where)
        )
    return found


def _judged(
    row_id: str, name: str, question: str, steps: Sequence[str], labels: Sequence[bool], where: str
) -> JudgedSolution:
    row = stepwise(where, question, [_bare(step, n) for n, step in enumerate(steps, 1)], labels, {})
    return JudgedSolution(row_id, name, Attempt(row.prompt.strip(), row.completions), row.labels)


def _bare(step: str, number: int) -> str:
    """Without its own number."""
    return re.sub(rf"^\s*(?:step\s*)?{number}[.:]\s+(?=\S)", "", step, flags=re.IGNORECASE)
