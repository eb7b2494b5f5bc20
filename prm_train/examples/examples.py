"""Training rows → encoded examples: labels at step positions, split by question, and nothing lost without a
count and a reason.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from data_gen.labeling.views import cleared
from data_gen.records.draw_keys import derive_seed
from data_gen.records.first_error import NO_ERROR, first_error
from data_gen.records.solutions import GIVEN
from data_gen.records.steps import split_steps
from data_gen.rows.layouts import OrmRow, PrmRow
from data_gen.settings.errors import InputError
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.targets import LabelAlgebra, Target, step_targets, with_mean_weight_one

logger = logging.getLogger(__name__)
ONLY_VALUES = "rows whose labels are values, which label_kind soft or a hard_threshold reads"


@dataclass(frozen=True)
class Example:
    """Ids of a path and the positions in them where a score is wanted, with targets in [0, 1] and weights
    there.

    An ORM has one position, the last. `step_indices` says which step of its solution each position ends.

    The rest is evidence that validation compares with and training does not see: the counts of a fixed number
    of rollouts at each position (0 of 0 where there was no fixed number; none at all for an ORM), and the
    first wrong step (see `data_gen.records.first_error`).
    """

    question: str
    input_ids: tuple[int, ...]
    positions: tuple[int, ...]
    targets: tuple[float, ...]
    weights: tuple[float, ...]
    step_indices: tuple[int, ...] = (0,)
    n_correct: tuple[int, ...] = field(default=(), compare=False)
    n_rollouts: tuple[int, ...] = field(default=(), compare=False)
    first_error: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ExampleSet:
    """Examples, and how many rows or labeled steps were left out by reason."""

    examples: tuple[Example, ...]
    left_out: Counter[str]


def prm_examples(
    rows: Sequence[PrmRow], encoding: ScorerEncoding, algebra: LabelAlgebra, max_length: int
) -> ExampleSet:
    """One example a row. Steps without a target get no position; what follows the last target is cut off,
    since with causal attention no score sees it. A row longer than `max_length` tokens loses its last steps.
    The label of a step that holds the separator stands behind the last of the steps that it is encoded as;
    that of a blank one is left out. Weights average 1 over all examples.

    Where rollouts weigh, a verdict weighs as much as the most of them. Raises InputError if no labeled step
    is left, or as `step_targets` does.
    """
    examples, left_out = [], Counter[str]()
    _say_what_holds_the_separator(rows, encoding.facts.step_separator)
    most_rollouts = float(max((n for row in rows for n in row.n_rollouts), default=0) or 1)
    for row in rows:
        input_ids, ends = encoding.encode(row.prompt, row.completions)
        targets = step_targets(row, algebra, most_rollouts)
        is_blank = [not split_steps(step, encoding.facts.step_separator) for step in row.completions]
        places = enumerate(zip(ends, targets, is_blank, strict=True))
        labeled = [
            (end, target.value, target.weight, step)
            for step, (end, target, blank) in places
            if target is not None and not blank
        ]
        left_out["blank steps"] += sum(is_blank)
        kept = [place for place in labeled if place[0] < max_length]
        left_out["labeled steps beyond max_length"] += len(labeled) - len(kept)
        left_out["steps beyond max_length"] += sum(end >= max_length for end in ends)
        if not labeled:
            left_out[ONLY_VALUES if GIVEN in row.method else "rows without a label"] += 1
        elif not kept:
            left_out["rows with every label beyond max_length"] += 1
        else:
            left_out["rows cut at max_length"] += len(kept) < len(labeled)
            positions, values, weights, steps = zip(*kept, strict=True)
            error = _first_error(row, targets, algebra, steps, is_whole=ends[-1] < max_length)
            ids = input_ids[: positions[-1] + 1]
            examples.append(
                Example(row.prompt, ids, positions, values, weights, steps, *_counts(row, steps), error)
            )
    found = counted(examples, left_out, f"{len(rows)} PRM rows", max_length)
    weighted = zip(
        found.examples, with_mean_weight_one([example.weights for example in found.examples]), strict=True
    )
    return replace(found, examples=tuple(replace(example, weights=weights) for example, weights in weighted))


def _say_what_holds_the_separator(rows: Sequence[PrmRow], separator: str) -> None:
    steps = [step for row in rows for step in row.completions]
    n_cut = sum(len(split_steps(step, separator)) > 1 for step in steps)
    if n_cut:
        told = (n_cut, len(steps), separator)
        logger.warning(
            "%d of %d steps hold the separator %r and are encoded as several, as search cuts them, with one "
            "label behind the last; a "
            "step_separator that no step holds keeps them whole",
            *told,
        )


def orm_examples(
    rows: Sequence[OrmRow], encoding: ScorerEncoding, max_length: int, n_equal: int = 0
) -> ExampleSet:
    """One example a row, its score read at the end of its last step. Raises InputError if no row is left.

    A row longer than `max_length` tokens is left out: half a solution has no outcome. `n_equal` were left out
    before.
    """
    examples, left_out = [], Counter({"rows equal to an earlier one": n_equal})
    for row in rows:
        steps = split_steps(row.completion, encoding.facts.step_separator)
        input_ids, ends = encoding.encode(row.prompt, steps)
        if not steps:
            left_out["rows without a step"] += 1
        elif len(input_ids) > max_length:
            left_out["rows longer than max_length"] += 1
        else:
            examples.append(
                Example(row.prompt, input_ids, ends[-1:], (float(row.label),), (1.0,), (len(steps) - 1,))
            )
    return counted(examples, left_out, f"{len(rows) + n_equal} ORM rows", max_length)


def _counts(row: PrmRow, steps: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """n_correct and n_rollouts of the steps whose rollouts were of a fixed number, 0 of 0 for the others."""
    fixed = [
        (row.n_correct[step], row.n_rollouts[step]) if row.stopping[step] == "fixed" else (0, 0)
        for step in steps
    ]
    return tuple(c for c, _ in fixed), tuple(n for _, n in fixed)


def _first_error(
    row: PrmRow, targets: Sequence[Target | None], algebra: LabelAlgebra, steps: Sequence[int], is_whole: bool
) -> int | None:
    """By the hard labels that training sees, else by the row's own; a right solution has none. None where it
    is no kept step, or may have been cut off.
    """
    labels = (
        [None if target is None else target.value == 1 for target in targets]
        if algebra.label_kind == "hard"
        else row.labels
    )
    error = first_error(cleared(labels, row.estimates))
    return error if error in steps or (error == NO_ERROR and is_whole) else None


def split_by_question(
    examples: Sequence[Example], validation_share: float
) -> tuple[list[Example], list[Example]]:
    """(training, validation) examples. All examples of a question are on one side, the same one in every run
    and for PRM and ORM.
    """
    sides: tuple[list[Example], list[Example]] = ([], [])
    for example in examples:
        sides[is_validation_question(example.question, validation_share)].append(example)
    return sides


def is_validation_question(question: str, validation_share: float) -> bool:
    """Whether a training keeps the question for validation.

    The files that `prm-train build` splits are another matter: of whichever it is given, a training holds out
    this share.
    """
    return derive_seed("validation question", question) % 10_000 < 10_000 * validation_share


def counted(examples: list[Example], left_out: Counter[str], what: str, max_length: int) -> ExampleSet:
    left_out = +left_out
    if left_out:
        logger.warning(
            "%s, max_length %d: left out %s",
            what,
            max_length,
            ", ".join(f"{n} {reason}" for reason, n in left_out.items()),
        )
    if not examples:
        reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items()) or "there are no rows"
        raise InputError(f"{what}: no label is left to train on ({reasons}; max_length {max_length})")
    return ExampleSet(tuple(examples), left_out)
