"""`prm-train benchmark`: what a scorer is worth on rows with known labels, whoever made the scorer.

    prm-train benchmark processbench --rows processbench --checkpoint runs/gsm8k/prm --output runs/processbench
    prm-train benchmark prmbench --rows prmtest_classified.jsonl --checkpoint Qwen/Qwen2.5-Math-PRM-7B
    prm-train benchmark best-of-n --rows candidates.jsonl --checkpoint runs/gsm8k/prm
    prm-train benchmark pairs --rows runs/gsm8k/rows/orm_pairs.jsonl --checkpoint runs/gsm8k/orm
    prm-train benchmark steps --rows prm.jsonl --scores scored.jsonl

A scorer is a checkpoint of ours, a PRM of another project, either behind `scorer.servers`, or a file of
stored scores (`--scores`), which needs no model. `--export_rows` writes what is to be scored, for programs that we
do not know. The output folder gets metrics.json and, one row a solution, predictions.jsonl, which is itself a
file of stored scores where steps are scored.
"""  # noqa: E501

import asyncio
import importlib
import sys
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Protocol

from data_gen.files.bad_rows import Skipped
from data_gen.files.jsonl import write_jsonl
from data_gen.models.names import check_inputs
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.benchmarking.measures import BenchmarkResult, Measured
from prm_train.benchmarking.rows import Attempt
from prm_train.benchmarking.scored import Scored, scored
from prm_train.benchmarking.settings import BenchmarkConfig, BenchmarkName

READERS: dict[BenchmarkName, str] = {
    "processbench": "prm_train.benchmarking.processbench",
    "prmbench": "prm_train.benchmarking.prmbench",
    "best-of-n": "prm_train.benchmarking.best_of_n",
    "pairs": "prm_train.benchmarking.pairs",
    "steps": "prm_train.benchmarking.steps",
}


class Benchmark(Protocol):
    """Rows as they were read: `n_measured` solutions, pairs or sets of candidates. `needs_steps`: no ORM can
    be measured on them. `needs_scorer`: without scores nothing can be measured.
    """

    @property
    def needs_scorer(self) -> bool: ...
    @property
    def needs_steps(self) -> bool: ...
    @property
    def n_measured(self) -> int: ...
    @property
    def attempts(self) -> list[Attempt]: ...
    def measure(self, found: Scored) -> Measured: ...


def read_benchmark(config: BenchmarkConfig, skipped: Skipped) -> Benchmark:
    module = importlib.import_module(READERS[config.benchmark])
    read: Callable[[BenchmarkConfig, Skipped], Benchmark] = module.read
    return read(config, skipped)


def run_benchmark(config: BenchmarkConfig) -> tuple[BenchmarkResult, Measured]:
    """Read, score and measure; the output is written where the config names one."""
    skipped = Skipped()
    benchmark = read_benchmark(config, skipped)
    found = asyncio.run(scored(config, benchmark.attempts, benchmark.needs_steps, benchmark.needs_scorer))
    measured = benchmark.measure(found)
    result = BenchmarkResult(
        config.benchmark,
        tuple(map(str, config.rows)),
        found.name,
        found.scorer_id,
        benchmark.n_measured,
        tuple(skipped.rows),
        measured.measures,
    )
    if config.output is not None:
        write_jsonl(config.output / "predictions.jsonl", measured.predictions)
        result.write(config.output / "metrics.json")
    return result, measured


def export_rows(config: BenchmarkConfig) -> int:
    """Write each distinct question and steps of the benchmark once, and say how many."""
    assert config.export_rows is not None
    attempts = dict.fromkeys(read_benchmark(config, Skipped()).attempts)
    return write_jsonl(
        config.export_rows, ({"question": each.question, "steps": list(each.steps)} for each in attempts)
    )


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(BenchmarkConfig, _as_options(sys.argv[1:] if argv is None else argv))
    check_inputs(config)
    check_inputs(config.scorer, "scorer.")
    if config.export_rows is not None:
        n_rows = export_rows(config)
        sys.stdout.write(f"{config.export_rows}: {n_rows} solutions to score\n")
        return
    if config.output is not None and config.output.is_file():
        raise InputError(f"output: {config.output} is a file, expected a folder")
    result, measured = run_benchmark(config)
    if result.skipped:
        sys.stdout.write(f"{len(result.skipped)} rows left out, as {result.skipped[0]}\n")
    sys.stdout.write(measured.table + "\n")


def _as_options(argv: Sequence[str]) -> list[str]:
    """`processbench --key value` as `--benchmark processbench --key value`."""
    words = list(takewhile(lambda word: not word.startswith("-"), argv))
    return [*(["--benchmark", *words] if words else []), *argv[len(words) :]]


if __name__ == "__main__":
    run_command(main, "benchmark")
