"""The built-in task with a thought before its answer, and what a thought says when it is read again.

<think>
3 fold 4=9
9 times 9=19            a mistake
Wait                    another attempt follows; it keeps what is right and usually repairs the first error
3 fold 4=9
9 times 9=81, keep 1
</think>
Answer: 9 1
"""

import random
from dataclasses import dataclass

from data_gen.problems.arithmetic.rules import (
    Chain,
    draw_attempt,
    draw_chain,
    draw_revision,
    first_error,
    parse_totals,
    solution_text,
)

START, END, WAIT, ANSWER = "<think>\n", "</think>", "Wait", "Answer:"
# How often the text goes on after an attempt: its writer only partly knows whether it was right
P_WAIT = {True: 0.2, False: 0.5}
MOST_ATTEMPTS = 4


def draw_text(rng: random.Random) -> tuple[str, str]:
    """A question, and a solution that thinks before it answers."""
    chain = draw_chain(rng)
    attempt = draw_attempt(chain, rng)
    thoughts = [attempt]
    while len(thoughts) < MOST_ATTEMPTS and rng.random() < P_WAIT[first_error(chain, attempt) is None]:
        attempt = draw_revision(chain, attempt, rng)
        thoughts.append(attempt)
    thought = f"{WAIT}\n".join(_lines(chain, each) for each in thoughts)
    answer = solution_text(chain, attempt).rpartition("\n")[2]
    return chain.question(), f"{START}{thought}{END}\n{answer}"


def _lines(chain: Chain, totals: list[int]) -> str:
    """The lines of an attempt, each with its newline, without the answer."""
    return solution_text(chain, totals).rpartition("\n")[0] + "\n"


@dataclass(frozen=True)
class ReadThought:
    """Of a solution: for each attempt of its thought whether it is right and whole, and how many characters
    of the thought stand before its end.
    """

    are_right: tuple[bool, ...]
    ends: tuple[int, ...]
    n_characters: int


def read_thought(chain: Chain, text: str) -> ReadThought:
    """Attempts that are cut or have too many lines are not right. Without an end marker all of `text` is
    thought.
    """
    thought = text.partition(END)[0].removeprefix(START)
    are_right, ends, at = [], [], 0
    for attempt in thought.split(WAIT):
        at += len(attempt)
        totals = _totals(attempt)
        are_right.append(totals is not None and [total % 10 for total in totals] == chain.values())
        ends.append(at)
        at += len(WAIT)
    return ReadThought(tuple(are_right), tuple(ends), len(thought))


def _totals(attempt: str) -> list[int] | None:
    """None where a line is no step."""
    try:
        return parse_totals(attempt.removeprefix("\n"))
    except ValueError:
        return None
