"""`prm-train benchmark processbench`: rows with the first wrong step that people found, -1 where there is
none. How they are measured: `prm_train.benchmarking.first_errors`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_gen.files.bad_rows import Skipped
from data_gen.formats import processbench
from data_gen.settings.errors import InputError
from prm_train.benchmarking.first_errors import Split, measure, predictions, table
from prm_train.benchmarking.measures import Measured
from prm_train.benchmarking.rows import Attempt, JudgedSolution, OfSolutions, files_of, read_judged
from prm_train.benchmarking.scored import Scored
from prm_train.benchmarking.settings import BenchmarkConfig

SPLITS = ("gsm8k", "math", "olympiadbench", "omnimath")  # in the order of the paper


@dataclass(frozen=True)
class ProcessBench(OfSolutions):
    """`tuning` are solutions of a file that is not measured and chooses a threshold."""

    tuning: Sequence[JudgedSolution]
    config: BenchmarkConfig

    @property
    def attempts(self) -> list[Attempt]:
        return [each.attempt for each in (*self.solutions, *self.tuning)]

    def measure(self, found: Scored) -> Measured:
        def split(solutions: Sequence[JudgedSolution]) -> Split:
            return Split(solutions, [found.steps(each.attempt) for each in solutions], self.config.seed)

        splits = {
            name: split([each for each in self.solutions if each.split == name])
            for name in dict.fromkeys(each.split for each in self.solutions)
        }
        tuned = None
        if self.config.tune_on is not None:
            chooser = split(self.tuning) if self.tuning else splits[self.config.tune_on]
            best = chooser.best()
            if best is None:
                raise InputError(
                    f"tune_on: {self.config.tune_on}: {len(chooser.errors)} solutions, "
                    f"{chooser.is_erroneous.sum()} with an error; expected some with and some without"
                )
            tuned = self.tuned_on, best
        results, mean, used = measure(splits, found.own_threshold, tuned)
        if self.config.store_threshold and tuned is not None:
            others = [each.at[f"tuned on {tuned[0]}"] for name, each in results.items() if name != tuned[0]]
            self._store(tuned, [each.f1.mean for each in others if each.f1 is not None])
        rows = [row for name, each in splits.items() for row in predictions(each, used[name])]
        return Measured({"splits": results, "mean": mean}, rows, table(results, mean))

    @property
    def tuned_on(self) -> str:
        """The split, or the name of the file; of one that is called as a split, its path."""
        assert self.config.tune_on is not None
        name = Path(self.config.tune_on).stem
        is_split = any(each.split == name for each in self.solutions)
        return name if self.tuning and not is_split else self.config.tune_on

    def _store(self, tuned: tuple[str, float], f1s: Sequence[float]) -> None:
        from prm_train.checkpoints.facts import Threshold, store_threshold

        assert self.config.checkpoint is not None
        f1 = float(np.mean(f1s)) if f1s else None
        store_threshold(Path(self.config.checkpoint), Threshold(f"ProcessBench {tuned[0]}", tuned[1], f1))


def read(config: BenchmarkConfig, skipped: Skipped) -> ProcessBench:
    files = files_of(config.rows)
    files.sort(key=lambda path: SPLITS.index(path.stem) if path.stem in SPLITS else len(SPLITS))
    solutions = [row for path in files for row in read_judged(config, path, processbench.read_row, skipped)]
    splits = [path.stem for path in files]
    tuning: list[JudgedSolution] = []
    if config.tune_on is not None and config.tune_on not in splits:
        path = Path(config.tune_on)
        if not path.is_file():
            raise InputError(
                f"tune_on: got {config.tune_on!r}, expected one of the splits {', '.join(splits)}, or a file"
            )
        tuning = read_judged(config, path, processbench.read_row, skipped)
    return ProcessBench(solutions, tuning, config)
