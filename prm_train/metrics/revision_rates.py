"""What a revision model does with a chain of attempts: does it correct a wrong attempt, and does it leave a
right one alone?

For each held-out chain two next attempts are drawn and graded::

    wrong, wrong, wrong → ?    the chain as it is:                               wrong_to_correct
    wrong, wrong, right → ?    its last attempt replaced by the right answer:    correct_to_correct,
                               correct_to_wrong

Snell et al. 2024 report that 38 % of right attempts become wrong under a model that was trained after wrong
attempts alone. A chain that leaves no room for the next attempt loses its oldest attempts, as in training.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data_gen.grading.graders import Grader
from data_gen.models.prompt_ids import encode_chain
from data_gen.policies.protocol import Policy
from data_gen.records.chats import Message, without_oldest
from data_gen.records.sampling import SamplingParams
from data_gen.records.solutions import Problem, Solution
from data_gen.records.verdicts import Verdict
from data_gen.rows.layouts import RevisionRow
from prm_train.metrics.estimators import Interval, bootstrap_interval
from prm_train.metrics.training_report import RevisionRates as RevisionRates


@dataclass(frozen=True)
class NextAttempt:
    """The verdict on the attempt after a chain of `n_attempts`, the last of which `was_right` or not.

    `is_shortened` says that the chain had lost its oldest attempts.
    """

    question: str
    n_attempts: int
    was_right: bool
    verdict: Verdict
    is_shortened: bool = False


def with_right_attempt(row: RevisionRow) -> RevisionRow:
    """The row with the right answer in the place of its last attempt."""
    # A chain ends with the last attempt and the request for the next one.
    right = Message("assistant", row.completion[0].content)
    return replace(row, prompt=(*row.prompt[:-2], right, row.prompt[-1]))


def shortened(prompt: tuple[Message, ...], tokenizer: Any, max_tokens: int) -> tuple[Message, ...] | None:
    """The chain without as many of its oldest attempts as must go for `max_tokens` tokens; None if its last
    attempt alone is longer.
    """
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
    """Two next attempts for each row of kind revision (after its chain, and after the same chain that ends
    right), and `n_left_out`.

    That counts the rows that have neither, since the policy's context has no room for one of their chains and
    `params.max_new_tokens`.
    """

    async def draw_and_grade(row: RevisionRow, chain: tuple[Message, ...], was_right: bool) -> NextAttempt:
        gold_answer = await _gold_answer(grader, row)
        draw = await policy.sample(encode_chain(tokenizer, chain), params, 0)
        solution = Solution(row.problem_id, 1, draw.text, draw.finish_reason)
        graded = await grader.grade(Problem(row.problem_id, row.question, gold_answer), solution)
        return NextAttempt(
            row.question, n_shown(chain), was_right, graded.verdict, n_shown(chain) < row.n_attempts
        )

    room = policy.context_length - params.max_new_tokens
    drawing, n_left_out = [], 0
    for row in rows:
        if row.kind != "revision":
            continue
        ends_wrong = shortened(row.prompt, tokenizer, room)
        ends_right = shortened(with_right_attempt(row).prompt, tokenizer, room)
        # Both or none, so that the rates are over the same chains.
        if ends_wrong is None or ends_right is None:
            n_left_out += 1
        else:
            drawing += [draw_and_grade(row, ends_wrong, False), draw_and_grade(row, ends_right, True)]
    return list(await asyncio.gather(*drawing)), n_left_out


async def _gold_answer(grader: Grader, row: RevisionRow) -> str:
    """The answer of the row's right attempt, since rows hold no gold answer. The grader reads it off as from
    any solution.
    """
    right = Solution(row.problem_id, 0, row.completion[0].content)
    return (await grader.grade(Problem(row.problem_id, row.question, "?"), right)).answer or ""


def revision_rates(attempts: Sequence[NextAttempt], n_left_out: int = 0) -> RevisionRates:
    """The shares of next attempts that are right and wrong. Raises ValueError without any attempt."""
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
    """The share of attempts that are right (or wrong), as a mean over questions of the share inside each
    question.
    """
    by_question: dict[str, list[bool]] = {}
    for attempt in attempts:
        is_wanted = (
            attempt.verdict.is_correct
            if is_correct
            else not (attempt.verdict.is_correct or attempt.verdict.is_unknown)
        )
        by_question.setdefault(attempt.question, []).append(is_wanted)
    return bootstrap_interval(
        [float(np.mean(values)) for values in by_question.values()], np.random.default_rng(0)
    )
