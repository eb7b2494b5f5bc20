"""`prm-train quickstart`: the whole pipeline on the built-in task, from problems to a report, two processes
at a time.

    sample ─ label ─ build ─ train PRM and ORM ─ search validation problems ─ choose settings ─ search test
    problems ─ evaluate

Each stage runs the same commands that a user would type (they are logged and stored in stages/). A finished
stage is not run again, and the commands themselves continue what they had begun, so the quickstart can be
interrupted anywhere and started again.
"""

import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from data_gen.files.locks import lock
from data_gen.files.run_clock import SAVE_SECONDS, RunClock
from data_gen.files.run_identity import claim_run
from data_gen.grading.graders import GraderName
from data_gen.problems.tasks import DEFAULT_TASK
from data_gen.records.sampling import check_temperature
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.evaluation.stages import Command, Split, StageRecord, stage_file, stage_words

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class QuickstartConfig:
    """Defaults give the published figures on two CPU cores in under a quarter of an hour."""

    output: Path = field(
        default=Path("runs/quickstart"), metadata={"help": "folder for all files of the pipeline"}
    )
    seed: int = field(default=0, metadata={"help": "seed of problems, draws and training"})
    policy: str = field(
        default="base",
        metadata={
            "help": "'base' (the policy that ships with the toolkit) or the folder of another policy of the "
            "built-in task"
        },
    )
    grader: GraderName = field(
        default="auto",
        metadata={
            "help": f"what compares answers: auto, or one of {', '.join(DEFAULT_TASK.graders)}",
        },
    )
    n_train_problems: int = field(default=2000, metadata={"help": "number of training problems"})
    n_solutions: int = field(
        default=4, metadata={"help": "number of solutions drawn for each training problem"}
    )
    n_rollouts: int = field(
        default=8,
        metadata={
            "help": "maximum number of rollouts after a step that the search for the first error probes"
        },
    )
    n_validation_problems: int = field(
        default=150, metadata={"help": "number of validation problems, on which settings are chosen"}
    )
    n_test_problems: int = field(
        default=500, metadata={"help": "number of test problems, from which the report is made"}
    )
    n_samples: int = field(
        default=64, metadata={"help": "number of candidates for each validation and test problem"}
    )
    strategies: tuple[str, ...] = field(
        default=("particle_filter", "beam"), metadata={"help": "searches in a tree to run, as for `search`"}
    )
    sizes: tuple[int, ...] = field(default=(4, 16, 64), metadata={"help": "N of the searches in a tree"})
    temperatures: tuple[float, ...] = field(
        default=(0.3, 0.5, 0.7, 1.0),
        metadata={"help": "sampling temperatures that are tried for the baselines on validation problems"},
    )
    n_epochs: float = field(
        default=6.0,
        metadata={"help": "number of epochs of the PRM and of the ORM, which see the same solutions"},
    )
    learning_rate: float = field(default=1e-3, metadata={"help": "learning rate of both"})
    max_new_tokens: int = field(default=160, metadata={"help": "maximum number of tokens of a solution"})
    n_processes: int = field(
        default=2,
        metadata={"help": "processes of sampling, labeling and searching, a shard of problems each"},
    )

    def __post_init__(self) -> None:
        if self.n_processes < 1:
            raise ValueError(f"n_processes: got {self.n_processes}, expected at least 1")
        if self.grader != "auto" and self.grader not in DEFAULT_TASK.graders:
            expected = ", ".join(("auto", *DEFAULT_TASK.graders))
            raise ValueError(f"grader: got {self.grader!r}, expected one of {expected}")
        for temperature in self.temperatures:
            check_temperature(temperature, "temperatures")


@dataclass(frozen=True)
class Stage:
    """Commands that run side by side; the stage is done when all are."""

    command: Command
    commands: tuple[tuple[str, ...], ...]
    split: Split | None = None

    @property
    def words(self) -> str:
        return stage_words(self.command, self.split)


def problem_arguments(config: QuickstartConfig, split: str, n: int, shard: int) -> tuple[str, ...]:
    return (
        *(
            "--problems.source",
            DEFAULT_TASK.source,
            "--problems.split",
            split,
            "--problems.seed",
            str(config.seed),
        ),
        *("--problems.n", str(n), "--problems.shard", f"{shard}/{config.n_processes}"),
        *(
            "--policy.model",
            config.policy,
            "--policy.base_seed",
            str(config.seed),
            "--max_new_tokens",
            str(config.max_new_tokens),
        ),
        *("--grader", config.grader),
    )


def training_stages(config: QuickstartConfig) -> list[Stage]:
    folder = config.output
    runs = [folder / f"train-{shard}" for shard in range(config.n_processes)]
    sample = [
        (
            *("data_gen.sample", "--output", str(run), "--n_samples", str(config.n_solutions)),
            *problem_arguments(config, "train", config.n_train_problems, shard),
        )
        for shard, run in enumerate(runs)
    ]
    label = [("data_gen.label", "--run", str(run), "--n_rollouts", str(config.n_rollouts)) for run in runs]
    build = ("data_gen.build", "--runs", ",".join(map(str, runs)), "--output", str(folder / "rows"))
    recipe = (
        *(
            "--model",
            config.policy,
            "--n_epochs",
            str(config.n_epochs),
            "--learning_rate",
            str(config.learning_rate),
        ),
        # 16 rows an optimizer step, sorted by length and cut in four: less padding than one batch of 16
        *("--batch_size", "4", "--n_accumulated", "4", "--adam_betas", "0.9,0.98", "--lr_schedule", "linear"),
        *("--seed", str(config.seed), "--use_cpu", "true"),
    )
    train = [
        (
            f"prm_train.train_{kind}",
            "--rows",
            str(folder / "rows" / f"{kind}.jsonl"),
            "--output",
            str(folder / kind),
            *recipe,
        )
        for kind in ("prm", "orm")
    ]
    return [
        Stage("sample", tuple(sample)),
        Stage("label", tuple(label)),
        Stage("build", (build,)),
        Stage("train", tuple(train)),
    ]


def search_folders(config: QuickstartConfig, split: Split) -> list[Path]:
    return [config.output / f"{split}-{shard}" for shard in range(config.n_processes)]


def search_stage(
    config: QuickstartConfig,
    split: Split,
    n: int,
    temperatures: Sequence[float],
    strategies: Sequence[str],
    aggregation: str,
) -> Stage:
    """`temperatures` are those of the unscored candidates, besides 1."""
    scorers = ("--prm", str(config.output / "prm"), "--orm", str(config.output / "orm"))
    knobs = ("--n_samples", str(config.n_samples), "--aggregation", aggregation)
    lists = (
        ("--other_temperatures", [t for t in temperatures if t != 1.0]),
        ("--strategies", strategies),
        ("--sizes", config.sizes),
    )
    options = tuple(part for name, values in lists if values for part in (name, ",".join(map(str, values))))
    commands = [
        (
            "prm_train.search.run",
            "--output",
            str(folder),
            *scorers,
            *knobs,
            *options,
            *problem_arguments(config, split, n, shard),
        )
        for shard, folder in enumerate(search_folders(config, split))
    ]
    return Stage("search", tuple(commands), split)


def run_stage(stage: Stage, folder: Path, lock: int) -> None:
    """Run what is not done yet. Raises InputError naming the command that failed."""
    file = stage_file(folder, stage.command, stage.split)
    if file.exists():
        logger.info("%s: done before", stage.words)
        return
    logger.info("%s", stage.words)
    # CPU seconds of a command count when it ends
    clock = RunClock(file.with_suffix(".clock"), child_cpu_seconds)
    processes: list[subprocess.Popen[bytes]] = []
    for position, command in enumerate(stage.commands):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_POSITION": str(position)}
        processes.append(subprocess.Popen([sys.executable, "-m", *command], env=environment, pass_fds=[lock]))
    try:
        exit_codes = [wait(process, clock) for process in processes]
    finally:
        for process in processes:  # after an interrupt, or a failure of the other one
            process.terminate()
        for process in processes:
            process.wait()
        clock.save()
    for command, exit_code in zip(stage.commands, exit_codes, strict=True):
        if exit_code:
            raise InputError(f"stage {stage.words}: exit code {exit_code} of: python -m {' '.join(command)}")
    lines = tuple(" ".join(("python", "-m", *command)) for command in stage.commands)
    spent = clock.spent()
    StageRecord(stage.command, stage.split, spent.seconds, spent.cpu_seconds, lines).write(file)
    clock.remove()


def wait(process: "subprocess.Popen[bytes]", clock: RunClock) -> int:
    """Its exit code; the clock is saved while it runs."""
    while True:
        try:
            return process.wait(timeout=SAVE_SECONDS)
        except subprocess.TimeoutExpired:
            clock.save()


def child_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(QuickstartConfig, argv)
    claim_run(config.output, config)
    lock_path = config.output / ".lock"
    with lock_path.open("w") as held:
        if not lock(held.fileno(), lock_path):
            raise InputError(
                f"{config.output}: a quickstart is running there, or a process of a killed one is ending"
            )
        run_stages(config, held.fileno())


def run_stages(config: QuickstartConfig, lock: int) -> None:
    """All stages. The commands inherit the lock, so that those of a killed quickstart cannot meet those of
    the next one.
    """
    for stage in training_stages(config):
        run_stage(stage, config.output, lock)
    run_stage(
        search_stage(config, "validation", config.n_validation_problems, config.temperatures, (), "min"),
        config.output,
        lock,
    )
    from prm_train.evaluation.choosing import choose_settings
    from prm_train.evaluation.evaluate import main as evaluate
    from prm_train.evaluation.shards import read_search

    started = time.perf_counter()
    chosen = choose_settings(read_search(search_folders(config, "validation")).results)
    chosen.write(config.output / "chosen.json")
    choosing_seconds = time.perf_counter() - started
    stage = search_stage(
        config,
        "test",
        config.n_test_problems,
        chosen.temperatures,
        config.strategies,
        chosen.vote_aggregation,
    )
    run_stage(stage, config.output, lock)
    started = time.perf_counter()
    validation, test = (",".join(map(str, search_folders(config, split))) for split in get_args(Split))
    runs = ",".join(str(config.output / f"train-{shard}") for shard in range(config.n_processes))
    arguments = (
        *("--validation", validation, "--test", test, "--output", str(config.output), "--labeled", runs),
        *(
            "--prm",
            str(config.output / "prm"),
            "--orm",
            str(config.output / "orm"),
            "--stages",
            str(config.output / "stages"),
        ),
    )
    # Of a run before this one, whose cost is none of this report's
    stage_file(config.output, "evaluate").unlink(missing_ok=True)
    evaluate(arguments)
    command = " ".join(("python", "-m", "prm_train.evaluation.evaluate", *arguments))
    wall_seconds = round(choosing_seconds + time.perf_counter() - started, 1)
    StageRecord("evaluate", None, wall_seconds, round(time.process_time(), 1), (command,)).write(
        stage_file(config.output, "evaluate")
    )


if __name__ == "__main__":
    run_command(main, "quickstart")
