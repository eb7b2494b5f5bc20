"""A policy whose draws are read from the ledger if it has them, and are made and written to it if it has
not.
"""

import asyncio
from collections.abc import Sequence
from functools import cached_property

from data_gen.grading.accepted_answers import grade_any
from data_gen.grading.graders import Grader
from data_gen.ledger.store import Ledger
from data_gen.policies.protocol import Policy, need_chat_policy
from data_gen.records.chats import Message
from data_gen.records.draw_keys import DrawKey, content_hash, prefix_hash
from data_gen.records.sampling import Completion, SamplingParams, Usage
from data_gen.records.solutions import GradedSolution, Problem, Question, Solution


class LedgerPolicy:
    """`policy` with a ledger in front of it, for the draws of one question; `grade` needs a problem, with its
    gold answer.

    `n_draws` counts the distinct draws that were requested and `usage` what they cost when they were made, in
    this run or an earlier one.

    A chat that shows earlier attempts is a prompt of its own (`encode_chat`): what is drawn behind it
    continues no solution of the question.
    """

    def __init__(self, policy: Policy, ledger: Ledger, question: Question) -> None:
        self.policy_id, self.base_seed, self.context_length = (
            policy.policy_id,
            policy.base_seed,
            policy.context_length,
        )
        self.question = question
        self.n_draws = 0
        self._n_generated = self._n_prefilled = self._n_cached = 0
        self._charged: set[DrawKey] = set()
        self._policy, self._ledger = policy, ledger
        self._prompts = [policy.encode_prompt(question.question)]  # the question's comes first

    @property
    def usage(self) -> Usage:
        return Usage(self._n_generated, self._n_prefilled, self._n_cached)

    @cached_property
    def problem(self) -> Problem:
        """The question with its gold answer. Raises ValueError for one without."""
        if not isinstance(self.question, Problem):
            raise ValueError(f"question {self.question.problem_id}: no gold answer is known to grade with")
        return self.question

    @cached_property
    def _gold_hash(self) -> str:
        """A verdict holds for one gold answer: a corrected answer has draws graded again."""
        problem = self.problem
        return content_hash(problem.question, problem.gold_answer, *problem.other_answers)

    @cached_property
    def _question_hash(self) -> bytes:
        return prefix_hash(self._prompts[0])

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return self._policy.encode_prompt(question)

    def encode_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Raises InputError for a policy that cannot be shown earlier attempts."""
        prompt_ids = need_chat_policy(self._policy).encode_chat(messages)
        if prompt_ids not in self._prompts:
            self._prompts.append(prompt_ids)
        return prompt_ids

    def token_bytes(self) -> list[bytes]:
        return self._policy.token_bytes()

    def key(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> DrawKey:
        return self.key_of(prefix_hash(prefix_ids), params, index)

    def key_of(self, prefix_name: bytes, params: SamplingParams, index: int) -> DrawKey:
        """`prefix_name` is the `prefix_hash` of the prefix."""
        return DrawKey(self.policy_id, prefix_name, params.params_hash, self.base_seed, index)

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        return await self.draw(self.key(prefix_ids, params, index), prefix_ids, params)

    async def draw(self, key: DrawKey, prefix_ids: tuple[int, ...], params: SamplingParams) -> Completion:
        """What `sample` gives, for whoever has the key."""
        ledger, in_flight = self._ledger, self._ledger.in_flight
        # Another task may be making this very draw. If it is cancelled, the first of those who wait here
        # makes it.
        while key in in_flight:
            made = in_flight[key] = in_flight[key] or asyncio.Event()
            await made.wait()

        if (draw := self.known(key)) is not None:
            pass
        elif (draw := ledger.find(key)) is not None:
            if not ledger.is_named(key):
                parent = self._prompt_of(prefix_ids)
                ledger.name(key, self.question.problem_id, prefix_ids, parent, params)
        else:
            in_flight[key] = None
            try:
                draw = await self._policy.sample(prefix_ids, params, key.draw_index)
                parent = self._prompt_of(prefix_ids)
                ledger.add(key, self.question.problem_id, prefix_ids, parent, params, draw)
            finally:
                if (waited_for := in_flight.pop(key)) is not None:
                    waited_for.set()

        if key not in self._charged:
            self._charged.add(key)
            self.charge(key, prefix_ids, draw)
        return draw

    def _prompt_of(self, prefix_ids: tuple[int, ...]) -> bytes | None:
        """The hash of the longest prompt that a prefix continues; None for a prompt."""
        if prefix_ids in self._prompts:
            return None
        if len(self._prompts) == 1:
            return self._question_hash
        begun = [prompt for prompt in self._prompts[1:] if prefix_ids[: len(prompt)] == prompt]
        return prefix_hash(max(begun, key=len)) if begun else self._question_hash

    def known(self, key: DrawKey) -> Completion | None:
        """A draw that this process has read from the ledger or written to it, if it was kept."""
        return None

    def charge(self, key: DrawKey, prefix_ids: tuple[int, ...], draw: Completion) -> None:
        """Count a draw; `sample` calls it once for each distinct draw that is requested."""
        self.n_draws += 1
        usage = draw.usage
        self._n_generated += usage.n_generated
        self._n_prefilled += usage.n_prefilled
        self._n_cached += usage.n_cached

    async def grade(self, grader: Grader, key: DrawKey, solution: Solution) -> GradedSolution:
        """The grader's verdict on the solution that a draw completed, graded once per grader version and gold
        answer.

        A time-out is not stored, since a later run on a less busy machine may get a verdict.
        """
        gold_hash, version = self._gold_hash, grader.grader_version
        stored = self._ledger.find_verdict(key, gold_hash, version)
        if stored is None:
            graded = await grade_any(grader, self.problem, solution)
            # Another task may have graded the same draw meanwhile, and a verdict cannot be stored twice.
            stored = self._ledger.find_verdict(key, gold_hash, version)
            if stored is None and graded.verdict.reason != "timeout":
                self._ledger.add_verdict(key, gold_hash, version, graded.answer, graded.verdict)
        if stored is not None:
            graded = GradedSolution(solution, *stored)
        self.judged(key, graded)
        return graded

    def judged(self, key: DrawKey, graded: GradedSolution) -> None:
        """Count a verdict; `grade` calls it each time that one is asked for."""
