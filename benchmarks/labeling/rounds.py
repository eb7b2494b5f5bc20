"""The same PRM for fewer rollout tokens: `python -m benchmarks.labeling.rounds --output runs/label-rounds`.

The pool is the quickstart's: 2,000 training problems of the built-in task with four solutions each. Arms
label it in different ways, and a PRM is trained on each arm's rows, with the quickstart's recipe and
equally many steps:

- `today-1000`, `today-2000`: the quickstart's labels, `first_error` with 8 rollouts, on so many problems;
- `thin`: the same with 2 rollouts;
- `root`: 8 rollouts, but no wrong solutions of problems of whose samples none is right (`min_root_share`
  0.25; SCAN, Ding et al. 2025, arXiv 2509.16548, leaves out questions that its policy is not confident
  of);
- `completed`: two rounds. `root` on the first 1,000 problems; a PRM learns from that and scores all wrong
  solutions, and those without labels get them from `posterior`, which begins with what the PRM believes,
  draws at most six rollouts, and takes the likeliest step where these leave the error open;
- `chosen`: the same, but in the second round only the half that the PRM doubts most (ActPRM, Duan et al.
  2025, arXiv 2504.10559);
- `posterior`, `coarse`: as `root`, but by `posterior` with an error_rate of 0.2 and of 0.3;
- `sharp-1000`, `branched-1000`: by `posterior` with its error_rate of 0.04 on half of the problems, and the
  same with `n_branches` 8: what is a located error in a branch worth to a PRM?

Fixed before the figures: error_rate 0.2, scorer_trust 0.7 and 6 rollouts in the second round (chosen by
the precision of labels on 80 problems of seed 3, which is not among `SEEDS`); the arm that the goal is
about, half of today's tokens or less, is `completed`. Also seen on seed 3, with half of the pool and one
training each: `root` 0.79 and `completed` 0.82 where today's labels of the whole half have 0.91, so what
is cheap and covers all solutions was preferred to what is precise. The last four arms came when the figures
of the others were known; their settings were chosen by labels of 250 problems of seed 3, where error rates
of 0.1, 0.2 and 0.3 took 103, 62 and 46 % of `root`'s tokens and were exact in 94, 89 and 81 %. That the goal
is about `posterior` of these, the least tokens with labels more exact than today's (83 %), was written down
when two of its three seeds were known: its interval does not count that choice.

Measured is the AUROC within problems of the lowest step score, on 16 samples each of 500 test problems.
Each label seed (problems, samples, rollouts) has a training seed of its own. Tokens are those of
rollouts; samples are the same for all arms; what the second round labels again of the first round's
solutions is charged, too. `today` at 1,000 and 2,000 problems gives a curve, AUROC over the logarithm of
tokens, from which an arm's AUROC is read back as tokens; beyond the curve's ends, its ends count. The
ratio is the arm's tokens by those; its interval is from a bootstrap over seeds and problems.

Writes the section `rounds` of benchmarks/results/labels.json. About an hour of one core a seed; a
stopped run goes on.
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

SEEDS = (4, 5, 6)
N_PROBLEMS = 2000
PARTS = {"p0": "0/2", "p1": "1/2"}  # the quickstart's shards
ROOT = ("--min_root_share", "0.25")
THIN = ("--n_rollouts", "2")
GUIDED = (
    *("--method", "posterior", "--error_rate", "0.2", "--scorer_trust", "0.7"),
    *("--max_solution_rollouts", "6", "--when_open", "likeliest"),
)
POSTERIOR = (*ROOT, "--method", "posterior", "--error_rate")
BY_POSTERIOR = {
    "posterior": (*POSTERIOR, "0.2"),
    "coarse": (*POSTERIOR, "0.3"),
    "sharp": (*POSTERIOR, "0.04"),
    "branched": (*POSTERIOR, "0.04", "--n_branches", "8"),
}
ROUND_ONE = ("root-p0",)
ARMS = {  # the labeled parts; of two labels of one solution the first counts
    "today-2000": ("today-p0", "today-p1"),
    "today-1000": ("today-p0",),
    "thin": ("thin-p0", "thin-p1"),
    "root": ("root-p0", "root-p1"),
    "completed": (*ROUND_ONE, "guided-p0", "guided-p1"),
    "chosen": (*ROUND_ONE, "chosen-p0", "chosen-p1"),
    "posterior": ("posterior-p0", "posterior-p1"),
    "coarse": ("coarse-p0", "coarse-p1"),
    "sharp-1000": ("sharp-p0",),
    "branched-1000": ("branched-p0",),
}
N_EPOCHS = 6  # over the rows of today-2000; the others take as many steps, the PRM of round one half of them
N_TEST, N_SAMPLES = 500, 16
TASK = ("--problems.source", "arithmetic", "--grader", "auto", "--max_new_tokens", "160")
RECIPE = (
    *("--model", "base", "--learning_rate", "0.001", "--batch_size", "4", "--n_accumulated", "4"),
    *("--adam_betas", "0.9,0.98", "--lr_schedule", "linear", "--use_cpu", "true"),
)


class Rounds:
    """The jobs of one seed, in its folder."""

    def __init__(self, folder: Path, seed: int, part_size: float = 1.0) -> None:
        self.folder, self.seed, self.part_size = folder, seed, part_size

    def jobs(self, arms: Sequence[str]) -> Iterator[Job]:
        yield Job("sample-test", self.sample("test", "test", N_TEST, N_SAMPLES))
        for part, shard in PARTS.items():
            sample = (*self.sample(part, "train", N_PROBLEMS, 4), "--problems.shard", shard)
            yield Job(f"sample-{part}", sample)
            yield Job(f"today-{part}", self.label("today", part, ()), (f"sample-{part}",))
            yield Job(f"root-{part}", self.label("root", part, ROOT), (f"today-{part}",))
            yield Job(f"thin-{part}", self.label("thin", part, THIN), (f"today-{part}",))
            for labeling, settings in BY_POSTERIOR.items():
                if any(f"{labeling}-{part}" in parts for parts in ARMS.values()):
                    yield Job(f"{labeling}-{part}", self.label(labeling, part, settings), (f"today-{part}",))
        yield Job("rows-today-2000", self.build("today-2000", ARMS["today-2000"]), ARMS["today-2000"])
        yield from self.second_round()
        for arm in arms:
            if arm != "today-2000":
                yield Job(f"rows-{arm}", self.build(arm, ARMS[arm]), ARMS[arm])
        for arm in arms:
            yield self.train(arm, N_EPOCHS)

    def second_round(self) -> Iterator[Job]:
        yield Job("rows-round-1", self.build("round-1", ROUND_ONE), ROUND_ONE)
        yield self.train("round-1", N_EPOCHS / 2)
        for part in PARTS:
            rows = self.folder / f"to_score-{part}.jsonl"
            export = ("data_gen.label", "--run", str(self.run("today", part)), "--export_rows", str(rows))
            yield Job(f"export-{part}", export, (f"today-{part}",))
            score = ("--checkpoint", str(self.prm("round-1")), "--output", str(self.scores(part)))
            command = ("prm_train.search.score_rows", "--rows", str(rows), *score)
            yield Job(f"score-{part}", command, ("train-round-1", f"export-{part}"))
            scored = (f"today-{part}", f"score-{part}")
            yield Job(f"guided-{part}", self.label("guided", part, partial(self.guided, part)), scored)
            yield Job(f"chosen-{part}", self.label("chosen", part, partial(self.chosen, part)), scored)

    def run(self, labeling: str, part: str) -> Path:
        return self.folder / f"{labeling}-{part}"

    def prm(self, arm: str) -> Path:
        return self.folder / f"prm-{arm}"

    def scores(self, part: str) -> Path:
        return self.folder / f"scores-{part}.jsonl"

    def rows(self, arm: str) -> Path:
        return self.folder / f"rows-{arm}" / "prm.jsonl"

    def sample(self, name: str, split: str, n: int, n_samples: int) -> Command:
        problems = ("--problems.split", split, "--problems.n", str(round(n * self.part_size)))
        seeds = ("--problems.seed", str(self.seed), "--policy.base_seed", str(self.seed))
        return (
            *("data_gen.sample", "--output", str(self.folder / name), *problems, *seeds, *TASK),
            *("--policy.model", "base", "--n_samples", str(n_samples)),
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
        return (*GUIDED, "--scores", str(self.scores(part)))

    def chosen(self, part: str) -> Command:
        """With the median doubt as the least."""
        beliefs = read_beliefs([self.scores(part)])
        doubts = [doubt(believed) for of_problem in beliefs.values() for believed in of_problem.values()]
        return (*self.guided(part), "--min_doubt", f"{np.median(doubts):.6f}")

    def build(self, arm: str, parts: Sequence[str]) -> Command:
        output = ("--output", str(self.folder / f"rows-{arm}"), "--kinds", "prm")
        return ("data_gen.build", "--runs", ",".join(str(self.folder / part) for part in parts), *output)

    def train(self, arm: str, n_epochs_of_today: float) -> Job:
        def command() -> Command:
            n_rows, n_today = (len(list(read_rows(self.rows(each), PrmRow))) for each in (arm, "today-2000"))
            epochs = ("--n_epochs", f"{n_epochs_of_today * n_today / n_rows:.4f}", "--seed", str(self.seed))
            output = ("--output", str(self.prm(arm)))
            return ("prm_train.train_prm", "--rows", str(self.rows(arm)), *output, *RECIPE, *epochs)

        return Job(f"train-{arm}", command, (f"rows-{arm}", "rows-today-2000"))


def run_seed(rounds: Rounds, arms: Sequence[str], n_processes: int) -> None:
    folder = rounds.folder
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as held:
        if not lock(held.fileno(), folder / ".lock"):
            raise InputError(f"{folder}: another process is at work there")
        JobQueue(folder / "jobs", held.fileno(), n_processes).run(list(rounds.jobs(arms)))
    for arm in arms:
        measure(folder / "test", rounds.prm(arm))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for everything that is made")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=tuple(ARMS))
    parser.add_argument("--n_processes", type=int, default=2)
    parser.add_argument("--size", type=float, default=1.0, help="share of the problems, to try the command")
    parser.add_argument("--result", type=Path, default=RESULT, help="file for the figures")
    arguments = parser.parse_args(argv)
    folders = [arguments.output / f"seed-{seed}" for seed in arguments.seeds]
    for folder, seed in zip(folders, arguments.seeds, strict=True):
        run_seed(Rounds(folder, seed, arguments.size), arguments.arms, arguments.n_processes)
    if set(arguments.arms) == set(ARMS):
        print(json.dumps(write_figures(folders, ARMS, arguments.result)["rounds"], indent=1))


if __name__ == "__main__":
    main()
