"""Label algebra: what the score of a step is trained towards, from a row's labels or from the counts of its rollouts. Loads without torch.

    hard          the row's labels; or, with a threshold, whether more than this share of the rollouts succeeded
    soft          n_correct / n_rollouts, the value of the prefix (Snell et al. 2024, App. D); fixed-n counts only
    likelihood    the same target with weight n_rollouts: the binomial likelihood of the counts, right for every stopping rule
    smoothed      (n_correct + a) / (n_rollouts + 2 a): the mean of a Beta(a, a) prior after the counts; fixed-n counts only

Where a search for the first error made the labels, right solutions have no counts (they witness themselves): only `hard` learns from them.

A label says that a step is right, a value how often the policy succeeds from there: a checkpoint states which it was trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

from annotated_types import Gt, Interval

from data_gen.config import InputError
from data_gen.rows import PrmRow

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
        metadata={"help": "hard: labels; soft: n_correct / n_rollouts; likelihood: of the counts; smoothed: soft under a Beta prior"},
    )
    hard_threshold: Annotated[float, Interval(ge=0, lt=1)] | None = field(
        default=None, metadata={"help": "hard: a step is right if more than this share of its rollouts succeed; null: the rows' own labels"}
    )
    smoothing: Annotated[float, Gt(0)] = field(default=1.0, metadata={"help": "smoothed: a of the Beta(a, a) prior"})
    until_first_error: bool = field(default=False, metadata={"help": "steps after the first one of value 0 or label false get no target"})
    weigh_by_rollouts: bool = field(default=False, metadata={"help": "a step counts in proportion to its rollouts"})

    def __post_init__(self) -> None:
        if self.hard_threshold is not None and self.label_kind != "hard":
            raise ValueError(f"hard_threshold: got {self.hard_threshold} with label_kind {self.label_kind}, expected label_kind hard")

    @property
    def semantics(self) -> str:
        """What the targets mean, for the checkpoint and its card."""
        share = "share of right rollouts from the end of the step: the value of that prefix under the sampling policy"
        if self.label_kind == "hard" and self.hard_threshold is None:
            text = "whether the step is right, as the rows' labels say"
        elif self.label_kind == "hard":
            text = f"whether more than {self.hard_threshold:g} of the rollouts from the end of the step are right"
        elif self.label_kind == "smoothed":
            text = f"{share}, under a Beta({self.smoothing:g}, {self.smoothing:g}) prior"
        else:
            text = f"{share}{', each rollout counting one' if self.label_kind == 'likelihood' else ''}"
        return text + (", up to the first error" if self.until_first_error else "")


def step_targets(row: PrmRow, algebra: LabelAlgebra) -> list[Target | None]:
    """The target of each step, None where it has none. Raises InputError where counts cannot be read as the algebra asks."""
    targets = [_target(row, step, algebra) for step in range(len(row.completions))]
    if not algebra.until_first_error:
        return targets
    errors = (step for step, target in enumerate(targets) if target is not None and target.value == 0)
    first_error = next(errors, len(targets)) if algebra.label_kind != "smoothed" else _first_without_success(row)
    return [target if step <= first_error else None for step, target in enumerate(targets)]


def with_mean_weight_one(weights: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """The weights of all rows, scaled so that they average 1: the loss stays a mean over labels."""
    total, n = sum(map(sum, weights)), sum(map(len, weights))
    return [tuple(weight * n / total for weight in row) for row in weights]


def _target(row: PrmRow, step: int, algebra: LabelAlgebra) -> Target | None:
    n_correct, n_rollouts = row.n_correct[step], row.n_rollouts[step]
    weight = float(n_rollouts) if algebra.weigh_by_rollouts or algebra.label_kind == "likelihood" else 1.0
    if algebra.weigh_by_rollouts and algebra.label_kind != "likelihood" and n_rollouts and row.stopping[step] != "fixed":
        raise InputError(
            f"problem {row.problem_id}, step {step}: weigh_by_rollouts needs a fixed number of rollouts, got stopping "
            f"{row.stopping[step]!r}, under which failures take more rollouts than successes"
        )
    if algebra.label_kind == "hard" and algebra.hard_threshold is None:
        label = row.labels[step]
        return None if label is None else Target(float(label), weight or 1.0)
    is_likelihood = algebra.label_kind == "likelihood"
    is_any_success = algebra.label_kind == "hard" and algebra.hard_threshold == 0
    if n_rollouts == 0:
        if row.method[step] == "witness" and is_any_success:
            return Target(1.0, weight or 1.0)
        return _verdict_target(row, step, weight or float(max(row.n_rollouts)) or 1.0)
    if row.stopping[step] != "fixed" and not is_likelihood and not is_any_success:
        raise InputError(
            f"problem {row.problem_id}, step {step}: label_kind {algebra.label_kind} needs a fixed number of rollouts, got stopping "
            f"{row.stopping[step]!r}, whose n_correct / n_rollouts is biased; expected label_kind hard or likelihood, or fixed-n labels"
        )
    if algebra.label_kind == "hard":
        assert algebra.hard_threshold is not None
        return Target(float(n_correct / n_rollouts > algebra.hard_threshold), weight)
    if algebra.label_kind == "smoothed":
        return Target((n_correct + algebra.smoothing) / (n_rollouts + 2 * algebra.smoothing), weight)
    return Target(n_correct / n_rollouts, weight)


def _verdict_target(row: PrmRow, step: int, weight: float) -> Target | None:
    """The end of a finished solution has the verdict as its value, with the weight of the row's best known step; None elsewhere."""
    is_known = row.method[step] == "terminal" and row.low[step] == row.high[step]
    return Target(row.low[step], weight) if is_known else None


def _first_without_success(row: PrmRow) -> int:
    counts = enumerate(zip(row.n_correct, row.n_rollouts, strict=True))
    return next((step for step, (n_correct, n_rollouts) in counts if n_rollouts and not n_correct), len(row.completions))
