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

from data_gen.config import load_yaml, parse_config, run_command
from data_gen.grading import Grader, load_grader
from data_gen.jsonl import write_text
from data_gen.label_settings import settings_read
from data_gen.labeling import LabelingTask, LabelSettings, label_samples
from data_gen.ledger import Ledger, LedgerPolicy
from data_gen.policies.protocol import Policy
from data_gen.records import LabeledSolution, Problem, Usage
from data_gen.rollouts import draw_solutions
from data_gen.runs import for_each, read_records, write_records
from data_gen.sample import SampleConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LabelConfig(LabelSettings):
    """Label the steps of the solutions of a run that `sample` made."""

    run: Path = field(metadata={"help": "run folder of `prm-train sample`"})


@dataclass(frozen=True)
class Labeling:
    """What became of the solutions of some problems (a labelled solution, or why it has no labels), and what the distinct rollouts cost."""

    outcomes: list[LabeledSolution | str]
    n_rollouts: int
    usage: Usage


async def label_problems(
    problems: list[Problem], policy: Policy, grader: Grader, ledger: Ledger, sampling: SampleConfig, config: LabelConfig
) -> Labeling:
    vocabulary = policy.token_bytes()

    async def one(problem: Problem) -> Labeling:
        drawn = await draw_solutions(LedgerPolicy(policy, ledger, problem), grader, sampling.params, range(sampling.n_samples))
        rollouts = LedgerPolicy(policy, ledger, problem)
        outcomes = await label_samples(LabelingTask(rollouts, grader, drawn, vocabulary, sampling.step_separator, sampling.params, config))
        return Labeling(list(outcomes), rollouts.n_draws, rollouts.usage)

    parts = await for_each(problems, one, what="label", unit="problems")
    outcomes = [outcome for part in parts for outcome in part.outcomes]
    return Labeling(outcomes, sum(part.n_rollouts for part in parts), sum((part.usage for part in parts), Usage()))


def summary(labeling: Labeling, config: LabelConfig, seconds: float) -> dict[str, object]:
    """Label counts, unlabelled solutions by reason, and the price."""
    labeled = [outcome for outcome in labeling.outcomes if isinstance(outcome, LabeledSolution)]
    reasons = Counter(outcome for outcome in labeling.outcomes if isinstance(outcome, str))
    return {
        "method": config.method,
        "settings": {name: getattr(config, name) for name in sorted(settings_read(config))},
        "n_rollouts_at_most": config.n_rollouts,
        "n_labeled_solutions": len(labeled),
        "n_wrong_solutions": sum(not each.graded.verdict.is_correct for each in labeled),
        "unlabeled": dict(sorted(reasons.items())),
        "labels": dict(sorted(Counter(str(label) for each in labeled for label in each.labels).items())),
        "n_rollouts": labeling.n_rollouts,
        "n_generated": labeling.usage.n_generated,
        "n_prefilled": labeling.usage.n_prefilled,
        "n_cached": labeling.usage.n_cached,
        "seconds": round(seconds, 1),
    }


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(LabelConfig, argv)
    sampling = load_yaml(SampleConfig, config.run / "config.json")
    problems = list(read_records(config.run / "problems.jsonl", Problem))
    grader = load_grader(sampling.grader, sampling.problems.source)
    started = time.perf_counter()
    with Ledger(config.run / "ledger.sqlite") as ledger:
        labeling = asyncio.run(label_problems(problems, sampling.policy.load(), grader, ledger, sampling, config))
    labeled = [outcome for outcome in labeling.outcomes if isinstance(outcome, LabeledSolution)]
    write_records(config.run / "labels.jsonl", LabeledSolution, labeled)
    facts = summary(labeling, config, time.perf_counter() - started)
    write_text(config.run / "label.json", json.dumps(facts, indent=1) + "\n")
    logger.info("%s: %s", config.run, json.dumps(facts))


if __name__ == "__main__":
    run_command(main, "label")
