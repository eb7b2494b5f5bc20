"""The policy of a run: the configured one, or in a dry run one that is told the gold answers."""

from collections.abc import Iterable

from data_gen.policies.protocol import Policy
from data_gen.records.solutions import Problem
from data_gen.sampling.settings import SampleConfig


def load_run_policy(config: SampleConfig, problems: Iterable[Problem]) -> Policy:
    """The policy of a run: the configured one, in a dry run one that is told the gold answers."""
    if config.dry_run:
        from data_gen.policies.simulated import SimulatedSolver

        gold_answers = {problem.question: problem.gold_answer for problem in problems}
        return SimulatedSolver(gold_answers, config.step_separator, config.policy.base_seed)
    return config.policy.load()
