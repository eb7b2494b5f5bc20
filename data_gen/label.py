"""`prm-train label`: label the steps of a run's solutions by Monte Carlo rollouts.

Rollouts go into the run's ledger; running again continues.
"""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data_gen.config import load_yaml, parse_config, run_command
from data_gen.grading import Grader, load_grader
from data_gen.jsonl import write_text
from data_gen.labeling import estimate_every_step, locate_first_error, step_prefixes, unlabelable_reason
from data_gen.ledger import Ledger, LedgerPolicy
from data_gen.policies.protocol import Policy
from data_gen.records import GradedSolution, LabeledSolution, Problem, Usage
from data_gen.runs import for_each, read_records, write_records
from data_gen.sample import SampleConfig, sample_problem

logger = logging.getLogger(__name__)
METHODS = {"first_error": locate_first_error, "every_step": estimate_every_step}


@dataclass(frozen=True)
class LabelConfig:
    """Label the steps of the solutions of a run that `sample` made."""

    run: Path = field(metadata={"help": "run folder of `prm-train sample`"})
    method: Literal["first_error", "every_step"] = "first_error"
    n_rollouts: int = field(default=8, metadata={"help": "rollouts a step (first_error: at most, it stops at the first success)"})


async def label_solution(
    graded: GradedSolution, policy: LedgerPolicy, grader: Grader, sampling: SampleConfig, config: LabelConfig, vocabulary: list[bytes]
) -> LabeledSolution | str:
    """The labelled solution, or the reason why it has no labels."""
    reason = unlabelable_reason(graded)
    if reason is not None:
        return reason
    prefixes = step_prefixes(policy, graded, vocabulary, sampling.step_separator)
    return await METHODS[config.method](policy, grader, graded, prefixes, sampling.step_separator, sampling.params, config.n_rollouts)


async def label_problems(
    problems: list[Problem], policy: Policy, grader: Grader, ledger: Ledger, sampling: SampleConfig, config: LabelConfig
) -> tuple[list[LabeledSolution | str], Usage]:
    vocabulary = policy.token_bytes()

    async def one(problem: Problem) -> tuple[list[LabeledSolution | str], Usage]:
        drawn = await sample_problem(problem, LedgerPolicy(policy, ledger, problem), grader, sampling.params, range(sampling.n_samples))
        rollouts = LedgerPolicy(policy, ledger, problem)
        outcomes = await asyncio.gather(*(label_solution(graded, rollouts, grader, sampling, config, vocabulary) for graded in drawn))
        return outcomes, rollouts.usage

    results = await for_each(problems, one, what="label", unit="problems")
    return [labeled for outcomes, _ in results for labeled in outcomes], sum((usage for _, usage in results), Usage())


def summary(outcomes: list[LabeledSolution | str], usage: Usage, seconds: float) -> dict[str, object]:
    labeled = [outcome for outcome in outcomes if isinstance(outcome, LabeledSolution)]
    labels = Counter(str(label) for each in labeled for label in each.labels)
    n_rollouts = sum(estimate.n_rollouts for each in labeled for estimate in each.estimates if estimate.method == "rollouts")
    return {
        "n_labeled_solutions": len(labeled),
        "n_wrong_solutions": sum(not each.graded.verdict.is_correct for each in labeled),
        "unlabeled": dict(sorted(Counter(outcome for outcome in outcomes if isinstance(outcome, str)).items())),
        "labels": dict(sorted(labels.items())),
        "n_rollouts": n_rollouts,
        "n_generated": usage.n_generated,
        "n_prefilled": usage.n_prefilled,
        "n_cached": usage.n_cached,
        "seconds": round(seconds, 1),
    }


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(LabelConfig, argv)
    sampling = load_yaml(SampleConfig, config.run / "config.json")
    problems = list(read_records(config.run / "problems.jsonl", Problem))
    grader = load_grader(sampling.grader, sampling.problems.source)
    started = time.perf_counter()
    with Ledger(config.run / "ledger.sqlite") as ledger:
        outcomes, usage = asyncio.run(label_problems(problems, sampling.policy.load(), grader, ledger, sampling, config))
    labeled = [outcome for outcome in outcomes if isinstance(outcome, LabeledSolution)]
    write_records(config.run / "labels.jsonl", LabeledSolution, labeled)
    facts = summary(outcomes, usage, time.perf_counter() - started)
    write_text(config.run / "label.json", json.dumps(facts, indent=1) + "\n")
    logger.info("%s: %s", config.run, json.dumps(facts))


if __name__ == "__main__":
    run_command(main, "label")
