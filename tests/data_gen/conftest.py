"""Real `prm-train serve-policy` processes on this machine, for the tests of their clients; a disk that is
soon full.
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.served_policy import ServedPolicy, start_server


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
