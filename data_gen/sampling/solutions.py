"""Solutions of one question: drawn behind a prefix, and graded as they come where it has a gold answer."""

from dataclasses import dataclass
from functools import cached_property

from data_gen.grading.graders import Grader
from data_gen.ledger.policy import LedgerPolicy
from data_gen.process.side_by_side import side_by_side
from data_gen.records.draw_keys import prefix_hash
from data_gen.records.sampling import Completion, FinishReason, SamplingParams
from data_gen.records.solutions import GradedSolution, Solution
from data_gen.records.stop_strings import StopStrings
from data_gen.records.verdicts import unknown

NO_ROOM = "no_room"  # a prompt as long as the context or longer


@dataclass(frozen=True)
class Prefix:
    """A place in a solution to continue from: the ids up to there (prompt included) and the solution's text
    so far.
    """

    token_ids: tuple[int, ...]
    text: str = ""

    @cached_property
    def name(self) -> bytes:
        return prefix_hash(self.token_ids)


async def draw_solution(policy: LedgerPolicy, prefix: Prefix, params: SamplingParams, index: int) -> Solution:
    """The `index`-th whole solution that continues `prefix`. Its ids and log-probs are those of the
    continuation alone.

    From a prefix that leaves no room in the policy's context nothing is drawn: a truncated solution.
    """
    if len(prefix.token_ids) >= policy.context_length:
        return Solution(policy.question.problem_id, index, prefix.text, FinishReason.LENGTH)
    draw = await policy.sample(prefix.token_ids, params, index)
    return _continued(policy, prefix, params, index, draw)


async def draw_graded(
    policy: LedgerPolicy, grader: Grader, prefix: Prefix, params: SamplingParams, index: int
) -> GradedSolution:
    """`draw_solution`, graded; what had no room has no verdict (`NO_ROOM`)."""
    if len(prefix.token_ids) >= policy.context_length:
        return GradedSolution(await draw_solution(policy, prefix, params, index), None, unknown(NO_ROOM))
    key = policy.key_of(prefix.name, params, index)
    draw = await policy.draw(key, prefix.token_ids, params)
    return await policy.grade(grader, key, _continued(policy, prefix, params, index, draw))


def _continued(
    policy: LedgerPolicy, prefix: Prefix, params: SamplingParams, index: int, draw: Completion
) -> Solution:
    text = prefix.text + draw.text
    if params.stop_strings:
        text, draw = StopStrings(policy.token_bytes(), params.stop_strings).cut(prefix.text, draw)
    problem_id = policy.question.problem_id
    return Solution(problem_id, index, text, draw.finish_reason, draw.token_ids, draw.logprobs)


async def draw_solutions(
    policy: LedgerPolicy, grader: Grader, params: SamplingParams, indices: range
) -> tuple[GradedSolution, ...]:
    """The draws with these indices from the prompt of the policy's problem, graded."""
    prompt = Prefix(policy.encode_prompt(policy.question.question))
    return tuple(await side_by_side(draw_graded(policy, grader, prompt, params, index) for index in indices))
