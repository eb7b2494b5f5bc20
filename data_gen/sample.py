"""`prm-train sample`: draw solutions for problems and grade them. Draws go into the run's ledger; running again continues it."""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_gen.config import parse_config, run_command
from data_gen.grading import Grader, GraderName, load_grader
from data_gen.jsonl import write_text
from data_gen.ledger import Ledger, LedgerPolicy
from data_gen.policies.protocol import Policy
from data_gen.policy_config import PolicyConfig
from data_gen.problems import ProblemSource, load_problems
from data_gen.records import GradedSolution, Problem, SamplingParams, Usage
from data_gen.rollouts import draw_solutions
from data_gen.runs import claim_run, for_each, write_records
from data_gen.steps import check_separator

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SampleConfig:
    """Draw and grade solutions."""

    output: Path = field(metadata={"help": "run folder"})
    problems: ProblemSource = field(default_factory=ProblemSource)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    n_samples: int = field(default=4, metadata={"help": "solutions a problem"})
    temperature: float = 1.0
    max_new_tokens: int = field(default=256, metadata={"help": "tokens of a solution; longer ones are truncated and counted"})
    step_separator: str = "\n"
    grader: GraderName = "auto"

    def __post_init__(self) -> None:
        check_separator(self.step_separator)

    @property
    def params(self) -> SamplingParams:
        return SamplingParams(self.max_new_tokens, self.temperature)


async def sample_problems(
    problems: list[Problem], policy: Policy, grader: Grader, ledger: Ledger, config: SampleConfig
) -> tuple[list[GradedSolution], Usage]:
    async def one(problem: Problem) -> tuple[tuple[GradedSolution, ...], Usage]:
        recorded = LedgerPolicy(policy, ledger, problem)
        return await draw_solutions(recorded, grader, config.params, range(config.n_samples)), recorded.usage

    results = await for_each(problems, one, what="sample", unit="problems")
    return [graded for solutions, _ in results for graded in solutions], sum((usage for _, usage in results), Usage())


def summary(graded: list[GradedSolution], usage: Usage, seconds: float) -> dict[str, object]:
    """Verdict and finish counts, tokens and rate of a sampling run."""
    verdicts = Counter(f"{each.verdict.kind}{':' * bool(each.verdict.reason)}{each.verdict.reason}" for each in graded)
    return {
        "n_solutions": len(graded),
        "verdicts": dict(sorted(verdicts.items())),
        "finish_reasons": dict(sorted(Counter(each.solution.finish_reason.value for each in graded).items())),
        "pass_at_1": sum(each.verdict.is_correct for each in graded) / len(graded),
        "n_generated": usage.n_generated,
        "n_prefilled": usage.n_prefilled,
        "n_cached": usage.n_cached,
        "seconds": round(seconds, 1),
    }


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(SampleConfig, argv)
    problems = load_problems(config.problems)
    claim_run(config.output, config)
    write_records(config.output / "problems.jsonl", Problem, problems)
    grader = load_grader(config.grader, config.problems.source)
    started = time.perf_counter()
    with Ledger(config.output / "ledger.sqlite") as ledger:
        graded, usage = asyncio.run(sample_problems(problems, config.policy.load(), grader, ledger, config))
    write_records(config.output / "solutions.jsonl", GradedSolution, graded)
    facts = summary(graded, usage, time.perf_counter() - started)
    write_text(config.output / "sample.json", json.dumps(facts, indent=1) + "\n")
    logger.info("%s: %s", config.output, json.dumps(facts))


if __name__ == "__main__":
    run_command(main, "sample")
