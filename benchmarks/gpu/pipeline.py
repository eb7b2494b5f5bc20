"""The pipeline of `benchmarks.word_problems` with GSM8K on a card: SFT of a small language model, solutions
of problems that it was not shown, labels by rollouts, PRM, ORM, and searches of test problems with both.

It shows that every stage runs on a card, and how fast; with 135 M parameters a few solutions in a hundred are
right, which says little about verifiers. The commands are those of `benchmarks.word_problems.stages`, called
one after the other in this process, since a process of its own takes seconds to start.

How much is done follows from what is measured: rollouts of a step from the tokens a second of sampling, test
problems in chunks, each as large as the time that is left allows by those before it. `pipeline.json` in the
part's folder holds what was decided and which stages are done, and the next call goes on there.
"""

import gc
import importlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.gpu.deadline import OutOfTimeError, at_most
from benchmarks.gpu.pipeline_figures import figures_of
from benchmarks.gpu.pipeline_state import TEST, State, chunk_folder, chunk_name
from benchmarks.gpu.setting import Setting
from benchmarks.word_problems.problems import write_gsm8k
from benchmarks.word_problems.stages import RunConfig, Stage, policy_stages, scorer_stages, search_stage
from data_gen.files.jsonl import write_text
from data_gen.files.stored_record import read_object

ROLLOUTS = (8, 4, 2)  # of a step
LABEL_SHARE = 0.15  # of the part's time
FIGURES_SECONDS = 6.0  # kept for the accuracies at the end
SAFETY = 1.25  # a chunk of test problems may take so much longer than those before it did
LEAST_SECONDS = 4.0  # with less left no stage begins
ROWS = ("--policy.max_rows", "1024", "--policy.prefix_cache_bytes", str(8 * 2**30))
SCORER = (
    *("--batch_size", "32", "--n_accumulated", "1", "--learning_rate", "5e-5"),
    *("--gradient_checkpointing", "false"),
)
# On a card, beside the configs' own settings: many rows at a time, since a step of 30 layers takes as long
# with few; a rate for a model of 135 M, where the GSM8K recipe of `stages` is for one ten times as large.
ON_A_CARD: dict[str, tuple[str, ...]] = {
    "prm_train.train_policy": (
        *("--batch_size", "64", "--n_accumulated", "1", "--learning_rate", "3e-4"),
        *("--gradient_checkpointing", "false"),
    ),
    "data_gen.sample": (*ROWS, "--n_open", "512"),
    "data_gen.label": ("--n_open", "512"),
    "prm_train.train_prm": SCORER,
    "prm_train.train_orm": SCORER,
    "prm_train.search.run": (*ROWS, "--scorer.max_batch_tokens", "32768"),
}
# A tiny random model needs more steps than the configs make, few questions a larger held-out share
TOY_SCORER = ("--n_epochs", "3.0", "--validation_share", "0.3")
AT_TOY_SIZE: dict[str, tuple[str, ...]] = {
    "prm_train.train_policy": ("--n_accumulated", "1", "--n_epochs", "18.0"),
    "prm_train.train_prm": TOY_SCORER,
    "prm_train.train_orm": TOY_SCORER,
}
NO_BASELINES = ("--baselines", "[]")  # another pass of the policy over what it wrote
TREES = ("--strategies", "particle_filter,beam")
HEAVY = ("torch", "transformers", "trl", "prm_train.training.run", "prm_train.search.run")


@dataclass(frozen=True)
class Amounts:
    """Of problems; `n_solutions` of one that is labeled, `n_samples` of one that is searched."""

    n_shown: int | None = 3500  # of training problems; None: all but those sampled and those of validation
    n_train: int = 256
    n_solutions: int = 8
    n_validation: int = 64
    n_test: int = 1319
    chunk: int = 64
    n_samples: int = 16
    max_new_tokens: int = 256


CARD = Amounts()
SMALL = Amounts(36, 16, 4, n_validation=4, n_test=8, chunk=4, n_samples=4, max_new_tokens=40)


def run_config(setting: Setting, amounts: Amounts) -> RunConfig:
    return RunConfig(
        setting.folder / "run",
        task="gsm8k",
        model=str(setting.model),
        data=setting.problems,
        device=setting.device,
        n_processes=1,
        n_samples=amounts.n_samples,
        n_solutions=amounts.n_solutions,
        max_new_tokens=amounts.max_new_tokens,
        small=setting.is_small,
    )


def problem_counts(config: RunConfig, amounts: Amounts) -> dict[str, int]:
    """The problem files, unless they are there, and how many problems each holds."""
    folder = config.output / "problems"
    if not (folder / "counts.json").exists():
        assert config.data is not None
        folder.mkdir(parents=True, exist_ok=True)
        a = amounts
        write_gsm8k(config.data, folder, a.n_validation, a.n_test, a.n_train, a.n_shown)
    counts: dict[str, int] = read_object(folder / "counts.json")["problems"]
    return counts


def stages(
    config: RunConfig,
    amounts: Amounts,
    counts: dict[str, int],
    state: State,
    setting: Setting,
    deadline: float,
) -> Iterator[Stage]:
    """One after the other, since some are made from what those before them measured."""
    yield from policy_stages(config, counts["solutions"])
    sample, label, build, trainings = scorer_stages(config, counts["train"])
    yield sample
    if state.n_rollouts is None:
        state.n_rollouts = rollouts_within(config, LABEL_SHARE * setting.seconds)
    yield with_options(label, "--n_rollouts", str(state.n_rollouts))
    yield build
    for command in trainings.commands:
        yield Stage(command[0].rpartition(".")[2].replace("_", "-"), (command,), trainings.seconds)
    yield with_options(search_stage(config, "validation", counts["validation"], (), None), *NO_BASELINES)
    yield from chunk_stages(config, amounts, counts[TEST], state, deadline)


def rollouts_within(config: RunConfig, seconds: float) -> int:
    """As many as fit in, by the rate of sampling, of which labeling reaches half (its prefixes have few draws
    each): a wrong solution costs each of two prefixes half a solution.
    """
    sample = read_object(config.shards("train")[0] / "sample.json")
    n_wrong = (1 - sample["pass_at_1"]) * sample["n_solutions"]
    tokens = n_wrong * 2 * (sample["n_generated"] / sample["n_solutions"] / 2)
    rate = sample["this_process"]["tokens_per_second"] / 2
    fitting = [n for n in ROLLOUTS if n * tokens <= seconds * rate]
    return fitting[0] if fitting else ROLLOUTS[-1]


def chunk_stages(
    config: RunConfig, amounts: Amounts, n_test: int, state: State, deadline: float
) -> Iterator[Stage]:
    """Searches of test problems, until they or the time are used up."""
    whole = with_options(search_stage(config, TEST, n_test, (), None), *NO_BASELINES, *TREES)
    for number in range(n_test):
        if number == len(state.chunks):
            done = [(n, state.seconds[chunk_name(i)]) for i, (_, n) in enumerate(state.chunks)]
            offset = sum(n for _, n in state.chunks)
            n = chunk_size(done, n_test - offset, deadline - time.monotonic(), amounts.chunk)
            if not n:
                return
            state.chunks.append([offset, n])
            state.write()
        offset, n = state.chunks[number]
        where = ("--output", str(chunk_folder(config, number)))
        which = ("--problems.offset", str(offset), "--problems.n", str(n))
        yield replace(with_options(whole, *where, *which), name=chunk_name(number))


def chunk_size(done: list[tuple[int, float]], n_left: int, seconds: float, chunk: int) -> int:
    """How many test problems to search next, a multiple of `chunk` or all that are left; `done` are numbers
    and seconds of the chunks before. 0: not even one chunk fits.
    """
    if not done:
        return min(chunk, n_left)
    per_problem = SAFETY * sum(took for _, took in done) / sum(n for n, _ in done)
    n = int(seconds / per_problem)
    return n_left if n >= n_left else n // chunk * chunk


def with_options(stage: Stage, *options: str) -> Stage:
    return replace(stage, commands=tuple((*command, *options) for command in stage.commands))


def run_here(stage: Stage, options: dict[str, tuple[str, ...]]) -> None:
    """The stage's commands in this process, with further options by module."""
    for module, *arguments in stage.commands:
        importlib.import_module(module).main([*arguments, *options.get(module, ())])


def run_stage(stage: Stage, setting: Setting, state: State, seconds: float) -> None:
    """Within `seconds`, and into `state`. Raises OutOfTimeError, and what the stage raises."""
    options = AT_TOY_SIZE if setting.is_small else ON_A_CARD
    begin_memory(setting)
    started = time.monotonic()
    is_done = False
    try:
        with at_most(seconds):
            run_here(stage, options)
        is_done = True
    finally:
        spent = state.broken_off.pop(stage.name, 0.0) + time.monotonic() - started
        (state.seconds if is_done else state.broken_off)[stage.name] = round(spent, 2)
        if setting.is_cuda:
            state.peak_gib[stage.name] = peak_gib()
        state.write()


def begin_memory(setting: Setting) -> None:
    """What the stage before left on the card is given back."""
    gc.collect()
    if setting.is_cuda:
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib() -> float:
    import torch

    return round(torch.cuda.max_memory_allocated() / 2**30, 2)


def measure(setting: Setting, amounts: Amounts | None = None) -> dict[str, Any]:
    """`failed` where time was over before there were accuracies: the next call goes on. Raises what a stage
    raises.
    """
    if setting.problems is None:
        return {"skipped": "no problems"}
    started = time.monotonic()
    setting.folder.mkdir(parents=True, exist_ok=True)
    amounts = amounts or (SMALL if setting.is_small else CARD)
    config, state = run_config(setting, amounts), State.of(setting.folder)
    counts = problem_counts(config, amounts)
    for module in HEAVY:
        importlib.import_module(module)
    found = {"start_up_seconds": round(time.monotonic() - started, 2), "problems": counts}
    deadline = started + setting.seconds - (0 if setting.is_small else FIGURES_SECONDS)
    for stage in stages(config, amounts, counts, state, setting, deadline):
        cut = finish(stage, setting, state, deadline - time.monotonic())
        found |= figures_of(config, state)
        if cut is None:
            found["ended"] = "no more test problems, or no time for more of them"
        else:
            found["ended" if "search" in found else "failed"] = cut
        write_text(setting.folder / "so_far.json", json.dumps(found, indent=1) + "\n")
        if cut is not None:
            break
    return found


def finish(stage: Stage, setting: Setting, state: State, seconds: float) -> str | None:
    """Do what is not done yet. None, or why it is not done now."""
    if stage.name in state.seconds:
        print(f"  {stage.name}: done before", flush=True)
        return None
    if seconds < LEAST_SECONDS:
        return f"time was over before {stage.name}"
    print(f"  {stage.name}: begins, {seconds:.0f} s left", flush=True)
    try:
        run_stage(stage, setting, state, seconds)
    except OutOfTimeError:
        return f"time was over in {stage.name}"
    print(f"  {stage.name}: {state.seconds[stage.name]:.1f} s", flush=True)
    return None
