"""The same PRM for fewer rollout tokens: `python -m benchmarks.labeling.rounds --output runs/label-rounds`.

A pool of 1,000 training problems of the built-in task with four solutions each. Arms label it in different
ways, and a PRM is trained on each arm's rows, with the quickstart's recipe and equally many steps:

- `today-500`, `today-1000`: `first_error` with 8 rollouts, on so many of the problems;
- `root`: the same on all of them, but no wrong solutions of problems of whose samples none is right
  (`min_root_share` 0.25; SCAN, Ding et al. 2025, arXiv 2509.16548, leaves out questions that its policy is
  not confident of);
- `guided`: two rounds. `root` on the first 500 problems; two PRMs learn from that and score the wrong
  solutions of the others, which `posterior` labels beginning with what they believe, with at most six
  rollouts each; what these leave open gets the likeliest step;
- `completed`: the same, and the second round also labels what the first one left out;
- `chosen`: as `guided`, but in the second round only the half of the solutions that the PRMs doubt most get
  labels (ActPRM, Duan et al. 2025, arXiv 2504.10559).

Fixed before the figures (settings were tried on seed 3, which is not among `SEEDS`): error_rate 0.2,
scorer_trust 0.7 and 6 rollouts in the second round. Measured is the AUROC within problems of the lowest step
score, on 16 samples each of 500 test problems, for every label seed (problems, samples and rollouts) and
training seed. Tokens are those of rollouts; samples are the same for all arms. `today` at 500 and 1,000
problems gives a curve, AUROC over the logarithm of tokens, from which an arm's AUROC is read back as tokens;
beyond the curve's ends, its ends count, so that an arm is never compared with more than today's 1,000
problems. The ratio is the arm's tokens by those. Its interval is from a bootstrap over label seeds, training
seeds and problems. The arm of the issue's goal, a ratio of at most a half, is `completed`.

Writes the section `rounds` of benchmarks/results/labels.json. About 25 minutes of one core a label seed and
training seed; a stopped run goes on.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.labeling.rounds_figures import RESULT, measure, write_figures
from benchmarks.reproduce.jobs import Command, Job, JobQueue
from data_gen.files.locks import lock
from data_gen.labeling.beliefs import doubt, read_beliefs
from data_gen.rows.layouts import PrmRow, read_rows
from data_gen.settings.errors import InputError

SEEDS, TRAINING_SEEDS = (4, 5, 6), (0, 1)
SCORERS = (0, 1)  # training seeds of the two PRMs of the first round
PARTS = {"p0": (0, 250), "p1": (250, 250), "p2": (500, 500)}  # offset and number of problems
ROOT = ("--min_root_share", "0.25")
GUIDED = (
    *("--method", "posterior", "--error_rate", "0.2", "--scorer_trust", "0.7"),
    *("--max_solution_rollouts", "6", "--when_open", "likeliest"),
)
ROUND_ONE = ("root-p0", "root-p1")
ARMS = {  # the labeled parts; of two labels of one solution the first counts
    "today-1000": ("today-p0", "today-p1", "today-p2"),
    "today-500": ("today-p0", "today-p1"),
    "root": (*ROUND_ONE, "root-p2"),
    "guided": (*ROUND_ONE, "guided-p2"),
    "completed": (*ROUND_ONE, "guided-p0", "guided-p1", "guided-p2"),
    "chosen": (*ROUND_ONE, "chosen-p2"),
}
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
        yield Job("rows-today-1000", self.build("today-1000", ARMS["today-1000"]), ARMS["today-1000"])
        yield from self.second_round()
        for arm in arms:
            if arm != "today-1000":
                yield Job(f"rows-{arm}", self.build(arm, ARMS[arm]), ARMS[arm])
        for seed in training_seeds:
            for arm in arms:
                yield self.train(arm, seed)

    def second_round(self) -> Iterator[Job]:
        yield Job("rows-round-1", self.build("round-1", ROUND_ONE), ROUND_ONE)
        for seed in SCORERS:
            yield self.train("round-1", seed)
        for part in PARTS:
            rows = self.folder / f"to_score-{part}.jsonl"
            export = ("data_gen.label", "--run", str(self.run("today", part)), "--export_rows", str(rows))
            yield Job(f"export-{part}", export, (f"today-{part}",))
            for seed in SCORERS:
                score = (
                    "--checkpoint",
                    str(self.prm("round-1", seed)),
                    "--output",
                    str(self.scores(part, seed)),
                )
                yield Job(
                    f"score-{part}-{seed}",
                    ("prm_train.search.score_rows", "--rows", str(rows), *score),
                    (f"train-round-1-{seed}", f"export-{part}"),
                )
            scored = (f"today-{part}", *(f"score-{part}-{seed}" for seed in SCORERS))
            yield Job(f"guided-{part}", self.label("guided", part, partial(self.guided, part)), scored)
        yield Job("chosen-p2", self.label("chosen", "p2", self.chosen), scored)

    def run(self, labeling: str, part: str) -> Path:
        return self.folder / f"{labeling}-{part}"

    def prm(self, arm: str, seed: int) -> Path:
        return self.folder / f"prm-{arm}-{seed}"

    def scores(self, part: str, seed: int) -> Path:
        return self.folder / f"scores-{part}-{seed}.jsonl"

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

    def guided(self, part: str) -> Command:
        return (*GUIDED, "--scores", ",".join(str(self.scores(part, seed)) for seed in SCORERS))

    def chosen(self) -> Command:
        """With the median doubt as the least."""
        beliefs = read_beliefs([self.scores("p2", seed) for seed in SCORERS])
        doubts = [doubt(believed) for of_problem in beliefs.values() for believed in of_problem.values()]
        return (*self.guided("p2"), "--min_doubt", f"{np.median(doubts):.6f}")

    def build(self, arm: str, parts: Sequence[str]) -> Command:
        output = ("--output", str(self.folder / f"rows-{arm}"), "--kinds", "prm")
        return ("data_gen.build", "--runs", ",".join(str(self.folder / part) for part in parts), *output)

    def train(self, arm: str, seed: int) -> Job:
        def command() -> Command:
            n_rows, n_today = (len(list(read_rows(self.rows(each), PrmRow))) for each in (arm, "today-1000"))
            epochs = ("--n_epochs", f"{N_EPOCHS * n_today / n_rows:.4f}", "--seed", str(seed))
            output = ("--output", str(self.prm(arm, seed)))
            return ("prm_train.train_prm", "--rows", str(self.rows(arm)), *output, *RECIPE, *epochs)

        return Job(f"train-{arm}-{seed}", command, (f"rows-{arm}", "rows-today-1000"))


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
