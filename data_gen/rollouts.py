"""Monte Carlo value of a prefix: draw continuations from it, grade the whole answers, stop by a stated rule."""

import asyncio
from dataclasses import dataclass
from typing import Literal

from data_gen.grading import Grader
from data_gen.ledger import LedgerPolicy
from data_gen.records import FinishReason, GradedSolution, SamplingParams, Solution, StepEstimate

Stopping = Literal["fixed", "first_success"]


@dataclass(frozen=True)
class Prefix:
    """A place in a solution to continue from: the ids up to there (prompt included) and the solution's text so far."""

    token_ids: tuple[int, ...]
    text: str = ""


async def draw_solution(policy: LedgerPolicy, grader: Grader, prefix: Prefix, params: SamplingParams, index: int) -> GradedSolution:
    """The `index`-th whole solution that continues `prefix`, graded. Its ids and log-probs are those of the continuation alone."""
    draw = await policy.sample(prefix.token_ids, params, index)
    text = prefix.text + draw.text
    solution = Solution(policy.problem.problem_id, index, text, draw.finish_reason, draw.token_ids, draw.logprobs)
    return await policy.grade(grader, policy.key(prefix.token_ids, params, index), solution)


async def draw_solutions(policy: LedgerPolicy, grader: Grader, params: SamplingParams, indices: range) -> tuple[GradedSolution, ...]:
    """The draws with these indices from the prompt of the policy's problem, graded."""
    prompt = Prefix(policy.encode_prompt(policy.problem.question))
    return tuple(await asyncio.gather(*(draw_solution(policy, grader, prompt, params, index) for index in indices)))


async def estimate_value(
    policy: LedgerPolicy, grader: Grader, prefix: Prefix, params: SamplingParams, n_rollouts: int, stopping: Stopping
) -> StepEstimate:
    """Success counts of up to `n_rollouts` rollouts with indices 0, 1, …; `first_success` ends at the first right one.

    Truncated rollouts and those without a verdict count as failures of the budget and are reported in `n_unknown`.
    Rollouts are drawn one after the other: the many prefixes that are open at a time fill the batch, and a stopped estimate wastes none.
    """
    n_correct = n_unknown = n_drawn = 0
    for index in range(n_rollouts):
        graded = await draw_solution(policy, grader, prefix, params, index)
        n_drawn += 1
        n_correct += graded.verdict.is_correct
        n_unknown += graded.verdict.is_unknown or graded.solution.finish_reason is FinishReason.LENGTH
        if stopping == "first_success" and n_correct:
            break
    return StepEstimate(n_correct, n_drawn, n_unknown, "rollouts", stopping)
