"""The Slurm scripts, run by bash with the variables that Slurm would set, on the simulated policy."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_gen.ledger.store import Ledger

SCRIPTS = Path(__file__).parents[2] / "launch" / "slurm"
SAMPLE = (
    "problems: {n: %d}\npolicy: {model: simulated}\nn_samples: 2\nmax_new_tokens: 200\noutput: set by "
    "the script\n"
)
LABEL = "method: every_step\nn_rollouts: 4\nrun: set by the script\n"


def environment(folder: Path, task: int, n_tasks: int) -> dict[str, str]:
    (folder / "disk").mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    slurm = {
        "SLURM_ARRAY_JOB_ID": "77",
        "SLURM_ARRAY_TASK_ID": str(task),
        "SLURM_ARRAY_TASK_COUNT": str(n_tasks),
    }
    return {**os.environ, **slurm, "PATH": path, "TMPDIR": str(folder / "disk"), "OMP_NUM_THREADS": "1"}


def generate(folder: Path, n_problems: int) -> list[str]:
    (folder / "sample.yaml").write_text(SAMPLE % n_problems)
    (folder / "label.yaml").write_text(LABEL)
    return [
        "bash",
        str(SCRIPTS / "generate.sbatch"),
        str(folder / "run"),
        str(folder / "sample.yaml"),
        str(folder / "label.yaml"),
    ]


def contents(path: Path) -> list[tuple[object, ...]]:
    with Ledger(path, read_only=True) as ledger:
        return list(ledger.contents())


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sbatch")), ids=lambda path: path.name)
def test_scripts_parse_and_say_how_they_are_used(script: Path):
    subprocess.run(["bash", "-n", str(script)], check=True)
    shown = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stderr.split()[0]) == (2, "usage:")


def test_two_shards_make_what_one_run_makes_and_a_lost_disk_costs_nothing(tmp_path: Path):
    command = generate(tmp_path, 12)
    for task in (0, 1):
        subprocess.run(command, env=environment(tmp_path, task, 2), check=True, capture_output=True)
    shared = tmp_path / "run" / "shard-0"
    before = contents(shared / "ledger.sqlite")
    (tmp_path / "disk").rename(tmp_path / "lost disk")
    # Requeued on another node
    subprocess.run(command, env=environment(tmp_path, 0, 2), check=True, capture_output=True)
    assert contents(shared / "ledger.sqlite") == before

    subprocess.run(
        ["bash", str(SCRIPTS / "collect.sbatch"), str(tmp_path / "run")],
        env=environment(tmp_path, 0, 1),
        check=True,
    )
    (tmp_path / "one").mkdir()
    subprocess.run(
        generate(tmp_path / "one", 12),
        env=environment(tmp_path / "one", 0, 1),
        check=True,
        capture_output=True,
    )
    whole = tmp_path / "one" / "run" / "shard-0"
    assert contents(tmp_path / "run" / "ledger.sqlite") == contents(whole / "ledger.sqlite")
    n_labeled = sum(
        len((tmp_path / "run" / f"shard-{i}" / "labels.jsonl").read_text().splitlines()) for i in (0, 1)
    )
    assert n_labeled == len((whole / "labels.jsonl").read_text().splitlines()) == 24
    assert (
        json.loads((tmp_path / "run" / "ledger.json").read_text())["policies"]["simulated-arithmetic-1"][
            "n_problems"
        ]
        == 12
    )
    assert (tmp_path / "run" / "rows" / "prm.jsonl").stat().st_size > 0


def test_collecting_waits_for_every_shard(tmp_path: Path):
    (tmp_path / "run" / "shard-0").mkdir(parents=True)
    collect = ["bash", str(SCRIPTS / "collect.sbatch"), str(tmp_path / "run")]
    shown = subprocess.run(
        collect, env=environment(tmp_path, 0, 1), capture_output=True, text=True, check=False
    )
    assert shown.returncode == 1
    assert "shard-0 holds no labels.jsonl: its task has not finished" in shown.stderr


def test_the_signal_before_the_end_saves_what_is_committed(tmp_path: Path):
    process = subprocess.Popen(
        generate(tmp_path, 3000),
        env=environment(tmp_path, 0, 1),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ledger = tmp_path / "disk" / "prm-generate-77-0" / "ledger.sqlite"
    deadline = time.monotonic() + 60
    while not (ledger.exists() and ledger.stat().st_size > 100_000) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    saved = contents(tmp_path / "run" / "shard-0" / "ledger.sqlite")
    assert set(saved) == set(contents(ledger))
    assert len(saved) > 100


SLOW_MERGE = """#!/bin/bash
if [ "$1 $2" = "ledger merge" ]; then
    touch "{folder}/merging"
    flock "$5.lock" sleep 2
fi
exec "{command}" "$@"
"""


def test_a_snapshot_that_is_being_saved_when_the_signal_comes_is_finished_before_the_last_one(tmp_path: Path):
    (tmp_path / "bin").mkdir()
    slow = tmp_path / "bin" / "prm-train"
    slow.write_text(SLOW_MERGE.format(folder=tmp_path, command=Path(sys.executable).with_name("prm-train")))
    slow.chmod(0o755)
    variables = environment(tmp_path, 0, 1)
    variables |= {"PATH": f"{slow.parent}{os.pathsep}{variables['PATH']}", "SAVE_EVERY_SECONDS": "2"}
    process = subprocess.Popen(
        generate(tmp_path, 3000), env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "merging").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, b"another process is writing" in said) == (143, False), said.decode()[-2000:]
    assert set(contents(tmp_path / "run" / "shard-0" / "ledger.sqlite")) == set(
        contents(tmp_path / "disk" / "prm-generate-77-0" / "ledger.sqlite")
    )


FULL_DISK = """#!/bin/bash
if [ "$2" = "{folder}/run/shard-0/ledger.sqlite.partial" ]; then
    if [ -e "{folder}/whole.sqlite" ]; then
        head -c 5000 "$1" >"$2"
        touch "{folder}/failed"
        exit 1
    fi
    /bin/cp "$1" "{folder}/whole.sqlite"
fi
exec /bin/cp "$@"
"""


def test_a_copy_that_fails_leaves_the_shared_ledger_as_it_was(tmp_path: Path):
    (tmp_path / "bin").mkdir()
    full = tmp_path / "bin" / "cp"
    full.write_text(FULL_DISK.format(folder=tmp_path))
    full.chmod(0o755)
    variables = environment(tmp_path, 0, 1)
    variables |= {"PATH": f"{full.parent}{os.pathsep}{variables['PATH']}", "SAVE_EVERY_SECONDS": "1"}
    process = subprocess.Popen(
        generate(tmp_path, 3000), env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "failed").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert b"no snapshot was saved" in said, said.decode()[-2000:]
    assert process.returncode != 0
    assert (tmp_path / "run" / "shard-0" / "ledger.sqlite").read_bytes() == (
        tmp_path / "whole.sqlite"
    ).read_bytes()
