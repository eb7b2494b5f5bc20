"""What other labels would give, on the candidates of a finished quickstart: `python
benchmarks/label_experiments.py runs/seed-0`.

- `true`: the quickstart's PRM trained on the true first error of the same solutions, the upper bound of any
  labeling (experiment only);
- `last_value_only`: everything from sampling on with a grader that compares the last value alone, so that a
  wrong step may end right.

Trains a PRM for each with the quickstart's recipe, scores the quickstart's test candidates with it, and
writes within-problem AUROC and weighted best-of-N beside those of the quickstart's own PRM to
benchmarks/results/label_experiments.json.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from data_gen.build import main as build
from data_gen.files.run_folder import for_each, read_records
from data_gen.files.stored_record import read_object
from data_gen.label import main as label
from data_gen.problems.tasks import step_truth
from data_gen.records.solutions import Problem
from data_gen.rows.layouts import PrmRow, read_rows, write_rows
from data_gen.sample import main as sample
from prm_train.evaluation.choosers import scorer_scores, vote_by
from prm_train.evaluation.choosing import Chosen, accuracies, within_problem_aurocs
from prm_train.evaluation.shards import read_search
from prm_train.kinds.load import load_scorer
from prm_train.metrics.estimators import bootstrap_interval
from prm_train.search.results import ProblemResult
from prm_train.strategies.best_of_n import score_candidates
from prm_train.train_prm import main as train_prm

RESULT = Path(__file__).parent / "results" / "label_experiments.json"


def true_rows(run: Path) -> tuple[list[PrmRow], dict[str, float]]:
    """The quickstart's rows with true labels, and how often the Monte Carlo first error was the true one."""
    problems = {
        p.problem_id: p
        for shard in sorted(run.glob("train-*"))
        for p in read_records(shard / "problems.jsonl", Problem)
    }
    rows, n_wrong, n_exact = [], 0, 0
    for row in read_rows(run / "rows" / "prm.jsonl", PrmRow):
        truth = tuple(step_truth(problems[row.problem_id], "\n".join(row.completions)) or ())
        rows.append(replace(row, labels=truth))
        if False in truth:
            n_wrong += 1
            n_exact += row.labels == truth
    return rows, {"n_wrong_solutions": n_wrong, "first_error_exact": round(n_exact / n_wrong, 4)}


def train(run: Path, rows: Path, output: Path) -> None:
    config = read_object(run / "prm" / "training" / "config.json")
    kept = ("model", "n_epochs", "learning_rate", "batch_size", "n_accumulated", "lr_schedule", "seed")
    recipe = [x for key in kept for x in (f"--{key}", str(config[key]))]
    recipe += ["--packing", "true"] if config.get("packing") else []
    betas = ",".join(map(str, config["adam_betas"]))
    train_prm(
        ["--rows", str(rows), "--output", str(output), "--use_cpu", "true", "--adam_betas", betas, *recipe]
    )


async def rescore(results: Sequence[ProblemResult], folder: Path) -> list[ProblemResult]:
    scorer = load_scorer(str(folder))

    async def one(result: ProblemResult) -> ProblemResult:
        scored, _ = await score_candidates(result.problem, list(result.scored), scorer, "prm", "\n")
        return result.with_scored(scored)

    return await for_each(results, one, what="score", unit="problems", at_once=64)


def quality(results: Sequence[ProblemResult], run: Path) -> dict[str, object]:
    t, how = results[0].temperature, Chosen.read(run / "chosen.json").prm_aggregation
    interval = partial(bootstrap_interval, rng=np.random.default_rng(0))
    vote = partial(vote_by, scorer_scores("prm", how))
    weighted = {str(n): asdict(interval(accuracies(results, t, vote, n))) for n in (4, 16, 64)}
    auroc = interval(within_problem_aurocs(results, t, scorer_scores("prm", how)))
    return {"within_problem_auroc": asdict(auroc), "prm_weighted": weighted}


def last_value_rows(run: Path, work: Path) -> Path:
    for shard in sorted(run.glob("train-*")):
        config, output = read_object(shard / "config.json"), work / shard.name
        source = config["problems"]
        problems = [
            x for key in ("split", "seed", "n", "shard") for x in (f"--problems.{key}", str(source[key]))
        ]
        policy = [
            "--policy.model",
            config["policy"]["model"],
            "--policy.base_seed",
            str(config["policy"]["base_seed"]),
        ]
        knobs = [x for key in ("n_samples", "max_new_tokens") for x in (f"--{key}", str(config[key]))]
        sample(["--output", str(output), *problems, *policy, *knobs, "--grader", "arithmetic_last_value"])
        label(["--run", str(output)])
    build(
        [
            "--runs",
            ",".join(str(work / shard.name) for shard in sorted(run.glob("train-*"))),
            "--output",
            str(work / "rows"),
        ]
    )
    return work / "rows" / "prm.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished quickstart")
    run = parser.parse_args().run
    results = read_search(sorted(run.glob("test-*"))).results
    figures: dict[str, object] = {"run": read_object(run / "config.json"), "rollouts": quality(results, run)}
    rows, exactness = true_rows(run)
    write_rows(run / "experiments" / "true.jsonl", rows)
    train(run, run / "experiments" / "true.jsonl", run / "experiments" / "prm-true")
    true = quality(asyncio.run(rescore(results, run / "experiments" / "prm-true")), run)
    figures |= {"labels": exactness, "true": true}
    train(
        run, last_value_rows(run, run / "experiments" / "last-value"), run / "experiments" / "prm-last-value"
    )
    figures["last_value_only"] = quality(
        asyncio.run(rescore(results, run / "experiments" / "prm-last-value")), run
    )
    RESULT.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
