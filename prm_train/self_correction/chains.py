"""Two attempts at a problem: the second is drawn after a chat that shows the first, as in revision
(`data_gen.records.chats`).

What can be shown is what a search shows, too: a finished attempt that states an answer. A chain whose first
attempt is none, or leaves no room for a second, ends there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from data_gen.grading.graders import Grader
from data_gen.policies.engine.transformers_policy import TransformersPolicy
from data_gen.process.side_by_side import side_by_side
from data_gen.records.chats import ChainPrompts, chain_prompt
from data_gen.records.sampling import FinishReason, SamplingParams, Usage
from data_gen.records.solutions import Problem, Solution
from data_gen.records.verdicts import Verdict, unknown

NOT_DRAWN = unknown("no_room")


@dataclass(frozen=True)
class DrawnAttempt:
    """An attempt as ids, with the prompt that it was drawn after."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    text: str
    verdict: Verdict
    answer: str | None
    usage: Usage

    @property
    def can_be_shown(self) -> bool:
        return self.answer is not None


@dataclass(frozen=True)
class TwoAttempts:
    """The second is None where the first could not be shown."""

    problem_id: str
    first: DrawnAttempt
    second: DrawnAttempt | None

    @property
    def verdicts(self) -> tuple[Verdict, Verdict]:
        return self.first.verdict, self.second.verdict if self.second else NOT_DRAWN

    @property
    def attempts(self) -> tuple[DrawnAttempt, ...]:
        return (self.first,) if self.second is None else (self.first, self.second)


@dataclass(frozen=True)
class ChainDrawer:
    """Draws the chains of a policy's current weights."""

    policy: TransformersPolicy
    grader: Grader
    params: SamplingParams
    prompts: ChainPrompts

    async def draw(self, problems: Sequence[Problem], n_chains: int) -> list[list[TwoAttempts]]:
        """`n_chains` a problem, in their order."""
        groups = [side_by_side([self._chain(each, k) for k in range(n_chains)]) for each in problems]
        return [list(group) for group in await side_by_side(groups)]

    async def _chain(self, problem: Problem, index: int) -> TwoAttempts:
        first = await self._attempt(problem, (), index)
        ids = self._prompt(problem, (first.text,)) if first.can_be_shown else ()
        has_room = len(ids) + self.params.max_new_tokens <= self.policy.context_length
        second = await self._attempt(problem, (first.text,), index) if ids and has_room else None
        return TwoAttempts(problem.problem_id, first, second)

    def _prompt(self, problem: Problem, attempts: Sequence[str]) -> tuple[int, ...]:
        return self.policy.encode_chat(chain_prompt(problem, attempts, self.prompts))

    async def _attempt(self, problem: Problem, shown: Sequence[str], index: int) -> DrawnAttempt:
        ids = self._prompt(problem, shown)
        draw = await self.policy.sample(ids, self.params, index)
        solution = Solution(problem.problem_id, index, draw.text, draw.finish_reason)
        graded = await self.grader.grade(problem, solution)
        is_cut = draw.finish_reason is FinishReason.LENGTH
        answer = None if is_cut else graded.answer
        return DrawnAttempt(ids, draw.token_ids, draw.text, graded.verdict, answer, draw.usage)
