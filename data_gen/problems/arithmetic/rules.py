"""The built-in task: chains of one-digit arithmetic, for a pipeline that needs no download.

A problem reads ``Start with 3: fold 4, times 9, mix 9, minus 3.`` and every operation keeps the last digit of
its result. A solution works one operation a line and then lists every intermediate value::

    3 fold 4=9
    9 times 9=81, keep 1
    1 mix 9=8
    8 minus 3=5
    Answer: 9 1 8 5

The text that the base policy imitates is wrong on purpose, in three ways that a search must be able to tell
apart:

- *noise*: every operation goes wrong now and then (`Operation.noise`); a vote or a lower temperature removes
  these errors;
- *misconceptions*: in a fixed 2/7 of the contexts of times, mix and fold the most likely result is a wrong
  one (`v + k + 1`), so greedy decoding and voting keep the error and only a verifier helps;
- *capacity*: ``knead j k`` has no rule, it is a table of 1,000 digits, too rare in the text for a network of
  0.4 M parameters to learn.

Since the answer lists every value, a wrong step hardly ever ends in a right answer. `last_value_only` grades
the ablation in which it can.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from data_gen.records.draw_keys import derive_seed
from data_gen.records.solutions import Problem

STEP_SEPARATOR = "\n"
MISCONCEPTION_RATE = 0.65  # of the results in a misconception context are wrong
MISCONCEPTION_SHARE = 0.9  # of those are the misconception itself, the rest are noise
REPAIR_RATE = 0.7  # an attempt that follows a wrong one gets the first wrong step right this often
KEEP_RIGHT_RATE = 0.9  # an attempt that follows a right one repeats it this often


@dataclass(frozen=True)
class Operation:
    """`total(v, *operands)` before the last digit is kept; `shows_total` operations write it down, the others
    are done in the head.
    """

    total: Callable[..., int]
    noise: float
    n_operands: int = 1
    shows_total: bool = False
    has_misconception: bool = False


def _mix(v: int, k: int) -> int:
    return v * v + 3 * k


def _fold(v: int, k: int) -> int:
    return 7 * v + v * k + k * k


def _knead(v: int, j: int, k: int) -> int:
    return derive_seed("knead", v, j, k) % 10


OPERATIONS = {
    "plus": Operation(lambda v, k: v + k, noise=0.02, shows_total=True),
    "minus": Operation(lambda v, k: (v - k) % 10, noise=0.05),
    "times": Operation(lambda v, k: v * k, noise=0.07, shows_total=True, has_misconception=True),
    "mix": Operation(_mix, noise=0.10, has_misconception=True),
    "fold": Operation(_fold, noise=0.15, has_misconception=True),
    "knead": Operation(_knead, noise=0.05, n_operands=2),
}

# Which operations a chain of the text draws from, from easy to hard; a level is drawn uniformly.
LEVELS: tuple[dict[str, float], ...] = (
    {"plus": 4, "minus": 4, "times": 2},
    {"plus": 3, "minus": 2, "times": 3, "mix": 2},
    {"plus": 2, "minus": 2, "times": 2, "mix": 2, "fold": 2},
    {"plus": 1, "minus": 1, "times": 2, "mix": 3, "fold": 3},
    {"plus": 3, "minus": 3, "times": 2, "mix": 1, "fold": 1, "knead": 1},
)
MIN_OPERATIONS, MAX_OPERATIONS = 3, 8
# The problems are a little harder than the text, so that greedy decoding solves less than half of them.
PROBLEM_LEVELS: tuple[dict[str, float], ...] = ({"plus": 3, "minus": 3, "times": 3, "mix": 1}, *LEVELS[1:])
MIN_PROBLEM_OPERATIONS = 4


@dataclass(frozen=True)
class Chain:
    """A start digit and the operations on it, each `(name, operands)`."""

    start: int
    operations: tuple[tuple[str, tuple[int, ...]], ...]

    def question(self) -> str:
        parts = [f"{name} {' '.join(map(str, operands))}" for name, operands in self.operations]
        return f"Start with {self.start}: {', '.join(parts)}."

    def totals(self) -> list[int]:
        """What each operation gives before the last digit is kept."""
        value, totals = self.start, []
        for name, operands in self.operations:
            totals.append(OPERATIONS[name].total(value, *operands))
            value = totals[-1] % 10
        return totals

    def values(self) -> list[int]:
        """The digit after each operation."""
        return [total % 10 for total in self.totals()]

    def gold_answer(self) -> str:
        return " ".join(map(str, self.values()))


def is_misconception_context(name: str, v: int, k: int) -> bool:
    return OPERATIONS[name].has_misconception and (3 * v + 5 * k) % 7 < 2


def draw_chain(
    rng: random.Random, n_operations: int | None = None, levels: Sequence[dict[str, float]] = LEVELS
) -> Chain:
    weights = levels[rng.randrange(len(levels))]
    names = rng.choices(
        list(weights), list(weights.values()), k=n_operations or rng.randint(MIN_OPERATIONS, MAX_OPERATIONS)
    )
    operations = tuple(
        (name, tuple(rng.randrange(10) for _ in range(OPERATIONS[name].n_operands))) for name in names
    )
    return Chain(rng.randrange(10), operations)


def error_rate(name: str, v: int, operands: tuple[int, ...]) -> float:
    """How often the pretraining text gets this operation wrong."""
    is_trap = len(operands) == 1 and is_misconception_context(name, v, operands[0])
    return MISCONCEPTION_RATE if is_trap else OPERATIONS[name].noise


def draw_total(name: str, v: int, operands: tuple[int, ...], rng: random.Random) -> int:
    """The total that the pretraining text writes: right, the misconception, or noise (a different last
    digit).
    """
    total = OPERATIONS[name].total(v, *operands)
    if rng.random() >= error_rate(name, v, operands):
        return total
    is_trap = len(operands) == 1 and is_misconception_context(name, v, operands[0])
    misconception = v + operands[0] + 1
    if is_trap and misconception % 10 != total % 10 and rng.random() < MISCONCEPTION_SHARE:
        return misconception
    return total + rng.randint(1, 9)


def step_line(name: str, v: int, operands: tuple[int, ...], total: int) -> str:
    shown = f"{total}, keep {total % 10}" if OPERATIONS[name].shows_total and total > 9 else str(total % 10)
    return f"{v} {name} {' '.join(map(str, operands))}={shown}"


def solution_text(chain: Chain, totals: list[int]) -> str:
    """One line an operation, then the answer line."""
    lines, v = [], chain.start
    for (name, operands), total in zip(chain.operations, totals, strict=True):
        lines.append(step_line(name, v, operands, total))
        v = total % 10
    return "\n".join([*lines, f"Answer: {' '.join(str(total % 10) for total in totals)}"])


def parse_question(question: str) -> Chain:
    """The chain of a question written by `Chain.question`. Raises ValueError for any other text."""
    start, separator, operations = question.removesuffix(".").removeprefix("Start with ").partition(": ")
    if not separator:
        raise ValueError(f"not a question of the built-in task: {question!r}")
    words = [operation.split() for operation in operations.split(", ")]
    return Chain(int(start), tuple((name, tuple(map(int, operands))) for name, *operands in words))


def parse_totals(written: str) -> list[int]:
    """The totals on the whole operation lines of a solution's beginning (what stands before `keep`, where
    that is written).
    """
    lines = [line for line in written.split("\n")[:-1] if "=" in line]
    return [int(line.split("=")[1].split(",")[0]) for line in lines]


def first_error(chain: Chain, totals: list[int]) -> int | None:
    """Index of the first wrong operation, None if all are right."""
    return next(
        (
            i
            for i, (total, value) in enumerate(zip(totals, chain.values(), strict=True))
            if total % 10 != value
        ),
        None,
    )


def draw_attempt(chain: Chain, rng: random.Random, prefix: list[int] | None = None) -> list[int]:
    """Totals of one attempt of the pretraining text, continuing from the totals in `prefix`."""
    totals = list(prefix or [])
    v = totals[-1] % 10 if totals else chain.start
    for name, operands in chain.operations[len(totals) :]:
        totals.append(draw_total(name, v, operands, rng))
        v = totals[-1] % 10
    return totals


def success_probability(chain: Chain, n_steps_done: int) -> float:
    """The exact value of a right prefix of `n_steps_done` steps (a wrong prefix has value 0), where
    `draw_attempt` continues it.
    """
    probability, values = 1.0, [chain.start, *chain.values()]
    for i, (name, operands) in enumerate(chain.operations):
        if i >= n_steps_done:
            probability *= 1 - error_rate(name, values[i], operands)
    return probability


def draw_revision(chain: Chain, attempt: list[int], rng: random.Random) -> list[int]:
    """The attempt that follows `attempt`: it keeps what is right and usually repairs the first wrong step."""
    error = first_error(chain, attempt)
    if error is None:
        return list(attempt) if rng.random() < KEEP_RIGHT_RATE else draw_attempt(chain, rng)
    kept = attempt[:error]
    if rng.random() < REPAIR_RATE:
        v = kept[-1] % 10 if kept else chain.start
        name, operands = chain.operations[error]
        kept.append(OPERATIONS[name].total(v, *operands))
    return draw_attempt(chain, rng, kept)


def draw_document(
    rng: random.Random,
    n_operations: int,
    n_earlier_attempts: int,
    levels: Sequence[dict[str, float]] = LEVELS,
) -> tuple[str, list[str]]:
    """A question and `n_earlier_attempts + 1` attempts, each following the one before it."""
    chain = draw_chain(rng, n_operations, levels)
    attempt = draw_attempt(chain, rng)
    attempts = [solution_text(chain, attempt)]
    for _ in range(n_earlier_attempts):
        attempt = draw_revision(chain, attempt, rng)
        attempts.append(solution_text(chain, attempt))
    return chain.question(), attempts


def draw_problems(seed: int, split: str) -> Iterator[Problem]:
    """Endless distinct problems of a split; splits of one seed share no question (a question's hash decides
    the one it belongs to).
    """
    names = ("train", "validation", "test")
    if split not in names:
        raise ValueError(f"split {split!r}: expected one of {', '.join(names)}")
    rng, seen = random.Random(derive_seed(seed, "arithmetic", split)), set()
    while True:
        chain = draw_chain(rng, rng.randint(MIN_PROBLEM_OPERATIONS, MAX_OPERATIONS), PROBLEM_LEVELS)
        question = chain.question()
        if question in seen or derive_seed("arithmetic split", question) % 3 != names.index(split):
            continue
        seen.add(question)
        yield Problem(
            problem_id=f"arithmetic-{split}-{seed}-{len(seen) - 1:05d}",
            question=question,
            gold_answer=chain.gold_answer(),
        )
