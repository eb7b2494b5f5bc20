"""What is measured of one seed."""

from dataclasses import dataclass

from data_gen.files.stored_record import StoredRecord

Curve = list[list[float]]  # of [step, value]


@dataclass(frozen=True)
class Arm:
    """One training: the share of validation problems that greedy answers solve, and by step the mean number
    of steps and tokens of a completion and the scorer's AUROC on outcomes (empty without a PRM).
    """

    solved: Curve
    n_tokens: Curve
    n_steps: Curve
    auroc: Curve
    n_generated: int
    n_steps_of_training: int
    cpu_seconds: float


@dataclass(frozen=True)
class Searched:
    """A policy on the test problems, one value a problem: whether greedy is right, pass@1 and pass@64 of its
    samples, and weighted best-of-16 under the PRM.
    """

    greedy: list[float]
    pass_at_1: list[float]
    pass_at_64: list[float]
    weighted_16: list[float]


@dataclass(frozen=True)
class Measured(StoredRecord):
    """measured.json"""

    WRITTEN_BY = "`python -m benchmarks.rl run`"

    seed: int
    settings: dict[str, float]
    arms: dict[str, Arm]
    searched: dict[str, Searched]
    cpu_seconds: dict[str, float]
    machine: str
