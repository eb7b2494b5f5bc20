"""The cheapest way from the base policy of the built-in task to a verifier that solves 80 % of fresh
problems: `make speedrun ARGS="--recipe lean"`.

A recipe is a YAML file in benchmarks/speedruns: what it changes, in words, and settings of the commands
`sample`, `label`, `build` and `train-prm`. The rules, which docs/speedrun.md explains, are held here: what a
recipe may not set (`FIXED`) is set by the seed alone, and so are the test problems and their 16 samples each,
on which the PRM votes (`prm-train benchmark best-of-n`). Cost is the CPU-seconds of the four commands, their
start included, one process at a time; sampling and scoring of test problems do not count.

Writes RUN/speedrun.json, prints cost by stage and the result, and puts the entry into
benchmarks/results/speedrun.json once all seeds of the rules are there. A stopped run goes on where it was.
With `--board` it prints the table of docs/speedrun.md from that file; with `--quickstarts FOLDERS` the entry
of the recipe `quickstart` is read from finished quickstarts.
"""

import argparse
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_gen.files.locks import lock
from data_gen.files.stored_record import read_object
from data_gen.labeling.summary import LabelSummary
from data_gen.problems.tasks import DEFAULT_TASK
from data_gen.process.machine import machine_name
from data_gen.sampling.summary import SampleSummary
from data_gen.settings.errors import InputError
from data_gen.settings.parse import run_command
from prm_train.benchmarking.measures import BenchmarkResult
from prm_train.evaluation.results import SearchReport
from prm_train.evaluation.stages import Command, StageRecord, stage_file
from prm_train.metrics.training_report import TrainingReport
from prm_train.quickstart import Stage, run_stage

RECIPES = Path(__file__).parent / "speedruns"
RESULT = Path(__file__).parent / "results" / "speedrun.json"
SEEDS = (100, 101, 102)  # of reported runs; try on others
GOAL = 0.8
N_TEST, N = 500, 16
COMMANDS = ("sample", "label", "build", "train_prm")
COUNTED: tuple[Command, ...] = ("sample", "label", "build", "train")
# What would let a recipe see test problems, truths that no policy told it, or other weights than the base's.
FIXED: Mapping[str, tuple[str, ...]] = {
    "sample": ("output", "config", "problems", "policy", "grader", "ledger"),
    "label": ("run", "config", "policy", "grader"),
    "build": ("runs", "output", "config"),
    "train_prm": ("rows", "output", "config", "model", "candidates", "use_cpu", "seed"),
}
ALLOWED = {"problems.n"}


@dataclass(frozen=True)
class SpeedrunRecipe:
    """What it changes, in words, and the settings of each command."""

    changes: str
    settings: Mapping[str, Mapping[str, Any]]


def read_recipe(path: Path) -> SpeedrunRecipe:
    """Raises InputError for a recipe that sets what the rules fix, or that is none."""
    if not path.exists():
        known = ", ".join(sorted(each.stem for each in RECIPES.glob("*.yaml")))
        raise InputError(f"recipe: got {path.stem!r}, expected one of {known}, or a file of your own there")
    found = yaml.safe_load(path.read_text())
    if not isinstance(found, dict) or "changes" not in found or found.keys() - {"changes", *COMMANDS}:
        raise InputError(f"{path}: expected `changes` and settings of {', '.join(COMMANDS)}")
    settings = {command: found.get(command) or {} for command in COMMANDS}
    for command, of_command in settings.items():
        for name in of_command:
            if name.split(".")[0] in FIXED[command] and name not in ALLOWED:
                raise InputError(
                    f"{path}: {command}: {name} is fixed by the rules; expected it to be left out"
                )
    return SpeedrunRecipe(str(found["changes"]).strip(), settings)


def options(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """As words of a command line: true and null as YAML writes them."""
    words = {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}
    return tuple(word for name, value in words.items() for word in (f"--{name}", value))


def stages(recipe: SpeedrunRecipe, run: Path, seed: int) -> list[Stage]:
    """The four that count, then those that measure."""
    of_task = (
        "--problems.source",
        DEFAULT_TASK.source,
        "--problems.seed",
        str(seed),
        "--policy.model",
        "base",
    )
    drawn = (*of_task, "--policy.base_seed", str(seed), "--max_new_tokens", "160", "--problems.split")
    of_base = ("--model", "base", "--use_cpu", "true", "--seed", str(seed))
    frozen, rows = str(run / "candidates.jsonl"), str(run / "rows" / "prm.jsonl")
    counted: dict[Command, tuple[str, ...]] = {
        "sample": ("data_gen.sample", "--output", str(run / "train"), *drawn, "train"),
        "label": ("data_gen.label", "--run", str(run / "train")),
        "build": ("data_gen.build", "--runs", str(run / "train"), "--output", str(run / "rows")),
        "train": ("prm_train.train_prm", "--rows", rows, "--output", str(run / "prm"), *of_base),
    }
    test = ("data_gen.sample", "--output", str(run / "test"), *drawn, "test")
    publish = ("data_gen.publish_candidates", "--runs", str(run / "test"), "--output", frozen)
    vote = ("prm_train.benchmarking.benchmark", "best-of-n", "--rows", frozen, "--n", str(N))
    of = {"train" if name == "train_prm" else name: each for name, each in recipe.settings.items()}
    return [
        *(Stage(name, ((*words, *options(of[name])),)) for name, words in counted.items()),
        Stage("sample", ((*test, "--problems.n", str(N_TEST), "--n_samples", str(N)),), "test"),
        Stage("build", (publish,), "test"),
        Stage("evaluate", ((*vote, "--checkpoint", str(run / "prm"), "--output", str(run / "voted")),)),
    ]


def run_recipe(recipe: SpeedrunRecipe, run: Path, seed: int) -> dict[str, Any]:
    """All stages of one seed, and its figures. The recipe a folder began with is the one it ends with."""
    run.mkdir(parents=True, exist_ok=True)
    began, told = run / "recipe.json", json.dumps(asdict(recipe), indent=1)
    if began.exists() and began.read_text() != told:
        raise InputError(f"{run}: began with another recipe; expected an empty folder")
    began.write_text(told)
    with (run / ".lock").open("w") as held:
        if not lock(held.fileno(), run / ".lock"):
            raise InputError(f"{run}: a speedrun is going on there")
        for stage in stages(recipe, run, seed):
            run_stage(stage, run, held.fileno())
    measures = BenchmarkResult.read(run / "voted" / "metrics.json").measures
    figures = cost(run, [run / "train"], stage_seconds(run)) | {
        "seed": seed,
        "weighted": measures["at"]["weighted"][str(N)]["accuracy"],
        "majority": measures["at"]["majority"][str(N)]["accuracy"],
    }
    (run / "speedrun.json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def stage_seconds(run: Path) -> dict[str, float]:
    return {name: StageRecord.read(stage_file(run, name)).cpu_seconds for name in COUNTED}


def cost(run: Path, sampled: Sequence[Path], seconds: Mapping[str, float]) -> dict[str, Any]:
    """CPU-seconds of each stage that counts, and what no machine changes: the tokens behind them."""
    report = TrainingReport.read(run / "prm" / "training" / "report.json")
    epochs = float(report.config["n_epochs"])
    return {
        "cpu_seconds": round(sum(seconds.values())),
        "by_stage": dict(seconds),
        "n_sampled_tokens": sum(SampleSummary.read(each / "sample.json").n_generated for each in sampled),
        "n_label_tokens": sum(LabelSummary.read(each / "label.json").n_generated for each in sampled),
        "n_trained_tokens": round(report.n_training_tokens * epochs),
    }


def of_quickstart(run: Path) -> dict[str, Any]:
    """The figures of a finished quickstart. Of its training stage the PRM's own seconds count, without the
    start of its process; N = 16 is a mean over subsets of 64 samples.
    """
    report = SearchReport.read(run / "report.json")
    own = TrainingReport.read(run / "prm" / "training" / "report.json").cost.cpu_seconds
    seconds: dict[str, float] = {
        name: StageRecord.read(stage_file(run, name)).cpu_seconds for name in COUNTED[:3]
    }
    return cost(run, sorted(run.glob("train-*")), seconds | {"train": own}) | {
        "seed": read_object(run / "prm" / "training" / "config.json")["seed"],
        "weighted": asdict(report.accuracy["prm_weighted"][N]),
        "majority": asdict(report.accuracy["majority"][N]),
    }


def entry(
    recipe: SpeedrunRecipe, runs: Sequence[Mapping[str, Any]], command: str, commit: str
) -> dict[str, Any]:
    """Means over seeds. Problems of several seeds are others, so the variances of their means add up."""
    means = np.array([run["weighted"]["mean"] for run in runs])
    half = [(run["weighted"]["high"] - run["weighted"]["low"]) / 2 for run in runs]
    mean, margin = float(means.mean()), float(np.sqrt(np.square(half).sum())) / len(runs)
    return {
        "changes": recipe.changes,
        "commit": commit,
        "command": command,
        "machine": machine_name(),
        "cpu_seconds": round(float(np.mean([run["cpu_seconds"] for run in runs]))),
        "weighted": {"mean": mean, "low": mean - margin, "high": mean + margin},
        "reaches_goal": mean >= GOAL,
        "seeds": list(runs),
    }


def current_commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def store(name: str, found: Mapping[str, Any]) -> None:
    entries = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    RESULT.write_text(json.dumps(entries | {name: found}, indent=1) + "\n")


def percent(value: Mapping[str, float]) -> str:
    return f"{100 * value['mean']:.1f} ({100 * value['low']:.1f}–{100 * value['high']:.1f})"


def table(figures: Mapping[str, Any]) -> str:
    """One seed for a reader: cost by stage, result."""
    lines = [f"{name:<10}{seconds:>9.1f} cpu-seconds" for name, seconds in figures["by_stage"].items()]
    lines.append(f"{'together':<10}{figures['cpu_seconds']:>9} cpu-seconds")
    lines += [f"{name} best-of-{N}: {percent(figures[name])} %" for name in ("weighted", "majority")]
    return f"seed {figures['seed']}\n" + "\n".join(lines)


def board(entries: Mapping[str, Any]) -> str:
    """Those that reach the goal first, the cheapest of them first."""
    ranked = sorted(entries.items(), key=lambda each: (not each[1]["reaches_goal"], each[1]["cpu_seconds"]))
    columns = (
        "recipe, cpu-seconds, by seed, weighted best-of-16 (%), million tokens for labels, trained, commit"
    )
    head = "| " + " | ".join(columns.split(", ")) + " |"
    lines = [head, "|" + " --- |" * 7]
    for name, found in ranked:
        seeds = ", ".join(f"{run['seed']}: {run['cpu_seconds']:,}" for run in found["seeds"])
        label, trained = (
            np.mean([run[key] for run in found["seeds"]]) / 1e6
            for key in ("n_label_tokens", "n_trained_tokens")
        )
        reached = percent(found["weighted"]) + ("" if found["reaches_goal"] else ", not reached")
        cells = (f"`{name}`", f"{found['cpu_seconds']:,}", seeds, reached, f"{label:.1f}", f"{trained:.1f}")
        lines.append("| " + " | ".join((*cells, found["commit"])) + " |")
    return "\n".join(lines)


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="lean", help="name of a file in benchmarks/speedruns")
    parser.add_argument(
        "--seeds", type=numbers, default=SEEDS, help="as 1,2; others than the rules' are stored nowhere"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/speedrun"))
    parser.add_argument("--quickstarts", type=Path, nargs="+", help="folders of finished quickstarts")
    parser.add_argument("--board", action="store_true", help="print the table of docs/speedrun.md")
    config = parser.parse_args(argv)
    if config.board:
        print(board(json.loads(RESULT.read_text())))
        return
    name = "quickstart" if config.quickstarts else config.recipe
    recipe, seeds = read_recipe(RECIPES / f"{name}.yaml"), config.seeds
    if config.quickstarts:
        runs, commit = [of_quickstart(run) for run in config.quickstarts], "not stored"
        command = "make quickstart ARGS='--seed SEED'"
    else:
        runs = [run_recipe(recipe, config.output / name / f"seed-{seed}", seed) for seed in seeds]
        commit, command = current_commit(), f"make speedrun ARGS='--recipe {name}'"
    print("\n\n".join(map(table, runs)))
    found = entry(recipe, runs, command, commit)
    print(f"\n{percent(found['weighted'])} % for {found['cpu_seconds']:,} cpu-seconds ({len(runs)} seeds)")
    if config.quickstarts or seeds == SEEDS:
        store(name, found)


if __name__ == "__main__":
    run_command(main, "speedrun")
