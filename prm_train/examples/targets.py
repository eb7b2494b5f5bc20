"""What the score of a step is trained towards, from a row's labels or from the counts of its rollouts
(`data_gen.labeling.views`, where the views are defined). Loads without torch.

    hard          the row's labels; or, with a threshold, whether more than this share of the rollouts
                  succeeded
    soft          n_correct / n_rollouts, the value of the prefix
    likelihood    the same target with weight n_rollouts: the binomial likelihood of the counts, right for
                  every stopping rule
    smoothed      the value under a Beta prior

Where a search for the first error made the labels, right solutions have no counts (they witness themselves):
only `hard` learns from them.

A label says that a step is right, a value how often the policy succeeds from there: a checkpoint states which
it was trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

from annotated_types import Gt, Interval

from data_gen.labeling.views import cleared, hard, known_value, likelihood, smoothed, soft
from data_gen.rows.layouts import PrmRow
from data_gen.settings.errors import InputError

LabelKind = Literal["hard", "soft", "likelihood", "smoothed"]


class Target(NamedTuple):
    """A probability in [0, 1] and how much it counts."""

    value: float
    weight: float


@dataclass(frozen=True, kw_only=True)
class LabelAlgebra:
    """How targets are made of a row's labels and counts."""

    label_kind: LabelKind = field(
        default="hard",
        metadata={
            "help": "what a step is trained on. hard: its label; soft: n_correct / n_rollouts; likelihood: "
            "the likelihood of its "
            "counts; smoothed: soft under a Beta prior"
        },
    )
    hard_threshold: Annotated[float, Interval(ge=0, lt=1)] | None = field(
        default=None,
        metadata={
            "help": "for hard: a step is right if more than this share of its rollouts succeed; null: the "
            "labels in the rows"
        },
    )
    smoothing: Annotated[float, Gt(0)] = field(
        default=1.0, metadata={"help": "for smoothed: a of the Beta(a, a) prior"}
    )
    until_first_error: bool = field(
        default=False,
        metadata={
            "help": "no target after the first step of value 0 or label false; steps of a right solution "
            "whose rollouts all failed by "
            "chance do not count"
        },
    )
    weigh_by_rollouts: bool = field(
        default=False, metadata={"help": "let a step count in proportion to the number of its rollouts"}
    )

    def __post_init__(self) -> None:
        if self.hard_threshold is not None and self.label_kind != "hard":
            raise ValueError(
                f"hard_threshold: got {self.hard_threshold} with label_kind {self.label_kind}, expected "
                "label_kind hard"
            )

    @property
    def semantics(self) -> str:
        """What the targets mean, for the checkpoint and its card."""
        share = (
            "share of right rollouts from the end of the step: the value of that prefix under the "
            "sampling policy"
        )
        if self.label_kind == "hard" and self.hard_threshold is None:
            text = "whether the step is right, as the rows' labels say"
        elif self.label_kind == "hard":
            text = (
                f"whether more than {self.hard_threshold:g} of the rollouts from the end of the step are "
                "right"
            )
        elif self.label_kind == "smoothed":
            text = f"{share}, under a Beta({self.smoothing:g}, {self.smoothing:g}) prior"
        else:
            text = f"{share}{', each rollout counting one' if self.label_kind == 'likelihood' else ''}"
        return text + (", up to the first error" if self.until_first_error else "")


OWN_LABELS = LabelAlgebra()  # the rows' own, as they are


def step_targets(row: PrmRow, algebra: LabelAlgebra, weight_of_known: float = 1.0) -> list[Target | None]:
    """The target of each step, None where it has none; where rollouts weigh, what is known without any has
    `weight_of_known`.

    Raises InputError where counts cannot be read as the algebra asks.
    """
    try:
        values, weights = _values(row, algebra), _weights(row, algebra, weight_of_known)
    except InputError as fault:
        raise InputError(f"problem {row.problem_id}, {fault}") from None
    if algebra.until_first_error:
        values = _until_first_error(row, algebra, values)
    return [
        None if value is None else Target(value, weight)
        for value, weight in zip(values, weights, strict=True)
    ]


def with_mean_weight_one(weights: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """The weights of all rows, scaled so that they average 1: the loss stays a mean over labels."""
    total, n = sum(map(sum, weights)), sum(map(len, weights))
    return [tuple(weight * n / total for weight in row) for row in weights]


def _values(row: PrmRow, algebra: LabelAlgebra) -> list[float | None]:
    estimates = row.estimates
    if algebra.label_kind == "hard":
        labels = row.labels if algebra.hard_threshold is None else hard(estimates, algebra.hard_threshold)
        return [None if label is None else float(label) for label in labels]
    if algebra.label_kind == "soft":
        return list(soft(estimates))
    if algebra.label_kind == "smoothed":
        return list(smoothed(estimates, algebra.smoothing))
    counts = zip(likelihood(estimates), estimates, strict=True)
    return [
        successes / (successes + failures) if successes + failures else known_value(each)
        for (successes, failures), each in counts
    ]


def _weights(row: PrmRow, algebra: LabelAlgebra, weight_of_known: float) -> list[float]:
    """Of each step 1, or its rollouts."""
    if algebra.label_kind != "likelihood" and not algebra.weigh_by_rollouts:
        return [1.0] * len(row.completions)
    for step, (n_rollouts, stopping) in enumerate(zip(row.n_rollouts, row.stopping, strict=True)):
        if algebra.label_kind != "likelihood" and n_rollouts and stopping != "fixed":
            raise InputError(
                f"step {step}: weigh_by_rollouts needs a fixed number of rollouts, got stopping "
                f"{stopping!r}, under which failures take "
                "more rollouts than successes"
            )
    return [float(n_rollouts) or weight_of_known for n_rollouts in row.n_rollouts]


def _until_first_error(row: PrmRow, algebra: LabelAlgebra, values: list[float | None]) -> list[float | None]:
    """The values up to the first step that is wrong by its label, or without a success; in a right solution
    no step is so by chance.
    """
    labels = cleared(_labels(values) if algebra.label_kind == "hard" else hard(row.estimates), row.estimates)
    if algebra.label_kind == "hard":
        values = [None if label is None else float(label) for label in labels]
    n_kept = labels.index(False) + 1 if False in labels else len(labels)
    return values[:n_kept] + [None] * (len(labels) - n_kept)


def _labels(values: Sequence[float | None]) -> list[bool | None]:
    return [None if value is None else value == 1 for value in values]
