"""Commands that are run two at a time."""

import os
from pathlib import Path

import pytest

from benchmarks.reproduce.jobs import Job, JobQueue, read_jobs
from data_gen.settings.errors import InputError

RECORD = """
import sys, pathlib
name, folder = sys.argv[1:]
pathlib.Path(folder, "order").open("a").write(name + " ")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds a module that writes its name, and one that fails until a file is there."""
    (tmp_path / "writes.py").write_text(RECORD)
    (tmp_path / "fails.py").write_text(
        RECORD
        + "if not pathlib.Path(folder, 'mended').exists():\n    print('what was wrong')\n    sys.exit(3)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def write(folder: Path, name: str, needs: tuple[str, ...] = (), module: str = "writes") -> Job:
    return Job(name, (module, name, str(folder)), needs)


def run(folder: Path, jobs: list[Job], n_processes: int = 2) -> None:
    with (folder / ".lock").open("w") as held:
        JobQueue(folder / "stages", held.fileno(), n_processes).run(jobs)


def order(folder: Path) -> list[str]:
    return (folder / "order").read_text().split()


def test_a_job_waits_for_what_it_needs_and_is_not_run_twice(folder: Path):
    jobs = [write(folder, "a"), write(folder, "b", ("a",)), write(folder, "c", ("b",))]
    run(folder, jobs)
    run(folder, jobs)
    assert order(folder) == ["a", "b", "c"]
    records = read_jobs(folder / "stages")
    assert [each.name for each in records] == ["a", "b", "c"]
    assert records[0].command_line == f"python -m writes a {folder}"
    assert all(0 <= each.cpu_seconds < 10 for each in records)
    assert not list((folder / "stages").glob("*.clock"))


def test_a_failure_is_shown_and_the_next_run_begins_there_and_keeps_the_cost(folder: Path):
    jobs = [write(folder, "a"), write(folder, "b", ("a",), "fails"), write(folder, "c", ("b",))]
    with pytest.raises(InputError, match=r"(?s)b: exit code 3.*what was wrong"):
        run(folder, jobs, n_processes=1)
    (spent,) = (folder / "stages").glob("*.clock")
    assert spent.name == "b.clock"
    (folder / "mended").touch()
    run(folder, jobs, n_processes=1)
    assert order(folder) == ["a", "b", "b", "c"]


def test_a_command_is_made_when_its_turn_comes(folder: Path):
    def command() -> tuple[str, ...]:
        return ("writes", f"after-{order(folder)[0]}", str(folder))

    run(folder, [write(folder, "a"), Job("b", command, ("a",))])
    assert order(folder) == ["a", "after-a"]


def test_what_runs_beside_a_failure_is_stopped(folder: Path):
    (folder / "waits.py").write_text("import time\ntime.sleep(600)\n")
    jobs = [Job("waits", ("waits",)), write(folder, "b", (), "fails")]
    with pytest.raises(InputError, match="b: exit code 3"):
        run(folder, jobs)
    assert {each.stem for each in (folder / "stages").glob("*.clock")} == {"waits", "b"}


def test_what_ends_while_the_queue_is_stopped_keeps_its_cost(folder: Path):
    """As both commands do on Ctrl-C, which reaches them as well as the queue."""
    with (folder / ".lock").open("w") as held:
        queue = JobQueue(folder / "stages", held.fileno())
        queue._start(write(folder, "a"))
        (running,) = queue.running
        os.waitid(os.P_PID, running.process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody asked it
        queue._stop()
    assert [each.name for each in (folder / "stages").glob("*.clock")] == ["a.clock"]
    assert not queue.running
