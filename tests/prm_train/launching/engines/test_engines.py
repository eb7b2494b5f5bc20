"""Each engine for real, with real replicas of the built-in policy: one is killed in the middle, one comes
late. What is drawn is what one undivided run draws. Engines that are not installed are skipped.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data_gen.ledger.store import Ledger
from prm_train.launching.launched import LaunchSummary
from tests.served_policy import ServedPolicy, start_server

pytestmark = pytest.mark.slow
N_PROBLEMS = "100"
SAMPLE = ("sample", "--problems.n", N_PROBLEMS, "--policy.model", "base", "--n_samples", "4")
ENGINES = {
    "local": (),
    "ray": ("--engine", "ray", "--cpus_per_shard", "0.5"),
    "datatrove": ("--engine", "datatrove"),
    "slurm": ("--engine", "slurm"),
}


@pytest.fixture(params=ENGINES)
def engine(request) -> tuple[str, ...]:
    name = request.param
    if name in ("ray", "datatrove") and importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed: pip install '.[launch]'")
    if name == "slurm" and (
        shutil.which("sinfo") is None or subprocess.run(["sinfo"], check=False).returncode
    ):
        pytest.skip("no Slurm is reached from here")
    return ENGINES[name]


def is_slurm_there() -> bool:
    return shutil.which("sinfo") is not None and subprocess.run(["sinfo"], check=False).returncode == 0


def environment() -> dict[str, str]:
    own = {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(Path.cwd())}
    return os.environ | own


def started(*words: str, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("w") as file:
        command = [sys.executable, "-m", "prm_train.launch", *words]
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment())


def draws(ledger: Path) -> list[tuple[object, ...]]:
    """Keys and values; log-probabilities, which the shape of a batch moves by 1e-6, left out."""
    with Ledger(ledger, read_only=True) as found:
        return [row[:-2] + row[-1:] for row in found.contents() if row[0] == "draws"]


def until(is_so: Callable[[], bool], process: "subprocess.Popen[bytes]", seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert process.poll() is None, "the launch ended before"
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture(scope="module")
def undivided(tmp_path_factory, base_server) -> list[tuple[object, ...]]:
    """The draws of one run with one server."""
    run = tmp_path_factory.mktemp("undivided")
    command = ["-m", "data_gen.sample", *SAMPLE[1:], "--output", str(run), "--policy.servers", base_server]
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment())
    return draws(run / "ledger.sqlite")


@pytest.fixture(scope="module")
def base_server() -> Iterator[str]:
    server = start_server("--model", "base")
    yield server.url
    server.kill()


@pytest.fixture
def serve() -> Iterator[Callable[[], ServedPolicy]]:
    """Starts further ones."""
    servers = list[ServedPolicy]()

    def start() -> ServedPolicy:
        servers.append(start_server("--model", "base"))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def test_one_replica_dies_and_one_comes_late_and_no_draw_is_lost_or_made_twice(
    engine: tuple[str, ...], undivided, serve: Callable[[], ServedPolicy], tmp_path: Path
):
    first, names, run = serve(), tmp_path / "replicas.txt", tmp_path / "run"
    names.write_text(f"{first.url}\n")
    # Two draws at a time, so that it takes long enough for a replica to come
    servers = ("--policy.servers", f"@{names}", "--policy.max_concurrency", "2")
    given = ("--n_shards", "2", "--output", str(run), *engine, "--", *SAMPLE, *servers)
    launch = started(*given, log=tmp_path / "launch.txt")
    logs = [run / "shard-0" / "log.txt", run / "shard-1" / "log.txt"]
    until(lambda: all(log.exists() and "first prompt" in log.read_text() for log in logs), launch, 300)
    late = serve()
    names.write_text(f"{first.url}\n{late.url}\n")
    until(lambda: all(f"{late.url}: joins" in log.read_text() for log in logs), launch, 300)
    first.kill()
    assert launch.wait(timeout=600) == 0, (tmp_path / "launch.txt").read_text()
    assert draws(run / "ledger.sqlite") == undivided
    summary = LaunchSummary.read(run / "launch-sample.json")
    assert summary.gathered == {"n_ledgers": 2, "n_draws": 400, "n_repeated_draws": 0}
    assert [(each.n_servers, each.n_servers_answered) for each in summary.shards] == [(2, 2), (2, 2)]


def test_a_task_that_is_killed_is_started_again_and_one_replica_of_two_is_told_of(
    engine: tuple[str, ...], undivided, base_server: str, tmp_path: Path
):
    run, nobody = tmp_path / "run", "http://127.0.0.1:9"
    servers = ("--policy.servers", f"{nobody},{base_server}", "--policy.max_concurrency", "4")
    given = ("--n_shards", "2", "--output", str(run), *engine, "--", *SAMPLE, *servers)
    launch = started(*given, log=tmp_path / "launch.txt")
    ledger = run / "shard-0" / "ledger.sqlite-wal"
    until(lambda: ledger.exists() and ledger.stat().st_size > 50_000, launch, 300)
    os.kill(pid_of("data_gen.sample", str(run / "shard-0")), signal.SIGKILL)
    assert launch.wait(timeout=600) == 0, (tmp_path / "launch.txt").read_text()
    assert draws(run / "ledger.sqlite") == undivided
    shards = LaunchSummary.read(run / "launch-sample.json").shards
    assert [(each.state, each.n_attempts) for each in shards] == [("done", 2), ("done", 1)]
    assert shards[0].faults[0].startswith("ended by SIGKILL")
    assert [(each.n_servers, each.n_servers_answered) for each in shards] == [(2, 1), (2, 1)]
    assert "shard-1: reached 1 of its 2 servers" in (tmp_path / "launch.txt").read_text()


@pytest.mark.parametrize("engine", ["local", "ray"], indirect=True)
def test_servers_that_are_started_with_the_shards_are_started_again(
    engine: tuple[str, ...], undivided, tmp_path: Path
):
    run = tmp_path / "run"
    command = "prm-train serve-policy --model base --host {host} --port {port}"
    replicas = ("--replicas.command", command, "--replicas.n", "2", "--replicas.cpus", "0.1")
    # Few draws at a time, so that a server is killed before the end
    words = (*SAMPLE, "--policy.max_concurrency", "1", "--n_open", "2")
    given = ("--n_shards", "2", "--output", str(run), *engine, *replicas, "--", *words)
    launch = started(*given, log=tmp_path / "launch.txt")
    ledger, names = run / "shard-0" / "ledger.sqlite-wal", run / "replicas.txt"
    until(lambda: ledger.exists() and len(names.read_text().split()) == 2, launch, 300)
    until(lambda: "first prompt" in (run / "shard-1" / "log.txt").read_text(), launch, 300)
    killed = names.read_text().split()[0]
    os.kill(pid_of("serve-policy", killed.rpartition(":")[2]), signal.SIGKILL)
    until(lambda: killed not in names.read_text().split(), launch, 60)
    assert launch.wait(timeout=600) == 0, (tmp_path / "launch.txt").read_text()
    assert draws(run / "ledger.sqlite") == undivided
    assert "; started again" in (tmp_path / "launch.txt").read_text()
    assert [each.n_attempts for each in LaunchSummary.read(run / "launch-sample.json").shards] == [1, 1]
    assert list((run / "replicas").glob("*.url")) == []


def test_an_actor_whose_process_is_killed_is_started_again_elsewhere(undivided, base_server, tmp_path: Path):
    pytest.importorskip("ray")
    run = tmp_path / "run"
    words = (*SAMPLE, "--policy.servers", base_server, "--policy.max_concurrency", "4")
    given = ("--n_shards", "2", "--output", str(run), *ENGINES["ray"], "--", *words)
    launch = started(*given, log=tmp_path / "launch.txt")
    ledger = run / "shard-0" / "ledger.sqlite-wal"
    until(lambda: ledger.exists() and ledger.stat().st_size > 50_000, launch, 300)
    status = Path("/proc", str(pid_of("data_gen.sample", str(run / "shard-0"))), "status").read_text()
    actor = next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:"))
    os.kill(int(actor), signal.SIGKILL)
    assert launch.wait(timeout=600) == 0, (tmp_path / "launch.txt").read_text()
    assert draws(run / "ledger.sqlite") == undivided
    shards = LaunchSummary.read(run / "launch-sample.json").shards
    assert [(each.state, each.n_attempts) for each in shards] == [("done", 2), ("done", 1)]
    assert "Error" in shards[0].faults[0]


def pid_of(*wanted: str) -> int:
    """Of the process with these words in its command line."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text().split("\0")
        except OSError:  # it has ended
            continue
        if all(word in words for word in wanted):
            return int(process.name)
    raise AssertionError(f"no process with {wanted}")
