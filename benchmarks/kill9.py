"""`kill -9` at random moments of `prm-train sample` and `prm-train label`: is anything that was committed
lost, changed or counted twice?

    python -m benchmarks.kill9            # 100 kills, about five minutes on two cores

A command runs again and again on one run folder until it gets to its end, killed each time but the last; then
it starts on a new folder. Most kills come after a reader has seen new rows, at a random moment of the next
half second; every fifth comes at any moment from the start of the process on, loading included. The reader
notes all rows of all tables just before each kill: they must be there after it, the same. On the simulated
policy a broken run must end with the ledger and the files of an unbroken one. A real network's logits move by
1e-6 with the shape of the batch, so there it is reported how many runs ended otherwise, and how many draws
have other tokens than in an unbroken run.
"""

import argparse
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data_gen.files.jsonl import write_text
from data_gen.labeling.summary import LabelSummary
from data_gen.ledger.file import LedgerError
from data_gen.ledger.store import Ledger, open_for_reading
from data_gen.ledger.verification import find_faults
from data_gen.process.machine import machine_name
from data_gen.sampling.summary import DrawnSummary, SampleSummary

# The table's name and its key lead a row of `Ledger.contents`
N_KEY = {"params": 2, "prefixes": 2, "draws": 6, "verdicts": 8}
Rows = Mapping[tuple[object, ...], tuple[object, ...]]


@dataclass(frozen=True)
class Case:
    """A command that is to be killed so often; on a policy of known speed `n_problems` makes it last a few
    seconds.
    """

    command: Literal["sample", "label"]
    policy: Literal["simulated", "base"]
    n_problems: int
    n_kills: int


CASES = (
    Case("sample", "simulated", 2000, 44),
    Case("label", "simulated", 60, 46),
    Case("sample", "base", 100, 5),
    Case("label", "base", 12, 5),
)


def arguments_of(command: str, run: Path, case: Case) -> list[str]:
    if command == "sample":
        settings = {
            "output": run,
            "problems.n": case.n_problems,
            "policy.model": case.policy,
            "max_new_tokens": 200,
        }
    else:
        settings = {"run": run, "method": "every_step", "n_rollouts": 8}
    return [
        sys.executable,
        "-m",
        f"data_gen.{command}",
        *(f"--{name}={value}" for name, value in settings.items()),
    ]


def finish(command: str, run: Path, case: Case) -> None:
    subprocess.run(arguments_of(command, run, case), check=True, capture_output=True)


def read_rows(run: Path) -> tuple[Rows, int]:
    """Every committed row by its key, and how many rows have the key of another one."""
    path, n_rows = run / "ledger.sqlite", 0
    rows: dict[tuple[object, ...], tuple[object, ...]] = {}
    if not path.exists() or path.stat().st_size == 0:
        return rows, 0
    try:
        with Ledger(path, read_only=True) as ledger:
            for row in ledger.contents():
                rows[row[: N_KEY[str(row[0])]]] = row
                n_rows += 1
    except LedgerError as error:
        if "an empty file" in str(error):  # killed before the tables were made
            return {}, 0
        raise
    return rows, n_rows - len(rows)


def n_committed(run: Path) -> int:
    """Draws and verdicts."""
    try:
        with closing(open_for_reading(run / "ledger.sqlite")) as database:
            return int(
                database.execute(
                    "SELECT (SELECT count(*) FROM draws) + (SELECT count(*) FROM verdicts)"
                ).fetchone()[0]
            )
    except (LedgerError, sqlite3.OperationalError):
        return 0


def kill_once(case: Case, run: Path, rng: random.Random) -> tuple[Rows, bool]:
    """The rows that a reader saw just before the kill, and whether there was one: the command may have come
    to its end.
    """
    n_before = n_committed(run)
    process = subprocess.Popen(
        arguments_of(case.command, run, case), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    if rng.random() < 0.2:
        time.sleep(rng.uniform(0, 1.5))
    else:
        while n_committed(run) == n_before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
    rows, _ = read_rows(run)
    time.sleep(rng.uniform(0, 0.05))
    process.kill()
    code = process.wait()
    if code not in (0, -9):
        raise RuntimeError(f"{case.command} in {run} ended with exit code {code}; expected its end or a kill")
    return rows, code == -9


def compare(before: Rows, after: Rows) -> Counter[str]:
    return Counter(
        lost=sum(key not in after for key in before),
        changed=sum(key in after and after[key] != row for key, row in before.items()),
    )


def ends_alike(case: Case, run: Path, whole: Path) -> bool:
    """Whether the rows, the records and the counts that the command wrote are those of an unbroken run."""
    records = {"sample": "solutions.jsonl", "label": "labels.jsonl"}[case.command]
    if read_rows(run) != read_rows(whole) or (run / records).read_bytes() != (whole / records).read_bytes():
        return False
    kinds: dict[str, type[DrawnSummary]] = {"sample": SampleSummary, "label": LabelSummary}
    kind = kinds[case.command]
    return len({kind.read(folder / f"{case.command}.json").n_generated for folder in (run, whole)}) == 1


def n_other_draws(run: Path, whole: Path) -> int:
    """Draws that are made in both runs and whose token ids differ."""
    theirs = read_rows(whole)[0]
    return sum(
        key[0] == "draws" and key in theirs and row[6] != theirs[key][6]
        for key, row in read_rows(run)[0].items()
    )


def run_case(case: Case, folder: Path, seed: int) -> dict[str, int]:
    """What became of the rows over all kills of a case, and of its runs: `other_ends` of them differ from an
    unbroken one.
    """
    whole, counts, rng = folder / "whole", Counter[str](), random.Random(f"{seed} {case}")
    finish("sample", whole, case)
    sampled = folder / "sampled"
    shutil.copytree(whole, sampled)
    if case.command == "label":
        finish("label", whole, case)
    n_at_start = n_committed(sampled) if case.command == "label" else 0
    while counts["kills"] < case.n_kills:
        run = folder / f"broken-{counts['runs']}"
        if case.command == "label":
            shutil.copytree(sampled, run)
        is_killed = True
        while is_killed and counts["kills"] < case.n_kills:
            before, is_killed = kill_once(case, run, rng)
            after, n_repeated = read_rows(run)
            counts.update(
                compare(before, after), kills=int(is_killed), duplicated=n_repeated, rows_checked=len(before)
            )
            counts["kills_after_new_rows"] += is_killed and n_committed(run) > n_at_start
        finish(case.command, run, case)
        faults = list(find_faults(run / "ledger.sqlite"))
        counts.update(
            runs=1,
            faults=len(faults),
            other_ends=int(not ends_alike(case, run, whole)),
            draws_of_other_tokens=n_other_draws(run, whole),
        )
        shutil.rmtree(run)
    names = (
        "kills",
        "kills_after_new_rows",
        "rows_checked",
        "lost",
        "changed",
        "duplicated",
        "faults",
        "runs",
        "other_ends",
        "draws_of_other_tokens",
    )
    return {name: counts[name] for name in names}


def summary(cases: Mapping[str, dict[str, int]]) -> dict[str, Any]:
    totals = {
        name: sum(counts[name] for counts in cases.values())
        for name in ("kills", "lost", "duplicated", "changed", "faults")
    }
    exact = [counts for name, counts in cases.items() if name.endswith("simulated policy")]
    return {
        **totals,
        "runs_with_another_end_on_the_simulated_policy": sum(counts["other_ends"] for counts in exact),
        "cases": dict(cases),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "kill9.json")
    arguments = parser.parse_args()
    cases, started = {}, time.monotonic()
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            counts = run_case(case, Path(folder), arguments.seed)
        name = f"{case.command}, {case.policy} policy"
        cases[name] = counts
        print(f"{name}: {counts}, {time.monotonic() - started:.0f} s", flush=True)
    shown = [
        " ".join(["prm-train", case.command, *arguments_of(case.command, Path("RUN"), case)[3:]])
        for case in CASES
    ]
    result = {
        "command": f"python -m benchmarks.kill9 --seed {arguments.seed}",
        **summary(cases),
        "commands": shown,
        "machine": machine_name(),
    }
    write_text(arguments.output, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
