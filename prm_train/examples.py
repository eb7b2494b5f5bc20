"""Training rows → encoded examples: labels at step positions, split by question, and nothing lost without a count and a reason."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from data_gen.config import InputError
from data_gen.records import derive_seed
from data_gen.rows import OrmRow, PrmRow
from data_gen.steps import split_steps
from prm_train.encoding import ScorerEncoding

logger = logging.getLogger(__name__)

LabelKind = Literal["hard", "soft"]


@dataclass(frozen=True)
class Example:
    """Ids of a path, the positions in them where a score is wanted, and the targets in [0, 1] there. An ORM has one position, the last."""

    question: str
    input_ids: tuple[int, ...]
    positions: tuple[int, ...]
    targets: tuple[float, ...]


@dataclass(frozen=True)
class ExampleSet:
    """Examples, and how many rows or labelled steps were left out by reason."""

    examples: tuple[Example, ...]
    left_out: Counter[str]


def prm_examples(rows: Sequence[PrmRow], encoding: ScorerEncoding, label_kind: LabelKind, max_length: int) -> ExampleSet:
    """One example a row. Steps without a label get no position; what follows the last labelled step is cut off, since with causal attention
    no score sees it. A row longer than `max_length` tokens loses its last steps.

    Raises InputError if no labelled step is left, or as `step_targets` does.
    """
    examples, left_out = [], Counter[str]()
    for row in rows:
        input_ids, ends = encoding.encode(row.prompt, row.completions)
        targets = step_targets(row, label_kind)
        labelled = [(end, target) for end, target in zip(ends, targets, strict=True) if target is not None]
        kept = [(end, target) for end, target in labelled if end < max_length]
        left_out["labelled steps beyond max_length"] += len(labelled) - len(kept)
        if not labelled:
            left_out["rows without a label"] += 1
        elif not kept:
            left_out["rows with every label beyond max_length"] += 1
        else:
            positions, values = zip(*kept, strict=True)
            examples.append(Example(row.prompt, input_ids[: positions[-1] + 1], positions, values))
    return _counted(examples, left_out, f"{len(rows)} PRM rows", max_length)


def step_targets(row: PrmRow, label_kind: LabelKind) -> list[float | None]:
    """What each step's score is trained towards, None where it has no label.

    hard: the row's labels. soft: the value n_correct / n_rollouts of the prefix that ends with the step. Raises InputError where rollouts
    stopped at their first success, since that fraction is then biased upwards.
    """
    if label_kind == "hard":
        return [None if label is None else float(label) for label in row.labels]
    for index, (stopping, n_rollouts) in enumerate(zip(row.stopping, row.n_rollouts, strict=True)):
        if stopping != "fixed" and n_rollouts:
            raise InputError(
                f"problem {row.problem_id}, step {index}: label_kind soft needs a fixed number of rollouts, got stopping {stopping!r}, "
                "whose n_correct / n_rollouts is biased; label with a fixed number, or train with label_kind hard"
            )
    counts = zip(row.n_correct, row.n_rollouts, strict=True)
    return [n_correct / n_rollouts if n_rollouts else None for n_correct, n_rollouts in counts]


def orm_examples(rows: Sequence[OrmRow], encoding: ScorerEncoding, max_length: int) -> ExampleSet:
    """One example a row, its score read at the end of its last step. Raises InputError if no row is left.

    A row longer than `max_length` tokens is left out: half a solution has no outcome.
    """
    examples, left_out = [], Counter[str]()
    for row in rows:
        steps = split_steps(row.completion, encoding.facts.step_separator)
        input_ids, ends = encoding.encode(row.prompt, steps)
        if not steps:
            left_out["rows without a step"] += 1
        elif len(input_ids) > max_length:
            left_out["rows longer than max_length"] += 1
        else:
            examples.append(Example(row.prompt, input_ids, ends[-1:], (float(row.label),)))
    return _counted(examples, left_out, f"{len(rows)} ORM rows", max_length)


def split_by_question(examples: Sequence[Example], validation_share: float) -> tuple[list[Example], list[Example]]:
    """(training, validation) examples. All examples of a question are on one side, the same one in every run and for PRM and ORM."""
    sides: tuple[list[Example], list[Example]] = ([], [])
    for example in examples:
        is_validation = derive_seed("validation question", example.question) % 10_000 < 10_000 * validation_share
        sides[is_validation].append(example)
    return sides


def _counted(examples: list[Example], left_out: Counter[str], what: str, max_length: int) -> ExampleSet:
    left_out = +left_out
    if left_out:
        logger.warning("%s, max_length %d: left out %s", what, max_length, ", ".join(f"{n} {reason}" for reason, n in left_out.items()))
    if not examples:
        reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items()) or "there are no rows"
        raise InputError(f"{what}: no label is left to train on ({reasons}; max_length {max_length})")
    return ExampleSet(tuple(examples), left_out)
