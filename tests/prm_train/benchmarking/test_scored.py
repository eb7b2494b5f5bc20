"""Attempts are scored once each, those at one question in one session."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from prm_train.benchmarking.rows import Attempt
from prm_train.benchmarking.scored import Scored, score_attempts
from tests.prm_train.test_public_api import length_scorer


class Counted:
    """A scorer that counts its sessions and the scores that were asked for."""

    def __init__(self, scores_steps: bool) -> None:
        self.scorer: Any = length_scorer(scores_steps)
        self.scores_steps = scores_steps
        self.sessions = Counter[str]()

    @asynccontextmanager
    async def session(self, question: str) -> AsyncIterator[Any]:
        self.sessions[question] += 1
        async with self.scorer.session(question) as tree:
            yield tree


ATTEMPTS = [Attempt("q", ("four", "six...")), Attempt("r", ("four",)), Attempt("q", ("four",))]


def test_attempts_at_one_question_share_a_session_and_a_repeated_one_is_scored_once() -> None:
    scorer: Any = Counted(scores_steps=True)
    found = asyncio.run(score_attempts(scorer, [*ATTEMPTS, ATTEMPTS[0]]))
    assert found == {ATTEMPTS[0]: (0.04, 0.1), ATTEMPTS[1]: (0.04,), ATTEMPTS[2]: (0.04,)}
    assert scorer.sessions == {"q": 1, "r": 1}


def test_an_orm_gives_one_score_and_a_whole_score_is_that_of_all_steps() -> None:
    scorer: Any = Counted(scores_steps=False)
    found = asyncio.run(score_attempts(scorer, ATTEMPTS))
    assert found[ATTEMPTS[0]] == (0.1,)
    scored = Scored("s", {ATTEMPTS[0]: (0.5, None), ATTEMPTS[1]: (0.4,), ATTEMPTS[2]: (None,)})
    assert [scored.whole(attempt) for attempt in ATTEMPTS] == [None, 0.4, None]
    assert scored.steps(ATTEMPTS[0]) == (0.5,)
    assert Scored("s", {ATTEMPTS[0]: (0.5, 0.7)}, "mean").whole(ATTEMPTS[0]) == 0.6
