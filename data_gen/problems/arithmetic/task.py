"""The built-in task as the rest of the project reaches it: see
`data_gen.problems.built_in_task.BuiltInTask`.
"""

import random
from functools import partial
from pathlib import Path

from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.problems.arithmetic.rules import (
    STEP_SEPARATOR,
    draw_attempt,
    draw_chain,
    draw_problems,
    parse_question,
    parse_totals,
    solution_text,
)
from data_gen.problems.built_in_task import BuiltInTask
from data_gen.records.steps import split_steps

BASE_POLICY = Path(__file__).parent / "base_policy"
# Pretrained on documents of one attempt each: it does not revise unless it is taught to
SINGLE_ATTEMPT_POLICY = Path(__file__).parent / "single_attempt_policy"


def step_truth(question: str, text: str) -> list[bool | None]:
    """A step is right if it is the line of the one right solution."""
    steps = split_steps(text, STEP_SEPARATOR)
    chain = parse_question(question)
    wanted = split_steps(solution_text(chain, chain.totals()), STEP_SEPARATOR)
    first = next((i for i, step in enumerate(steps) if i >= len(wanted) or step != wanted[i]), len(steps))
    return [True if i < first else False if i == first else None for i in range(len(steps))]


def simulate(question: str, written: str, noise: random.Random) -> str:
    """What the pretraining text would write after `written`, line by line."""
    chain = parse_question(question)
    whole = solution_text(chain, draw_attempt(chain, noise, parse_totals(written)))
    return whole[len(written) :]


def sample_solutions(n: int) -> list[tuple[str, tuple[str, ...]]]:
    rng = random.Random(0)
    chains = [draw_chain(rng) for _ in range(n)]
    solutions = [solution_text(chain, draw_attempt(chain, rng)) for chain in chains]
    return [
        (chain.question(), tuple(text.split(STEP_SEPARATOR)))
        for chain, text in zip(chains, solutions, strict=True)
    ]


ARITHMETIC = BuiltInTask(
    source="arithmetic",
    title="multi-step arithmetic",
    problems=draw_problems,
    example_question="Start with 3: plus 4, minus 2.",
    graders={
        "arithmetic": ArithmeticGrader,
        "arithmetic_last_value": partial(ArithmeticGrader, last_value_only=True),
    },
    grader="arithmetic",
    step_truth=step_truth,
    policy="base",
    policy_folder=BASE_POLICY,
    more_policies={"single_attempt": SINGLE_ATTEMPT_POLICY},
    simulate=simulate,
    sample_solutions=sample_solutions,
    report_notes=(
        "The answer of the built-in task lists every intermediate value, so a wrong step hardly ever ends in "
        "a right answer. "
        "Grading gives one verdict for the whole answer; no step label comes from it.",
    ),
)
