"""A policy whose draws are read from the ledger where they are there, and written to it where they are new."""

import asyncio

from data_gen.grading.accepted_answers import grade_any
from data_gen.grading.graders import Grader
from data_gen.ledger.store import Ledger
from data_gen.policies.protocol import Policy
from data_gen.records.draw_keys import DrawKey, content_hash, prefix_hash
from data_gen.records.sampling import Completion, SamplingParams, Usage
from data_gen.records.solutions import GradedSolution, Problem, Solution


class LedgerPolicy:
    """A policy whose draws for one problem come from the ledger where it has them, and go into it where it has not."""

    def __init__(self, policy: Policy, ledger: Ledger, problem: Problem) -> None:
        self.policy_id, self.base_seed, self.context_length = policy.policy_id, policy.base_seed, policy.context_length
        self.problem = problem
        self.usage = Usage()  # what the distinct draws that were asked for cost when they were made, in this run or an earlier one
        self.n_draws = 0  # how many they are
        self._charged: set[DrawKey] = set()
        self._policy, self._ledger = policy, ledger
        self._gold_hash = content_hash(problem.question, problem.gold_answer, *problem.other_answers)
        self._root = prefix_hash(policy.encode_prompt(problem.question))

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return self._policy.encode_prompt(question)

    def token_bytes(self) -> list[bytes]:
        return self._policy.token_bytes()

    def key(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> DrawKey:
        return DrawKey(self.policy_id, prefix_hash(prefix_ids), params.params_hash, self.base_seed, index)

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        key = self.key(prefix_ids, params, index)
        while key in self._ledger.in_flight:  # another task is making this very draw
            await self._ledger.in_flight[key].wait()
        draw, parent = self._ledger.find(key), None if key.prefix_hash == self._root else self._root
        if draw is not None:
            self._ledger.name(key, self.problem.problem_id, prefix_ids, parent, params)
        else:
            made = self._ledger.in_flight[key] = asyncio.Event()
            try:
                draw = await self._policy.sample(prefix_ids, params, index)
                self._ledger.add(key, self.problem.problem_id, prefix_ids, parent, params, draw)
            finally:
                del self._ledger.in_flight[key]
                made.set()
        if key not in self._charged:
            self._charged.add(key)
            self.charge(key, prefix_ids, draw)
        return draw

    def charge(self, key: DrawKey, prefix_ids: tuple[int, ...], draw: Completion) -> None:
        """Count a draw that was asked for, once however often that is."""
        self.n_draws += 1
        self.usage += draw.usage

    async def grade(self, grader: Grader, key: DrawKey, solution: Solution) -> GradedSolution:
        """The grader's verdict on the solution that a draw completed, graded once per grader version and gold answer.

        A time-out is not stored: a later run, on a machine that is less busy, may know better.
        """
        stored = self._ledger.find_verdict(key, self._gold_hash, grader.grader_version)
        if stored is None:
            graded = await grade_any(grader, self.problem, solution)
            stored = self._ledger.find_verdict(key, self._gold_hash, grader.grader_version)  # of another task that graded it meanwhile
            if stored is None:
                if graded.verdict.reason != "timeout":
                    self._ledger.add_verdict(key, self._gold_hash, grader.grader_version, graded.answer, graded.verdict)
                return graded
        return GradedSolution(solution, *stored)
