"""Paths that grow a step at a time and are scored as they grow: what the strategies that search in a tree
share.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from data_gen.grading.accepted_answers import grade_any
from data_gen.grading.graders import Grader
from data_gen.ledger.policy import LedgerPolicy
from data_gen.records.sampling import FinishReason, SamplingParams
from data_gen.records.solutions import Solution
from data_gen.records.steps import ended_steps, split_steps
from data_gen.records.stop_strings import StopStrings
from prm_train.scoring.protocol import PathTooLongError, ScoringTree
from prm_train.search.best_of_n import as_candidate, score_path
from prm_train.search.candidates import Candidate


@dataclass(frozen=True)
class SearchPath:
    """A path of the search: what was written after the prompt, and the scores of its steps; of an open one,
    of those that have ended.
    """

    token_ids: tuple[int, ...] = ()
    text: str = ""
    scores: tuple[float, ...] = ()
    logprobs: tuple[float, ...] = ()
    finish_reason: FinishReason | None = None  # None: open, its last draw was stopped by the separator

    @property
    def is_open(self) -> bool:
        return self.finish_reason is None


@dataclass(frozen=True)
class PathGrower:
    """Who writes the next steps of a problem's paths, and who scores them. `params.stop` is the step
    separator.

    `params.max_new_tokens` bounds a whole path; a step that goes beyond it is the path's last.
    """

    policy: LedgerPolicy
    tree: ScoringTree
    params: SamplingParams

    @cached_property
    def prompt_ids(self) -> tuple[int, ...]:
        return self.policy.encode_prompt(self.policy.problem.question)

    async def next_step(self, path: SearchPath, index: int) -> SearchPath:
        """The path with the `index`-th draw of its next step, scored. One that a limit cut is truncated, and
        has the scores it had.
        """
        prefix_ids = self.prompt_ids + path.token_ids
        n_left = min(
            self.params.max_new_tokens - len(path.token_ids), self.policy.context_length - len(prefix_ids)
        )
        if n_left < 1:
            return replace(path, finish_reason=FinishReason.LENGTH)
        draw = await self.policy.sample(prefix_ids, self.params, index)
        text, is_open = path.text + draw.text, draw.finish_reason is FinishReason.STOP  # at the end of a step
        if self.params.stop_strings:
            whole = draw
            text, draw = StopStrings(self.policy.token_bytes(), self.params.stop_strings).cut(
                path.text, whole
            )
            is_open = is_open and draw is whole
        finish_reason = (
            FinishReason.LENGTH if len(draw.token_ids) > n_left else None if is_open else draw.finish_reason
        )
        grown = SearchPath(
            path.token_ids + draw.token_ids, text, path.scores, path.logprobs + draw.logprobs, finish_reason
        )
        return await self._scored(grown)

    async def _scored(self, path: SearchPath) -> SearchPath:
        """With the steps of the whole text, as best-of-N sees them: a token may end a step and begin the next
        one.
        """
        separator = self.params.stop or ""
        steps = ended_steps(path.text, separator) if path.is_open else split_steps(path.text, separator)
        if not steps:
            return path
        try:
            return replace(path, scores=await score_path(self.tree, steps, scores_steps=True))
        except PathTooLongError:
            return replace(path, finish_reason=FinishReason.LENGTH)

    async def candidate(self, path: SearchPath, grader: Grader, index: int, name: str) -> Candidate:
        """The path as the `index`-th candidate, graded, with its scores under `name`; an open one is
        unfinished.
        """
        reason = path.finish_reason or FinishReason.LENGTH
        solution = Solution(
            self.policy.problem.problem_id, index, path.text, reason, path.token_ids, path.logprobs
        )
        candidate = as_candidate(await grade_any(grader, self.policy.problem, solution))
        return replace(candidate, scores={name: path.scores} if path.scores else {})
