"""The quickstart in small: every stage as real processes with the shipped policy, then again without
repeating anything.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from data_gen.files.run_clock import Seconds
from data_gen.files.run_identity import claim_run
from data_gen.ledger.store import Ledger
from data_gen.settings.errors import InputError
from data_gen.settings.parse import load_yaml, parse_config
from prm_train.evaluation.results import SearchReport
from prm_train.evaluation.stages import StageRecord
from prm_train.quickstart import QuickstartConfig, Stage, main, run_stage, training_stages
from prm_train.training.config import TrainOrmConfig, TrainPrmConfig
from prm_train.training.settings import TrainingConfig

SMALL = (
    *(
        "--n_train_problems",
        "48",
        "--n_solutions",
        "4",
        "--n_rollouts",
        "4",
        "--n_validation_problems",
        "16",
        "--n_test_problems",
        "24",
    ),
    *(
        "--n_samples",
        "8",
        "--strategies",
        "beam",
        "--sizes",
        "4",
        "--temperatures",
        "0.5,1.0",
        "--n_epochs",
        "1",
    ),
)
STAGES = ["build", "evaluate", "label", "sample", "search-test", "search-validation", "train"]


def quickstart(output: Path, n_processes: int = 1) -> list[str]:
    command = [sys.executable, "-m", "prm_train.quickstart", "--output", str(output), *SMALL]
    return [*command, "--n_processes", str(n_processes)]


def n_draws(run: Path) -> int:
    total = 0
    for path in run.glob("*/ledger.sqlite"):
        with Ledger(path, read_only=True) as ledger:
            total += ledger.n_draws()
    return total


def table(printed: str) -> str:
    return printed[printed.index("Test problems solved") :]


def test_quickstart_runs_every_stage_and_repeats_none(tmp_path: Path):
    first = subprocess.run(quickstart(tmp_path), capture_output=True, text=True, check=True)
    assert "PRM weighted" in first.stdout
    assert "report.html" in first.stdout
    assert sorted(path.stem for path in (tmp_path / "stages").glob("*.json")) == STAGES
    report = SearchReport.read(tmp_path / "report.json")
    assert report.run.n_problems == {"training": 48, "validation": 16, "test": 24}
    assert report.sample_counts == [1, 2, 4, 8]
    assert list(report.accuracy["beam"]) == [4]
    assert report.accuracy["majority"][1].mean <= report.accuracy["pass_at_n"][8].mean
    assert report.labels is not None
    assert sum(report.labels.verdicts.values()) == 48 * 4
    assert {curve.model for curve in report.losses} == {"PRM", "ORM"}
    stages = {stage.stage: stage for stage in report.run.stages}
    assert stages["search test"].n_scorer_new > 0
    assert stages["label"].n_generated > 0
    assert stages["train"].flops > 0

    drawn, results = n_draws(tmp_path), (tmp_path / "test-0" / "results.jsonl").read_bytes()
    second = subprocess.run(quickstart(tmp_path), capture_output=True, text=True, check=True)
    assert table(second.stdout) == table(first.stdout)
    assert SearchReport.read(tmp_path / "report.json").run.stages == report.run.stages  # each once
    assert n_draws(tmp_path) == drawn
    assert (tmp_path / "test-0" / "results.jsonl").read_bytes() == results


@pytest.mark.parametrize(("kind", "config_class"), [("prm", TrainPrmConfig), ("orm", TrainOrmConfig)])
def test_the_published_recipe_is_the_one_that_the_quickstart_trains_with(
    kind: str, config_class: type[TrainingConfig]
):
    (stage,) = [stage for stage in training_stages(QuickstartConfig()) if stage.command == "train"]
    (arguments,) = [command[1:] for command in stage.commands if command[0] == f"prm_train.train_{kind}"]
    published = load_yaml(
        config_class, Path(__file__).parents[2] / "configs" / f"train_{kind}" / "quickstart.yaml"
    )
    assert replace(parse_config(config_class, arguments), use_cpu=False) == published


def test_a_quickstart_with_other_settings_does_not_touch_a_folder_that_is_taken(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"seed": 7}))
    refused = subprocess.run(quickstart(tmp_path), capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "another configuration" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_two_quickstarts_in_one_folder_do_not_meet(tmp_path: Path):
    config = QuickstartConfig(output=tmp_path / "run")
    claim_run(config.output, config)
    with (config.output / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="a quickstart is running there"):
            main(["--output", str(config.output)])


def test_the_seconds_of_a_stage_are_those_of_all_its_processes(tmp_path: Path):
    (tmp_path / "stages").mkdir()
    fails = ("timeit", "-n", "1", "-r", "1", "-s", "import time", "time.sleep(0.3); raise SystemExit(1)")
    with (tmp_path / ".lock").open("w") as lock:
        with pytest.raises(InputError, match="stage search test: exit code 1 of: python -m timeit"):
            run_stage(Stage("search", (fails, ("this",)), "test"), tmp_path, lock.fileno())
        clock = tmp_path / "stages" / "search-test.clock"
        spent = Seconds.read(clock)  # as an interrupt leaves it
        Seconds(100.0, 50.0).write(clock)
        run_stage(Stage("search", (("this",),), "test"), tmp_path, lock.fileno())
    assert 0 <= spent.cpu_seconds <= 10
    assert 0.3 <= spent.seconds <= 10
    stage = StageRecord.read(tmp_path / "stages" / "search-test.json")
    assert 100.0 <= stage.wall_seconds <= 110.0
    assert 50.0 <= stage.cpu_seconds <= 60.0
    assert (stage.command, stage.split, stage.command_lines) == ("search", "test", ("python -m this",))
    assert [path.name for path in (tmp_path / "stages").iterdir()] == ["search-test.json"]


@pytest.mark.slow
def test_quickstart_survives_interrupts(tmp_path: Path):
    for seconds in (8, 15, 25, 12, 30):
        process = subprocess.Popen(
            quickstart(tmp_path, n_processes=2),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finished = subprocess.run(quickstart(tmp_path, n_processes=2), capture_output=True, text=True, check=True)
    assert "PRM weighted" in finished.stdout
