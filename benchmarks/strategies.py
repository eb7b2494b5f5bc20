"""Searches in a tree against best-of-N and selections without a verifier, as docs/search_analysis.md says.

`python -m benchmarks.strategies run --output runs/strategies/seed-3 --seed 3` trains a PRM by the recipe of
the quickstart, searches validation problems with every strategy and setting, chooses, searches the test
problems with what was chosen and with the defaults, and writes report.html; an interrupted run goes on.
With `--grader arithmetic_last_value --brief` it is the second task of that page: only the last value counts,
and fewer searches are tried. `… collect FOLDERS --last_value FOLDERS` makes
benchmarks/results/strategies.json of the reports of several seeds.
"""

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_gen.files.run_identity import claim_run
from data_gen.settings.parse import load_yaml
from prm_train.evaluation.choosing import Chosen, choose_settings
from prm_train.evaluation.comparison import Comparison
from prm_train.evaluation.evaluate import main as evaluate
from prm_train.evaluation.results import SearchReport
from prm_train.evaluation.shards import read_search
from prm_train.evaluation.stages import Split, read_stages
from prm_train.metrics.estimators import Interval, paired_difference
from prm_train.quickstart import (
    QuickstartConfig,
    Stage,
    problem_arguments,
    run_stage,
    search_folders,
    training_stages,
)
from prm_train.strategies.tree_searches import parse_strategy

RESULT = Path(__file__).parent / "results" / "strategies.json"
SIZES = (1, 4, 16, 64)
TRIED = (
    *("particle_filter", "particle_filter:resampling=split", "particle_filter:exponent=0.5"),
    *("beam", "beam:width=8", "beam:aggregation=min", "beam:survivors=sampled"),
    *("dvts", "dvts:survivors=sampled", "lookahead", "best_first:aggregation=mean", "mcts"),
    *("rebase", "rebase:balance_temperature=1"),
)
BRIEF = (
    *("particle_filter", "particle_filter:resampling=split", "particle_filter:exponent=0.5"),
    *("beam", "beam:survivors=sampled"),
)
BASELINES = ("self_certainty", "deepconf", "chunk_likelihood")


def stage(config: QuickstartConfig, split: Split, n: int, strategies: Iterable[str]) -> Stage:
    """A search of problems by two processes."""
    options = (
        *("--prm", str(config.output / "prm"), "--n_samples", str(config.n_samples), "--aggregation", "prod"),
        *("--other_temperatures", ",".join(str(t) for t in config.temperatures if t != 1.0)),
        *("--baselines", ",".join(BASELINES), "--strategies", ",".join(strategies)),
        *("--sizes", ",".join(map(str, SIZES))),
    )
    commands = [
        (
            *("prm_train.search.run", "--output", str(folder)),
            *options,
            *problem_arguments(config, split, n, shard),
        )
        for shard, folder in enumerate(search_folders(config, split))
    ]
    return Stage("search", tuple(commands), split)


def specs_for_test(chosen: Chosen, specs: Sequence[str]) -> list[str]:
    """The defaults (of best-first search, which has none that goes deep, what was tried), and what was
    chosen at some N.
    """
    tried = [str(parse_strategy(spec)) for spec in specs]  # as results spell them
    first = {parse_strategy(spec).name: spec for spec in reversed(tried)}
    best = {spec for at in chosen.trees.values() for spec, _ in at.values()}
    return [spec for spec in tried if spec in best or first[parse_strategy(spec).name] == spec]


def run(config: QuickstartConfig, specs: Sequence[str]) -> None:
    (config.output / "stages").mkdir(parents=True, exist_ok=True)
    with (config.output / ".lock").open("w") as held:
        for each in training_stages(config):
            run_stage(each, config.output, held.fileno())
        run_stage(
            stage(config, "validation", config.n_validation_problems, specs), config.output, held.fileno()
        )
        chosen = choose_settings(read_search(search_folders(config, "validation")).results)
        chosen.write(config.output / "chosen.json")
        run_stage(
            stage(config, "test", config.n_test_problems, specs_for_test(chosen, specs)),
            config.output,
            held.fileno(),
        )
    folders = {split: ",".join(map(str, search_folders(config, split))) for split in ("validation", "test")}
    runs = ",".join(str(config.output / f"train-{shard}") for shard in range(config.n_processes))
    evaluate(
        [
            *("--validation", folders["validation"], "--test", folders["test"]),
            *("--output", str(config.output), "--labeled", runs, "--prm", str(config.output / "prm")),
            *("--stages", str(config.output / "stages")),
        ]
    )


def figure(interval: Interval) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(interval).items()}


def seed_figures(folder: Path) -> dict[str, Any]:
    report, chosen = SearchReport.read(folder / "report.json"), Chosen.read(folder / "chosen.json")
    results = read_search(sorted(folder.glob("test-[0-9]*"))).results
    correct = Comparison(results, chosen, seed=0).correct()
    by_rank = Comparison(results, replace(chosen, selections={}), seed=0).correct()["prm_weighted"]

    def filter_minus(others: NDArray[np.float64], n: int) -> dict[str, float]:
        """In no report: N of one method against another N, and against what is no method of ours any more."""
        values = correct["particle_filter_tuned"][n]
        return figure(paired_difference(values, others, np.random.default_rng(0)))

    paired = {
        (pair.method, pair.n): pair.difference
        for pair in report.paired
        if pair.baseline == "prm_weighted" and pair.problems == "all test problems"
    }
    return {
        "seed": load_yaml(QuickstartConfig, folder / "config.json").seed,
        "n_test_problems": report.run.n_problems["test"],
        "cpu_seconds": round(sum(each.cpu_seconds for each in read_stages(folder / "stages"))),
        "weighted_by_rank": {
            "aggregation": chosen.prm_aggregation,
            "accuracy": {str(n): round(float(values.mean()), 4) for n, values in by_rank.items()},
        },
        "accuracy": {
            method: {str(n): figure(interval) for n, interval in curve.items()}
            for method, curve in report.accuracy.items()
        },
        "accuracy_by_quintile": {
            method: {str(n): [round(each.mean, 4) for each in fifths] for n, fifths in curve.items()}
            for method, curve in report.accuracy_by_quintile.items()
        },
        "greedy": figure(report.single_samples[0].accuracy),
        "paired": {
            "particle_filter_minus_weighted": {
                str(n): figure(paired[("particle_filter_tuned", n)]) for n in SIZES
            },
            "particle_filter16_minus_weighted64": filter_minus(correct["prm_weighted"][64], 16),
            "untuned_filter_minus_weighted": {
                str(n): figure(
                    paired_difference(
                        correct["particle_filter"][n], correct["prm_weighted"][n], np.random.default_rng(0)
                    )
                )
                for n in SIZES
            },
            # The baseline as the analysis had it: step scores are aggregated as ranks best, whatever N
            "particle_filter_minus_weighted_by_rank": {str(n): filter_minus(by_rank[n], n) for n in SIZES},
            "particle_filter16_minus_weighted64_by_rank": filter_minus(by_rank[64], 16),
            "others_minus_weighted": {
                f"{method}, N = {n}": figure(difference) for (method, n), difference in paired.items()
            },
        },
        "settings": dict(report.settings),
        "cost": {
            method: {str(n): asdict(tokens) for n, tokens in curve.items()}
            for method, curve in report.tokens.items()
        },
    }


def table(seeds: Sequence[dict[str, Any]]) -> str:
    """Accuracies in percent, one line a method, the seeds beside each other."""
    methods = dict.fromkeys(method for seed in seeds for method in seed["accuracy"])
    lines = ["| % solved | " + " | ".join(f"N = {n}" for n in SIZES) + " |", "|---" * (len(SIZES) + 1) + "|"]
    for method in methods:
        cells = [
            " / ".join(
                f"{100 * seed['accuracy'][method][str(n)]['mean']:.1f}"
                if str(n) in seed["accuracy"].get(method, {})
                else "–"
                for seed in seeds
            )
            for n in SIZES
        ]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run")
    one.add_argument("--output", type=Path, required=True)
    one.add_argument("--seed", type=int, required=True)
    one.add_argument("--grader", default="auto", help="arithmetic_last_value: only the last value counts")
    one.add_argument("--brief", action="store_true", help="particle filters and beam search alone")
    one.add_argument("--small", action="store_true", help="few problems, to try the command")
    all_seeds = commands.add_parser("collect")
    all_seeds.add_argument("folders", type=Path, nargs="+")
    all_seeds.add_argument(
        "--last_value", type=Path, nargs="*", default=[], help="folders of the second task"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if arguments.command == "run":
        config = QuickstartConfig(arguments.output, seed=arguments.seed, grader=arguments.grader)
        if arguments.small:
            config = replace(
                config, n_train_problems=60, n_validation_problems=6, n_test_problems=10, n_epochs=1.0
            )
        claim_run(config.output, config)
        run(config, BRIEF if arguments.brief else TRIED)
        return
    groups = {"seeds": arguments.folders, "last_value_only": arguments.last_value}
    figures = {name: [seed_figures(folder) for folder in folders] for name, folders in groups.items()}
    RESULT.write_text(json.dumps(figures, indent=1) + "\n")
    for seeds in figures.values():
        sys.stdout.write(table(seeds) + "\n\n")


if __name__ == "__main__":
    main()
