"""One attempt of a shard, on the node where it runs: its command line as a process, watched, and on nodes
that work on their own disk the copies of what it has made.

Also a program, for engines that start command lines: `python -m prm_train.launching.run_shard SPEC`.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from data_gen.files.locks import lock
from data_gen.files.progress_file import VARIABLE
from data_gen.ledger.merge import merge_ledgers
from data_gen.ledger.store import has_draws
from data_gen.process.parent_death import end_with_parent
from data_gen.records.draw_keys import content_hash
from data_gen.settings.errors import InputError
from prm_train.launching.shards import FOLDER, ShardEnd, ShardSpec
from prm_train.launching.storage import fetch, file_names, joined, put

LOOK_SECONDS = 0.5
LAST_SECONDS = 30.0  # for a process that was told to end
LEDGER = "ledger.sqlite"
LOG, PROGRESS = "log.txt", "progress.json"
TELL_SECONDS = 10.0  # between two copies of the progress of a shard on another disk


def run_shard(spec: ShardSpec, stop: threading.Event) -> ShardEnd:
    """Work until the shard's command ends, or `stop` is set. What the folder holds is not done again."""
    begun, folder = time.monotonic(), work_folder(spec)
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder, stop) as descriptor:
        if spec.work is not None:
            fetch_missing(spec, folder)
        fault = _watched(spec, folder, descriptor, stop)
        if spec.work is not None:
            save(spec, folder)
        end = ShardEnd(
            spec.index, fault, round(time.monotonic() - begun, 1), socket.gethostname(), spec.settings
        )
        local = folder / spec.end_file.rpartition("/")[2]
        end.write(local)
        if spec.work is not None:
            put(local, spec.end_file)
    return end


@dataclass(frozen=True)
class ShardTask:
    """An attempt of a shard, as an engine takes it (`prm_train.launching.engines.protocol.Task`)."""

    spec: ShardSpec
    cpus: float
    gpus: float

    @property
    def key(self) -> str:
        return self.spec.name

    def run(self, stop: threading.Event, host: str) -> str:
        try:
            return run_shard(self.spec, stop).fault
        except (InputError, OSError) as error:
            return f"{type(error).__name__}: {error}"


def work_folder(spec: ShardSpec) -> Path:
    """Where the shard is worked on, on whichever node asks."""
    if spec.work is None:
        return Path(spec.folder)
    return Path(spec.work) / f"{content_hash(spec.folder)[:12]}-{spec.name}"


@contextmanager
def _held(folder: Path, stop: threading.Event) -> Iterator[int]:
    """The folder, for this attempt alone. The command inherits the lock: one that outlived its launcher is
    waited for.
    """
    path = folder / ".shard.lock"
    with path.open("w") as file:
        while not lock(file.fileno(), path):
            if stop.wait(LOOK_SECONDS):
                raise InputError(f"{folder}: an earlier attempt of this shard is still at work there")
        yield file.fileno()


def _watched(spec: ShardSpec, folder: Path, descriptor: int, stop: threading.Event) -> str:
    """Run the command; what ended it, "" where it is done."""
    command = [word.replace(FOLDER, str(folder)) for word in spec.arguments]
    environment = {**os.environ, VARIABLE: str(folder / PROGRESS)}
    with (folder / LOG).open("a") as log:
        start = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", spec.module, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=[descriptor],
            cwd=spec.directory if Path(spec.directory).is_dir() else None,
            preexec_fn=end_with_parent,
            start_new_session=True,  # Ctrl-C of the launcher's terminal comes by way of `stop`
        )
        try:
            _wait(process, spec, folder, stop)
        finally:
            if process.poll() is None:
                process.kill()
    return _fault(process.wait(), folder / LOG, start)


def _wait(process: "subprocess.Popen[bytes]", spec: ShardSpec, folder: Path, stop: threading.Event) -> None:
    saved_at = told_at = time.monotonic()
    while True:
        try:
            process.wait(timeout=LOOK_SECONDS)
            return
        except subprocess.TimeoutExpired:
            pass
        if stop.is_set():
            process.terminate()
            with suppress(subprocess.TimeoutExpired):  # it is killed then
                process.wait(timeout=LAST_SECONDS)
            return
        now = time.monotonic()
        if spec.work is not None and now - saved_at > spec.save_every_seconds:
            save(spec, folder)
            saved_at = told_at = time.monotonic()
        elif spec.work is not None and now - told_at > TELL_SECONDS and (folder / PROGRESS).exists():
            put(folder / PROGRESS, joined(spec.folder, PROGRESS))
            told_at = now


def _fault(exit_code: int, log: Path, start: int) -> str:
    if exit_code == 0:
        return ""
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    how = f"ended by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit code {exit_code}"
    return f"{how}: {said:.400}"


# --- copies between the node's own disk and where the shard ends up


def _travels(name: str) -> bool:
    """What a shard is made of, beside its ledger; not files that are just being written."""
    return name.endswith((".part", ".json", ".jsonl", ".txt")) and (
        not name.startswith(".") or name.endswith(".part")
    )


def fetch_missing(spec: ShardSpec, folder: Path) -> None:
    """Bring what an attempt on another node has left."""
    for name in file_names(spec.folder):
        if (name == LEDGER or _travels(name)) and not (folder / name).exists():
            fetch(joined(spec.folder, name), folder / name)


def save(spec: ShardSpec, folder: Path) -> None:
    """Bring back what is made so far. The ledger is merged, not copied: one that is being written lies in
    several files.
    """
    for path in sorted(folder.iterdir()):
        if path.is_file() and _travels(path.name):
            put(path, joined(spec.folder, path.name))
    if has_draws(folder / LEDGER):
        snapshot = folder / ".snapshot.sqlite"
        snapshot.unlink(missing_ok=True)
        merge_ledgers([folder / LEDGER], snapshot)
        put(snapshot, joined(spec.folder, LEDGER))


def main() -> None:
    spec = ShardSpec.read(Path(sys.argv[1]))
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    end = run_shard(spec, stop)
    if end.fault:
        sys.stderr.write(f"{spec.name}: {end.fault}\n")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
