"""`sample` and `label` up to ten million draws, and what comes after: `python -m benchmarks.scale`.

- *cost*: CPU of scheduler and ledger a draw at about 10⁴, 10⁵ and 10⁶ draws, as `benchmarks.throughput`
  measures it, each in a process of its own.
- *growth*: one run of 400,000 questions, ten million draws, with a mark every 250,000 draws: CPU since the
  mark before, resident memory, bytes of the ledger. The first 1.6 million draws are those of `sample`.
- *merge*: `ledger merge` of one, two and four shards of 10,000 questions, and their export as Parquet, one
  file a shard, with what DuckDB takes to read them where it is installed.
- *http*: a draw over HTTP, and a bare request (`benchmarks.scale_http`).
- *processes*: three processes of `label` with simulated replicas, alone and together, and workers killed with
  `kill -9` (`benchmarks.scale_processes`).

Parts that are not named are left as they are in the result. Ten million draws take half an hour and 25 GB of
disk below --folder, which are deleted.
"""

import argparse
import importlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.scale_http import over_http
from benchmarks.scale_processes import measure_processes
from benchmarks.throughput import (
    CheapPolicy,
    configs,
    in_own_process,
    peak_mib,
    policy_and_grader_seconds,
    questions,
    scale,
)
from data_gen.files.jsonl import write_text
from data_gen.files.run_folder import write_records
from data_gen.label import label_run
from data_gen.ledger.export import exported_draws
from data_gen.ledger.merge import merge_ledgers
from data_gen.ledger.parquet import write_parquet
from data_gen.ledger.store import Ledger
from data_gen.policies.metered import MeteredPolicy
from data_gen.process.machine import machine_name
from data_gen.records.sampling import Completion, SamplingParams
from data_gen.records.solutions import Problem
from data_gen.sample import sample_run

RESULT = Path(__file__).parent / "results" / "scale.json"
MARK_EVERY = 250_000
# By policy the draws, their mean length and the share of right ones
QUERY = """SELECT policy_id, count(*), avg(n_generated), avg(CAST(verdicts[1].kind = 'correct' AS DOUBLE))
    FROM read_parquet('{}/*.parquet') GROUP BY policy_id"""


def resident_mib() -> float:
    n_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(n_pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


class MarkingPolicy(CheapPolicy):
    """Notes every MARK_EVERY draws what they took."""

    def __init__(self, ledger: Path, log: Path) -> None:
        super().__init__()
        self._ledger, self._log = ledger, log
        self._cheap = policy_and_grader_seconds()
        self.marks: list[dict[str, Any]] = []
        self._last = (time.process_time(), 0.0, 0)

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        if self.n_draws and self.n_draws % MARK_EVERY == 0:
            self._mark()
        return await super().sample(prefix_ids, params, index)

    def _mark(self) -> None:
        now = (time.process_time(), self.reference_seconds, self.n_references)
        seconds, in_references, n_references = (one - last for one, last in zip(now, self._last, strict=True))
        cost, reference = (seconds - in_references) / MARK_EVERY - self._cheap, in_references / n_references
        mark = {
            "n_draws": self.n_draws,
            "microseconds_per_draw": round(1e6 * cost, 1),
            "references_per_draw": round(cost / reference, 3),
            "resident_mib": resident_mib(),
            "ledger_bytes": self._ledger.stat().st_size,
        }
        self.marks.append(mark)
        with self._log.open("a") as log:
            log.write(json.dumps(mark) + "\n")
        self._last = now


def growth(n_questions: int, folder: Path) -> dict[str, Any]:
    """Sample and label so many questions, in this process."""
    run = folder / "growth"
    write_records(run / "problems.jsonl", Problem, questions(n_questions))
    sampling, labeling = configs(run)
    policy = MarkingPolicy(run / "ledger.sqlite", folder / "growth.log")
    started, cpu_started = time.perf_counter(), time.process_time()
    with Ledger(run / "ledger.sqlite") as ledger:
        sample_run(run, n_questions, MeteredPolicy(policy), ledger, sampling)
        n_sampled = policy.n_draws
        label_run(run, n_questions, MeteredPolicy(policy), ledger, sampling, labeling)
    cpu_seconds = time.process_time() - cpu_started - policy.reference_seconds
    cost = cpu_seconds / policy.n_draws - policy_and_grader_seconds()
    reference = policy.reference_seconds / policy.n_references
    ledger_bytes = (run / "ledger.sqlite").stat().st_size
    return {
        "n_questions": n_questions,
        "n_draws": policy.n_draws,
        "n_sampled": n_sampled,
        "microseconds_per_draw": round(1e6 * cost, 1),
        "reference_microseconds": round(1e6 * reference, 1),
        "references_per_draw": round(cost / reference, 3),
        "wall_seconds": round(time.perf_counter() - started),
        "peak_mib": peak_mib(),
        "ledger_bytes": ledger_bytes,
        "bytes_per_draw": round(ledger_bytes / policy.n_draws),
        "files_bytes": {path.name: path.stat().st_size for path in sorted(run.glob("*.jsonl"))},
        "marks": policy.marks,
    }


def in_folder(measure: Callable[[int, Path], dict[str, Any]], size: int, parent: Path) -> dict[str, Any]:
    """Its files below `parent`, deleted at the end."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        return measure(size, Path(folder))


def merge(n_questions: int, folder: Path) -> dict[str, Any]:
    """Four shards of so many questions each: merged one, two and four at a time, and exported."""
    shards = [_shard(folder / f"shard-{number}", number, n_questions) for number in range(4)]
    merges = []
    for n_shards in (1, 2, 4):
        output = folder / f"merged-{n_shards}.sqlite"
        started, cpu_started = time.perf_counter(), time.process_time()
        merged = merge_ledgers(shards[:n_shards], output)
        n_draws = sum(shard.n_new_draws for shard in merged)
        cpu_seconds = time.process_time() - cpu_started
        merges.append(
            {
                "n_shards": n_shards,
                "n_draws": n_draws,
                "bytes": output.stat().st_size,
                "seconds": round(time.perf_counter() - started, 1),
                "cpu_seconds": round(cpu_seconds, 1),
                "cpu_microseconds_per_draw": round(1e6 * cpu_seconds / n_draws, 1),
            }
        )
        output.unlink()
    exports, cpu_started = folder / "draws", time.process_time()
    n_rows = sum(
        write_parquet(exports / f"{path.parent.name}.parquet", exported_draws(path)) for path in shards
    )
    cpu_seconds = time.process_time() - cpu_started
    return {
        "merge": merges,
        "export": {
            "n_draws": n_rows,
            "cpu_microseconds_per_draw": round(1e6 * cpu_seconds / n_rows, 1),
            "parquet_bytes_per_draw": round(sum(each.stat().st_size for each in exports.iterdir()) / n_rows),
            "ledger_bytes_per_draw": round(sum(path.stat().st_size for path in shards) / n_rows),
            "peak_mib": peak_mib(),
        },
        "duckdb": _ask_duckdb(exports),
    }


def _shard(run: Path, number: int, n_questions: int) -> Path:
    """The ledger of a run on questions of its own."""
    chosen = islice(questions((number + 1) * n_questions), number * n_questions, None)
    write_records(run / "problems.jsonl", Problem, chosen)
    sampling, labeling = configs(run)
    with Ledger(run / "ledger.sqlite") as ledger:
        sample_run(run, n_questions, MeteredPolicy(CheapPolicy()), ledger, sampling)
        label_run(run, n_questions, MeteredPolicy(CheapPolicy()), ledger, sampling, labeling)
    return run / "ledger.sqlite"


def _ask_duckdb(exports: Path) -> dict[str, Any] | str:
    """What one pass over all shards' files takes."""
    try:
        duckdb: Any = importlib.import_module("duckdb")
    except ImportError:
        return "not installed"
    started, cpu_started = time.perf_counter(), time.process_time()
    answer = duckdb.sql(QUERY.format(exports)).fetchall()
    return {
        "version": duckdb.__version__,
        "answer": answer,
        "seconds": round(time.perf_counter() - started, 3),
        "cpu_seconds": round(time.process_time() - cpu_started, 3),
    }


def summed_up(figures: dict[str, Any]) -> dict[str, Any]:
    """The three figures that are promised, before what they come from."""
    processes = figures.get("processes", {})
    return {
        "microseconds_per_draw": figures.get("growth", {}).get("microseconds_per_draw"),
        "throughput_share": processes.get("throughput_share"),
        "faults": processes.get("faults"),
        **figures,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=["cost", "growth", "merge", "http", "processes"])
    parser.add_argument("--growth", type=int, default=400_000, help="questions")
    parser.add_argument("--shard", type=int, default=10_000, help="questions of a shard to merge")
    parser.add_argument("--http", type=int, default=300, help="problems that are labeled over HTTP")
    parser.add_argument("--n-kills", type=int, default=12)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    folder, n_kills = arguments.folder, arguments.n_kills
    plan: dict[str, Callable[[], Any]] = {
        "cost": lambda: [in_own_process(scale, size) for size in (400, 4_000, 40_000)],
        "growth": lambda: in_folder(growth, arguments.growth, folder),
        "merge": lambda: in_folder(merge, arguments.shard, folder),
        "http": lambda: in_folder(over_http, arguments.http, folder),
        "processes": lambda: in_folder(measure_processes, n_kills, folder),
    }
    for part in arguments.parts:
        figures = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        figures |= {"command": "python -m benchmarks.scale", "machine": machine_name(), part: plan[part]()}
        write_text(RESULT, json.dumps(summed_up(figures), indent=1) + "\n")


if __name__ == "__main__":
    main()
