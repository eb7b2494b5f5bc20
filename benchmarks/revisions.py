"""Sequential revisions against independent attempts on the built-in task: `make revisions`.

The analysis, written before any of its figures was made; what changed afterwards stands under Deviations.

Question: do attempts that see those before them (Snell et al. 2024, section 6) solve more problems than as
many that see nothing, and at which ratio of chains to revisions?

Policies: the one that ships was itself pretrained on chains of attempts and revises without being taught. So
a policy is made by the same recipe from documents with one attempt each (`p_chain` 0). Its solutions to
training problems become revision trajectories, on which it goes on to be trained (the revision model), and
rows for an ORM that sees the attempts before the one it scores. The ORM's chains are independent samples in a
random order, not the revision model's own: it is off its distribution in chains, which counts against them.

Methods at N = 4 and 16, temperature 1, on test problems that nothing was trained on; no setting is tuned:

- revisions at every ratio: N attempts of the revision model in 1, 2, 4, 8 and 16 chains (N chains of one
  attempt see nothing: the parallel end), by the hierarchical ORM vote, ORM-weighted and by majority;
- blind chains: the same number of chains and the same votes, but each attempt is drawn again from the
  question alone. Their draws are those of the parallel end: what they lack is the view and nothing else;
- the policy that was not trained to revise: greedy, majority and ORM-weighted best-of-N;
- the share of right attempts by place in a chain of 16, for what a step of revision adds (and loses).

Figures: accuracy with a 95 % bootstrap interval over problems, paired differences on the same problems, by
difficulty (quintiles of further draws of the policy), and mean tokens a problem: generated, prompts read
(chats are read anew for each attempt) and scored. Bars, for N = 16 and the hierarchical vote, each to hold in
every seed with its whole interval above 0:

1. 4 chains of 4 minus 4 blind chains of 4: seeing the chain helps.
2. 4 chains of 4 minus 16 attempts in parallel (ORM-weighted).
3. 4 chains of 4 minus ORM-weighted best-of-16 of the policy: all of training and revising against neither.

Which ratio is best, and whether that depends on difficulty, is read from the tables without a test: too many
comparisons for one.

What this cannot show: one task of short solutions, one policy of 0.4 million parameters, whose mistakes are
slips of a line that a right solution nearby corrects; one recipe, untuned. Equal N is not equal cost: the
tokens are reported beside.

Deviations: `collect` also gives each difference over all seeds, with an interval that holds the variance
of trainings; no bar is read from it. The policy is shipped and frozen since `make reproduce` uses it, too
(`--policy null` pretrains one from the seed, as it is written above): seeds are of problems, draws and
trainings. The recipe was changed after seed 11 had been run once: with a learning rate of 3e-4, 32 rows a
step and 78 steps the revision model's validation loss was 0.365, and it wrote no right attempt behind
another one (1.7 % solved by 4 chains of 4). At 1e-3 with 16 rows a step, on the same rows, that loss is
0.042 after two epochs. The choice was not made by the loss alone: 5,000 problems with 8 solutions, 1e-3
and 16 rows had been tried before, with a lower loss (0.005), and were given up when their first attempts
solved 87 % of 100 other problems (seed 50), which leaves little to revise; those of the recipe kept solve
58 %. Attempts behind a first one were not looked at for either. The ORM is trained for one epoch instead
of three, for time: within-problem AUROC on validation rows was 0.62 after the first and 0.60 after the
third, the loss 0.356 and 0.344.

`python -m benchmarks.revisions run --output runs/revisions/seed-0 --seed 0` makes one seed, about an hour on
one core; a run that was interrupted goes on with the command that it was in. `… collect FOLDERS` writes
benchmarks/results/revisions_search.json.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_gen.files.run_identity import claim_run
from data_gen.files.stored_record import read_object
from data_gen.problems.tasks import model_path
from data_gen.process.machine import machine_name, shown_path
from data_gen.settings.parse import parse_config
from prm_train.evaluation.choosers import scorer_scores, vote_by
from prm_train.evaluation.choosing import accuracies
from prm_train.evaluation.tree_methods import accuracies as tree_accuracies
from prm_train.evaluation.tree_methods import votes_of
from prm_train.metrics.estimators import (
    N_QUINTILES,
    Interval,
    bootstrap_interval,
    difficulty_quintiles,
    paired_values,
)
from prm_train.metrics.training_seeds import interval_over_seeds
from prm_train.search.results import Cost, ProblemResult, read_results
from prm_train.strategies.voting import majority_vote

RESULT = Path(__file__).parent / "results" / "revisions_search.json"
SIZES, CHAINS = (4, 16), (1, 2, 4, 8, 16)
SEEING = {n: f"revisions:n_chains={n}" for n in CHAINS}
BLIND = {n: f"revisions:n_chains={n}:n_shown=0" for n in CHAINS if n < max(CHAINS)}
N_MAX = max(SIZES)
Solved = dict[str, dict[int, NDArray[np.float64]]]  # by method and N: of each problem, 1.0 where it is solved


@dataclass(frozen=True)
class RunConfig:
    """One seed of the comparison."""

    output: Path = field(metadata={"help": "folder for everything that is made"})
    seed: int = field(default=0, metadata={"help": "seed of problems, draws and trainings"})
    policy: str | None = field(
        default="single_attempt",
        metadata={
            "help": "'single_attempt' (shipped: pretrained with `--p_chain 0`, seed 0) or the folder of "
            "another policy that does not revise; null: pretrain one",
        },
    )
    n_steps: int = field(default=6000, metadata={"help": "updates of the policy's pretraining"})
    n_train_problems: int = field(default=1000, metadata={"help": "problems whose solutions are trained on"})
    n_solutions: int = field(default=16, metadata={"help": "solutions drawn for each of them"})
    n_test_problems: int = field(default=500, metadata={"help": "problems that the methods are compared on"})


def commands(config: RunConfig) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """What is run, one after the other, and the file that each leaves when it is finished."""
    out, seed = config.output, str(config.seed)
    policy = Path(model_path(config.policy)) if config.policy else out / "policy"
    run, rows = out / "solutions", out / "rows"
    task = ("--problems.seed", seed, "--policy.model", str(policy), "--policy.base_seed", seed)
    sampling = (*task, "--max_new_tokens", "160")
    training = ("--model", str(policy), "--lr_schedule", "cosine", "--seed", seed, "--use_cpu", "true")
    pretraining = ("--p_chain", "0.0", "--n_steps", str(config.n_steps), "--seed", seed)
    yield policy / "pretraining.json", ("data_gen.pretrain", "--output", str(policy), *pretraining)
    problems = ("--problems.split", "train", "--problems.n", str(config.n_train_problems))
    solutions = ("--output", str(run), "--n_samples", str(config.n_solutions))
    yield run / "sample.json", ("data_gen.sample", *solutions, *problems, *sampling)
    kinds = ("--kinds", "revision,orm_history", "--revision.floor", "0.0")  # grading is exact: no misses
    yield rows / "build.json", ("data_gen.build", "--runs", str(run), "--output", str(rows), *kinds)
    for kind, name, recipe in (
        (
            "revision",
            "revision_model",
            ("--n_epochs", "3.0", "--learning_rate", "1e-3", "--batch_size", "16"),
        ),
        ("orm_history", "orm", ("--n_epochs", "1.0", "--learning_rate", "1e-3", "--batch_size", "16")),
    ):
        command = "train_revision" if kind == "revision" else "train_orm"
        own = ("--n_revised_chains", "0") if kind == "revision" else ()
        files = ("--rows", str(rows / f"{kind}.jsonl"), "--output", str(out / name))
        report = out / name / "training" / "report.json"
        yield report, (f"prm_train.{command}", *files, *training, *recipe, *own)
    problems = ("--problems.split", "test", "--problems.n", str(config.n_test_problems))
    models = ("--revision_model", str(out / "revision_model"), "--orm", str(out / "orm"))
    strategies = (
        *("--strategies", ",".join((*SEEING.values(), *BLIND.values()))),
        *("--sizes", ",".join(map(str, SIZES)), "--n_samples", str(N_MAX)),
    )
    search = ("prm_train.search.run", "--output", str(out / "test"))
    yield out / "test" / "search.json", (*search, *models, *strategies, *problems, *sampling)


def run(config: RunConfig) -> None:
    """Raises CalledProcessError where a command fails."""
    claim_run(config.output, config, is_begun=config.output.exists())
    for finished, (module, *arguments) in commands(config):
        if not finished.exists():
            subprocess.run([sys.executable, "-m", module, *arguments], check=True)
    print(json.dumps(seed_figures(config.output), indent=1))


def solved(results: Sequence[ProblemResult]) -> Solved:
    """By method: `revisions:… vote`, and those among the policy's samples."""
    t, by_score = results[0].temperature, scorer_scores("orm", "last")
    table: Solved = {
        "policy, majority": {n: accuracies(results, t, majority_vote, n) for n in SIZES},
        "policy, ORM-weighted": {
            n: accuracies(results, t, lambda block: vote_by(by_score, block), n) for n in SIZES
        },
        "policy, greedy": {1: np.array([float(result.greedy.is_correct) for result in results])},
    }
    for spec in results[0].trees:
        for vote in votes_of(results[0], spec, ()):
            table[f"{spec}, {vote}"] = {n: tree_accuracies(results, spec, n, vote) for n in SIZES}
    return table


def differences(table: Solved) -> dict[str, NDArray[np.float64]]:
    """What the bars are of, for each problem."""
    four = table[f"{SEEING[4]}, hierarchical"][N_MAX]
    others = {
        "4 blind chains": table[f"{BLIND[4]}, hierarchical"],
        "parallel": table[f"{SEEING[16]}, hierarchical"],
        "policy, ORM-weighted": table["policy, ORM-weighted"],
    }
    return {name: paired_values(four, other[N_MAX]) for name, other in others.items()}


def bars(table: Solved) -> dict[str, dict[str, float]]:
    return {
        name: figure(bootstrap_interval(values, np.random.default_rng(0), bounds=(-1.0, 1.0)))
        for name, values in differences(table).items()
    }


def over_seeds(seeds: Sequence[dict[str, NDArray[np.float64]]]) -> dict[str, dict[str, float]]:
    """The differences of all seeds together, whose trainings and problems are their own."""
    return {
        name: figure(
            interval_over_seeds(
                [seed[name] for seed in seeds], np.random.default_rng(0), "own", bounds=(-1.0, 1.0)
            )
        )
        for name in seeds[0]
    }


def by_place(results: Sequence[ProblemResult]) -> list[float]:
    """The share of right attempts by place in the one chain of all N."""
    chains = [result.trees[SEEING[1]][N_MAX].candidates for result in results]
    right = np.array([[candidate.is_correct for candidate in chain] for chain in chains])
    return [round(float(share), 4) for share in right.mean(axis=0)]


def by_difficulty(results: Sequence[ProblemResult], table: Solved) -> dict[str, list[float]]:
    """Mean accuracy of the ratios in each quintile of the policy's own pass rate, the easiest first."""
    quintiles = difficulty_quintiles([each.difficulty.n_correct / each.difficulty.n for each in results])
    return {
        spec: [
            round(float(table[f"{spec}, hierarchical"][N_MAX][quintiles == i].mean()), 4)
            for i in range(N_QUINTILES)
        ]
        for spec in SEEING.values()
    }


def tokens(results: Sequence[ProblemResult]) -> dict[str, dict[str, float]]:
    """Mean tokens a problem at the largest N."""

    def means(costs: Sequence[Cost]) -> dict[str, float]:
        each = {
            "generated": [cost.policy.n_generated for cost in costs],
            "prompts": [cost.policy.n_prefilled for cost in costs],
            "scored": [cost.scorer.n_new for cost in costs],
        }
        return {name: round(float(np.mean(values)), 1) for name, values in each.items()}

    costs = {spec: means([each.trees[spec][N_MAX].cost for each in results]) for spec in results[0].trees}
    of_samples = [
        Cost(each.cost_of_samples(each.temperature).policy, each.cost_of_scores("orm")) for each in results
    ]
    return {**costs, "policy, ORM-weighted": means(of_samples)}


def figure(interval: Interval) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(interval).items()}


def seed_figures(folder: Path) -> dict[str, Any]:
    results = read_results(folder / "test" / "results.jsonl")
    table = solved(results)
    return {
        "accuracy": {
            name: {
                n: figure(bootstrap_interval(values, np.random.default_rng(0))) for n, values in at.items()
            }
            for name, at in table.items()
        },
        "4 chains of 4 minus": bars(table),
        "right_by_place": by_place(results),
        "by_difficulty": by_difficulty(results, table),
        "tokens": tokens(results),
        "config": {**read_object(folder / "config.json"), "output": shown_path(folder)},
    }


def collect(folders: Sequence[Path]) -> None:
    tables = [solved(read_results(folder / "test" / "results.jsonl")) for folder in folders]
    figures = {
        "seeds": [seed_figures(folder) for folder in folders],
        "4 chains of 4 minus, over seeds": over_seeds([differences(table) for table in tables]),
        "machine": machine_name(),
        "command": "python -m benchmarks.revisions collect " + " ".join(map(shown_path, folders)),
    }
    RESULT.write_text(json.dumps(figures, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("run", "collect"))
    chosen, rest = parser.parse_known_args()
    if chosen.command == "run":
        run(parse_config(RunConfig, rest))
    else:
        collect([Path(folder) for folder in rest])


if __name__ == "__main__":
    main()
