"""Verdicts on the candidates of a search, joined when the search of a problem is over: what is searched never
depends on the gold answer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from data_gen.grading.accepted_answers import grade_any
from data_gen.process.side_by_side import side_by_side
from data_gen.records.grader import Grader
from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import Problem, Solution
from data_gen.records.verdicts import Verdict
from prm_train.strategies.candidates import Candidate

Text = tuple[str, bool]  # and whether it is finished


class CandidateGrader:
    """Of one problem: a text that many candidates have is graded once."""

    def __init__(self, grader: Grader, problem: Problem) -> None:
        self._grader, self._problem = grader, problem
        self._verdicts: dict[Text, Verdict] = {}

    async def grade(self, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """The candidates with the grader's verdicts."""
        await self._learn(self._text(candidate) for candidate in candidates)
        return tuple(map(self._graded, candidates))

    async def _learn(self, texts: Iterable[Text]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._verdicts]
        self._verdicts |= zip(new, await side_by_side(map(self._verdict, new)), strict=True)

    async def _verdict(self, text: Text) -> Verdict:
        reason = FinishReason.EOS if text[1] else FinishReason.LENGTH
        solution = Solution(self._problem.problem_id, 0, text[0], reason)
        return (await grade_any(self._grader, self._problem, solution)).verdict

    def _graded(self, candidate: Candidate) -> Candidate:
        verdict = self._verdicts[self._text(candidate)]
        return replace(candidate, is_correct=verdict.is_correct, is_unknown=verdict.is_unknown)

    @staticmethod
    def _text(candidate: Candidate) -> Text:
        return candidate.text, candidate.is_finished
