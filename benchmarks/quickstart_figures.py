"""The figures of several quickstart runs in one file: `python benchmarks/quickstart_figures.py runs/seed-0
runs/seed-1 runs/seed-2`.

Reads report.json and stages/ of each run, writes benchmarks/results/quickstart.json and prints the tables of
the README.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_gen.settings.parse import load_yaml
from prm_train.evaluation.results import ALL_PROBLEMS, SearchReport
from prm_train.evaluation.stages import read_stages
from prm_train.metrics.estimators import Interval
from prm_train.quickstart import QuickstartConfig

RESULT = Path(__file__).parent / "results" / "quickstart.json"


def figure(interval: Interval) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(interval).items()}


def difference(
    report: SearchReport, method: str, baseline: str, n: int, hard: bool = False
) -> dict[str, float]:
    for pair in report.paired:
        if (pair.method, pair.baseline, pair.n, pair.problems != ALL_PROBLEMS) == (method, baseline, n, hard):
            return figure(pair.difference)
    raise ValueError(f"the report compares no {method} with {baseline} at N = {n}")


def seed_figures(run: Path) -> dict[str, Any]:
    report, stages = SearchReport.read(run / "report.json"), read_stages(run / "stages")
    greedy, *others = report.single_samples
    pass_at_1 = next(single for single in others if single.temperature == 1.0)
    auroc = {row.name: figure(row.within_problem_auroc) for row in report.verifiers}
    return {
        "seed": load_yaml(QuickstartConfig, run / "config.json").seed,
        "wall_minutes": round(sum(stage.wall_seconds for stage in stages) / 60, 1),
        "cpu_seconds": round(sum(stage.cpu_seconds for stage in stages)),
        "n_test_problems": report.run.n_problems["test"],
        "greedy": figure(greedy.accuracy),
        "pass_at_1": figure(pass_at_1.accuracy),
        "pass_at_1_by_quintile": [round(interval.mean, 4) for interval in report.pass_at_1_by_quintile],
        "prm_within_problem_auroc": auroc["PRM"],
        "orm_within_problem_auroc": auroc["ORM"],
        "logprob_within_problem_auroc": auroc["policy's log-prob"],
        "settings": dict(report.settings),
        "accuracy": {
            method: {str(n): figure(interval) for n, interval in curve.items()}
            for method, curve in report.accuracy.items()
        },
        "weighted_minus_majority": {
            str(n): difference(report, "prm_weighted", "majority", n) for n in (4, 16, 64)
        },
        "weighted_minus_greedy": {
            str(n): difference(report, "prm_weighted", "greedy", n) for n in (4, 16, 64)
        },
        "weighted64_minus_logprob64": difference(report, "prm_weighted", "logprob", 64),
        "beam4_minus_weighted4_hard": difference(report, "beam", "prm_weighted", 4, hard=True),
        "beam_minus_weighted": {str(n): difference(report, "beam", "prm_weighted", n) for n in (4, 16, 64)},
        "beam_minus_weighted_hard": {
            str(n): difference(report, "beam", "prm_weighted", n, hard=True) for n in (4, 16, 64)
        },
        "command": report.run.command,
    }


METHODS = {
    "prm_weighted": "PRM, weighted best-of-N",
    "prm_vanilla": "PRM, vanilla best-of-N",
    "beam": "PRM, beam search (M = 4)",
    "beam_prior": "… with a vote by score × probability of the path",
    "orm_weighted": "ORM, weighted best-of-N",
    "majority": "majority vote, best T",
    "logprob": "log-prob selection, best T and form",
    "pass_at_n": "pass@N (ceiling)",
}


def percent(value: dict[str, float]) -> str:
    return f"{100 * value['mean']:.1f} ({100 * value['low']:.1f}–{100 * value['high']:.1f})"


def points(value: dict[str, float]) -> str:
    return f"{100 * value['mean']:+.1f} ({100 * value['low']:+.1f} to {100 * value['high']:+.1f})"


def markdown(seeds: list[dict[str, Any]]) -> str:
    """The two tables of the README: methods on the first seed, and what must hold for every seed."""
    first = seeds[0]
    lines = [
        f"| test problems solved, % (95 % interval), seed {first['seed']} | N = 4 | N = 16 | N = 64 |",
        "|---|---|---|---|",
    ]
    for method, name in METHODS.items():
        if method not in first["accuracy"]:
            continue  # a report of before this method was in it
        cells = (percent(first["accuracy"][method][n]) for n in ("4", "16", "64"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [f"| greedy, one sample | {percent(first['greedy'])} | | |", ""]
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "by seed (problems, draws, training)": lambda seed: f"seed {seed['seed']}",
        "within-problem AUROC: PRM": lambda seed: f"{seed['prm_within_problem_auroc']['mean']:.3f}",
        "… ORM": lambda seed: f"{seed['orm_within_problem_auroc']['mean']:.3f}",
        "… policy's log-prob": lambda seed: f"{seed['logprob_within_problem_auroc']['mean']:.3f}",
        "greedy / pass@1 at T = 1, %": lambda seed: (
            f"{100 * seed['greedy']['mean']:.1f} / {100 * seed['pass_at_1']['mean']:.1f}"
        ),
        "pass@1 by difficulty quintile, %": lambda seed: " ".join(
            f"{100 * rate:.0f}" for rate in seed["pass_at_1_by_quintile"]
        ),
        "PRM weighted − majority, N = 4, points": lambda seed: points(seed["weighted_minus_majority"]["4"]),
        "PRM weighted − majority, N = 16, points": lambda seed: points(seed["weighted_minus_majority"]["16"]),
        "PRM weighted − majority, N = 64, points": lambda seed: points(seed["weighted_minus_majority"]["64"]),
        "PRM weighted − log-prob, N = 64": lambda seed: points(seed["weighted64_minus_logprob64"]),
        "PRM weighted − greedy, N = 64": lambda seed: points(seed["weighted_minus_greedy"]["64"]),
        "beam − weighted, N = 4, two hardest quintiles": lambda seed: points(
            seed["beam4_minus_weighted4_hard"]
        ),
        "beam − weighted, N = 16, two hardest quintiles": lambda seed: points(
            seed["beam_minus_weighted_hard"]["16"]
        ),
        "beam − weighted, N = 64, two hardest quintiles": lambda seed: points(
            seed["beam_minus_weighted_hard"]["64"]
        ),
        "minutes on 2 cores / cpu-seconds": lambda seed: f"{seed['wall_minutes']} / {seed['cpu_seconds']}",
    }
    table = [f"| {name} | {' | '.join(cell(seed) for seed in seeds)} |" for name, cell in rows.items()]
    return "\n".join([*lines, table[0], "|---|" + "---|" * len(seeds), *table[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    runs = parser.parse_args().runs
    seeds = [seed_figures(run) for run in runs]
    machine = SearchReport.read(runs[0] / "report.json").run.machine
    RESULT.write_text(json.dumps({"seeds": seeds, "machine": machine}, indent=1) + "\n")
    print(markdown(seeds))


if __name__ == "__main__":
    main()
