"""Real `prm-train serve-policy` processes on this machine, for the tests of their clients; a disk that is
soon full.
"""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class ServedPolicy:
    """A server process that answers at `url`."""

    url: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def start_server(*arguments: str, environment: dict[str, str] | None = None) -> ServedPolicy:
    command = [sys.executable, "-m", "data_gen.serve_policy", "--port", "0", *arguments]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | (environment or {})
    )
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if found := re.search(r"serving .* on (http://\S+)", line):
            # A full pipe would stop the server
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return ServedPolicy(found[1], process)
    raise RuntimeError(f"serve-policy ended: {said}")


@pytest.fixture
def serve() -> Iterator[Callable[..., ServedPolicy]]:
    """Start a server with these arguments; it is killed when the test ends."""
    started: list[ServedPolicy] = []

    def serve_one(*arguments: str, environment: dict[str, str] | None = None) -> ServedPolicy:
        started.append(start_server(*arguments, environment=environment))
        return started[-1]

    yield serve_one
    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def simulated_server() -> Iterator[ServedPolicy]:
    """The simulated policy, served."""
    server = start_server("--model", "simulated")
    yield server
    server.kill()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)
