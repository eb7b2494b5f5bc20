"""What a seed of the reproduction measured, one value a problem: measured.json, from which the findings are
computed. Accuracies are those of blocks of samples, costs FLOPs of policy and scorers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from data_gen.files.stored_record import StoredRecord
from data_gen.settings.errors import InputError
from prm_train.search.results import ProblemResult

Values = tuple[float, ...]  # one a problem
Table = Mapping[str, Mapping[int, Values]]  # by method and N
FILE = "measured.json"


@dataclass(frozen=True)
class Point:
    """A way of answering: accuracy and FLOPs of each problem."""

    accuracy: Values
    flops: Values


@dataclass(frozen=True)
class SearchHalf:
    """`fifths` of difficulty, 0 the easiest. `strongest_orm` is a method of `solved`. `same_budget` names for
    each budget of paths the better of best-of-N and beam search on validation problems.

    `best_of_n` are the points of PRM-weighted best-of-N by N, `allocated` those of the compute-optimal way by
    estimate of difficulty, a point for each budget, ascending.
    """

    solved: Table
    mean_flops: Mapping[str, Mapping[int, float]]
    fifths: tuple[int, ...]
    strongest_orm: str
    validation_of_orms: Mapping[str, float]
    same_budget: Mapping[int, str]
    settings: Mapping[str, str]
    best_of_n: Mapping[int, Point]
    allocated: Mapping[str, tuple[Point, ...]]
    early_stop: "Stopped"


@dataclass(frozen=True)
class Stopped:
    """Of each problem: accuracy and tokens of all samples, and of those drawn until the rule stopped; these
    are empty where no threshold was as accurate on validation problems.
    """

    all_accuracy: Values
    all_tokens: Values
    accuracy: Values = ()
    tokens: Values = ()
    threshold: float | None = None


@dataclass(frozen=True)
class RevisionHalf:
    """Of one chain for each problem, all (problem, place): which attempts are right, and which the choice
    among the attempts so far; `blind` are attempts that saw none before them.
    """

    solved: Table
    tokens: Mapping[str, Mapping[str, float]]
    fifths: tuple[int, ...]
    right: tuple[Values, ...]
    chosen: tuple[Values, ...]
    blind: tuple[Values, ...]


@dataclass(frozen=True)
class Measured(StoredRecord):
    """A seed. `cpu_seconds` by what was run."""

    WRITTEN_BY = "`python -m benchmarks.reproduce run`"

    seed: int
    search: SearchHalf
    revisions: RevisionHalf
    cpu_seconds: Mapping[str, float]
    machine: str


def check_answered(results: Iterable[ProblemResult], where: str) -> None:
    """Raises InputError if a problem failed: of what nobody answered, costs and differences are not known."""
    failed = {each.problem.problem_id: each.failure for each in results if each.failure}
    if failed:
        name, why = next(iter(failed.items()))
        raise InputError(f"{where}: {len(failed)} problems failed, as {name}: {why}; expected none")
