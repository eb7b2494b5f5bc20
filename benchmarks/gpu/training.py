"""PRM training on a card: whether it is right, how fast against TRL 1.13's PRMTrainer (the last one
released), in how much memory, and how near `prm-train estimate-memory` came.

*checks*: see `benchmarks.gpu.training_checks`. *speed*: each side trains in a process of its own
(`benchmarks.gpu.training_speed`, TRL from the setting's `peer`), one after the other; both are loaded while
the checks run, since that takes seconds of a CPU alone. `benchmarks.gpu.training_runs` says what is trained.

A ratio compares, for each case, the side's fastest run in tokens a second with the other's: each had several
sizes of a pass to choose from. `peak_ratio` is between these two runs. `smallest_peak_ratio` is between our
run of the case with the lowest peak and TRL's fastest, where ours is still the faster one.

*estimates*: for each of our runs what `prm-train estimate-memory` says of its settings (`estimate_gib`, of
passes as full as `batch_tokens` allows), and of the largest pass that there was
(`estimate_of_largest_pass_gib`), against the peak of what tensors took; `error` is the share by which the
latter is too much or too little.
"""

import gc
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from benchmarks.gpu.__main__ import as_json
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.training_checks import gradients, qlora
from benchmarks.gpu.training_runs import Run, shape
from benchmarks.gpu.training_speed import config_of
from prm_train.estimate_memory import GIB, EstimateMemoryConfig, estimate_memory, read_network

SPEED_GOAL, PEAK_GOAL = 1.8, 0.7
SHARE_OF_OURS = 0.4  # of the time that the checks leave
SECONDS_AROUND = 12  # of the part's, for imports before and estimates after
RUN_FIELDS = tuple(Run.__dataclass_fields__)


class Found:
    """What the part has found so far, on disk after every step of it."""

    def __init__(self, folder: Path) -> None:
        self.file, self.figures = folder / "so_far.json", dict[str, Any]()

    def step(self, name: str, action: Callable[[], Any]) -> None:
        """A step that fails is a figure: the others follow."""
        print(f"{name}: begins", flush=True)
        started = time.perf_counter()
        try:
            self.figures[name] = action()
        except Exception as error:  # noqa: BLE001 - written down with its message, and the trace is in the log
            traceback.print_exc()
            self.figures[name] = {"ok": False, "error": f"{type(error).__name__}: {error}"[:500]}
        self.write()
        print(f"{name}: {time.perf_counter() - started:.1f} seconds", flush=True)

    def write(self) -> None:
        self.file.write_text(json.dumps(self.figures, indent=1) + "\n")


class Side:
    """The process of one side."""

    def __init__(self, name: str, setting: Setting) -> None:
        self.name, self.result = name, setting.folder / f"runs-{name}.jsonl"
        self.result.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks.gpu.training_speed", "--side", name]
        command += ["--setting", json.dumps(as_json(setting)), "--result", str(self.result)]
        offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, text=True, env={**os.environ, **offline}
        )

    def train(self, seconds: float) -> dict[str, Any]:
        """Let it train for so many seconds at most. The figures of its runs."""
        with suppress(subprocess.TimeoutExpired):
            self.process.communicate(f"{seconds}\n", timeout=seconds + 3)
        self.end()
        found: dict[str, Any] = {Run(**settings(run)).title: short(run) for run in self.runs()}
        code = self.process.returncode
        return found if code == 0 else {**found, "ok": False, "exit_code": code, "wanted_exit_code": 0}

    def runs(self) -> list[dict[str, Any]]:
        """All that is known of those that it has made."""
        lines = self.result.read_text().splitlines() if self.result.exists() else []
        return [json.loads(line) for line in lines]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


# --- what the runs say

SHOWN = (
    *("tokens_per_second", "tokens_per_second_of_all_steps", "n_tokens", "n_steps"),
    *("step_seconds_median", "step_seconds_longest", "mfu", "peak_gib", "reserved_gib", "padding_share"),
    *("n_passes", "largest_pass_tokens", "attention", "train_loss", "run_seconds", "skipped", "error"),
)


def short(run: dict[str, Any]) -> dict[str, Any]:
    return {name: run[name] for name in SHOWN if name in run}


def ratios(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each case that both sides have trained."""
    done = [run for run in runs if "tokens_per_second" in run and Run(**settings(run)).is_compared]
    found: dict[str, Any] = {}
    for case in dict.fromkeys(run["case"] for run in done):
        sides = [
            [run for run in done if (run["case"], run["side"]) == (case, side)] for side in ("ours", "trl")
        ]
        if all(sides):
            found[case] = ratio(*sides)
    return found


def ratio(ours: list[dict[str, Any]], trl: list[dict[str, Any]]) -> dict[str, Any]:
    best, peer = (max(side, key=lambda run: run["tokens_per_second"]) for side in (ours, trl))
    faster = [run for run in ours if run["tokens_per_second"] >= peer["tokens_per_second"]]
    speed, peak = best["tokens_per_second"] / peer["tokens_per_second"], best["peak_gib"] / peer["peak_gib"]
    lowest = min((run["peak_gib"] / peer["peak_gib"] for run in faster), default=None)
    return {
        "our_pass_tokens": best["pass_size"],
        "trl_pass_rows": peer["pass_size"],
        "our_tokens_per_second": best["tokens_per_second"],
        "trl_tokens_per_second": peer["tokens_per_second"],
        "tokens_per_second_ratio": speed,
        "speed_goal": SPEED_GOAL,
        "reaches_speed_goal": speed >= SPEED_GOAL,
        "peak_ratio": peak,
        "smallest_peak_ratio": lowest,
        "peak_goal": PEAK_GOAL,
        "reaches_peak_goal": peak <= PEAK_GOAL,
    }


def settings(run: dict[str, Any]) -> dict[str, Any]:
    return {name: run[name] for name in RUN_FIELDS}


def estimates(runs: list[dict[str, Any]], setting: Setting) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in runs:
        if each["side"] != "ours" or "peak_gib" not in each:
            continue
        run = Run(**settings(each))
        config = EstimateMemoryConfig(**vars(config_of(run, setting)))
        largest = each["largest_pass_tokens"]
        of_largest = replace(config, batch_tokens=largest, max_length=min(config.max_length, largest))
        network = read_network(
            AutoConfig.from_pretrained(setting.model) if run.model == "real" else shape("random", setting),
            None,
        )
        guess = estimate_memory(network, of_largest)
        found[run.title] = {
            "estimate_gib": estimate_memory(network, config).total / GIB,
            "estimate_of_largest_pass_gib": guess.total / GIB,
            "measured_gib": each["peak_gib"],
            "error": guess.total / GIB / each["peak_gib"] - 1,
        }
    return found


def measure(setting: Setting) -> dict[str, Any]:
    deadline = time.monotonic() + setting.seconds - SECONDS_AROUND
    setting.folder.mkdir(parents=True, exist_ok=True)
    found = Found(setting.folder)
    sides = [Side(name, setting) for name in (("ours",) if setting.peer is None else ("ours", "trl"))]
    try:
        for name in ("tiny", "real"):
            found.step(f"gradients_{name}", partial(gradients, name, setting))
        found.step("qlora", partial(qlora, setting))
        gc.collect()  # what the checks held in circles would stay on the card
        if setting.is_cuda:
            torch.cuda.empty_cache()
        for side in sides:
            share = SHARE_OF_OURS if setting.is_cuda and side is not sides[-1] else 1.0
            left = max(deadline - time.monotonic(), 1)
            found.step(f"runs_{side.name}", partial(side.train, left * share))
    finally:
        for side in sides:
            side.end()
    runs = [run for side in sides for run in side.runs()]
    if len(sides) > 1:
        found.step("ratios", partial(ratios, runs))
    found.step("estimates", partial(estimates, runs, setting))
    return found.figures
