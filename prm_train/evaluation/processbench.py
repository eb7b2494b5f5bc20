"""`prm-train processbench`: how well a PRM finds the first wrong step of a solution, as ProcessBench defines
it (Zheng et al. 2024).

The prediction is the first step whose score is below a threshold, or none. F1 is the harmonic mean of two
accuracies: naming the right step where people found an error, naming none where they found none. The headline
is the plain mean over the splits. A threshold decides as much as the model does, so three of them are
reported, and the best of each split as what no choice could surpass::

    fixed             0.5
    gsm8k             the best on one split (`tune_on`), used on all: the custom of the benchmark for scorers
                      without a natural threshold
    own validation    what `prm-train calibrate` or training has stored in the checkpoint

Intervals are 95 % bootstrap intervals over problems, which have up to five solutions; a tuned threshold is
held fixed in them.
"""

import asyncio
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from data_gen.files.jsonl import read_objects
from data_gen.files.run_folder import for_each
from data_gen.files.stored_record import StoredRecord
from data_gen.formats import processbench
from data_gen.models.names import check_inputs
from data_gen.records.first_error import NO_ERROR, first_error
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.examples.evenly import evenly
from prm_train.metrics.estimators import N_RESAMPLES, Interval
from prm_train.metrics.ranking import Floats, best_threshold, f1_at, right_between
from prm_train.scoring.protocol import PathTooLongError, Scorer

logger = logging.getLogger(__name__)

SPLITS = ("gsm8k", "math", "olympiadbench", "omnimath")
FIXED, BEST = "fixed", "best of the split"
NEVER = (np.inf, -np.inf)  # bounds of a solution whose first error no threshold finds


@dataclass(frozen=True)
class ProcessbenchConfig:
    """Measure a PRM on ProcessBench."""

    checkpoint: str = field(metadata={"is_model": True, "help": "folder or Hub name of a PRM"})
    data: Path = field(
        metadata={
            "is_input": True,
            "help": "folder with one file for each split: gsm8k.json, math.json, … (or .jsonl)",
        }
    )
    splits: tuple[str, ...] = field(default=SPLITS, metadata={"help": "the splits to evaluate on"})
    n_solutions: Annotated[int, Ge(1)] | None = field(
        default=None,
        metadata={"help": "number of solutions of each split, evenly spread over its file; null: all"},
    )
    tune_on: str = field(
        default="gsm8k", metadata={"help": "the split whose best threshold is used for all splits"}
    )
    store_threshold: bool = field(
        default=False, metadata={"help": "write that threshold into the checkpoint's config.json"}
    )
    output: Path | None = field(default=None, metadata={"help": "JSON file for the results"})
    dtype: Literal["float32", "bfloat16", "float16"] = field(
        default="float32", metadata={"help": "number format of the computation"}
    )
    device: str = field(default="cpu", metadata={"help": "device of the model, as cuda:0"})
    trust_remote_code: bool = field(
        default=False, metadata={"help": "run code that comes with the model's files"}
    )
    seed: int = field(default=0, metadata={"help": "seed of the bootstrap that makes the intervals"})

    def __post_init__(self) -> None:
        if self.tune_on not in self.splits:
            raise ValueError(
                f"tune_on: got {self.tune_on!r}, expected one of the splits {', '.join(self.splits)}"
            )


class JudgedSolution(NamedTuple):
    """A solution whose first error (a step from 0, or NO_ERROR) people have found."""

    question: str
    steps: tuple[str, ...]
    error: int


@dataclass(frozen=True)
class FirstErrors:
    """Accuracies and F1 at a threshold."""

    threshold: float
    accuracy_on_erroneous: float
    accuracy_on_correct: float
    f1: Interval


@dataclass(frozen=True)
class SplitResult:
    """`n_too_long`: solutions of which the scorer's context holds a part; an error that lies beyond it is not
    found.
    """

    n_erroneous: int
    n_correct: int
    n_too_long: int
    at: Mapping[str, FirstErrors]


@dataclass(frozen=True)
class ProcessbenchResult(StoredRecord):
    """`mean`: of the F1 over the splits, by threshold."""

    WRITTEN_BY = "`prm-train processbench`"

    checkpoint: str
    scorer_id: str
    splits: Mapping[str, SplitResult]
    mean: Mapping[str, Interval]


def read_split(folder: Path, split: str, n_solutions: int | None = None) -> list[JudgedSolution]:
    """All of a split, or `n_solutions` evenly spread. Raises InputError if there is no file of it, or one of
    something else.
    """
    files = [folder / f"{split}{suffix}" for suffix in (".json", ".jsonl")]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        raise InputError(
            f"{files[0]}: no such file; expected the folder of ProcessBench with a file for each of its "
            "splits"
        )
    solutions: list[JudgedSolution] = []
    for number, fields in read_objects(path):
        (row,) = processbench.read_row(fields, f"{path}:{number}").rows
        error = first_error([None if label is None else bool(label) for label in row.labels])
        assert error is not None  # the format has no other labels
        solutions.append(JudgedSolution(row.prompt, row.completions, error))
    if n_solutions is not None:
        solutions = evenly(solutions, n_solutions)
    _check_kinds(split, [solution.error != NO_ERROR for solution in solutions])
    return solutions


def _check_kinds(split: str, is_erroneous: Sequence[bool]) -> None:
    if all(is_erroneous) or not any(is_erroneous):
        raise InputError(
            f"{split}: {len(is_erroneous)} solutions, {sum(is_erroneous)} with an error; expected some with "
            "and some without"
        )


async def score_solutions(
    scorer: Scorer, solutions: Sequence[JudgedSolution], what: str
) -> list[tuple[float, ...]]:
    """The scores of the steps; of a solution too long for the scorer, those of the steps that fit."""

    async def one(solution: JudgedSolution) -> tuple[float, ...]:
        nodes = []
        try:
            async with scorer.session(solution.question) as tree:
                node = tree.root
                try:
                    for step in solution.steps:
                        node = tree.extend(node, step)
                        nodes.append(node)
                except PathTooLongError:
                    pass  # counted by the caller: there are fewer scores than steps
                return tuple(await asyncio.gather(*(tree.score(node) for node in nodes)))
        except PathTooLongError:  # the question alone
            return ()

    return await for_each(solutions, one, what=what, unit="solutions", at_once=64)


def bounds_of(solutions: Sequence[JudgedSolution], scores: Sequence[Sequence[float]]) -> Floats:
    """Between which thresholds each first error is found (N, 2), see `right_between`; at none if a step it
    takes has no score.
    """
    bounds = []
    for solution, row in zip(solutions, scores, strict=True):
        n_needed = len(solution.steps) if solution.error == NO_ERROR else solution.error + 1
        bounds.append(right_between(row, solution.error) if len(row) >= n_needed else NEVER)
    return np.array(bounds, dtype=float).reshape(len(bounds), 2)


class Bootstrap:
    """Resamples of the problems of a split. Two results on it are resampled alike."""

    def __init__(self, solutions: Sequence[JudgedSolution], seed: int) -> None:
        numbers: dict[str, int] = {}
        self.problem = np.array(
            [numbers.setdefault(solution.question, len(numbers)) for solution in solutions]
        )
        self.is_erroneous = np.array([solution.error != NO_ERROR for solution in solutions])
        n = len(numbers)
        # (R, P) how often each is drawn
        self.times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES)

    def f1(self, is_right: NDArray[np.bool_]) -> Floats:
        """The F1 in each resample (R,); 0 where one has no solution with, or none without an error."""
        accuracies = []
        for kind in (self.is_erroneous, ~self.is_erroneous):
            n_right, n_all = (
                self.times @ np.bincount(self.problem, flags, self.times.shape[1])
                for flags in (is_right & kind, kind)
            )
            accuracies.append(n_right / np.maximum(n_all, 1))
        total = accuracies[0] + accuracies[1]
        return np.asarray(2 * accuracies[0] * accuracies[1] / np.where(total > 0, total, 1))


def measure(
    scored: Mapping[str, tuple[Sequence[JudgedSolution], Sequence[Sequence[float]]]],
    tune_on: str,
    own_threshold: float | None = None,
    seed: int = 0,
) -> tuple[dict[str, SplitResult], dict[str, Interval]]:
    """Results of each split, and the mean F1 over them by threshold, from solutions and the scores of their
    steps.

    Raises InputError if a split lacks solutions with or without an error.
    """
    bounds = {split: bounds_of(*each) for split, each in scored.items()}
    kinds = {
        split: np.array([solution.error != NO_ERROR for solution in solutions])
        for split, (solutions, _) in scored.items()
    }
    best = {split: _best(split, bounds[split], kinds[split]) for split in scored}
    thresholds = {FIXED: 0.5, tune_on: best[tune_on]} | (
        {} if own_threshold is None else {"own validation": own_threshold}
    )
    splits: dict[str, SplitResult] = {}
    resampled: dict[str, list[Floats]] = {name: [] for name in (*thresholds, BEST)}
    for split, (solutions, scores) in scored.items():
        bootstrap, at = Bootstrap(solutions, seed), {}
        for name, threshold in {**thresholds, BEST: best[split]}.items():
            is_right = (bounds[split][:, 0] < threshold) & (threshold <= bounds[split][:, 1])
            resampled[name].append(bootstrap.f1(is_right))
            f1 = float(f1_at([threshold], bounds[split], kinds[split])[0])
            on_erroneous, on_correct = (
                float(is_right[kind].mean()) for kind in (kinds[split], ~kinds[split])
            )
            at[name] = FirstErrors(threshold, on_erroneous, on_correct, _interval(f1, resampled[name][-1]))
        n_erroneous = int(kinds[split].sum())
        n_too_long = sum(
            len(row) < len(solution.steps) for solution, row in zip(solutions, scores, strict=True)
        )
        splits[split] = SplitResult(n_erroneous, len(solutions) - n_erroneous, n_too_long, at)
    mean = {
        name: _interval(
            float(np.mean([result.at[name].f1.mean for result in splits.values()])), np.mean(draws, axis=0)
        )
        for name, draws in resampled.items()
    }
    return splits, mean


def _best(split: str, bounds: Floats, is_erroneous: NDArray[np.bool_]) -> float:
    _check_kinds(split, list(is_erroneous))
    found = best_threshold([(low, high) for low, high in bounds], list(is_erroneous))
    assert found is not None  # there are both kinds
    return found[0]


def _interval(value: float, resamples: Floats) -> Interval:
    low, high = np.percentile(resamples, [2.5, 97.5])
    return Interval(value, min(float(low), value), max(float(high), value))


def table(result: ProcessbenchResult) -> str:
    """F1 in percent by split and threshold."""
    lines = [f"{'':<18}{'threshold':>10}{'erroneous':>11}{'correct':>9}{'F1':>7}   95 % interval"]
    for split, found in result.splits.items():
        too_long = f", {found.n_too_long} too long for the scorer" if found.n_too_long else ""
        lines.append(f"{split}: {found.n_erroneous} erroneous, {found.n_correct} correct{too_long}")
        for name, at in found.at.items():
            accuracies = f"{100 * at.accuracy_on_erroneous:>11.1f}{100 * at.accuracy_on_correct:>9.1f}"
            lines.append(f"  {name:<16}{at.threshold:>10.4f}{accuracies}{_percent(at.f1)}")
    lines.append("mean over the splits")
    lines += [f"  {name:<16}{'':>30}{_percent(interval)}" for name, interval in result.mean.items()]
    return "\n".join(lines)


def _percent(interval: Interval) -> str:
    return f"{100 * interval.mean:>7.1f}   {100 * interval.low:.1f} to {100 * interval.high:.1f}"


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(ProcessbenchConfig, argv)
    check_inputs(config)
    from prm_train.checkpoints.facts import Threshold, read_config_facts, store_threshold
    from prm_train.kinds.load import load_scorer
    from prm_train.metrics.calibration import OWN_VALIDATION

    solutions = {split: read_split(config.data, split, config.n_solutions) for split in config.splits}
    own = [
        each.value
        for each in read_config_facts(config.checkpoint, config.trust_remote_code).thresholds
        if each.tuned_on == OWN_VALIDATION
    ]
    scorer = load_scorer(
        config.checkpoint,
        dtype=config.dtype,
        device=config.device,
        trust_remote_code=config.trust_remote_code,
    )
    if not scorer.scores_steps:
        raise InputError(
            f"checkpoint {config.checkpoint}: an ORM, which scores whole solutions; expected a PRM"
        )

    async def score() -> dict[str, list[tuple[float, ...]]]:
        return {
            split: await score_solutions(scorer, each, f"score {split}") for split, each in solutions.items()
        }

    scores = asyncio.run(score())
    found = measure(
        {split: (solutions[split], scores[split]) for split in solutions},
        config.tune_on,
        next(iter(own), None),
        config.seed,
    )
    result = ProcessbenchResult(config.checkpoint, scorer.scorer_id, *found)
    if config.output is not None:
        result.write(config.output)
    if config.store_threshold:
        others = [
            each.at[config.tune_on].f1.mean
            for split, each in result.splits.items()
            if split != config.tune_on
        ]
        tuned = result.splits[config.tune_on].at[config.tune_on].threshold
        store_threshold(
            Path(config.checkpoint),
            Threshold(f"ProcessBench {config.tune_on}", tuned, float(np.mean(others)) if others else None),
        )
    sys.stdout.write(table(result) + "\n")


if __name__ == "__main__":
    run_command(main, "processbench")
