"""`prm-train label` killed with SIGKILL at random moments: nothing committed is lost, nothing is drawn twice, the end is the same."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_gen.ledger import Ledger

N_KILLS = 5


def command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def sample(run: Path, policy: str, n_problems: int) -> None:
    problems = ("--problems.n", str(n_problems), "--problems.split", "train")
    subprocess.run(
        command("data_gen.sample", "--output", str(run), *problems, "--policy.model", policy, "--max_new_tokens", "200"),
        check=True,
        capture_output=True,
    )


def label(run: Path) -> list[str]:
    return command("data_gen.label", "--run", str(run), "--method", "every_step", "--n_rollouts", "8")


def contents(run: Path) -> list[tuple[object, ...]]:
    with Ledger(run / "ledger.sqlite", read_only=True) as ledger:
        return list(ledger.contents())


@pytest.mark.parametrize(
    ("policy", "n_problems"), [pytest.param("simulated", 150, id="simulated"), pytest.param("base", 60, id="base", marks=pytest.mark.slow)]
)
def test_kill_and_rerun_ends_like_an_unbroken_run(tmp_path: Path, policy: str, n_problems: int):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    sample(whole, policy, n_problems)
    started = time.monotonic()
    subprocess.run(label(whole), check=True, capture_output=True)
    seconds = time.monotonic() - started

    sample(broken, policy, n_problems)
    rng, committed, n_grew = random.Random(0), contents(broken), 0
    for kill in range(N_KILLS):
        before = len(committed)
        process = subprocess.Popen(label(broken), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds * rng.uniform(0.35, 0.75))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        after = contents(broken)
        assert set(committed) <= set(after), f"kill {kill} changed or lost what was committed"
        committed, n_grew = after, n_grew + (len(after) > before)
    assert n_grew >= 1, "no kill came after a commit: the test shows nothing"
    subprocess.run(label(broken), check=True, capture_output=True)

    assert set(committed) <= set(contents(broken))
    if policy == "simulated":  # logits of a real network may differ by 1e-6 with the shape of the batch
        assert contents(broken) == contents(whole)
        assert (broken / "labels.jsonl").read_bytes() == (whole / "labels.jsonl").read_bytes()
    again = contents(broken)
    subprocess.run(label(broken), check=True, capture_output=True)
    assert contents(broken) == again  # a finished run draws nothing
