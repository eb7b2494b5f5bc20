"""ORM rows from the solutions of a question: each by itself, in pairs of a right and a wrong one, or after
earlier attempts.

All take `usable` solutions: distinct, finished, with a verdict (`data_gen.rows.filters.usable_solutions`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import lcm
from random import Random
from typing import Annotated, Literal, TypeVar

from annotated_types import Ge

from data_gen.records.chats import ChainPrompts, Message, chain_prompt
from data_gen.records.draw_keys import derive_seed
from data_gen.records.solutions import GradedSolution, Problem
from data_gen.rows.filters import right_and_wrong
from data_gen.rows.layouts import OrmHistoryRow, OrmPair, OrmRow
from data_gen.rows.revision import character_distances

T = TypeVar("T")


@dataclass(frozen=True)
class PairSettings:
    """Which right and wrong solutions of a question make pairs."""

    choose: Literal["random", "closest"] = field(
        default="random",
        metadata={
            "help": "which solutions make a pair. random: each solution as often as any other; closest: each "
            "right one with the wrong one nearest to it in edits"
        },
    )
    max_per_question: Annotated[int, Ge(1)] | None = field(
        default=8, metadata={"help": "maximum number of pairs of one question; null: all"}
    )


def orm_rows(problem: Problem, usable: Sequence[GradedSolution]) -> list[OrmRow]:
    """A row for each solution."""
    return [
        OrmRow(problem.problem_id, problem.question, each.solution.text, each.verdict.is_correct)
        for each in usable
    ]


def orm_pairs(
    problem: Problem, usable: Sequence[GradedSolution], settings: PairSettings, seed: int
) -> list[OrmPair]:
    """Pairs of a right and a wrong solution, none twice."""
    right, wrong = right_and_wrong(usable)
    if not right or not wrong:
        return []
    order = Random(derive_seed(seed, "pairs", problem.problem_id))
    if settings.choose == "closest":
        nearest = character_distances(right, wrong).argmin(axis=1).tolist()
        pairs = [(chosen, wrong[position]) for chosen, position in zip(right, nearest, strict=True)]
        order.shuffle(pairs)
        most = len(pairs)
    else:
        order.shuffle(right)
        order.shuffle(wrong)
        most = len(right) * len(wrong)
    if settings.max_per_question is not None:
        most = min(most, settings.max_per_question)
    if settings.choose == "random":
        pairs = [nth_pair(right, wrong, n) for n in range(most)]
    return [
        OrmPair(problem.problem_id, problem.question, chosen.solution.text, rejected.solution.text)
        for chosen, rejected in pairs[:most]
    ]


def nth_pair(right: Sequence[T], wrong: Sequence[T], n: int) -> tuple[T, T]:
    """The n-th of all pairs in an order that uses every solution of a side once before any of them again."""
    # Both sides are back at their start: pair them the next way round
    shift = n // lcm(len(right), len(wrong))
    return right[n % len(right)], wrong[(n + shift) % len(wrong)]


def history_rows(
    problem: Problem, chain: Sequence[GradedSolution], max_attempts: int, prompts: ChainPrompts
) -> list[OrmHistoryRow]:
    """A row for each attempt of a chain, with the (at most `max_attempts`) attempts before it in view (Snell
    et al. 2024, App. J).
    """
    rows = []
    for position, each in enumerate(chain):
        earlier = chain[max(0, position - max_attempts) : position]
        rows.append(
            OrmHistoryRow(
                problem_id=problem.problem_id,
                prompt=chain_prompt(problem, [attempt.solution.text for attempt in earlier], prompts),
                completion=(Message("assistant", each.solution.text),),
                label=each.verdict.is_correct,
                n_attempts=len(earlier),
                sample_indices=(*(attempt.solution.index for attempt in earlier), each.solution.index),
                question=problem.question,
            )
        )
    return rows


def shuffled_chains(
    problem: Problem, usable: Sequence[GradedSolution], max_attempts: int, seed: int
) -> list[list[GradedSolution]]:
    """Solutions drawn independently as chains of `max_attempts` + 1, each solution in one of them at a random
    place.

    They stand in for the chains of a revision model before there is one: right and wrong attempts come in any
    order.
    """
    order = list(usable)
    Random(derive_seed(seed, "chains", problem.problem_id)).shuffle(order)
    cuts = [*range(0, len(order), max_attempts + 1), len(order)]
    return [order[start:end] for start, end in pairwise(cuts)]
