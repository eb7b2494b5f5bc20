"""What it is worth to leave problems and solutions alone whose first error costs too much: `python -m
benchmarks.labeling.skipping`.

The rarer a rollout succeeds, the more of them it takes to see where none does any more: on hard questions of
the exact policy, `posterior` takes 22,000 tokens for each first error and names 86 % of them. Two settings
of `prm-train label` leave out what is dear:

- `min_root_share`: wrong solutions of problems of whose samples too few are right get no labels;
- `max_solution_rollouts`: a solution that takes more rollouts is left open.

Fixed before the figures: both are chosen on 100 questions, draws of base seed 1. Of the pairs of `SHARES` and
`LIMITS` at which a located error takes at most 8,000 tokens and is the true one in at least 95 %, that which
leaves out fewest solutions is tried once, on 150 other questions with draws of base seed 0, beside each
setting alone and neither. Whatever was drawn is charged to the located errors: the samples of all questions,
and the rollouts on solutions that stayed open.

Looked at before that: `min_root_share` alone, with all of the test's questions. No share met both bars; from
0.1 on, which leaves out 31 %, tokens fell to 14,000 and hardly further, hence the second setting.

What came out: no pair meets both bars, and a lower limit makes each located error dearer, since what was
drawn on open solutions is lost. So the test shows `SHOWN`, the share that had been looked at.

Writes the section simulated_skipping into benchmarks/results/labeling.json.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.labeling.compare import METHODS, Bench, Located, Question, save
from benchmarks.labeling.simulated import N_WRONG, PARAMS, draw_question
from data_gen.labeling.rollouts import estimate_root, is_too_rare
from data_gen.ledger.store import Ledger
from data_gen.policies.exact import ExactPolicy, draw_problems, true_error
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from prm_train.metrics.estimators import bootstrap_interval

SHARES, LIMITS = (0.0, 0.04, 0.07, 0.1, 0.13, 0.16, 0.19, 0.25), (30, 45, 60, 90, 400)
MOST_TOKENS, LEAST_EXACT = 8000, 0.95
SHOWN: dict[str, Any] = {"min_root_share": 0.1, "max_solution_rollouts": 400}  # where no pair meets the bars
Labeled = Sequence[tuple[Question, Located]]


async def label_all(bench: Bench, n: int, limits: Sequence[int]) -> dict[int, Labeled]:
    """Every question is labeled once with each limit: its labels do not depend on those of another."""
    questions = [await draw_question(bench, problem, N_WRONG) for problem in draw_problems("hard", 0.0, n)]
    found: dict[int, Labeled] = {}
    for limit in limits:
        settings = replace(METHODS["ours"], max_solution_rollouts=limit)
        found[limit] = [(question, await bench.locate(question, settings)) for question in questions]
    return found


def labeled(n: int, base_seed: int, limits: Sequence[int]) -> dict[int, Labeled]:
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.sqlite") as ledger:
        bench = Bench(ExactPolicy(base_seed), ArithmeticGrader(), PARAMS, ledger)
        return asyncio.run(label_all(bench, n, limits))


def figures(found: Labeled, share: float, limit: int) -> dict[str, Any]:
    """With the wrong solutions left out of questions of whose samples fewer than `share` are right."""
    kept = [each for each in found if not is_too_rare(estimate_root(each[0].samples), share)]
    hits = [hits_of(question, located) for question, located in kept]
    n, n_wrong = sum(map(len, hits)), sum(len(question.wrong) for question, _ in found)
    samples = sum(len(sample.solution.token_ids) for question, _ in found for sample in question.samples)
    tokens = sum(located.n_tokens for _, located in kept) + samples
    interval = bootstrap_interval([float(np.mean(hit)) for hit in hits if hit], np.random.default_rng(0))
    return {
        "min_root_share": share,
        "max_solution_rollouts": limit,
        "skipped_share": round(1 - n / n_wrong, 4),
        "exact": round(sum(map(sum, hits)) / n, 4),
        "exact_low": round(interval.low, 4),
        "exact_high": round(interval.high, 4),
        "tokens_per_located": round(tokens / n, 1),
        "of_which_samples": round(samples / n, 1),
        "n_located": n,
        "n_questions": sum(bool(hit) for hit in hits),
    }


def hits_of(question: Question, located: Located) -> list[bool]:
    """Of the errors that were located, whether each is the true one."""
    return [
        error == true_error(wrong.solution.text)
        for error, wrong in zip(located.errors, question.wrong, strict=True)
        if error is not None
    ]


def choose(points: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The one that leaves out fewest, of those that meet both bars."""
    meeting = [
        point
        for point in points
        if point["tokens_per_located"] <= MOST_TOKENS and point["exact"] >= LEAST_EXACT
    ]
    return min(meeting, key=lambda point: float(point["skipped_share"]), default=None)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=150, help="questions of the test")
    parser.add_argument("--choosing", type=int, default=100, help="questions to choose on")
    arguments = parser.parse_args(argv)
    chosen_on = [
        figures(found, share, limit)
        for limit, found in labeled(arguments.choosing, 1, LIMITS).items()
        for share in SHARES
    ]
    for point in chosen_on:
        print("chosen on", point, flush=True)
    chosen = choose(chosen_on)
    point = chosen or SHOWN
    share, limit, most = point["min_root_share"], point["max_solution_rollouts"], max(LIMITS)
    found = labeled(arguments.questions, 0, sorted({limit, most}))
    test = {
        "neither": figures(found[most], 0.0, most),
        "min_root_share": figures(found[most], share, most),
        "max_solution_rollouts": figures(found[limit], 0.0, limit),
        "both": figures(found[limit], share, limit),
    }
    for name, point in test.items():
        print(name, point, flush=True)
    save(
        "simulated_skipping", {"chosen_on": chosen_on, "test": test}, "python -m benchmarks.labeling.skipping"
    )


if __name__ == "__main__":
    main()
