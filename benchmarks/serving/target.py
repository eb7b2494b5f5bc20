"""Processes that serve, and what is asked of them."""

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data_gen.problems.arithmetic.rules import draw_chain
from data_gen.problems.tasks import model_path
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.training.config import ScorerConfig
from prm_train.training.scorer_network import build_scorer, save_scorer

START_SECONDS = 300.0
SETTINGS = {"policy.model": "base", "grader": "arithmetic", "max_new_tokens": 80, "max_queue": 400}
SIMPLE = {"strategy": "majority", "n": 1}
COMPLEX = {"strategy": "particle_filter", "n": 8}
PATHS = {"simple": SIMPLE, "complex": COMPLEX}


def write_prm(folder: Path) -> Path:
    """A PRM of the base policy with a fresh head."""
    torch.manual_seed(0)
    given = ScorerConfig(rows=Path(), output=Path(), model=model_path("base"))
    model, encoding = build_scorer("prm", given)
    torch.nn.init.normal_(model.score.weight, std=0.3)
    facts = CheckpointFacts("prm", encoding.facts, "a fresh head, for a benchmark", "min")
    save_scorer(model, encoding, facts, folder)
    return folder


def questions(n: int, seed: int, n_operations: int | None = None) -> list[str]:
    """Of the built-in task."""
    rng = random.Random(seed)
    return [draw_chain(rng, n_operations).question() for _ in range(n)]


def chat(question: str, seed: int, search: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}], "seed": seed, "search": search}


@dataclass(frozen=True)
class Target:
    """A process that serves at `url`."""

    url: str
    pid: int

    @property
    def cpu_seconds(self) -> float:
        """Of all its threads so far."""
        spent = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, spent)) / os.sysconf("SC_CLK_TCK")

    @property
    def resident_bytes(self) -> int:
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        """As a machine that loses its power."""
        os.kill(self.pid, signal.SIGKILL)


def start_server(prm: Path, **settings: object) -> "Starting":
    given = {**SETTINGS, "prm": prm, **settings}
    return start("prm_train.serve", given)


def start_replica(port: int = 0) -> "Starting":
    return start("data_gen.serve_policy", {"model": "base", "port": port})


@dataclass
class Starting:
    """A process as a context: entering waits until it serves, leaving ends it."""

    command: Sequence[str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None

    def __enter__(self) -> Target:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        patience = time.monotonic() + START_SECONDS
        while time.monotonic() < patience and self.process.poll() is None:
            if found := re.search(r"serving .* on (http://\S+:\d+)", self.log.read_text()):
                return Target(found[1], self.process.pid)
            time.sleep(0.1)
        said = self.log.read_text()[-2000:]
        self.__exit__()
        raise RuntimeError(f"{' '.join(self.command)}: does not serve: {said}")

    def __exit__(self, *error: object) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.unlink()


def start(module: str, settings: dict[str, Any]) -> Starting:
    """At a free port unless `settings` name one."""
    options = [f"--{name}={value}" for name, value in {"port": 0, **settings}.items()]
    handle, log = tempfile.mkstemp(suffix=".log")
    os.close(handle)
    return Starting([sys.executable, "-m", module, *options], Path(log))
