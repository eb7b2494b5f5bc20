"""What `benchmarks.labeling.rounds` measured, as figures: AUROC of each arm's PRMs, tokens, and the ratio at
equal AUROC.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_gen.files.jsonl import write_text
from data_gen.files.run_folder import for_each, read_records
from data_gen.files.stored_record import read_object
from data_gen.labeling.summary import LabelSummary
from data_gen.problems.tasks import step_truth
from data_gen.process.machine import machine_name
from data_gen.records.first_error import NO_ERROR, first_error
from data_gen.records.solutions import GradedSolution, LabeledSolution, Problem
from prm_train.kinds.load import load_scorer
from prm_train.metrics.ranking import auroc
from prm_train.strategies.best_of_n import score_candidates
from prm_train.strategies.candidates import Candidate

RESULT = Path(__file__).parent.parent / "results" / "labels.json"
TODAY = ("today-1000", "today-2000")
COMPARED = ("thin", "root", "completed", "chosen", "posterior", "coarse", "sharp-1000", "branched-1000")
BRANCHED, UNBRANCHED = "branched-1000", "sharp-1000"
GOAL = "posterior"  # an arm of the second set; that of the first was `completed`
N_RESAMPLES = 2000
Floats = NDArray[np.float64]
Aurocs = Mapping[str, Sequence[Floats]]  # arm → seeds of (problems,), the same problems for all arms


# --- measuring a PRM


def measure(test: Path, prm: Path) -> None:
    """The AUROC of the lowest step score inside each test problem that has both right and wrong samples,
    beside the PRM; done once.
    """
    output = prm.with_name(f"{prm.name}.aurocs.json")
    if not output.exists():
        write_text(output, json.dumps(asyncio.run(aurocs(test, prm))) + "\n")


async def aurocs(test: Path, prm: Path) -> dict[str, float]:
    problems = {each.problem_id: each for each in read_records(test / "problems.jsonl", Problem)}
    solutions = read_records(test / "solutions.jsonl", GradedSolution)
    groups = [
        (problems[name], list(each)) for name, each in groupby(solutions, lambda one: one.solution.problem_id)
    ]
    scorer = load_scorer(str(prm))

    async def one(group: tuple[Problem, list[GradedSolution]]) -> tuple[str, float | None]:
        problem, graded = group
        known = [each for each in graded if not each.verdict.is_unknown]
        candidates = [
            Candidate(
                problem.problem_id, each.solution.index, each.solution.text, None, each.verdict.is_correct
            )
            for each in known
        ]
        scored, _ = await score_candidates(problem, candidates, scorer, "prm", "\n")
        lowest = [min(each.scores.get("prm", (-1.0,))) for each in scored]
        return problem.problem_id, auroc(lowest, [each.is_correct for each in scored])

    found = await for_each(groups, one, what="score", unit="problems", at_once=64)
    return {name: area for name, area in found if area is not None}


# --- labels


def label_figures(folder: Path, parts: Sequence[str]) -> dict[str, float]:
    """Tokens of an arm's rollouts, how many wrong solutions got labels, and how many of these name the step
    that is wrong by arithmetic; of two labels of one solution the first counts.
    """
    n_tokens, hits = 0, dict[tuple[str, int], bool]()
    for part in parts:
        run = folder / part
        n_tokens += LabelSummary.read(run / "label.json").n_generated
        problems = {each.problem_id: each for each in read_records(run / "problems.jsonl", Problem)}
        for each in read_records(run / "labels.jsonl", LabeledSolution):
            error, solution = first_error(each.labels), each.graded.solution
            if each.graded.verdict.is_correct or error is None or error == NO_ERROR:
                continue
            truth = step_truth(problems[solution.problem_id], solution.text)
            is_hit = truth is not None and first_error(truth) == error
            hits.setdefault((solution.problem_id, solution.index), is_hit)
    return {
        "n_tokens": n_tokens,
        "n_located": len(hits),
        "exact": round(sum(hits.values()) / max(1, len(hits)), 4),
    }


# --- figures


def read_aurocs(folders: Sequence[Path], arms: Sequence[str]) -> Aurocs:
    found = {arm: list[Floats]() for arm in arms}
    for folder in folders:
        stored = {arm: read_object(folder / f"prm-{arm}.aurocs.json") for arm in arms}
        names = sorted(stored[arms[0]])  # which problems have both kinds is the samples' alone
        for arm in arms:
            found[arm].append(np.array([stored[arm][name] for name in names]))
    return found


def tokens_at(auroc_wanted: float, curve: Sequence[tuple[float, float]]) -> float:
    """The tokens at which today's curve of (tokens, AUROC) first has this AUROC: linear between points, over
    the logarithm of tokens; beyond the ends of the curve, its ends.
    """
    if auroc_wanted <= curve[0][1]:
        return curve[0][0]
    for (tokens, area), (more_tokens, more_area) in pairwise(curve):
        if area < auroc_wanted <= more_area:
            share = (auroc_wanted - area) / (more_area - area)
            return float(np.exp(np.log(tokens) + share * (np.log(more_tokens) - np.log(tokens))))
    return curve[-1][0]


def ratio(arm: str, means: Mapping[str, float], tokens: Mapping[str, float]) -> float:
    curve = [(tokens[each], means[each]) for each in TODAY]
    return tokens[arm] / tokens_at(means[arm], curve)


def resampled_means(found: Aurocs, rng: np.random.Generator) -> dict[str, float]:
    """The mean AUROC of each arm over resampled seeds, and problems in each; the same for all arms."""
    some = next(iter(found.values()))
    sums = dict.fromkeys(found, 0.0)
    for seed in rng.integers(len(some), size=len(some)):
        problems = rng.integers(len(some[seed]), size=len(some[seed]))
        for arm, of_seeds in found.items():
            sums[arm] += float(of_seeds[seed][problems].mean())
    return {arm: total / len(some) for arm, total in sums.items()}


def write_figures(folders: Sequence[Path], arms: Mapping[str, Sequence[str]], result: Path) -> dict[str, Any]:
    found = read_aurocs(folders, list(arms))
    by_seed = {arm: [label_figures(folder, parts) for folder in folders] for arm, parts in arms.items()}
    tokens = {arm: float(np.mean([each["n_tokens"] for each in by_seed[arm]])) for arm in arms}
    means = {arm: float(np.mean([seed.mean() for seed in found[arm]])) for arm in arms}
    rng = np.random.default_rng(0)
    resampled = [resampled_means(found, rng) for _ in range(N_RESAMPLES)]
    today, table = TODAY[-1], dict[str, Any]()
    for arm in arms:
        of_seeds = by_seed[arm]
        table[arm] = {
            "tokens": round(tokens[arm]),
            "tokens_to_today": round(tokens[arm] / tokens[today], 4),
            "n_located": round(float(np.mean([each["n_located"] for each in of_seeds]))),
            "exact": round(float(np.mean([each["exact"] for each in of_seeds])), 4),
            "auroc": figure(means[arm], [each[arm] for each in resampled]),
            "auroc_minus_today": figure(
                means[arm] - means[today], [each[arm] - each[today] for each in resampled]
            ),
            "auroc_by_seed": [round(float(seed.mean()), 4) for seed in found[arm]],
        }
        if arm in COMPARED:
            equal = figure(ratio(arm, means, tokens), [ratio(arm, each, tokens) for each in resampled])
            table[arm]["tokens_ratio_at_equal_auroc"] = equal
    report = json.loads(result.read_text()) if result.exists() else {}
    report["tokens_ratio_at_equal_auroc"] = table[GOAL]["tokens_ratio_at_equal_auroc"]
    report["rounds"] = {
        "arms": table,
        "auroc_by_branches": figure(
            means[BRANCHED] - means[UNBRANCHED], [each[BRANCHED] - each[UNBRANCHED] for each in resampled]
        ),
        "seeds": [folder.name.removeprefix("seed-") for folder in folders],
        "command": "python -m benchmarks.labeling.rounds --output runs/label-rounds",
        "machine": machine_name(),
    }
    write_text(result, json.dumps(report, indent=1) + "\n")
    return report


def figure(mean: float, resampled: Sequence[float]) -> dict[str, float]:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {"mean": round(mean, 4), "low": round(float(low), 4), "high": round(float(high), 4)}
