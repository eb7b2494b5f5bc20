"""What helps against a search that finds the errors of its PRM: beam search with and without each remedy, on
the problems of a quickstart's folder and with its PRM.

`python -m benchmarks.remedies --run runs/quickstart --output runs/remedies/seed-0` searches its test problems
(`--split validation`: those); `--other_prms runs/other/prm` adds ensembles with PRMs of other seeds. Prints a
table of solved problems, of the difference to plain beam search on the same problems, with 95 % intervals
over problems, and of what each costs alone, in tokens a problem. benchmarks/results/remedies.json holds it
under the name of the output's folder, beside those of other seeds.

All searches share a ledger, so what two of them draw alike is drawn once; an interrupted run goes on. A PRM
that does not say how often its scores are right is copied, and counted on the rows that its training held
out.
"""

import argparse
import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.process.machine import machine_name
from data_gen.settings.parse import load_yaml
from prm_train.calibrate import main as calibrate
from prm_train.checkpoints.facts import read_config_facts
from prm_train.encoding.aggregation import Aggregation
from prm_train.evaluation.costs import Costs
from prm_train.evaluation.results import TokensPerProblem
from prm_train.evaluation.shards import FinishedSearch, read_search
from prm_train.evaluation.tree_methods import TreeMethod, accuracies
from prm_train.metrics.estimators import Interval, block_accuracy, bootstrap_interval, paired_difference
from prm_train.quickstart import QuickstartConfig
from prm_train.search.model_flops import models_flops
from prm_train.search.run import main as search
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.voting import Vote, is_right, majority_vote, path_scores, weighted_vote

RESULT = Path(__file__).parent / "results" / "remedies.json"
AGGREGATION: Aggregation = "prod"  # of the PRM's step scores, as in benchmarks/strategies.py
PLAIN = "beam"
# what is done, in which search, and how its candidates are asked
REMEDIES: tuple[tuple[str, str, str, Vote], ...] = (
    (PLAIN, "plain", "beam", "score"),
    ("vote with the policy's prior", "plain", "beam", "prior"),
    ("survivors sampled", "plain", "beam:survivors=sampled", "score"),
    ("4 rollouts from each finalist", "plain", "beam:reanchor=4", "weight"),
    ("ensemble, mean", "mean", "beam", "score"),
    ("ensemble, mean less deviation", "mean_minus_std", "beam", "score"),
    ("lower bounds of scores", "bounds", "beam", "score"),
)


@dataclass(frozen=True)
class Row:
    """A method at some N: the share of problems solved, its difference to plain beam search, tokens a
    problem.
    """

    method: str
    n: int
    solved: Interval
    difference: Interval
    cost: TokensPerProblem


def searches(prm: str, counted: str, others: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """By name, the arguments in which they differ."""
    trees = dict.fromkeys(spec for _, name, spec, _ in REMEDIES if name == "plain")
    yield "plain", ("--prm", prm, "--strategies", ",".join(trees))
    beam = ("--strategies", "beam")
    for how in ("mean", "mean_minus_std") if others else ():
        ensemble = ("--scorer.ensemble", ",".join(others), "--scorer.combination", how)
        yield how, ("--prm", prm, *ensemble, *beam)
    yield "bounds", ("--prm", counted, "--scorer.pessimism", "0.95", *beam)


def counted_prm(run: Path, output: Path) -> Path:
    """The PRM of a run, or a copy of it, that says how often its scores are right."""
    if read_config_facts(str(run / "prm")).reliability is not None:
        return run / "prm"
    copy = output / "prm"
    if not copy.exists():
        shutil.copytree(run / "prm", copy)
        rows = str(run / "rows" / "prm.jsonl")
        calibrate(["--checkpoint", str(copy), "--rows", rows, "--method", "none"])
    return copy


def run_searches(arguments: argparse.Namespace) -> dict[str, FinishedSearch]:
    run, output = arguments.run, arguments.output
    of_run = load_yaml(QuickstartConfig, run / "config.json")
    output.mkdir(parents=True, exist_ok=True)
    n_problems = arguments.n_problems or getattr(of_run, f"n_{arguments.split}_problems")
    common = (
        *("--problems.source", "arithmetic", "--problems.split", arguments.split),
        *("--problems.seed", str(of_run.seed), "--problems.n", str(n_problems)),
        *("--policy.model", of_run.policy, "--policy.base_seed", str(of_run.seed)),
        *("--max_new_tokens", str(of_run.max_new_tokens), "--n_samples", str(max(arguments.sizes))),
        *("--n_difficulty_draws", "0", "--sizes", ",".join(map(str, arguments.sizes))),
        *("--aggregation", AGGREGATION, "--ledger", str(output / "ledger.sqlite")),
    )
    found = {}
    for name, own in searches(str(run / "prm"), str(counted_prm(run, output)), arguments.other_prms):
        search(["--output", str(output / name), *common, *own])
        found[name] = read_search([output / name])
    return found


def rows_of(found: dict[str, FinishedSearch], n: int) -> list[Row]:
    """At one N: samples without a tree for comparison, then each remedy that was searched."""
    plain = found["plain"]
    solved = {
        f"majority of {n} samples": of_samples(plain, n, majority_vote),
        f"weighted vote of {n} samples": of_samples(plain, n, by_score),
    }
    costs = {
        name: costs_of(plain).of_samples(n, plain.config.temperature, scorer)
        for name, scorer in zip(solved, (None, "prm"), strict=True)
    }
    for method, name, spec, vote in REMEDIES:
        if name in found:
            solved[method] = accuracies(found[name].results, spec, n, vote)
            costs[method] = costs_of(found[name]).of_tree(TreeMethod(method, {n: (spec, vote)}, {}))[n]
    rng = np.random.default_rng(0)
    return [
        Row(
            method,
            n,
            bootstrap_interval(each, rng),
            paired_difference(each, solved[PLAIN], rng),
            costs[method],
        )
        for method, each in solved.items()
    ]


def costs_of(finished: FinishedSearch) -> Costs:
    return Costs(finished.results, finished.config.step_separator, models_flops(finished.config))


def of_samples(
    finished: FinishedSearch, n: int, choose: Callable[[Sequence[Candidate]], Candidate | None]
) -> np.ndarray:
    """The share of each problem's blocks of `n` samples of which the right one is chosen."""
    return np.array(
        [
            block_accuracy(result.scored, n, lambda block: is_right(choose(block)))
            for result in finished.results
        ]
    )


def by_score(candidates: Sequence[Candidate]) -> Candidate | None:
    return weighted_vote(candidates, path_scores(candidates, "prm", AGGREGATION))


def table(rows: Sequence[Row]) -> str:
    head = "| N | | % solved | minus beam | policy's tokens | PRM's tokens | MFLOPs |"
    lines = [head, "|---" * 7 + "|"]
    for row in rows:
        flops = f"{row.cost.flops / 1e6:,.0f}" if row.cost.flops is not None else "–"
        cells = (
            *(str(row.n), row.method, percent(row.solved), percent(row.difference, "+")),
            *(f"{row.cost.n_generated:,.0f}", f"{row.cost.n_scorer:,.0f}", flops),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def percent(interval: Interval, sign: str = "") -> str:
    mean, low, high = (100 * value for value in (interval.mean, interval.low, interval.high))
    return f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def write(path: Path, name: str, entry: dict[str, Any]) -> None:
    """Beside the entries of other seeds."""
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, name: entry}, indent=1) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a quickstart, which is only read")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--other_prms", nargs="*", default=[])
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--n_problems", type=int, help="else as many as the quickstart searched")
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    found = run_searches(arguments)
    rows = [row for n in arguments.sizes for row in rows_of(found, n)]
    entry = {
        "split": arguments.split,
        "n_problems": len(found["plain"].results),
        "n_prms": 1 + len(arguments.other_prms),
        "machine": machine_name(),
        "rows": [asdict(row) for row in rows],
    }
    write(arguments.result, arguments.output.name, entry)
    sys.stdout.write(table(rows) + "\n")


if __name__ == "__main__":
    main()
