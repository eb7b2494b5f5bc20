"""What a revision model does with a chain: does it mend a wrong attempt, and does it leave a right one alone?

For held-out chains whose last attempt is wrong (wrong → correct) and for the same chains with a right attempt in its place (correct →
correct, correct → wrong) the next attempt is drawn and graded. Snell et al. 2024 report that 38 % of right attempts turn wrong under a
model trained on wrong ones alone.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data_gen.chains import Message
from data_gen.grading import Grader
from data_gen.policies.protocol import Policy
from data_gen.records import Problem, SamplingParams, Solution, Verdict
from data_gen.rows import RevisionRow
from prm_train.evaluation.estimators import Interval, bootstrap_interval
from prm_train.revision_examples import encode_chain


@dataclass(frozen=True)
class RevisionRates:
    """Shares of next attempts with 95 % intervals over questions; one without a verdict counts as neither right nor wrong.

    `wrong_to_correct_by_attempts`: by the number of wrong attempts in the chain.
    """

    n_chains: int
    n_unknown: int
    wrong_to_correct: Interval
    correct_to_correct: Interval
    correct_to_wrong: Interval
    wrong_to_correct_by_attempts: dict[int, Interval]


@dataclass(frozen=True)
class NextAttempt:
    """The verdict on what follows a chain."""

    question: str
    n_attempts: int
    was_right: bool
    verdict: Verdict


def with_right_attempt(row: RevisionRow) -> RevisionRow:
    """The row's chain with the right answer in the place of its last attempt."""
    right = Message("assistant", row.completion[0].content)
    return replace(row, prompt=(*row.prompt[:-2], right, row.prompt[-1]))


async def next_attempts(
    policy: Policy, tokenizer: Any, grader: Grader, rows: Sequence[RevisionRow], params: SamplingParams
) -> list[NextAttempt]:
    """One attempt after each chain of kind revision as it is, and one after the same chain that ends right."""

    async def one(row: RevisionRow, was_right: bool) -> NextAttempt:
        question = row.prompt[0].content
        right = Solution(row.problem_id, 0, row.completion[0].content)
        known = (await grader.grade(Problem(row.problem_id, question, "?"), right)).answer  # what the right answer says
        draw = await policy.sample(encode_chain(tokenizer, row.prompt), params, 0)
        solution = Solution(row.problem_id, 1, draw.text, draw.finish_reason)
        graded = await grader.grade(Problem(row.problem_id, question, known or ""), solution)
        return NextAttempt(question, row.n_attempts, was_right, graded.verdict)

    chains = [row for row in rows if row.kind == "revision"]
    wrong = [one(row, False) for row in chains]
    return list(await asyncio.gather(*wrong, *(one(with_right_attempt(row), True) for row in chains)))


def revision_rates(attempts: Sequence[NextAttempt]) -> RevisionRates:
    """Raises ValueError without any chain."""
    after_wrong = [attempt for attempt in attempts if not attempt.was_right]
    after_right = [attempt for attempt in attempts if attempt.was_right]
    return RevisionRates(
        n_chains=len(after_wrong),
        n_unknown=sum(attempt.verdict.is_unknown for attempt in attempts),
        wrong_to_correct=_share(after_wrong, is_correct=True),
        correct_to_correct=_share(after_right, is_correct=True),
        correct_to_wrong=_share(after_right, is_correct=False),
        wrong_to_correct_by_attempts={
            n: _share([attempt for attempt in after_wrong if attempt.n_attempts == n], is_correct=True)
            for n in sorted({attempt.n_attempts for attempt in after_wrong})
        },
    )


def _share(attempts: Sequence[NextAttempt], *, is_correct: bool) -> Interval:
    """Of the attempts that are right (or wrong), as a mean over questions of the mean inside a question."""
    by_question: dict[str, list[bool]] = {}
    for attempt in attempts:
        is_wanted = attempt.verdict.is_correct if is_correct else not (attempt.verdict.is_correct or attempt.verdict.is_unknown)
        by_question.setdefault(attempt.question, []).append(is_wanted)
    return bootstrap_interval([float(np.mean(values)) for values in by_question.values()], np.random.default_rng(0))
