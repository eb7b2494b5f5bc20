"""Solutions whose thinking is held within a budget (budget forcing: Muennighoff et al. 2025, s1) and kept
from switching thoughts too soon (TIP: Wang et al. 2025, "Thoughts Are All Over the Place").

A reasoning model thinks, writes an end marker such as ``</think>`` and answers. Here a thought that would end
too early has its marker taken away and a text such as "Wait" put in its place, and one that goes on for too
long gets the marker::

    … so 12.</think>          fewer than min_tokens:  … so 12. Wait
    … or perhaps it is        max_tokens:             … or perhaps it is</think>

Everything goes through `Policy.sample`: a thought is drawn in pieces, each behind all that was written before
it, so every draw is in the ledger, and what is put in costs what a prefix costs. A draw of the same index
gives the same solution again.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from data_gen.ledger.policy import LedgerPolicy
from data_gen.policies.protocol import Policy
from data_gen.records.sampling import Completion, FinishReason, SamplingParams
from data_gen.records.solutions import Solution
from data_gen.records.token_rules import LARGEST_BIAS
from data_gen.sampling.forced_text import text_ids
from data_gen.sampling.solutions import Prefix, draw_solution


@dataclass(frozen=True)
class ThinkingBudget:
    """A thought has at least `min_tokens` ids before the text `end`, each `wait` that was put in included,
    and is ended after `max_tokens` ids.
    """

    end: str
    min_tokens: int
    max_tokens: int
    wait: str = "Wait"

    def __post_init__(self) -> None:
        if not self.end or not self.wait or self.end in self.wait:
            raise ValueError(
                f"thinking budget: got end {self.end!r} and wait {self.wait!r}, expected two texts, the "
                "second without the first"
            )
        if not 0 <= self.min_tokens <= self.max_tokens or self.max_tokens < 1:
            raise ValueError(
                f"thinking budget: got min_tokens {self.min_tokens} and max_tokens {self.max_tokens}, "
                "expected 0 <= min_tokens <= max_tokens and at least 1 for the latter"
            )


@dataclass(frozen=True)
class SwitchPenalty:
    """`nats` are taken from the logits of the ids that begin one of `words`, for the first `n_tokens` ids of
    every line of thought; such a word, or a forced "Wait", begins the next one.

    `words` are given as they stand in a text, with the blank before them: " Alternatively". Of one that takes
    several ids the first is penalized, wherever else it leads.
    """

    words: tuple[str, ...]
    nats: float = 3.0
    n_tokens: int = 600

    def __post_init__(self) -> None:
        if not self.words or "" in self.words:
            raise ValueError(f"switch penalty: got words {self.words}, expected one or more texts")
        if not 0 < self.nats < LARGEST_BIAS or self.n_tokens < 1:
            raise ValueError(
                f"switch penalty: got {self.nats} nats for {self.n_tokens} tokens, expected more than 0 and "
                f"less than {LARGEST_BIAS:g} for at least 1"
            )


@dataclass(frozen=True)
class Thought:
    """What was written up to the end of the thinking, the end marker included.

    `is_forced` says of each id whether it was put in; what is put in is certain, so its log-probability is 0.
    `finish_reason` is None where an answer can follow, else why none does: the policy ended the text inside
    the thought (EOS), or it is cut by max_new_tokens or the context (LENGTH).
    """

    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    is_forced: tuple[bool, ...] = ()
    finish_reason: FinishReason | None = None

    def with_draw(self, draw: Completion) -> "Thought":
        drawn = (False,) * len(draw.token_ids)
        return Thought(self.token_ids + draw.token_ids, self.logprobs + draw.logprobs, self.is_forced + drawn)

    def with_forced(self, token_ids: tuple[int, ...]) -> "Thought":
        n = len(token_ids)
        return Thought(self.token_ids + token_ids, self.logprobs + (0.0,) * n, self.is_forced + (True,) * n)

    def head(self, n_ids: int) -> "Thought":
        return Thought(self.token_ids[:n_ids], self.logprobs[:n_ids], self.is_forced[:n_ids])


@dataclass(frozen=True)
class ThinkingSolution:
    """A whole solution, and the thought that it begins with."""

    solution: Solution
    thought: Thought


class BudgetForcing:
    """A thinking budget for one vocabulary, whose `token_bytes` make ids of the texts that are put in.

    Raises InputError where no tokens spell them, ValueError for a budget that its own texts do not fit. An
    end marker that is a special token without a text (`Policy.token_bytes`) cannot be seen.
    """

    def __init__(
        self, budget: ThinkingBudget, token_bytes: Sequence[bytes], penalty: SwitchPenalty | None = None
    ) -> None:
        self.budget, self.penalty = budget, penalty
        self.end_ids, self.wait_ids = text_ids(budget.end, token_bytes), text_ids(budget.wait, token_bytes)
        self._token_bytes = token_bytes
        self._biases: tuple[tuple[int, float], ...] = ()
        if penalty is not None:
            first_ids = sorted({text_ids(word, token_bytes)[0] for word in penalty.words})
            self._biases = tuple((token_id, -penalty.nats) for token_id in first_ids)
        if budget.min_tokens and budget.min_tokens + len(self.wait_ids) > budget.max_tokens:
            raise ValueError(
                f"thinking budget: got max_tokens {budget.max_tokens}, expected at least min_tokens "
                f"{budget.min_tokens} and the {len(self.wait_ids)} ids of {budget.wait!r}"
            )

    async def draw(
        self, policy: LedgerPolicy, prompt: Prefix, params: SamplingParams, index: int
    ) -> ThinkingSolution:
        """The `index`-th solution behind `prompt`, where its thought begins. `params.max_new_tokens` bounds
        thought and answer together; `params.stop_strings` end the answer, not the thought.

        Raises ValueError for parameters that draw single steps, or leave no room for an answer.
        """
        if params.stop is not None:
            raise ValueError(f"stop: got {params.stop!r}, expected none: a thought is drawn with its answer")
        n_longest = self.budget.max_tokens + len(self.end_ids)
        if params.max_new_tokens <= n_longest:
            raise ValueError(
                f"max_new_tokens: got {params.max_new_tokens}, expected more than the {n_longest} that a "
                "thought may have"
            )
        thought = await self.think(policy, prompt.token_ids, params, index)
        ids, reason = thought.token_ids, thought.finish_reason
        text = prompt.text + self._text(ids[:-1] if reason is FinishReason.EOS else ids)
        if reason is not None:
            problem_id = policy.question.problem_id
            return ThinkingSolution(Solution(problem_id, index, text, reason, ids, thought.logprobs), thought)
        rest = replace(params, max_new_tokens=params.max_new_tokens - len(ids))
        answer = await draw_solution(policy, Prefix(prompt.token_ids + ids, text), rest, index)
        whole = replace(answer, token_ids=ids + answer.token_ids, logprobs=thought.logprobs + answer.logprobs)
        return ThinkingSolution(whole, thought)

    async def think(
        self, policy: Policy, prompt_ids: tuple[int, ...], params: SamplingParams, index: int
    ) -> Thought:
        """The thought of the `index`-th solution."""
        thought, n_calm = Thought(), 0  # n_calm: ids since the last switch of thoughts
        n_room = min(params.max_new_tokens, policy.context_length - len(prompt_ids))
        while (n_left := min(self.budget.max_tokens, n_room) - len(thought.token_ids)) > 0:
            piece = self._piece(params, n_left, n_calm)
            draw = await policy.sample(prompt_ids + thought.token_ids, piece, index)
            n_before, thought = len(thought.token_ids), thought.with_draw(draw)
            n_text, n_marked = self._end(thought.token_ids)
            if n_marked is not None:
                ended, n_text = thought.head(n_marked), max(n_text, n_before)
            elif draw.finish_reason is FinishReason.EOS:
                ended, n_text = replace(thought, finish_reason=FinishReason.EOS), len(thought.token_ids) - 1
            else:
                n_calm = 0 if draw.finish_reason is FinishReason.STOP else n_calm + len(draw.token_ids)
                continue
            if n_text >= self.budget.min_tokens:
                return ended
            thought, n_calm = thought.head(n_text).with_forced(self.wait_ids), 0
        if n_room > self.budget.max_tokens:
            thought = thought.head(self._n_before_begun_end(thought.token_ids)).with_forced(self.end_ids)
        if len(thought.token_ids) < n_room:
            return thought
        return replace(thought.head(max(n_room, 0)), finish_reason=FinishReason.LENGTH)

    def _piece(self, params: SamplingParams, n_left: int, n_calm: int) -> SamplingParams:
        """How the next piece of a thought is drawn: up to its end, or to the next switch or change of
        biases.
        """
        if self.penalty is None:
            return replace(params, stop_strings=(self.budget.end,), max_new_tokens=n_left)
        piece = replace(params, stop_strings=(self.budget.end, *self.penalty.words), max_new_tokens=n_left)
        n_biased = min(self.penalty.n_tokens - n_calm, n_left)
        if n_biased < 1:
            return piece
        return replace(piece, max_new_tokens=n_biased, biases=params.biases + self._biases)

    def _end(self, token_ids: Sequence[int]) -> tuple[int, int | None]:
        """How many ids stand before the end marker, and up to the one that completes it (None: no marker)."""
        pieces = [self._token_bytes[token_id] for token_id in token_ids]
        mark, ends = self.budget.end.encode(), list(accumulate(map(len, pieces)))
        place = b"".join(pieces).find(mark)
        if place < 0:
            return len(pieces), None
        return bisect_right(ends, place), bisect_left(ends, place + len(mark)) + 1

    def _n_before_begun_end(self, token_ids: Sequence[int]) -> int:
        """How many ids stand before the last ones that spell a beginning of the end marker, if they do."""
        mark, tail, n_before = self.budget.end.encode(), b"", len(token_ids)
        for n_ids in range(len(token_ids) - 1, -1, -1):
            tail = self._token_bytes[token_ids[n_ids]] + tail
            if len(tail) >= len(mark):
                break
            if tail and mark.startswith(tail):
                n_before = n_ids
        return n_before

    def _text(self, token_ids: Sequence[int]) -> str:
        return b"".join([self._token_bytes[token_id] for token_id in token_ids]).decode(errors="replace")
