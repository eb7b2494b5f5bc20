"""What `prm-train compare-sizes` found: the records of sizes.json.

Accuracies are fractions; FLOPs and tokens are means a question.
"""

from dataclasses import dataclass
from typing import Literal

from data_gen.files.stored_record import StoredRecord
from prm_train.metrics.estimators import Interval

FlopsKind = Literal["parameters", "counted"]  # 2 N a token and 6 N in pretraining; or by architecture
Pretraining = Literal["same", "own"]  # both policies saw as many tokens, or as many as they did
Answer = Literal["greedy", "sampled"]
Verdict = Literal["small", "large", "level", "unreached", "unaffordable"]
OPTIMAL = "compute-optimal"


@dataclass(frozen=True)
class PolicyFacts:
    """`n_pretraining_tokens` is None where not known; `flops_per_token` are of a single answer, by kind."""

    policy_id: str
    n_parameters: int
    n_tokens: float
    flops_per_token: dict[FlopsKind, float]
    n_pretraining_tokens: int | None = None


@dataclass(frozen=True)
class SizeRow:
    """The small policy with a way to search, within what makes both cost the same, against one answer of the
    large one, on the same problems (`bin` 0 is the easiest; None: all of them, with `difficulty` choosing).

    `load` is R. `budget` is in FLOPs and `factor` how often it pays for as many tokens of the small policy
    as an answer has. `large` and `small` are accuracies, `spent` is what the way costs, the scorer's FLOPs
    included; `difference` is small minus large, paired.

    `verdict`: which is better where the interval of the difference lies beside 0, else `level`. `unreached`:
    the budget pays for more than any stored N costs, and at the largest stored one the small policy is not
    better; with less than the budget better is better. `unaffordable`: the budget pays for nothing.
    """

    flops: FlopsKind
    pretraining: Pretraining
    load: float
    difficulty: str
    bin: int | None
    n_problems: int
    answer: Answer
    way: str
    budget: float
    factor: float
    large: Interval
    verdict: Verdict
    spent: float | None = None
    is_whole_budget: bool = True  # False: it pays for more than is stored
    small: Interval | None = None
    difference: Interval | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class SizeCurve:
    """The small policy on a fifth of the problems by oracle difficulty: `(FLOPs a question, accuracy)` at
    each N; FLOPs are counted.
    """

    way: str
    bin: int
    points: tuple[tuple[float, Interval], ...]


@dataclass(frozen=True)
class SizeReport(StoredRecord):
    """sizes.json. `own_load` is R of these problems: what answering them once takes in tokens, over the
    pretraining of the small policy; None where that is not known. `curves` are of the first method that is
    read at budgets.
    """

    WRITTEN_BY = "`prm-train compare-sizes`"

    small: PolicyFacts
    large: PolicyFacts
    n_problems: int
    size_ratio: float
    temperature: float
    own_load: float | None
    n_folds: int
    seed: int
    rows: tuple[SizeRow, ...]
    curves: tuple[SizeCurve, ...] = ()
