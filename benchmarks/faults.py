"""What commands survive: kills at every file event, a disk that is really full, flipped bits, two processes
at once, hostile others.

    make faults                             # five minutes on one core, as root where a file system of its own
                                            can be mounted
    make faults ARGS="--only hostile disk"  # the areas with these words in their names; the others keep their
                                            figures

A command survives a kill, or a full disk, if the same command, started again, ends with the files of an
unbroken run. A flipped bit of a ledger is survived if `prm-train ledger verify` sees it or every draw is as
it was, and if nothing but a LedgerError comes of it. Of two processes in one folder the second must be
refused with exit code 2. What servers, clients and programs may do to us are the tests that are marked
`hostile`: pytest runs them here, and counts. What was tried and what survived goes into results/faults.json.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from data_gen import build, label, ledger_command, sample
from data_gen.files.jsonl import write_text
from data_gen.ledger.export import exported_draws
from data_gen.ledger.file import LedgerError
from data_gen.ledger.store import Ledger, has_draws
from data_gen.ledger.verification import find_faults
from data_gen.process.machine import machine_name
from data_gen.settings.parse import run_command
from prm_train.evaluation import evaluate
from prm_train.search import run as search
from prm_train.training.folder import training_lock

EVENTS = (
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.truncate",
    "shutil.copyfile",
    "sqlite3.connect",
    "fcntl.flock",
    "tempfile.mkstemp",
)
SIMULATED = [
    "--problems.n",
    "6",
    "--policy.model",
    "simulated",
    "--max_new_tokens",
    "200",
    "--n_samples",
    "4",
]
VARIES = (
    "seconds",
    "cpu_seconds",
    "this_process",
    "n_cached",
    "n_prefilled",
    "path",
    "made",
    "command",
    "output",
)
Main = Callable[[list[str]], None]
TESTS = Path(__file__).parents[1] / "tests"
HOSTILE = {
    "hostile server replies": (
        "data_gen/policies/servers/test_server_faults.py",
        "data_gen/policies/servers/test_replies.py",
        "data_gen/judging/test_judge.py",
        "prm_train/scoring/test_served.py",
    ),
    "hostile clients of serve-policy": ("data_gen/test_serve_policy.py",),
    "hostile clients of serve": (
        "prm_train/serving/test_operations.py",
        "prm_train/serving/test_page.py",
        "prm_train/serving/test_streams.py",
        "prm_train/serving/operations/test_keys_and_quotas.py",
        "prm_train/serving/operations/test_slow_clients.py",
    ),
    "hostile programs: ways out of the sandbox, forged verdicts": (
        "data_gen/grading/test_isolation.py",
        "data_gen/grading/test_remote_program.py",
        "data_gen/grading/test_program.py",
    ),
}


def run_apart(main: Main, argv: list[str], kill_at: int | None = None) -> int:
    """Exit code of a command in a process of its own, negative for a signal; `kill_at` kills it at that file
    event.
    """
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        if kill_at is not None:
            kill_at_event(kill_at)
        code = 1
        try:
            run_command(lambda: main(argv), "command")
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at_event(number: int) -> None:
    count = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        writes = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if writes or event in EVENTS:
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def content(folder: Path) -> dict[str, Any]:
    """What a run holds, without times and places; of a ledger its rows, whatever their order."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if path.suffix == ".sqlite":
            with Ledger(path, read_only=True) as ledger:
                found[name] = list(ledger.contents())
        elif path.suffix == ".json":
            found[name] = _comparable(json.loads(path.read_text()))
        elif path.suffix == ".jsonl" and "results" not in path.name:
            found[name] = path.read_bytes()
        elif path.suffix == ".jsonl":  # in the order in which problems were finished
            found[name] = sorted(
                json.dumps(_comparable(json.loads(line))) for line in path.read_text().splitlines()
            )
    return found


def _comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _comparable(each) for name, each in value.items() if name not in VARIES}
    return [_comparable(each) for each in value] if isinstance(value, list) else value


def kills(main: Main, arguments: Callable[[Path], list[str]], start: Path | None) -> dict[str, int]:
    """A command in a copy of `start`, killed at its first file event, at its second, and so on until it gets
    to its end.
    """
    counts = {"tried": 0, "survived": 0}
    with tempfile.TemporaryDirectory() as place:
        run, whole = Path(place) / "run", None
        while True:
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(start, run) if start else run.mkdir()
            if whole is None:
                assert run_apart(main, arguments(run)) == 0, f"{main.__module__} fails unbroken"
                whole = content(run)
                continue
            code = run_apart(main, arguments(run), counts["tried"] + 1)
            if code == 0:
                return counts
            counts["tried"] += 1
            again = run_apart(main, arguments(run))
            counts["survived"] += code == -signal.SIGKILL and again == 0 and content(run) == whole


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def full_disks() -> dict[str, int]:
    """`sample` on disks of several sizes: the ledger is sound at once, and the run ends as one with room."""
    counts, whole = {"tried": 0, "survived": 0}, None
    for size in ("200m", "60k", "200k", "300k", "400k", "600k"):
        with small_disk(size) as disk:
            argv = ["--output", str(disk / "run"), *SIMULATED, "--problems.n", "500"]
            code, path = run_apart(sample.main, argv), disk / "run" / "ledger.sqlite"
            if whole is None:
                whole = content(disk / "run")
                continue
            is_sound = not has_draws(path) or not list(find_faults(path))
            subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
            counts["tried"] += 1
            counts["survived"] += (
                code in (1, 2)
                and is_sound
                and run_apart(sample.main, argv) == 0
                and content(disk / "run") == whole
            )
    return counts


def flipped_bits(run: Path, n: int) -> dict[str, int]:
    path, rng, survived = run / "flipped.sqlite", random.Random(0), 0
    whole, draws = (run / "ledger.sqlite").read_bytes(), list(exported_draws(run / "ledger.sqlite"))
    for _ in range(n):
        bit, damaged = rng.randrange(8 * len(whole)), bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            survived += bool(list(find_faults(path))) or list(exported_draws(path)) == draws
        except LedgerError:
            survived += 1
    path.unlink()
    return {"tried": n, "survived": survived}


def two_at_once(run: Path) -> dict[str, int]:
    """The second of two commands in one folder, while this process is the first."""
    commands: list[tuple[Main, list[str]]] = [
        (sample.main, ["--output", str(run), *SIMULATED]),
        (label.main, ["--run", str(run), "--method", "every_step", "--n_rollouts", "2"]),
        (ledger_command.main, ["repair", str(run)]),
        (ledger_command.main, ["merge", str(run), "--output", str(run / "ledger.sqlite")]),
    ]
    with Ledger(run / "ledger.sqlite"):
        survived = sum(run_apart(main, argv) == 2 for main, argv in commands)
    with training_lock(run / "prm"):
        from prm_train import train_prm

        argv = ["--rows", str(run / "rows" / "prm.jsonl"), "--output", str(run / "prm")]
        survived += run_apart(train_prm.main, argv) == 2
    return {"tried": len(commands) + 1, "survived": survived}


class Outcomes:
    """A plugin of pytest that counts the cases that ran and those that passed; one that tries more says how
    many by its `n_probes`.
    """

    def __init__(self) -> None:
        self.counts = {"tried": 0, "survived": 0}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if not report.skipped and (report.when == "call" or report.failed):
            n_probes = dict(report.user_properties).get("n_probes", 1)
            self.counts["tried"] += n_probes
            self.counts["survived"] += n_probes * report.passed


def hostile_cases(files: Sequence[str]) -> dict[str, int]:
    """The tests of what others may do to us in these files. Raises RuntimeError if there are none."""
    import pytest

    outcomes = Outcomes()
    code = pytest.main(
        ["-q", "-m", "hostile", "-p", "no:cacheprovider", *(str(TESTS / name) for name in files)],
        plugins=[outcomes],
    )
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(
            f"pytest ended with {code!r} on {', '.join(files)}; expected tests that are marked hostile"
        )
    return outcomes.counts


class Runs:
    """Small runs of the simulated policy in a folder, to be damaged; and the arguments of the commands that
    make them.
    """

    def __init__(self, place: Path) -> None:
        self.sampled, self.labeled, self.searched, self.tested = (
            place / name for name in ("sampled", "labeled", "searched", "tested")
        )

    def make(self) -> None:
        assert run_apart(sample.main, sampling(self.sampled)) == 0
        shutil.copytree(self.sampled, self.labeled)
        assert run_apart(label.main, labeling(self.labeled)) == 0
        assert run_apart(search.main, searching(self.searched)) == 0
        assert run_apart(search.main, [*searching(self.tested), "--problems.split", "test"]) == 0

    def evaluating(self, run: Path) -> list[str]:
        return ["--validation", str(run), "--test", str(self.tested), "--output", str(run / "report")]

    def at_once(self) -> dict[str, int]:
        assert run_apart(build.main, building(self.labeled)) == 0
        return two_at_once(self.labeled)


def sampling(run: Path) -> list[str]:
    return ["--output", str(run), *SIMULATED]


def labeling(run: Path) -> list[str]:
    return ["--run", str(run), "--method", "every_step", "--n_rollouts", "2"]


def building(run: Path) -> list[str]:
    return ["--runs", str(run), "--output", str(run / "rows")]


def searching(run: Path) -> list[str]:
    return ["--output", str(run), *SIMULATED, "--n_difficulty_draws", "2"]


def merging(run: Path) -> list[str]:
    return ["merge", str(run), "--output", str(run / "all.sqlite")]


def areas_of(runs: Runs) -> dict[str, Callable[[], dict[str, int]]]:
    """What is tried, by name."""
    killed = "killed at each file event"
    return {
        f"sample, {killed}": partial(kills, sample.main, sampling, None),
        f"label, {killed}": partial(kills, label.main, labeling, runs.sampled),
        f"build, {killed}": partial(kills, build.main, building, runs.labeled),
        f"search, {killed}": partial(kills, search.main, searching, None),
        f"evaluate, {killed}": partial(kills, evaluate.main, runs.evaluating, runs.searched),
        f"ledger merge, {killed}": partial(kills, ledger_command.main, merging, runs.labeled),
        "sample, disk really full": full_disks,
        "ledger, flipped bits": partial(flipped_bits, runs.sampled, 1000),
        "two processes at once": runs.at_once,
        **{name: partial(hostile_cases, files) for name, files in HOSTILE.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "faults.json")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="WORD", help="areas with one of these words in their names"
    )
    arguments = parser.parse_args()
    stored = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    with tempfile.TemporaryDirectory() as place:
        runs = Runs(Path(place))
        areas = areas_of(runs)
        chosen = [name for name in areas if any(word in name for word in arguments.only)]
        if not chosen:
            parser.error(
                f"--only {' '.join(arguments.only)}: no such area; expected words of {'; '.join(areas)}"
            )
        if not HOSTILE.keys() >= {*chosen}:
            runs.make()
        found = {name: stored[name] for name in areas if name in stored}
        for name in chosen:
            found[name] = areas[name]()
            print(f"{name}: {found[name]}", flush=True)
    facts = {
        "command": "make faults",
        **{name: found[name] for name in areas if name in found},
        "machine": machine_name(),
    }
    write_text(arguments.output, json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
