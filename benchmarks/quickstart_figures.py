"""The figures of several quickstart runs in one file: `python benchmarks/quickstart_figures.py runs/seed-0 runs/seed-1 runs/seed-2`.

Reads report.json and stages/ of each run, writes benchmarks/results/quickstart.json and prints what must hold for every seed.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from prm_train.evaluation.estimators import Interval
from prm_train.evaluation.results import ALL_PROBLEMS, SearchReport, from_json

RESULT = Path(__file__).parent / "results" / "quickstart.json"


def figure(interval: Interval) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(interval).items()}


def difference(report: SearchReport, method: str, baseline: str, n: int, hard: bool = False) -> dict[str, float]:
    for pair in report.paired:
        if (pair.method, pair.baseline, pair.n, pair.problems != ALL_PROBLEMS) == (method, baseline, n, hard):
            return figure(pair.difference)
    raise ValueError(f"the report compares no {method} with {baseline} at N = {n}")


def seed_figures(run: Path) -> dict[str, object]:
    report = from_json((run / "report.json").read_text())
    stages = [json.loads(path.read_text()) for path in (run / "stages").glob("*.json")]
    greedy, *others = report.single_samples
    pass_at_1 = next(single for single in others if single.temperature == 1.0)
    auroc = {row.name: figure(row.within_problem_auroc) for row in report.verifiers}
    return {
        "seed": json.loads((run / "config.json").read_text())["seed"],
        "wall_minutes": round(sum(stage["wall_seconds"] for stage in stages) / 60, 1),
        "cpu_seconds": round(sum(stage["cpu_seconds"] for stage in stages)),
        "n_test_problems": report.run.n_problems["test"],
        "greedy": figure(greedy.accuracy),
        "pass_at_1": figure(pass_at_1.accuracy),
        "pass_at_1_by_quintile": [round(interval.mean, 4) for interval in report.pass_at_1_by_quintile],
        "prm_within_problem_auroc": auroc["PRM"],
        "orm_within_problem_auroc": auroc["ORM"],
        "logprob_within_problem_auroc": auroc["policy's log-prob"],
        "settings": dict(report.settings),
        "accuracy": {method: {str(n): figure(interval) for n, interval in curve.items()} for method, curve in report.accuracy.items()},
        "weighted_minus_majority": {str(n): difference(report, "prm_weighted", "majority", n) for n in (4, 16, 64)},
        "weighted_minus_greedy": {str(n): difference(report, "prm_weighted", "greedy", n) for n in (4, 16, 64)},
        "weighted64_minus_logprob64": difference(report, "prm_weighted", "logprob", 64),
        "beam4_minus_weighted4_hard": difference(report, "beam", "prm_weighted", 4, hard=True),
        "beam_minus_weighted": {str(n): difference(report, "beam", "prm_weighted", n) for n in (4, 16, 64)},
        "beam_minus_weighted_hard": {str(n): difference(report, "beam", "prm_weighted", n, hard=True) for n in (4, 16, 64)},
        "command": report.run.command,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    runs = parser.parse_args().runs
    seeds = [seed_figures(run) for run in runs]
    machine = from_json((runs[0] / "report.json").read_text()).run.machine
    RESULT.write_text(json.dumps({"seeds": seeds, "machine": machine}, indent=1) + "\n")
    for each in seeds:
        print(f"seed {each['seed']}: {each['wall_minutes']} minutes, {each['cpu_seconds']} cpu-seconds")
        for name in ("greedy", "pass_at_1", "prm_within_problem_auroc", "orm_within_problem_auroc", "logprob_within_problem_auroc"):
            print(f"  {name}: {each[name]}")
        for name in ("weighted_minus_majority", "weighted64_minus_logprob64", "beam4_minus_weighted4_hard"):
            print(f"  {name}: {each[name]}")


if __name__ == "__main__":
    main()
