"""Verdicts on the candidates of a search, joined when the search of a problem is over: what is searched never
depends on the gold answer.
"""

from collections.abc import Sequence
from dataclasses import replace

from data_gen.grading.accepted_answers import grade_any
from data_gen.process.side_by_side import side_by_side
from data_gen.records.grader import Grader
from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import Problem, Solution, Verdict
from prm_train.search.candidates import Candidate
from prm_train.search.results import StrategyRun

Text = tuple[str, bool]  # and whether it is finished


async def grade_candidates(
    runs: Sequence[StrategyRun], problem: Problem, grader: Grader
) -> list[StrategyRun]:
    """The runs with the grader's verdicts; candidates of one text share theirs."""

    async def verdict(text: str, is_finished: bool) -> Verdict:
        reason = FinishReason.EOS if is_finished else FinishReason.LENGTH
        return (await grade_any(grader, problem, Solution(problem.problem_id, 0, text, reason))).verdict

    def text(candidate: Candidate) -> Text:
        return candidate.text, candidate.is_finished

    texts = list(dict.fromkeys(text(candidate) for run in runs for candidate in run.candidates))
    verdicts = dict(zip(texts, await side_by_side(verdict(*each) for each in texts), strict=True))

    def graded(candidate: Candidate) -> Candidate:
        found = verdicts[text(candidate)]
        return replace(candidate, is_correct=found.is_correct, is_unknown=found.is_unknown)

    return [replace(run, candidates=tuple(map(graded, run.candidates))) for run in runs]
