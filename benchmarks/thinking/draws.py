"""Solutions of every problem with every effort. All draws are in a ledger, so a run that was broken off makes
none again, and a thought that is forced to go on begins with the natural one of the same index.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.thinking.plan import MAX_ANSWER, MOST, NATURAL, ThinkingConfig, efforts
from benchmarks.thinking.texts import read_thought
from data_gen.files.stored_record import StoredRecord
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.policies.config import PolicyConfig
from data_gen.policies.protocol import Policy
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.problems.arithmetic.rules import parse_question
from data_gen.problems.sources import ProblemSource, load_problems
from data_gen.records.sampling import SamplingParams
from data_gen.records.solutions import Problem
from data_gen.sampling.solutions import Prefix
from data_gen.sampling.thinking import BudgetForcing

PARAMS = SamplingParams(MOST + 40 + MAX_ANSWER)
SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Drawn:
    """Of one solution: whether it is right, the ids that it has and those of its thought (both with what was
    put in), how sure the policy was of its first 20 ids, and what `texts.read_thought` says of the thought.
    """

    is_right: bool
    n_tokens: int
    n_thought: int
    mean_logprob: float
    are_right: tuple[bool, ...]
    ends: tuple[int, ...]
    n_characters: int


@dataclass(frozen=True)
class DrawnProblem:
    """`drawn[effort]` are its solutions; `others` further natural ones, which say how hard it is."""

    problem_id: str
    n_operations: int
    drawn: dict[str, tuple[Drawn, ...]]
    others: tuple[Drawn, ...]


@dataclass(frozen=True)
class DrawnSplit(StoredRecord):
    """drawn-SPLIT.json"""

    WRITTEN_BY = "`python -m benchmarks.thinking run`"

    problems: tuple[DrawnProblem, ...]
    n_generated: int


def draw_split(config: ThinkingConfig, split: str) -> DrawnSplit:
    source = ProblemSource(split=split, n=config.n_problems, seed=config.seed)
    policy = PolicyConfig(str(config.policy), base_seed=config.seed).load()
    forcings = {
        name: BudgetForcing(effort.budget, policy.token_bytes(), effort.penalty)
        for name, effort in efforts().items()
    }

    async def draw_all(problems: Sequence[Problem]) -> DrawnSplit:
        with Ledger(config.output / "ledger.sqlite") as ledger:
            found = await asyncio.gather(
                *(draw_problem(each, policy, ledger, forcings, config.n_draws) for each in problems)
            )
            return DrawnSplit(tuple(found), ledger.total_usage().n_generated)

    return asyncio.run(draw_all(load_problems(source)))


async def draw_problem(
    problem: Problem, policy: Policy, ledger: Ledger, forcings: dict[str, BudgetForcing], n: int
) -> DrawnProblem:
    own = LedgerPolicy(policy, ledger, problem)
    prompt, chain = Prefix(own.encode_prompt(problem.question)), parse_question(problem.question)
    grader = ArithmeticGrader()

    async def draw(name: str, index: int) -> Drawn:
        found = await forcings[name].draw(own, prompt, PARAMS, index)
        verdict = (await grader.grade(problem, found.solution)).verdict
        read = read_thought(chain, found.solution.text)
        first = found.solution.logprobs[:20]
        return Drawn(
            verdict.is_correct,
            len(found.solution.token_ids),
            len(found.thought.token_ids),
            round(sum(first) / max(len(first), 1), 4),
            read.are_right,
            read.ends,
            read.n_characters,
        )

    drawn = {
        name: tuple(await asyncio.gather(*(draw(name, index) for index in range(n)))) for name in forcings
    }
    others = await asyncio.gather(*(draw(NATURAL, index) for index in range(n, 2 * n)))
    return DrawnProblem(problem.problem_id, len(chain.operations), drawn, tuple(others))
