"""Three processes of `prm-train label` with a simulated replica each (`benchmarks.simulated_replica`): their
throughput together against the sum of what each gets alone, and what `kill -9` costs. A part of
`benchmarks.scale`.

The shards are sampled once; each measurement labels copies of them. A rate is draws a second from the first
request to the end of the command, without its start. Under kills a worker is killed at a random moment, most
after a reader has seen new rows, and started again at once. What the reader saw just before must be there
after it, the same (*lost*, *changed*); at the end the merged ledger must have the rows of the unbroken run
(*missing*, *other*), and each key once (*duplicated*). What was made again because it was not committed when
its worker was killed is counted by the replicas: the next process makes the same draw again under the same
key, so it is paid for twice and counted once.
"""

import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from benchmarks.kill9 import Rows, compare, n_committed, read_rows
from data_gen.labeling.summary import LabelSummary
from data_gen.ledger.merge import merge_ledgers
from data_gen.ledger.verification import find_faults

N_SHARDS, N_PROBLEMS = 3, 120  # problems of all shards
LABEL = ("--method", "every_step", "--n_rollouts", "4")
Process = subprocess.Popen[bytes]


def start_replica(closing: ExitStack, *options: str) -> str:
    """The URL of a replica that ends with `closing`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.simulated_replica", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    closing.callback(process.wait)
    closing.callback(process.kill)
    assert process.stdout is not None
    return process.stdout.readline().split()[-1]


def sample(run: Path, shard: int, url: str) -> None:
    words = {
        "output": run,
        "problems.n": N_PROBLEMS,
        "problems.shard": f"{shard}/{N_SHARDS}",
        "policy.model": "simulated",
        "policy.servers": url,
        "max_new_tokens": 200,
    }
    subprocess.run(
        [sys.executable, "-m", "data_gen.sample", *(f"--{name}={value}" for name, value in words.items())],
        check=True,
        capture_output=True,
    )


def start_label(run: Path) -> Process:
    return subprocess.Popen(
        [sys.executable, "-m", "data_gen.label", "--run", str(run), *LABEL],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def labeled(runs: list[Path]) -> list[dict[str, float]]:
    """Label these runs at once, and what each process says of itself."""
    processes = [start_label(run) for run in runs]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError(f"label ended with exit codes {codes}; expected 0")
    found = [LabelSummary.read(run / "label.json") for run in runs]
    names = ("draws_per_second", "tokens_per_second", "cpu_seconds", "seconds")
    return [{name: getattr(each.this_process, name) for name in names} for each in found]


def copied(sampled: list[Path], folder: Path) -> list[Path]:
    return [shutil.copytree(run, folder / run.name) for run in sampled]


def counts(urls: list[str]) -> Counter[str]:
    """Of all replicas together, since they were started."""
    return sum((Counter(httpx.get(f"{url}/counts").json()) for url in urls), Counter[str]())


def run_with_kills(runs: list[Path], n_kills: int, seed: int) -> dict[str, int]:
    """Label the runs, killing a random one of the processes so often, and start it again."""
    rng, found = random.Random(seed), Counter[str](killed=0, lost=0, changed=0, rows_checked=0)
    processes = [start_label(run) for run in runs]
    while found["killed"] < n_kills:
        which = rng.randrange(len(runs))
        if processes[which].poll() is not None:  # at its end
            if all(process.poll() is not None for process in processes):
                break
            continue
        _wait_for_rows(runs[which], processes[which], rng)
        before, _ = read_rows(runs[which])
        processes[which].kill()
        if processes[which].wait() != -9:
            continue
        after, _ = read_rows(runs[which])
        found.update(compare(before, after), killed=1, rows_checked=len(before))
        processes[which] = start_label(runs[which])
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError(f"label ended with exit codes {codes}; expected 0")
    return dict(found)


def _wait_for_rows(run: Path, process: Process, rng: random.Random) -> None:
    """Until a random moment of the second after new rows, or, in a fifth of the cases, any moment."""
    if rng.random() < 0.2:
        time.sleep(rng.uniform(0, 3))
        return
    n_before = n_committed(run)
    while n_committed(run) == n_before and process.poll() is None:
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 1))


def merged_rows(runs: list[Path], output: Path) -> tuple[Rows, int]:
    """The rows of the merged ledgers, and how many rows have the key of another one: in a ledger, or in that
    of another shard.
    """
    shards = merge_ledgers([run / "ledger.sqlite" for run in runs], output)
    rows, n_repeated = read_rows(output.parent)
    n_repeated += sum(read_rows(run)[1] for run in runs)
    return rows, n_repeated + sum(shard.n_draws - shard.n_new_draws for shard in shards)


def measure_processes(n_kills: int, folder: Path, seed: int = 0) -> dict[str, Any]:
    """Throughput alone and together, and the faults."""
    with ExitStack() as closing:
        urls = [start_replica(closing) for _ in range(N_SHARDS)]
        sampled = [folder / "sampled" / f"shard-{shard}" for shard in range(N_SHARDS)]
        for shard, (run, url) in enumerate(zip(sampled, urls, strict=True)):
            sample(run, shard, url)
        alone = [labeled([run])[0] for run in copied(sampled, folder / "alone")]
        whole = copied(sampled, folder / "together")
        n_at_first = counts(urls)
        together = labeled(whole)
        n_before = counts(urls)
        broken = copied(sampled, folder / "broken")
        for name in ("whole", "merged"):
            (folder / name).mkdir()
        found = run_with_kills(broken, n_kills, seed)
        n_after = counts(urls)
        expected, _ = merged_rows(whole, folder / "whole" / "ledger.sqlite")
        rows, n_duplicated = merged_rows(broken, folder / "merged" / "ledger.sqlite")
        against_whole = compare(expected, rows)
    n_draws = sum(key[0] == "draws" for key in rows)
    n_first = sum(key[0] == "draws" for run in sampled for key in read_rows(run)[0])
    n_made, n_made_unbroken = (
        n_after["n_made"] - n_before["n_made"],
        n_before["n_made"] - n_at_first["n_made"],
    )
    sums = [sum(each["draws_per_second"] for each in rates) for rates in (alone, together)]
    return {
        "throughput_share": round(sums[1] / sums[0], 4),
        "faults": {
            "killed": found["killed"],
            "lost": found["lost"] + against_whole["lost"],
            "duplicated": n_duplicated,
            "changed": found["changed"] + against_whole["changed"],
            "rows_seen_before_kills": found["rows_checked"],
            "n_draws": n_draws,
            "n_draws_while_killed": n_draws - n_first,
            "made_again": n_made - (n_draws - n_first),
            "made_again_unbroken": n_made_unbroken - (n_draws - n_first),
            "broken_off": n_after["n_begun"] - n_before["n_begun"] - n_made,
            "faults_in_merged_ledger": len(list(find_faults(folder / "merged" / "ledger.sqlite"))),
            "files_as_unbroken": sum(
                (run / "labels.jsonl").read_bytes() == (other / "labels.jsonl").read_bytes()
                for run, other in zip(broken, whole, strict=True)
            ),
        },
        "alone": alone,
        "together": together,
    }
