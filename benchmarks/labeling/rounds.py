"""The same PRM for fewer rollout tokens: `python -m benchmarks.labeling.rounds --output runs/label-rounds`.

A pool of 1,000 training problems of the built-in task with four solutions each. Arms label it in different
ways, and a PRM is trained on each arm's rows, with the quickstart's recipe and equally many steps:

- `today-250`, `today-500`, `today-1000`: `first_error` with 8 rollouts, on so many of the problems;
- `root`: the same on all of them, but no wrong solutions of problems of whose samples none is right
  (`min_root_share` 0.25; SCAN, Ding et al. 2025, arXiv 2509.16548, leaves out questions that its policy is
  not confident of);
- `denoised`: the rows of `root` without the label of the step before the first error (SCAN takes the error
  for known up to a distance);
- `guided`: two rounds. `root` on the first 500 problems; two PRMs learn from that and score the wrong
  solutions of the others, which `posterior` labels beginning with what they believe;
- `chosen`: the same, but in the second round only the half of the solutions that the PRMs doubt most get
  labels (ActPRM, Duan et al. 2025, arXiv 2504.10559).

Fixed before the figures (settings were tried on seed 3, which is not among `SEEDS`): error_rate 0.1 and
scorer_trust 0.5 in the second round. Measured is the AUROC within problems of the lowest step score, on 16
samples each of 500 test problems, for every label seed (problems, samples and rollouts) two training seeds.
Tokens are those of rollouts; samples are the same for all arms. `today` at 250, 500 and 1,000 problems gives
a curve, AUROC over the logarithm of tokens, from which an arm's AUROC is read back as tokens; beyond the
curve's ends, its ends count, so that an arm is never compared with more than today's 1,000 problems. The
ratio is the arm's tokens by those. Its interval is from a bootstrap over label seeds, training seeds and
problems.

Writes the section `rounds` of benchmarks/results/labels.json. About 35 minutes of one core a
label seed; a stopped run goes on.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.labeling.rounds_figures import RESULT, measure, write_figures
from benchmarks.reproduce.jobs import Command, Job, JobQueue
from data_gen.files.locks import lock
from data_gen.labeling.beliefs import doubt, read_beliefs
from data_gen.rows.layouts import PrmRow, read_rows, write_rows
from data_gen.settings.errors import InputError

SEEDS, TRAINING_SEEDS = (4, 5, 6), (0, 1)
PARTS = {"p0": (0, 250), "p1": (250, 250), "p2": (500, 500)}  # offset and number of problems
FIRST, SECOND = ("p0", "p1"), "p2"
ROOT = ("--min_root_share", "0.25")
ARMS = {  # the labeling of each part
    "today-1000": {"p0": "today", "p1": "today", "p2": "today"},
    "today-500": {"p0": "today", "p1": "today"},
    "today-250": {"p0": "today"},
    "root": {"p0": "root", "p1": "root", "p2": "root"},
    "guided": {"p0": "root", "p1": "root", "p2": "guided"},
    "chosen": {"p0": "root", "p1": "root", "p2": "chosen"},
    "denoised": {"p0": "root", "p1": "root", "p2": "root"},
}
ROUND_ONE = {"p0": "root", "p1": "root"}
N_EPOCHS = 6  # over the rows of today-1000; the others take as many steps
N_TEST, N_SAMPLES = 500, 16
TASK = ("--problems.source", "arithmetic", "--grader", "auto", "--max_new_tokens", "160")
RECIPE = (
    *("--model", "base", "--learning_rate", "0.001", "--batch_size", "4", "--n_accumulated", "4"),
    *("--adam_betas", "0.9,0.98", "--lr_schedule", "linear", "--validation_share", "0", "--use_cpu", "true"),
)


class Rounds:
    """The jobs of one label seed, in its folder."""

    def __init__(self, folder: Path, seed: int, part_size: float = 1.0) -> None:
        self.folder, self.seed, self.part_size = folder, seed, part_size

    def jobs(self, arms: Sequence[str], training_seeds: Sequence[int]) -> Iterator[Job]:
        yield Job("sample-test", self.sample("test", "test", 0, N_TEST, N_SAMPLES))
        for part, (offset, n) in PARTS.items():
            yield Job(f"sample-{part}", self.sample(part, "train", offset, n, 4))
            yield Job(f"today-{part}", self.label("today", part, ()), (f"sample-{part}",))
            yield Job(f"root-{part}", self.label("root", part, ROOT), (f"today-{part}",))
        yield Job("rows-today-1000", self.build("today-1000", ARMS["today-1000"]), labels(ARMS["today-1000"]))
        yield Job("rows-round-1", self.build("round-1", ROUND_ONE), labels(ROUND_ONE))
        export = ("data_gen.label", "--run", str(self.run("root", SECOND)), *ROOT)
        to_score = self.folder / "to_score.jsonl"
        yield Job("export", (*export, "--export_rows", str(to_score)), (f"root-{SECOND}",))
        for seed in TRAINING_SEEDS:
            yield self.train("round-1", seed)
            score = ("--rows", str(to_score), "--checkpoint", str(self.prm("round-1", seed)))
            yield Job(
                f"score-{seed}",
                ("prm_train.search.score_rows", *score, "--output", str(self.scores(seed))),
                (f"train-round-1-{seed}", "export"),
            )
        scored = (f"today-{SECOND}", *(f"score-{seed}" for seed in TRAINING_SEEDS))
        yield Job(f"guided-{SECOND}", self.label("guided", SECOND, self.guided), scored)
        yield Job(f"chosen-{SECOND}", self.label("chosen", SECOND, self.chosen), scored)
        for arm in arms:
            if arm != "today-1000":
                yield Job(f"rows-{arm}", self.build(arm, ARMS[arm]), labels(ARMS[arm]))
        for seed in training_seeds:
            for arm in arms:
                yield self.train(arm, seed)

    def run(self, labeling: str, part: str) -> Path:
        return self.folder / f"{labeling}-{part}"

    def prm(self, arm: str, seed: int) -> Path:
        return self.folder / f"prm-{arm}-{seed}"

    def scores(self, seed: int) -> Path:
        return self.folder / f"scores-{seed}.jsonl"

    def rows(self, arm: str) -> Path:
        return self.folder / f"rows-{arm}" / "prm.jsonl"

    def sample(self, name: str, split: str, offset: int, n: int, n_samples: int) -> Command:
        size = self.part_size
        where = ("--problems.offset", str(round(offset * size)), "--problems.n", str(round(n * size)))
        seeds = ("--problems.seed", str(self.seed), "--policy.base_seed", str(self.seed))
        return (
            *("data_gen.sample", "--output", str(self.folder / name), "--problems.split", split, *where),
            *(*seeds, *TASK, "--policy.model", "base", "--n_samples", str(n_samples)),
        )

    def label(
        self, labeling: str, part: str, settings: Command | Callable[[], Command]
    ) -> Callable[[], Command]:
        """A labeling in a folder of its own. It finds there what `today` has drawn, and is charged for what
        it asks for all the same.
        """

        def command() -> Command:
            run, source = self.run(labeling, part), self.folder / part
            if not run.exists():
                part_of_copy = run.with_name(f".{run.name}")
                shutil.rmtree(part_of_copy, ignore_errors=True)  # of a killed process
                shutil.copytree(source, part_of_copy)
                if labeling != "today":
                    shutil.copy(self.run("today", part) / "ledger.sqlite", part_of_copy)
                part_of_copy.rename(run)
            return (
                "data_gen.label",
                "--run",
                str(run),
                *(settings if isinstance(settings, tuple) else settings()),
            )

        return command

    def guided(self) -> Command:
        scores = ",".join(str(self.scores(seed)) for seed in TRAINING_SEEDS)
        posterior = ("--method", "posterior", "--error_rate", "0.1", "--scorer_trust", "0.5")
        return (*posterior, *ROOT, "--scores", scores)

    def chosen(self) -> Command:
        """With the median doubt as the least."""
        beliefs = read_beliefs([self.scores(seed) for seed in TRAINING_SEEDS])
        doubts = [doubt(believed) for of_problem in beliefs.values() for believed in of_problem.values()]
        return (*self.guided(), "--min_doubt", f"{np.median(doubts):.6f}")

    def build(self, arm: str, labelings: dict[str, str]) -> Command:
        runs = ",".join(str(self.run(labeling, part)) for part, labeling in labelings.items())
        output = str(self.folder / f"rows-{arm}")
        return ("data_gen.build", "--runs", runs, "--output", output, "--kinds", "prm")

    def train(self, arm: str, seed: int) -> Job:
        def command() -> Command:
            path, n_rows = self.rows(arm), len(list(read_rows(self.rows(arm), PrmRow)))
            if arm == "denoised":
                path = self.folder / "denoised.jsonl"
                write_rows(path, [without_last_right(row) for row in read_rows(self.rows(arm), PrmRow)])
            n_today = len(list(read_rows(self.rows("today-1000"), PrmRow)))
            epochs = ("--n_epochs", f"{N_EPOCHS * n_today / n_rows:.4f}", "--seed", str(seed))
            output = ("--output", str(self.prm(arm, seed)))
            return ("prm_train.train_prm", "--rows", str(path), *output, *RECIPE, *epochs)

        return Job(f"train-{arm}-{seed}", command, (f"rows-{arm}", "rows-today-1000"))


def labels(labelings: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{labeling}-{part}" for part, labeling in labelings.items())


def without_last_right(row: PrmRow) -> PrmRow:
    """Without the label of the step before the first error."""
    if False not in row.labels or not row.labels.index(False):
        return row
    before = row.labels.index(False) - 1
    return replace(
        row, labels=tuple(None if step == before else each for step, each in enumerate(row.labels))
    )


def run_seed(
    folder: Path, seed: int, arms: Sequence[str], training_seeds: Sequence[int], size: float, n: int
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as held:
        if not lock(held.fileno(), folder / ".lock"):
            raise InputError(f"{folder}: another process is at work there")
        rounds = Rounds(folder, seed, size)
        JobQueue(folder / "jobs", held.fileno(), n).run(list(rounds.jobs(arms, training_seeds)))
    for arm in arms:
        for training_seed in training_seeds:
            measure(folder / "test", rounds.prm(arm, training_seed))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for everything that is made")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="label seeds")
    parser.add_argument("--training_seeds", type=int, nargs="+", default=TRAINING_SEEDS)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=tuple(ARMS))
    parser.add_argument("--n_processes", type=int, default=2)
    parser.add_argument("--size", type=float, default=1.0, help="share of the problems, to try the command")
    parser.add_argument("--result", type=Path, default=RESULT, help="file for the figures")
    arguments = parser.parse_args(argv)
    for seed in arguments.seeds:
        run_seed(
            arguments.output / f"seed-{seed}",
            seed,
            arguments.arms,
            arguments.training_seeds,
            arguments.size,
            arguments.n_processes,
        )
    folders = [arguments.output / f"seed-{seed}" for seed in arguments.seeds]
    report = write_figures(folders, ARMS, arguments.training_seeds, arguments.result)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
