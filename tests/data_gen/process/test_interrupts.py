"""Ctrl-C and SIGTERM as a person or a scheduler sends them: one line, the exit code of the signal, and no
child that stays.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KEPT = "what is finished is kept: the same command goes on from there"
SLEEPING = (
    "import pathlib, time\ndef grade(question, gold_answer, solution):\n    "
    "pathlib.Path('began').touch()\n    time.sleep(600)\n"
)


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", *command], cwd=folder, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    patience = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < patience
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("numbers", "exit_code", "said"),
    [
        ([signal.SIGINT], 130, f"prm-train sample: interrupted; {KEPT}"),
        ([signal.SIGTERM], 143, f"prm-train sample: ended by SIGTERM; {KEPT}"),
        # From the terminal, and from a parent
        ([signal.SIGINT, signal.SIGTERM], 130, f"prm-train sample: interrupted; {KEPT}"),
    ],
)
def test_a_run_whose_grader_never_returns_ends_with_one_line(
    tmp_path: Path, numbers: list[signal.Signals], exit_code: int, said: str
):
    (tmp_path / "sleeping.py").write_text(SLEEPING)
    process = start(
        tmp_path,
        *(
            "prm_train.cli",
            "sample",
            "--output",
            "run",
            "--policy.model",
            "simulated",
            "--problems.n",
            "4",
            "--grader",
            "sleeping:grade",
        ),
    )
    wait_for(tmp_path / "began", process)
    started = time.monotonic()
    for number in numbers:
        process.send_signal(number)
    shown = process.communicate(timeout=30)[1]
    assert time.monotonic() - started < 10
    assert process.returncode == exit_code
    assert shown.splitlines()[-1] == said
    assert "Traceback" not in shown


def test_a_second_ctrl_c_ends_what_does_not_heed_the_first(tmp_path: Path):
    (tmp_path / "stubborn.py").write_text(
        "import pathlib, time\nfrom data_gen.settings.parse import run_command\n\n"
        "def main():\n    while True:\n        try:\n            pathlib.Path('began').touch()\n            "
        "time.sleep(600)\n"
        "        except KeyboardInterrupt:\n            pathlib.Path('heard').touch()\n\n"
        "run_command(main)\n"
    )
    process = start(tmp_path, "stubborn")
    wait_for(tmp_path / "began", process)
    process.send_signal(signal.SIGINT)
    wait_for(tmp_path / "heard", process)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130


def test_sigterm_to_a_quickstart_alone_ends_its_children(tmp_path: Path):
    process = start(
        tmp_path,
        "prm_train.quickstart",
        "--output",
        "run",
        "--policy",
        "simulated",
        "--n_train_problems",
        "400",
        "--n_solutions",
        "100",
    )
    for shard in (0, 1):
        wait_for(tmp_path / f"run/train-{shard}/ledger.sqlite", process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    process.send_signal(signal.SIGTERM)
    shown = process.communicate(timeout=30)[1]
    assert process.returncode == 143
    assert shown.splitlines()[-1] == f"quickstart: ended by SIGTERM; {KEPT}"
    assert "Traceback" not in shown
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


SCRIPT = "import sys; from prm_train.cli import main; sys.exit(main())"  # what is installed as prm-train


@pytest.mark.parametrize(
    "command",
    [
        ("-c", SCRIPT, "sample"),
        ("-m", "data_gen.sample"),
        ("-m", "prm_train.search.run"),
        ("-u", "-m", "prm_train.cli", "sample"),
    ],
    ids=["script", "data_gen", "prm_train", "launched"],
)
@pytest.mark.parametrize(
    ("number", "exit_code", "said"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")],
    ids=["int", "term"],
)
def test_a_signal_while_a_command_is_imported_ends_it_with_one_line(
    tmp_path: Path, command: tuple[str, ...], number: signal.Signals, exit_code: int, said: str
):
    # Takes long to import
    (tmp_path / "pydantic.py").write_text(
        "import pathlib, time\npathlib.Path('began').touch()\ntime.sleep(600)\n"
    )
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    }
    process = subprocess.Popen(
        [sys.executable, *command], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    wait_for(tmp_path / "began", process)
    process.send_signal(number)
    assert process.communicate(timeout=30)[1] == f"prm-train: {said}\n"
    assert process.returncode == exit_code


@pytest.mark.parametrize("package", ["data_gen", "prm_train.cli"])
def test_what_is_imported_as_a_library_leaves_signals_alone(tmp_path: Path, package: str):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "__init__.py").write_text(f"import {package}\n")
    (tmp_path / "theirs" / "run.py").write_text(
        "import signal\nprint(signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))\n"
    )
    # A shell that runs these tests in the background has SIGINT ignored, which children inherit
    shown = subprocess.run(
        [sys.executable, "-m", "theirs.run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ).stdout
    assert shown == f"{signal.SIG_DFL} {signal.default_int_handler}\n"
