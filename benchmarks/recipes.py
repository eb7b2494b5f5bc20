"""PRM recipes and ORM recipes on the same held-out candidates: `python -m benchmarks.recipes
runs/quickstart`.

Takes a finished quickstart. All recipes learn from the same solutions of the same policy and are read on the
quickstart's test candidates (500 problems x 64); what differs is the label, the loss, and how step scores
become the score of a solution:

- `hard`: the first error by binary search, labels right / wrong / none (the quickstart's own PRM), made for
  min;
- `soft`: the value after every step, 8 rollouts each (Snell et al. 2024, appendix D), made for last;
- `binomial`: the likelihood of the counts where rollouts stop as soon as the value's interval is narrow
  enough, up to the first step after which none succeeds, made for min;
- `binomial, every step`: the same counts and likelihood after every step, made for last;
- `pointwise`: each solution against its verdict (the quickstart's own ORM);
- `pairs`: right over wrong solutions of the same question (Bradley-Terry);
- `verdicts`: the solution's verdict as the target of every step, read at the last (token-level verifier,
  Cobbe et al. 2021);
- `pointwise, equal cost`: pointwise with solutions of further problems, as many as cost the policy the tokens
  of the labels of `hard`; also with a third of the passes over them.

Every figure is a mean over problems with its 95 % interval, and its paired difference from `hard` with min.
Writes what it trains to RUN/recipes and the figures to benchmarks/results/recipes.json (or `--result`, for
`benchmarks.recipe_check`). About 65 minutes on
one core; a stopped run goes on where it was.
"""

import argparse
import asyncio
import json
import shutil
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_gen.build import main as build
from data_gen.files.run_folder import read_records
from data_gen.files.stored_record import read_object
from data_gen.label import main as label
from data_gen.labeling.summary import LabelSummary
from data_gen.problems.tasks import step_truth
from data_gen.process.machine import machine_name
from data_gen.records.solutions import Problem
from data_gen.records.steps import split_steps
from data_gen.rows.layouts import OrmRow, PrmRow, read_rows, write_rows
from data_gen.sample import main as sample
from data_gen.sampling.summary import SampleSummary
from data_gen.settings.parse import load_yaml
from prm_train.encoding.aggregation import Aggregation
from prm_train.evaluation.choosers import best_by, scorer_scores, vote_by
from prm_train.evaluation.choosing import accuracies, within_problem_aurocs
from prm_train.evaluation.shards import read_search
from prm_train.kinds.load import load_scorer
from prm_train.metrics.estimators import bootstrap_interval, paired_difference
from prm_train.metrics.training_report import TrainingReport
from prm_train.quickstart import QuickstartConfig
from prm_train.search.results import ProblemResult
from prm_train.strategies.best_of_n import score_candidates
from prm_train.train_orm import main as train_orm
from prm_train.train_prm import main as train_prm

RESULT = Path(__file__).parent / "results" / "recipes.json"
COUNTS = (4, 16, 64)
LABELINGS: dict[str, tuple[str, ...]] = {
    "every_step": ("--method", "every_step", "--n_rollouts", "8"),
    "interval": (
        "--method",
        "every_step",
        "--stopping",
        "interval",
        "--interval_width",
        "0.6",
        "--max_rollouts",
        "8",
    ),
}
Item = TypeVar("Item")
Result = TypeVar("Result")
Values = dict[str, NDArray[np.float64]]  # figure → one value a problem


@dataclass(frozen=True)
class Recipe:
    """How one scorer is trained.

    `rows` names a labeling of LABELINGS, or a file that the quickstart built; `settings` are what differs
    from the quickstart's own recipe (nothing: its own scorer is taken).
    """

    kind: str
    rows: str
    settings: tuple[str, ...] = ()
    aggregations: tuple[Aggregation, ...] = ("last", "min", "prod")
    made_for: Aggregation = "last"


PRM_RECIPES = {
    "hard": Recipe("prm", "prm", made_for="min"),
    "soft": Recipe("prm", "every_step", ("--label_kind", "soft", "--aggregation", "last")),
    "binomial": Recipe(
        "prm", "interval", ("--label_kind", "likelihood", "--until_first_error", "true"), made_for="min"
    ),
    "binomial, every step": Recipe(
        "prm", "interval", ("--label_kind", "likelihood", "--aggregation", "last")
    ),
}
ORM_RECIPES = {
    "pointwise": Recipe("orm", "orm", aggregations=("last",)),
    "pairs": Recipe("orm", "orm", ("--objective", "pairs"), aggregations=("last",)),
    "verdicts": Recipe("prm", "verdicts", ("--aggregation", "last"), aggregations=("last",)),
    "pointwise, equal cost, 2 epochs": Recipe("orm", "more", ("--n_epochs", "2"), aggregations=("last",)),
    "pointwise, equal cost": Recipe("orm", "more", ("--n_epochs", "6"), aggregations=("last",)),
}
REFERENCE = ("hard", "min")


def label_again(run: Path, name: str) -> dict[str, Any]:
    """Label the quickstart's solutions by another method and build rows; what that cost, over both shards."""
    folder = run / "recipes" / name
    shards = []
    for source in sorted(run.glob("train-*")):
        shard = folder / source.name
        if not (shard / "label.json").exists():
            shard.mkdir(parents=True, exist_ok=True)
            for part in ("config.json", "problems.jsonl", "solutions.jsonl"):
                shutil.copy(source / part, shard)
            drawn = run / "recipes" / "every_step" / source.name / "ledger.sqlite"
            if drawn.exists() and not (shard / drawn.name).exists():
                # The same draws; what a labeling asks for is counted as its own cost
                shutil.copy(drawn, shard)
            label(["--run", str(shard), *LABELINGS[name]])
        shards.append(shard)
    if not (folder / "rows" / "build.json").exists():
        build(["--runs", ",".join(map(str, shards)), "--output", str(folder / "rows"), "--kinds", "prm"])
    return label_cost(shards)


def sample_more(run: Path, n_tokens: int) -> dict[str, Any]:
    """Sample further problems as the quickstart does until that has cost about n_tokens, and build ORM rows
    of theirs and its own.
    """
    folder, config = run / "recipes" / "more", load_yaml(QuickstartConfig, run / "config.json")
    shards = sorted(run.glob("train-*"))
    drawn = [SampleSummary.read(shard / "sample.json") for shard in shards]
    tokens_per_solution = sum(each.n_generated for each in drawn) / sum(each.n_solutions for each in drawn)
    n_problems = round(n_tokens / tokens_per_solution / config.n_solutions)
    source = (
        "--problems.source",
        "arithmetic",
        "--problems.split",
        "train",
        "--problems.seed",
        str(config.seed),
    )
    part = (
        "--problems.offset",
        str(config.n_train_problems),
        "--problems.n",
        str(n_problems),
        "--n_samples",
        str(config.n_solutions),
    )
    policy = (
        "--policy.model",
        config.policy,
        "--policy.base_seed",
        str(config.seed),
        "--max_new_tokens",
        str(config.max_new_tokens),
    )
    if not (folder / "sampled" / "sample.json").exists():
        sample(["--output", str(folder / "sampled"), *source, *part, *policy])
    if not (folder / "rows" / "build.json").exists():
        build(
            [
                "--runs",
                ",".join(map(str, (*shards, folder / "sampled"))),
                "--output",
                str(folder / "rows"),
                "--kinds",
                "orm",
            ]
        )
    sampled = SampleSummary.read(folder / "sampled" / "sample.json")
    counts = {
        key: getattr(sampled, key) for key in ("n_problems", "n_solutions", "n_generated", "n_prefilled")
    }
    return {"n_labeled_solutions": 0, "n_rollouts": 0} | counts


def against_truth(run: Path, rows: Path) -> dict[str, float]:
    """What rollouts say of steps whose truth the built-in task knows: the values of right and of first wrong
    steps, and what follows.
    """
    problems = {
        p.problem_id: p
        for shard in sorted(run.glob("train-*"))
        for p in read_records(shard / "problems.jsonl", Problem)
    }
    values: dict[bool | None, list[float]] = {True: [], False: [], None: []}
    for row in read_rows(rows, PrmRow):
        truth = step_truth(problems[row.problem_id], "\n".join(row.completions)) or ()
        for is_right, n_correct, n_rollouts in zip(truth, row.n_correct, row.n_rollouts, strict=True):
            if n_rollouts:
                values[is_right].append(n_correct / n_rollouts)
    right = np.array(values[True])
    return {
        "mean_value_of_right_steps": round(float(right.mean()), 4),
        "deviation_of_right_steps": round(float(right.std()), 4),
        "share_of_right_steps_without_success": round(float((right == 0).mean()), 4),
        "mean_value_of_first_wrong_steps": round(float(np.mean(values[False])), 4),
        "n_steps_after_the_first_wrong": len(values[None]),
    }


def label_cost(shards: Sequence[Path]) -> dict[str, Any]:
    found = [LabelSummary.read(shard / "label.json") for shard in shards]
    return {
        key: sum(getattr(each, key) for each in found)
        for key in ("n_labeled_solutions", "n_rollouts", "n_generated", "n_prefilled")
    }


def rows_of(run: Path, recipe: Recipe) -> Path:
    made = run / "recipes" / recipe.rows / "rows" / "prm.jsonl"
    if recipe.rows == "verdicts":
        write_rows(made, verdict_rows(run))
    if recipe.rows == "more":
        return made.with_name("orm.jsonl")
    return made if recipe.rows in ("verdicts", *LABELINGS) else run / "rows" / f"{recipe.rows}.jsonl"


def verdict_rows(run: Path) -> list[PrmRow]:
    """The quickstart's solutions, each step with the verdict of the whole as its label and no other
    evidence.
    """
    rows = []
    for row in read_rows(run / "rows" / "orm.jsonl", OrmRow):
        steps = split_steps(row.completion, "\n")
        none = (0,) * len(steps)
        evidence = (none, none, none, ("fixed",) * len(steps), ("none",) * len(steps))
        rows.append(PrmRow(row.problem_id, row.prompt, steps, (row.label,) * len(steps), *evidence))
    return rows


def train(run: Path, recipe: Recipe, rows: Path, output: Path) -> Path:
    """A scorer trained as the quickstart trains its own, but for the recipe's settings, which come last."""
    config = read_object(run / recipe.kind / "training" / "config.json")
    kept = ("model", "n_epochs", "learning_rate", "batch_size", "n_accumulated", "lr_schedule", "seed")
    settings = [text for key in kept for text in (f"--{key}", str(config[key]))]
    betas = ",".join(map(str, config["adam_betas"]))
    packed = ("--packing", "true") if config.get("packing") else ()
    arguments = [
        "--rows",
        str(rows),
        "--output",
        str(output),
        "--use_cpu",
        "true",
        "--adam_betas",
        betas,
        *settings,
        *packed,
        *recipe.settings,
    ]
    {"prm": train_prm, "orm": train_orm}[recipe.kind](arguments)
    return output


async def in_groups(
    items: Sequence[Item], work: Callable[[Item], Awaitable[Result]], size: int = 64
) -> list[Result]:
    """`work` on every item, `size` of them side by side."""
    results: list[Result] = []
    for start in range(0, len(items), size):
        results += await asyncio.gather(*(work(item) for item in items[start : start + size]))
    return results


async def rescored(results: Sequence[ProblemResult], folder: Path, kind: str) -> list[ProblemResult]:
    """The same candidates with this scorer's scores under `kind`."""
    scorer = load_scorer(str(folder))

    async def one(result: ProblemResult) -> ProblemResult:
        scored, _ = await score_candidates(result.problem, list(result.scored), scorer, kind, "\n")
        return result.with_scored(scored)

    return await in_groups(results, one)


def figures(results: Sequence[ProblemResult], kind: str, how: Aggregation) -> Values:
    """Within-problem AUROC (problems with right and wrong candidates only), and weighted and plain
    best-of-N.
    """
    t, scores = results[0].temperature, scorer_scores(kind, how)
    values = {"within_problem_auroc": within_problem_aurocs(results, t, scores)}
    for n in COUNTS:
        values[f"weighted_{n}"] = accuracies(results, t, partial(vote_by, scores), n)
        values[f"best_{n}"] = accuracies(results, t, partial(best_by, scores), n)
    return values


def described(values: Values, reference: Values) -> dict[str, Any]:
    """Means with intervals, and paired differences from the reference."""
    rng = partial(np.random.default_rng, 0)
    return {
        "means": {name: asdict(bootstrap_interval(value, rng())) for name, value in values.items()},
        "minus_reference": {
            name: asdict(paired_difference(value, reference[name], rng())) for name, value in values.items()
        },
    }


def scorer_folder(run: Path, name: str, recipe: Recipe) -> Path:
    return run / "recipes" / f"{recipe.kind}-{name.replace(', ', '-').replace(' ', '-')}"


def training_cost(scorer: Path) -> dict[str, Any]:
    report = TrainingReport.read(scorer / "training" / "report.json")
    counts = {key: getattr(report, key) for key in ("n_steps", "n_training_rows", "n_training_tokens")}
    return {"cpu_seconds": report.cost.cpu_seconds} | counts


def measure(
    run: Path, name: str, recipe: Recipe, results: Sequence[ProblemResult]
) -> dict[Aggregation, Values]:
    """The figures of one recipe, whose values are kept beside its scorer."""
    output = scorer_folder(run, name, recipe)
    stored = output / "values.json"
    if not stored.exists():
        if recipe.settings:
            train(run, recipe, rows_of(run, recipe), output)
            results = asyncio.run(rescored(results, output, recipe.kind))
        output.mkdir(parents=True, exist_ok=True)
        found = {how: figures(results, recipe.kind, how) for how in recipe.aggregations}
        stored.write_text(
            json.dumps(
                {how: {key: value.tolist() for key, value in each.items()} for how, each in found.items()}
            )
        )
    return {
        how: {key: np.array(value) for key, value in each.items()}
        for how, each in json.loads(stored.read_text()).items()
    }


def compare(run: Path) -> dict[str, Any]:
    results = read_search(sorted(run.glob("test-*"))).results
    costs = {
        name: label_again(run, name) | against_truth(run, run / "recipes" / name / "rows" / "prm.jsonl")
        for name in LABELINGS
    }
    costs["prm"] = label_cost(sorted(run.glob("train-*")))
    without = {
        "n_labeled_solutions": costs["prm"]["n_labeled_solutions"],
        "n_rollouts": 0,
        "n_generated": 0,
        "n_prefilled": 0,
    }
    costs |= {"orm": without, "verdicts": without, "more": sample_more(run, costs["prm"]["n_generated"])}
    recipes = PRM_RECIPES | ORM_RECIPES
    measured = {name: measure(run, name, recipe, results) for name, recipe in recipes.items()}
    reference = measured[REFERENCE[0]]["min"]
    return {
        name: {
            "kind": "prm" if name in PRM_RECIPES else "orm",
            "made_for": recipe.made_for,
            "settings": " ".join(recipe.settings),
            "labels": costs[recipe.rows],
            "training": training_cost(
                run / recipe.kind if not recipe.settings else scorer_folder(run, name, recipe)
            ),
            "by_aggregation": {how: described(values, reference) for how, values in measured[name].items()},
        }
        for name, recipe in recipes.items()
    }


def write_figures(run: Path, part: str, found: dict[str, Any], command: str, result: Path = RESULT) -> None:
    """Put a part into recipes.json beside the others."""
    figures = json.loads(result.read_text()) if result.exists() else {}
    config = read_object(run / "config.json")
    commands = figures.get("commands", {}) | {part: f"python -m benchmarks.{command}"}
    figures |= {
        "machine": machine_name(),
        "seed": config["seed"],
        "quickstart": config,
        "commands": commands,
        part: found,
    }
    result.write_text(json.dumps(figures, indent=1) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished quickstart")
    parser.add_argument(
        "--result", type=Path, default=RESULT, help="file for the figures (default: the stored ones)"
    )
    config = parser.parse_args(argv)
    write_figures(config.run, "recipes", compare(config.run), "recipes runs/quickstart", config.result)


if __name__ == "__main__":
    main(sys.argv[1:])
