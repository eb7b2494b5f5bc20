"""What a revision model does with a chain: does it mend a wrong attempt, and does it leave a right one alone?

For held-out chains whose last attempt is wrong (wrong → correct) and for the same chains with a right attempt in its place (correct →
correct, correct → wrong) the next attempt is drawn and graded. Snell et al. 2024 report that 38 % of right attempts turn wrong under a
model trained on wrong ones alone. A chain that leaves no room for the next attempt loses its oldest ones, as in training.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data_gen.grading.graders import Grader
from data_gen.policies.protocol import Policy
from data_gen.records.chats import Message
from data_gen.records.sampling import SamplingParams
from data_gen.records.solutions import Problem, Solution, Verdict
from data_gen.rows.layouts import RevisionRow
from prm_train.examples.revision import encode_chain, without_oldest
from prm_train.metrics.estimators import Interval, bootstrap_interval
from prm_train.metrics.training_report import RevisionRates as RevisionRates


@dataclass(frozen=True)
class NextAttempt:
    """The verdict on what follows a chain of `n_attempts`, and whether it is one without its oldest attempts."""

    question: str
    n_attempts: int
    was_right: bool
    verdict: Verdict
    is_shortened: bool = False


def with_right_attempt(row: RevisionRow) -> RevisionRow:
    """The row's chain with the right answer in the place of its last attempt."""
    right = Message("assistant", row.completion[0].content)
    return replace(row, prompt=(*row.prompt[:-2], right, row.prompt[-1]))


def shortened(prompt: tuple[Message, ...], tokenizer: Any, max_tokens: int) -> tuple[Message, ...] | None:
    """The chain in at most `max_tokens` tokens, without its oldest attempts where it is longer; None if its last attempt alone is."""
    while len(encode_chain(tokenizer, prompt)) > max_tokens:
        if n_shown(prompt) <= 1:
            return None
        prompt = without_oldest(prompt)
    return prompt


def n_shown(prompt: Sequence[Message]) -> int:
    """How many attempts a chain shows."""
    return sum(message.role == "assistant" for message in prompt)


async def next_attempts(
    policy: Policy, tokenizer: Any, grader: Grader, rows: Sequence[RevisionRow], params: SamplingParams
) -> tuple[list[NextAttempt], int]:
    """One attempt after each chain of kind revision as it is, and one after the same chain that ends right; and how many chains have
    neither, since the policy's context does not hold one of them and `params.max_new_tokens`.
    """

    async def one(row: RevisionRow, chain: tuple[Message, ...], was_right: bool) -> NextAttempt:
        right = Solution(row.problem_id, 0, row.completion[0].content)
        known = (await grader.grade(Problem(row.problem_id, row.question, "?"), right)).answer  # what the right answer says
        draw = await policy.sample(encode_chain(tokenizer, chain), params, 0)
        solution = Solution(row.problem_id, 1, draw.text, draw.finish_reason)
        graded = await grader.grade(Problem(row.problem_id, row.question, known or ""), solution)
        return NextAttempt(row.question, n_shown(chain), was_right, graded.verdict, n_shown(chain) < row.n_attempts)

    room = policy.context_length - params.max_new_tokens
    wanted, n_left_out = [], 0
    for row in rows:
        if row.kind != "revision":
            continue
        after_wrong, after_right = (shortened(each.prompt, tokenizer, room) for each in (row, with_right_attempt(row)))
        if after_wrong is None or after_right is None:
            n_left_out += 1
        else:
            wanted += [one(row, after_wrong, False), one(row, after_right, True)]
    return list(await asyncio.gather(*wanted)), n_left_out


def revision_rates(attempts: Sequence[NextAttempt], n_left_out: int = 0) -> RevisionRates:
    """Raises ValueError without any attempt."""
    after_wrong = [attempt for attempt in attempts if not attempt.was_right]
    after_right = [attempt for attempt in attempts if attempt.was_right]
    return RevisionRates(
        n_chains=len(after_wrong),
        n_shortened=sum(attempt.is_shortened for attempt in attempts),
        n_left_out=n_left_out,
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
