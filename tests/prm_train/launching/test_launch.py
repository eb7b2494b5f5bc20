"""Launches of real commands as processes of this machine: together they do what one undivided run does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_gen.ledger.store import Ledger
from data_gen.sample import main as sample
from data_gen.settings.errors import InputError
from prm_train.launch import main as launch
from prm_train.launching.launched import LaunchSummary
from prm_train.launching.storage import fetch, read_record

SAMPLE = ("--problems.n", "12", "--policy.model", "simulated", "--n_samples", "2")


def contents(path: Path) -> list[tuple[object, ...]]:
    with Ledger(path, read_only=True) as ledger:
        return list(ledger.contents())


@pytest.mark.slow
def test_three_shards_draw_what_one_run_draws_and_a_second_launch_nothing(tmp_path: Path):
    given = ("--n_shards", "3", "--output", str(tmp_path / "run"), "--", "sample", *SAMPLE)
    launch(given)
    sample((*SAMPLE, "--output", str(tmp_path / "whole")))
    assert contents(tmp_path / "run" / "ledger.sqlite") == contents(tmp_path / "whole" / "ledger.sqlite")
    summary = LaunchSummary.read(tmp_path / "run" / "launch-sample.json")
    assert summary.gathered == {"n_ledgers": 3, "n_draws": 24, "n_repeated_draws": 0}
    assert [shard.n_attempts for shard in summary.shards] == [1, 1, 1]
    launch(given)
    again = LaunchSummary.read(tmp_path / "run" / "launch-sample.json")
    assert [(shard.state, shard.n_attempts) for shard in again.shards] == [("done", 0)] * 3
    with pytest.raises(InputError, match=r"was divided into 3 shards by launch -- sample, got n_shards 2"):
        launch(("--n_shards", "2", "--output", str(tmp_path / "run"), "--", "label"))


@pytest.mark.slow
def test_a_shard_that_always_fails_is_tried_a_bounded_number_of_times_and_the_others_finish(tmp_path: Path):
    (tmp_path / "run" / "shard-1").mkdir(parents=True)
    (tmp_path / "run" / "shard-1" / "solutions.jsonl").write_text("of somebody else")
    with pytest.raises(
        InputError, match=r"1 of 3 shards failed, first shard-1: exit code 2: .*no run, which"
    ):
        launch(
            (
                "--n_shards",
                "3",
                "--n_attempts",
                "2",
                "--output",
                str(tmp_path / "run"),
                "--",
                "sample",
                *SAMPLE,
            )
        )
    shards = LaunchSummary.read(tmp_path / "run" / "launch-sample.json").shards
    assert [(shard.state, shard.n_attempts) for shard in shards] == [("done", 1), ("failed", 2), ("done", 1)]
    assert not (tmp_path / "run" / "ledger.sqlite").exists()


@pytest.mark.slow
def test_work_on_another_disk_comes_back_and_a_lost_disk_costs_nothing(tmp_path: Path):
    given = ("--n_shards", "2", "--output", str(tmp_path / "run"), "--work", str(tmp_path / "disk"))
    launch((*given, "--", "sample", *SAMPLE))
    before = contents(tmp_path / "run" / "shard-0" / "ledger.sqlite")
    (tmp_path / "disk").rename(tmp_path / "lost")
    launch((*given, "--", "sample", *SAMPLE, "--n_samples", "3"))
    after = contents(tmp_path / "run" / "shard-0" / "ledger.sqlite")
    assert set(before) < set(after)
    sample((*SAMPLE, "--n_samples", "3", "--output", str(tmp_path / "whole")))
    assert contents(tmp_path / "run" / "ledger.sqlite") == contents(tmp_path / "whole" / "ledger.sqlite")


def test_shards_end_in_object_storage_and_are_gathered_there(tmp_path: Path):
    output = f"memory://{tmp_path.name}/run"
    given = ("--n_shards", "2", "--output", output, "--work", str(tmp_path / "disk"), "--", "sample", *SAMPLE)
    launch(given)
    summary = read_record(f"{output}/launch-sample.json", LaunchSummary)
    assert summary is not None
    assert summary.gathered["n_draws"] == 24
    sample((*SAMPLE, "--output", str(tmp_path / "whole")))
    fetch(f"{output}/ledger.sqlite", tmp_path / "ledger.sqlite")
    assert contents(tmp_path / "ledger.sqlite") == contents(tmp_path / "whole" / "ledger.sqlite")


@pytest.mark.slow
def test_a_launch_that_is_killed_goes_on_with_what_is_missing(tmp_path: Path):
    words = ("--n_shards", "2", "--output", str(tmp_path / "run"), "--", "sample", *SAMPLE[2:])
    command = [sys.executable, "-m", "prm_train.launch", *words, "--problems.n", "3000"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    ledger = tmp_path / "run" / "shard-1" / "ledger.sqlite"
    deadline = time.monotonic() + 60
    while not (ledger.exists() and ledger.stat().st_size > 100_000) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    # Its shards may still be at work: the second launch waits for them
    subprocess.run(command, check=True, capture_output=True)
    with Ledger(tmp_path / "run" / "ledger.sqlite", read_only=True) as merged:
        assert merged.n_draws() == 6000
    gathered = json.loads((tmp_path / "run" / "launch-sample.json").read_text())["gathered"]
    assert gathered == {"n_ledgers": 2, "n_draws": 6000, "n_repeated_draws": 0}


@pytest.mark.slow
def test_forecasts_of_shards_are_summed(tmp_path: Path):
    output = tmp_path / "run"
    words = ("sample", *SAMPLE[2:], "--problems.n", "60", "--forecast", "true")
    launch(("--n_shards", "2", "--output", str(output), "--", *words))
    parts = [json.loads((output / f"shard-{i}" / "forecast-sample.json").read_text()) for i in (0, 1)]
    gathered = LaunchSummary.read(output / "launch-sample.json").gathered
    assert gathered["n_problems"] == 60
    assert gathered["n_draws"] == 120
    expected = sum(part["totals"]["n_generated"]["expected"] for part in parts)
    assert gathered["n_generated"] == round(expected)
