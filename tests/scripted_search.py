"""A policy and a scorer for tests of searches, whose every answer the test writes down."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from data_gen.records.solutions import Problem
from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.protocol import ScorerUsage
from prm_train.search.grading import CandidateGrader
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.paths import PathGrower, SearchPath, search_tree

PROBLEM = Problem("p", "?", "2")
PARAMS = SamplingParams(max_new_tokens=100, stop="\n")
Strategy = Callable[[PathGrower], Coroutine[None, None, list[SearchPath]]]


class ScriptedPolicy:
    """Tokens are bytes. `write(text so far, index)` gives the next step; it ends the solution if it has no
    newline at its end.
    """

    policy_id, base_seed, context_length = "scripted", 0, 1000

    def __init__(self, write: Callable[[str, int], str]) -> None:
        self.write = write
        self.asked: list[tuple[str, int]] = []

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return tuple(question.encode())

    def token_bytes(self) -> list[bytes]:
        return [bytes([i]) for i in range(256)]

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        so_far = bytes(prefix_ids).decode().removeprefix(PROBLEM.question)
        self.asked.append((so_far, index))
        text = self.write(so_far, index)
        reason = FinishReason.STOP if text.endswith("\n") else FinishReason.EOS
        return Completion(
            tuple(text.encode()), text, (-1.0,) * len(text), reason, Usage(n_generated=len(text))
        )


class GreedyPolicy(ScriptedPolicy):
    """Writes the step of index -1 at temperature 0, and tells greedy draws (`greedy`, what they go on from)
    from the others (`sampled`).
    """

    def __init__(self, write: Callable[[str, int], str]) -> None:
        super().__init__(write)
        self.greedy: list[str] = []
        self.sampled: list[tuple[str, int]] = []

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        draw = await super().sample(prefix_ids, params, -1 if params.temperature == 0 else index)
        so_far, _ = asked = self.asked[-1]
        if params.temperature == 0:
            assert index == 0
            self.greedy.append(so_far)
        else:
            self.sampled.append(asked)
        return draw


class ScriptedScorer:
    """`judge(steps)` is the score of the last of them; nodes are tuples of steps."""

    scorer_id = "scripted"
    scores_steps = True
    aggregation: Aggregation = "min"

    def __init__(self, judge: Callable[[tuple[str, ...]], float]) -> None:
        self.judge, self.root, self.usage = judge, (), ScorerUsage()

    @asynccontextmanager
    async def session(self, question: str) -> AsyncIterator["ScriptedScorer"]:
        yield self

    def extend(self, parent: tuple[str, ...], step: str) -> tuple[str, ...]:
        return (*parent, step)

    async def score(self, node: tuple[str, ...]) -> float:
        return self.judge(node)


def search_scripted(
    strategy: Strategy,
    policy: ScriptedPolicy,
    scorer: ScriptedScorer,
    folder: Path,
    params: SamplingParams = PARAMS,
) -> list[Candidate]:
    with Ledger(folder / "l.sqlite") as ledger:
        recorded = LedgerPolicy(policy, ledger, PROBLEM)
        found, _ = asyncio.run(search_tree(strategy, recorded, ArithmeticGrader(), scorer, "prm", params))
        return list(asyncio.run(CandidateGrader(ArithmeticGrader(), PROBLEM).grade(found)))
