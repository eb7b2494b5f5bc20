"""Problems that fail by a fault of their own (`ProblemFaultError`): each is one counted outcome of a search,
until there are so many that the fault is not theirs.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace

from data_gen.settings.errors import InputError
from prm_train.scoring.protocol import ScorerUsage
from prm_train.search.results import Cost, Difficulty, ProblemResult
from prm_train.strategies.candidates import Candidate

logger = logging.getLogger(__name__)
# So many failures end a search if nothing was answered before them, or if they are more than this share
N_FAILED, SHARE_FAILED = 8, 0.05


class FailureLimit:
    """Counts the failures of a search of `n_problems`, of which `n_answered` were answered before."""

    def __init__(self, n_problems: int, n_answered: int) -> None:
        self._n_problems, self._n_answered = n_problems, n_answered
        self._failed = dict[str, str]()

    def add(self, result: ProblemResult) -> None:
        """Raises InputError where too many have failed."""
        if not result.failure:
            self._n_answered += 1
            return
        self._failed[result.problem.problem_id] = result.failure
        logger.warning("problem %s failed and is counted so: %s", result.problem.problem_id, result.failure)
        is_share = len(self._failed) > SHARE_FAILED * self._n_problems
        if len(self._failed) >= N_FAILED and (is_share or not self._n_answered):
            raise self._too_many()

    def check_any_answered(self) -> None:
        """Raises InputError where every problem has failed."""
        if not self._n_answered:
            raise self._too_many()

    def _too_many(self) -> InputError:
        return InputError(
            f"{failures_in_words(self._failed, self._n_problems)}. {self._n_answered:,} were answered: too "
            "few for a fault of single problems; once it is mended, the same command tries them again"
        )


def failures_in_words(failed: Mapping[str, str], n_problems: int) -> str:
    """`1 of 500 problems failed, first p17: GraderFaultError: …`; empty where none did."""
    if not failed:
        return ""
    name, why = next(iter(failed.items()))
    return f"{len(failed):,} of {n_problems:,} problems failed, first {name}: {why}"


def as_unsolved(failed: ProblemResult, answered: ProblemResult) -> ProblemResult:
    """A failed problem in the form of one that was answered by the same search: by each strategy with empty
    texts, which cannot vote and have no verdict, so that no method has solved it.
    """
    blank = Candidate(failed.problem.problem_id, 0, "", None, False, is_finished=False, is_unknown=True)
    return replace(
        failed,
        runs=tuple(
            replace(run, candidates=tuple(replace(blank, index=i) for i in range(run.n)), cost=Cost())
            for run in answered.runs
        ),
        scorings=tuple(replace(scoring, usage=ScorerUsage()) for scoring in answered.scorings),
        difficulty=Difficulty(answered.difficulty.n, 0),
    )
