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
TODAY = ("today-500", "today-1000")
COMPARED = ("root", "guided", "completed", "chosen")
N_RESAMPLES = 2000
Floats = NDArray[np.float64]
# arm → (label seeds, training seeds) of AUROCs by problem: the same problems in the same order for all arms
Aurocs = Mapping[str, Sequence[Sequence[Floats]]]


# --- measuring a PRM


def measure(test: Path, prm: Path) -> None:
    """The AUROC of the lowest step score inside each test problem that has both right and wrong samples,
    beside the PRM; done once.
    """
    output = prm.with_suffix(".aurocs.json")
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


def read_aurocs(folders: Sequence[Path], arms: Sequence[str], training_seeds: Sequence[int]) -> Aurocs:
    found = {arm: list[list[Floats]]() for arm in arms}
    for folder in folders:
        stored = {
            (arm, seed): read_object(folder / f"prm-{arm}-{seed}.aurocs.json")
            for arm in arms
            for seed in training_seeds
        }
        names = sorted(next(iter(stored.values())))  # which problems have both kinds is the samples' alone
        for arm in arms:
            found[arm].append(
                [np.array([stored[arm, seed][name] for name in names]) for seed in training_seeds]
            )
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
    """The mean AUROC of each arm over resampled label seeds, and in each resampled training seeds and
    problems; label seeds and problems are the same for all arms.
    """
    some = next(iter(found.values()))
    n_seeds, n_training = len(some), len(some[0])
    sums = dict.fromkeys(found, 0.0)
    for seed in rng.integers(n_seeds, size=n_seeds):
        n_problems = len(some[seed][0])
        problems = rng.integers(n_problems, size=n_problems)
        for arm, of_seeds in found.items():
            for training in rng.integers(n_training, size=n_training):
                sums[arm] += float(of_seeds[seed][training][problems].mean())
    return {arm: total / n_seeds / n_training for arm, total in sums.items()}


def interval(values: Sequence[float]) -> dict[str, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return {"low": round(float(low), 4), "high": round(float(high), 4)}


def write_figures(
    folders: Sequence[Path],
    arms: Mapping[str, Sequence[str]],
    training_seeds: Sequence[int],
    result: Path,
) -> dict[str, Any]:
    found = read_aurocs(folders, list(arms), training_seeds)
    by_seed = {arm: [label_figures(folder, arms[arm]) for folder in folders] for arm in arms}
    tokens = {arm: float(np.mean([each["n_tokens"] for each in by_seed[arm]])) for arm in arms}
    means = {arm: float(np.mean([[one.mean() for one in seed] for seed in found[arm]])) for arm in arms}
    rng = np.random.default_rng(0)
    resampled = [resampled_means(found, rng) for _ in range(N_RESAMPLES)]
    table = {}
    for arm in arms:
        of_runs = [[round(float(one.mean()), 4) for one in seed] for seed in found[arm]]
        table[arm] = {
            "tokens": round(tokens[arm]),
            "tokens_to_today": round(tokens[arm] / tokens[TODAY[-1]], 4),
            "exact": round(float(np.mean([each["exact"] for each in by_seed[arm]])), 4),
            "n_located": round(float(np.mean([each["n_located"] for each in by_seed[arm]]))),
            "auroc": {"mean": round(means[arm], 4)} | interval([each[arm] for each in resampled]),
            "auroc_minus_today": {"mean": round(means[arm] - means[TODAY[-1]], 4)}
            | interval([each[arm] - each[TODAY[-1]] for each in resampled]),
            "auroc_by_label_and_training_seed": of_runs,
        }
        if arm in COMPARED:
            table[arm]["tokens_ratio_at_equal_auroc"] = {
                "mean": round(ratio(arm, means, tokens), 4)
            } | interval([ratio(arm, each, tokens) for each in resampled])
    report = json.loads(result.read_text()) if result.exists() else {}
    report["rounds"] = {
        "arms": table,
        "label_seeds": [folder.name.removeprefix("seed-") for folder in folders],
        "training_seeds": list(training_seeds),
        "command": "python -m benchmarks.labeling.rounds --output runs/label-rounds",
        "machine": machine_name(),
    }
    best = table.get("completed", {}).get("tokens_ratio_at_equal_auroc")
    report["tokens_ratio_at_equal_auroc"] = best
    write_text(result, json.dumps(report, indent=1) + "\n")
    return report
