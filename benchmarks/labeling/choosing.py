"""Which wrong solutions to label where a first error is dear: `python -m benchmarks.labeling.choosing`.

The rarer a rollout succeeds, the more of them it takes to see where none does any more: on hard questions of
the exact policy, `posterior` takes 22,000 tokens for each first error and names 86 % of them. Two settings
of `prm-train label` choose what costs less:

- `min_root_share`: wrong solutions of problems of whose samples too few are right get no labels;
- `n_branches`: wrong rollouts behind a solution's last good step are labeled as solutions of their own.

Fixed before the figures: both are chosen on 100 questions, draws of base seed 1. Of the pairs of `SHARES` and
`BRANCHES` at which a located error takes at most 7,500 tokens (the bar is 8,000) and is the true one in at
least 95 %, that which leaves out fewest solutions (then: with fewest branches) is tried once, on 150 other
questions with draws of base seed 2, beside each setting alone and neither. Whatever was drawn is charged to
the located errors: the samples of all questions, and the rollouts on solutions that stayed open. Left out are
samples; branches are told apart, since they begin with steps of another solution.

A first rule had no margin: it chose a share of 0.04 with 8 branches, which took 7,604 tokens where it was
chosen and 8,140 (exact: 0.961) on 150 questions with draws of base seed 0. Hence the margin, and new draws.

Looked at before all that: 30 questions of base seed 1 at a share of 0.1, where 0, 1, 3 and 8 branches took
14,500, 10,000, 8,100 and 7,100 tokens. A limit on the rollouts of each solution was tried earlier: it makes a
located error dearer, since what was drawn on open solutions is lost.

Writes the section simulated_choosing into benchmarks/results/labeling.json, and `hard` into labels.json.
About 25 minutes on one core.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.labeling.compare import METHODS, Bench, Question, save
from benchmarks.labeling.rounds_figures import RESULT as LABELS
from benchmarks.labeling.simulated import N_WRONG, PARAMS, draw_question
from data_gen.files.jsonl import write_text
from data_gen.labeling.first_error import StepPath
from data_gen.labeling.rollouts import RolloutSource, estimate_root, is_too_rare
from data_gen.labeling.solutions import LabelingTask, cut_into_steps, label_paths
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import IN_MEMORY, Ledger
from data_gen.policies.exact import ExactPolicy, draw_problems, true_error
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.first_error import first_error
from data_gen.records.solutions import LabeledSolution

SHARES, BRANCHES = (0.0, 0.04, 0.07, 0.1, 0.13, 0.16), (0, 2, 4, 8)
TEST_SEED = 2
MOST_TOKENS, LEAST_EXACT = 7500, 0.95  # where they are chosen


@dataclass(frozen=True)
class LabeledQuestion:
    """A question and what became of its wrong samples and of their branches, and the rollouts' tokens."""

    question: Question
    of_samples: Sequence[LabeledSolution]
    of_branches: Sequence[LabeledSolution]
    n_tokens: int


async def label_question(bench: Bench, question: Question, n_branches: int) -> LabeledQuestion:
    settings = replace(METHODS["ours"], n_branches=n_branches)
    recorded = LedgerPolicy(bench.policy, bench.ledger, question.problem)
    source = RolloutSource(recorded, bench.grader, bench.params)
    task = LabelingTask(
        recorded, bench.grader, question.samples, bench.policy.token_bytes(), "\n", bench.params, settings
    )
    cut = partial(cut_into_steps, task)
    paths = [cut(wrong, estimate_root(question.samples)) for wrong in question.wrong]
    whole = [path for path in paths if isinstance(path, StepPath)]
    assert len(whole) == len(paths)  # all steps of this policy are whole tokens
    labeled = await label_paths(source, whole, settings, cut)
    n = len(paths)
    return LabeledQuestion(question, labeled[:n], labeled[n:], recorded.usage.n_generated)


async def label_all(bench: Bench, n: int, n_branches: int) -> list[LabeledQuestion]:
    questions = [await draw_question(bench, problem, N_WRONG) for problem in draw_problems("hard", 0.0, n)]
    return [await label_question(bench, question, n_branches) for question in questions]


def labeled(n: int, base_seed: int, n_branches: int) -> list[LabeledQuestion]:
    with Ledger(IN_MEMORY) as ledger:
        bench = Bench(ExactPolicy(base_seed), ArithmeticGrader(), PARAMS, ledger)
        return asyncio.run(label_all(bench, n, n_branches))


def figures(found: Sequence[LabeledQuestion], share: float, n_branches: int) -> dict[str, Any]:
    """With the wrong solutions left out of questions of whose samples fewer than `share` are right."""
    kept = [each for each in found if not is_too_rare(estimate_root(each.question.samples), share)]
    of_samples = [hits(each.of_samples) for each in kept]
    of_branches = [hits(each.of_branches) for each in kept]
    by_question = [a + b for a, b in zip(of_samples, of_branches, strict=True)]
    n, n_samples = sum(map(len, by_question)), sum(map(len, of_samples))
    n_wrong = sum(len(each.question.wrong) for each in found)
    samples = sum(len(sample.solution.token_ids) for each in found for sample in each.question.samples)
    tokens = sum(each.n_tokens for each in kept) + samples
    return {
        "min_root_share": share,
        "n_branches": n_branches,
        "skipped_share": round(1 - n_samples / n_wrong, 4),
        "exact": round(sum(map(sum, by_question)) / n, 4),
        "tokens_per_located": round(tokens / n, 1),
        "of_which_samples": round(samples / n, 1),
        "n_located": n,
        "branches_share": round(1 - n_samples / n, 4),
        "exact_of_branches": round(sum(map(sum, of_branches)) / max(1, n - n_samples), 4),
        "n_questions": sum(bool(hit) for hit in by_question),
    }


def with_interval(found: Sequence[LabeledQuestion], share: float, n_branches: int) -> dict[str, Any]:
    """The figures of the test, with the 95 % interval of the share of exact errors."""
    kept = [each for each in found if not is_too_rare(estimate_root(each.question.samples), share)]
    low, high = interval([hits((*each.of_samples, *each.of_branches)) for each in kept])
    return figures(found, share, n_branches) | {"exact_low": round(low, 4), "exact_high": round(high, 4)}


def interval(hits: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """95 % bootstrap interval of the share of all errors; questions are drawn again, with all of theirs."""
    n_right, n = np.array([sum(each) for each in hits]), np.array([len(each) for each in hits])
    drawn = np.random.default_rng(0).integers(len(hits), size=(10_000, len(hits)))
    low, high = np.quantile(n_right[drawn].sum(axis=1) / n[drawn].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def hits(found: Sequence[LabeledSolution]) -> list[bool]:
    """Of the errors that were located, whether each is the true one."""
    return [
        error == true_error(each.graded.solution.text)
        for each in found
        if (error := first_error(each.labels)) is not None
    ]


def choose(points: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The one that leaves out fewest, then with fewest branches, of those that meet both bars."""
    meeting = [
        point
        for point in points
        if point["tokens_per_located"] <= MOST_TOKENS and point["exact"] >= LEAST_EXACT
    ]
    return min(meeting, key=lambda point: (point["skipped_share"], point["n_branches"]), default=None)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=150, help="questions of the test")
    parser.add_argument("--choosing", type=int, default=100, help="questions to choose on")
    arguments = parser.parse_args(argv)
    chosen_on = []
    for n_branches in BRANCHES:
        found = labeled(arguments.choosing, 1, n_branches)
        chosen_on += [figures(found, share, n_branches) for share in SHARES]
        for point in chosen_on[-len(SHARES) :]:
            print("chosen on", point, flush=True)
    chosen = choose(chosen_on) or min(chosen_on, key=lambda point: float(point["tokens_per_located"]))
    share, n_branches = chosen["min_root_share"], chosen["n_branches"]
    plain, branched = (labeled(arguments.questions, TEST_SEED, n) for n in (0, n_branches))
    test = {
        "neither": with_interval(plain, 0.0, 0),
        "min_root_share": with_interval(plain, share, 0),
        "n_branches": with_interval(branched, 0.0, n_branches),
        "both": with_interval(branched, share, n_branches),
    }
    for name, point in test.items():
        print(name, point, flush=True)
    save(
        "simulated_choosing",
        {"meets_both_bars": choose(chosen_on) is not None, "chosen_on": chosen_on, "test": test},
        "python -m benchmarks.labeling.choosing",
    )
    both = test["both"]
    report = json.loads(LABELS.read_text()) if LABELS.exists() else {}
    report["hard"] = {
        "exact": both["exact"],
        "tokens": both["tokens_per_located"],
        "skipped_share": both["skipped_share"],
    }
    write_text(LABELS, json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
