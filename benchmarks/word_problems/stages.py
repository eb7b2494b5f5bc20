"""The stages of a run: the commands that a user types, with the configs of configs/README.md (Word problems),
two shards at a time, and what each is expected to take.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.word_problems.problems import Sizes
from data_gen.files.run_clock import RunClock
from data_gen.files.stored_record import StoredRecord
from data_gen.settings.errors import InputError
from prm_train.quickstart import child_cpu_seconds, wait

CONFIGS = Path(__file__).parents[2] / "configs"
STRATEGIES = ("particle_filter", "dvts", "beam")
TREE_SIZES = (4, 16, 64)
TaskName = Literal["word_problems", "gsm8k"]
TEST_SETS: dict[TaskName, tuple[str, ...]] = {"word_problems": ("mawps_asdiv", "svamp"), "gsm8k": ("gsm8k",)}
# Measured on one core with SmolLM2-135M in float32: generated tokens at 64 rows, trained tokens
GENERATED_A_SECOND, TRAINED_A_SECOND = 133.0, 95.0
TOKENS_OF_PROMPT, TOKENS_OF_SOLUTION = 75, 22
# Assumed: of drawn tokens, those that no other draw of the problem has written, too (searches in a tree draw
# the same steps at every N). Each stage measures what it will take before it starts.
DISTINCT, DISTINCT_IN_TREES = 0.4, 0.2
TEMPERATURE = 0.7
# Where a card computes: more rows at a time than a CPU gains by, and of its memory what two seeds beside each
# other leave to each other.
ON_A_CARD = ("--policy.dtype", "bfloat16", "--policy.max_rows", "512")
CARD_CACHE = ("--policy.prefix_cache_bytes", str(6 * 2**30))
CARD_SCORERS = ("--scorer.cache_bytes", str(4 * 2**30), "--scorer.max_batch_tokens", "32768")
CARD_OPEN = ("--n_open", "128")


@dataclass(frozen=True)
class RunConfig:
    """One seed of the pipeline."""

    output: Path = field(metadata={"help": "folder for everything that is made"})
    seed: int = field(default=0, metadata={"help": "seed of draws and trainings; the problems stay the same"})
    task: TaskName = field(
        default="word_problems",
        metadata={"help": "word_problems: MAWPS, ASDiv and SVAMP; gsm8k: GSM8K, for a machine with a card"},
    )
    model: str = field(
        default="models/smollm2-135m-instruct",
        metadata={
            "is_model": True,
            "help": "language model that learns to solve problems, and whose solutions are judged",
        },
    )
    data: Path | None = field(
        default=None,
        metadata={
            "is_input": True,
            "help": "folder with svamp/ or gsm8k/; null: that of the environment variable PRM_TRAIN_DATA",
        },
    )
    device: str = field(default="cpu", metadata={"help": "device of policy and scorers, as cuda"})
    n_processes: int = field(default=2, metadata={"help": "shards of sampling, labeling and searching"})
    n_samples: int = field(default=64, metadata={"help": "candidates of a validation or test problem"})
    n_solutions: int = field(default=8, metadata={"help": "solutions of a training problem"})
    max_new_tokens: int = field(default=96, metadata={"help": "most tokens of a solution"})
    forecast: bool = field(
        default=True,
        metadata={
            "help": "measure what a stage will take before it starts (as long as the stage, on a card)",
            "is_execution": True,
        },
    )
    small: bool = field(
        default=False,
        metadata={"help": "few problems, and a recipe for a tiny random model, to try the command"},
    )
    sizes: Sizes = field(default_factory=Sizes)

    @property
    def test_sets(self) -> tuple[str, ...]:
        return TEST_SETS[self.task]

    @property
    def sizes_of_trees(self) -> tuple[int, ...]:
        return tuple(n for n in TREE_SIZES if n <= self.n_samples)

    def shards(self, name: str) -> list[Path]:
        return [self.output / f"{name}-{shard}" for shard in range(self.n_processes)]


@dataclass(frozen=True)
class Stage:
    """Commands that run side by side; the stage is done when all are. `seconds` is what it is expected to
    take, `can_forecast` says that each command can forecast itself better, by a part of its own work.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    seconds: float
    n_threads: int = 1
    can_forecast: bool = False


@dataclass(frozen=True)
class StageRecord(StoredRecord):
    """stages/<name>.json: what a stage took, all its processes together, and its command lines."""

    WRITTEN_BY = "`python -m benchmarks.word_problems run`"

    name: str
    wall_seconds: float
    cpu_seconds: float
    expected_seconds: float
    command_lines: tuple[str, ...]


# --- the commands


def config_of(command: str, name: str = "word_problems") -> tuple[str, ...]:
    return ("--config", str(CONFIGS / command / f"{name}.yaml"))


def problems_of(config: RunConfig, name: str, shard: int) -> tuple[str, ...]:
    return (
        *("--problems.source", str(config.output / "problems" / f"{name}.jsonl")),
        *("--problems.shard", f"{shard}/{config.n_processes}"),
        *("--policy.model", str(config.output / "policy"), "--policy.device", config.device),
        *(() if config.device == "cpu" else (*ON_A_CARD, *CARD_CACHE)),
        *("--policy.base_seed", str(config.seed), "--max_new_tokens", str(config.max_new_tokens)),
    )


def policy_stages(config: RunConfig, n_shown: int) -> Iterator[Stage]:
    """The policy, from `n_shown` solutions."""
    out = config.output
    solutions = out / "solutions"
    files = ("--rows", str(out / "problems" / "solutions.jsonl"), "--output", str(solutions))
    yield Stage("grade", (("data_gen.grade", *config_of("grade"), *files),), 20)
    learnt = (
        "--rows",
        str(solutions / "orm.jsonl"),
        "--output",
        str(out / "policy"),
        "--model",
        config.model,
    )
    tokens = n_shown * (TOKENS_OF_PROMPT + TOKENS_OF_SOLUTION)
    yield Stage(
        "train-policy",
        (("prm_train.train_policy", *config_of("train_policy"), *learnt, *training(config)),),
        tokens / (2 * TRAINED_A_SECOND),
        n_threads=2,
    )


def training(config: RunConfig) -> tuple[str, ...]:
    where = ("--use_cpu", "true") if config.device == "cpu" else ("--bf16_autocast", "true")
    recipe: tuple[str, ...] = ()  # that of the configs
    if config.small:
        recipe = ("--learning_rate", "5e-3", "--n_epochs", "12.0")
    elif config.task == "gsm8k":  # whose models are ten times as large
        recipe = ("--learning_rate", "1e-5", "--gradient_checkpointing", "true")
    return ("--seed", str(config.seed), *where, *recipe)


def scorer_stages(config: RunConfig, n_train: int) -> Iterator[Stage]:
    """PRM and ORM, from `n_train` problems."""
    out, runs, n_solutions = config.output, config.shards("train"), n_train * config.n_solutions
    generating = GENERATED_A_SECOND * config.n_processes
    sample = tuple(
        (
            *("data_gen.sample", *config_of("sample"), "--output", str(run)),
            *("--n_samples", str(config.n_solutions), "--temperature", str(TEMPERATURE)),
            *problems_of(config, "train", shard),
            *(() if config.device == "cpu" else CARD_OPEN),
        )
        for shard, run in enumerate(runs)
    )
    prompts = n_train * TOKENS_OF_PROMPT
    yield Stage("sample", sample, (n_solutions * TOKENS_OF_SOLUTION * DISTINCT + prompts) / generating)
    n_open = () if config.device == "cpu" else CARD_OPEN
    label = tuple(("data_gen.label", *config_of("label"), "--run", str(run), *n_open) for run in runs)
    # Half of the solutions are wrong and differ; two prefixes of each get eight rollouts of half a solution
    rollouts = n_solutions / 2 * 2 * 8 * TOKENS_OF_SOLUTION / 2 * DISTINCT
    yield Stage("label", label, (rollouts + prompts) / generating, can_forecast=True)
    build = ("data_gen.build", *config_of("build"), "--runs", ",".join(map(str, runs)))
    yield Stage("build", ((*build, "--output", str(out / "rows")),), 20)
    trainings = tuple(
        (
            *(f"prm_train.train_{kind}", *config_of(f"train_{kind}")),
            *("--rows", str(out / "rows" / f"{kind}.jsonl"), "--output", str(out / kind)),
            *("--model", str(out / "policy"), *training(config)),
        )
        for kind in ("prm", "orm")
    )
    tokens = n_solutions * 0.6 * (TOKENS_OF_PROMPT + TOKENS_OF_SOLUTION)  # of those that differ
    yield Stage("train-scorers", trainings, tokens / TRAINED_A_SECOND, can_forecast=True)


def search_stage(
    config: RunConfig, name: str, n: int, temperatures: Sequence[float] | None, aggregation: str | None
) -> Stage:
    """A search of validation problems, or of a test set with what validation chose."""
    is_test = name in config.test_sets
    which = "word_problems" if is_test else "word_problems_validation"
    options: tuple[str, ...] = (
        *("--sizes", ",".join(map(str, config.sizes_of_trees)), "--n_samples", str(config.n_samples)),
        *("--temperature", str(TEMPERATURE)),
    )
    if temperatures is not None:
        listed = ",".join(str(t) for t in temperatures if t != TEMPERATURE)
        options += ("--other_temperatures", listed or "[]")
    if aggregation is not None:
        options += ("--aggregation", aggregation)
    commands = tuple(
        (
            *("prm_train.search.run", *config_of("search", which), "--output", str(folder)),
            *("--prm", str(config.output / "prm"), "--orm", str(config.output / "orm")),
            *(*options, *problems_of(config, name, shard)),
            *(() if config.device == "cpu" else CARD_SCORERS),
        )
        for shard, folder in enumerate(config.shards(name))
    )
    n_trees = len(STRATEGIES) * sum(config.sizes_of_trees) if is_test else 0
    samples, trees = 2 * config.n_samples * DISTINCT, n_trees * DISTINCT_IN_TREES
    # Samples at one temperature are read by PRM and ORM, all once more by the policy, paths of trees by the
    # PRM: three times as fast as in training
    generated, read = samples + trees, 2 * samples + trees
    seconds = n * TOKENS_OF_SOLUTION * (generated / GENERATED_A_SECOND + read / (3 * TRAINED_A_SECOND))
    seconds += n * TOKENS_OF_PROMPT * 4 / (3 * TRAINED_A_SECOND)
    return Stage(f"search-{name}", commands, seconds / config.n_processes, can_forecast=True)


# --- running them


def run_stage(stage: Stage, folder: Path, lock: int, forecast: bool = True) -> None:
    """Run what is not done yet; with `forecast`, before the work itself what it will take, by its own first
    part. Raises InputError naming the command that failed.
    """
    file = folder / "stages" / f"{stage.name}.json"
    if file.exists():
        print(f"{stage.name}: done before", flush=True)
        return
    print(f"{stage.name}: about {stage.seconds / 60:,.0f} minutes", flush=True)
    clock = RunClock(file.with_suffix(".clock"), child_cpu_seconds)
    if stage.can_forecast and forecast:
        forecasts = tuple((*command, "--forecast", "true") for command in stage.commands)
        run_commands(forecasts, stage.n_threads, clock, lock)
    run_commands(stage.commands, stage.n_threads, clock, lock)
    spent = clock.spent()
    lines = tuple(" ".join(("python", "-m", *command)) for command in stage.commands)
    StageRecord(stage.name, spent.seconds, spent.cpu_seconds, round(stage.seconds), lines).write(file)
    clock.remove()


def run_commands(commands: Sequence[tuple[str, ...]], n_threads: int, clock: RunClock, lock: int) -> None:
    """Side by side. They inherit the lock: those of a killed run cannot meet those of the next one."""
    processes: list[subprocess.Popen[bytes]] = []
    for position, command in enumerate(commands):
        environment = {**os.environ, "OMP_NUM_THREADS": str(n_threads), "TQDM_POSITION": str(position)}
        processes.append(subprocess.Popen([sys.executable, "-m", *command], env=environment, pass_fds=[lock]))
    try:
        exit_codes = [wait(process, clock) for process in processes]
    finally:
        for process in processes:  # after an interrupt, or a failure of the other one
            process.terminate()
        for process in processes:
            process.wait()
        clock.save()
    for command, exit_code in zip(commands, exit_codes, strict=True):
        if exit_code:
            raise InputError(f"exit code {exit_code} of: python -m {' '.join(command)}")


def plan(stages: Sequence[Stage]) -> str:
    """A line for each stage, before the first of them begins."""
    lines = [f"  {stage.name:<22} {stage.seconds / 60:>6.0f} minutes" for stage in stages]
    total = sum(stage.seconds for stage in stages) / 60
    return "\n".join(["what it should take:", *lines, f"  {'all':<22} {total:>6.0f} minutes"])
