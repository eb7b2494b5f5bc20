"""What a client asks: a question, or a chat of several turns. The policy reads the whole chat; so does a
scorer that reads chats, and another one is refused for it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from data_gen.policies.protocol import Policy, TellingPolicy, need_chat_policy
from data_gen.policies.servers.http_requests import BadRequestError
from data_gen.problems.layouts import question_id
from data_gen.records.chats import Message
from data_gen.records.draw_keys import content_hash
from data_gen.records.sampling import Completion, SamplingParams
from data_gen.records.solutions import Question
from data_gen.settings.errors import InputError
from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.protocol import ChatScorer, Scorer, ScoringTree
from prm_train.serving.operations.accounts import charge, charge_draw

MAX_MESSAGES = 1024
TEXT_TYPES = ("text", "input_text", "output_text")


class TextPart(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    type: Literal["text", "input_text", "output_text"]
    text: str


class MessageBody(BaseModel):
    """A turn as clients send it; `developer` is the newer name of `system`."""

    model_config = ConfigDict(strict=True, extra="forbid")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    name: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _is_text(cls, content: object) -> object:
        parts = [each for each in content if isinstance(each, dict)] if isinstance(content, list) else []
        if other := [str(each.get("type")) for each in parts if str(each.get("type")) not in TEXT_TYPES]:
            raise ValueError(f"got a part of type {other[0]}, expected text")
        return content

    @property
    def message(self) -> Message:
        text = self.content if isinstance(self.content, str) else "".join(each.text for each in self.content)
        return Message("system" if self.role == "developer" else self.role, text)


@dataclass(frozen=True)
class Asked:
    """A chat whose last turn is the user's. `is_question` where that is all of it: then the policy's prompt
    template and system prompt are put around it.
    """

    messages: tuple[Message, ...]

    @property
    def is_question(self) -> bool:
        return len(self.messages) == 1

    @property
    def question(self) -> Question:
        text = self.messages[-1].content
        if self.is_question:
            return Question(question_id(text), text)
        turns = [[each.role, each.content] for each in self.messages]
        return Question(content_hash("chat", turns)[:16], text)

    @property
    def n_bytes(self) -> int:
        return sum(len(each.content.encode()) for each in self.messages)


def asked_question(text: str) -> Asked:
    return _checked((Message("user", text),), "question")


def asked_chat(bodies: Sequence[MessageBody]) -> Asked:
    """Raises BadRequestError for a chat that does not end with what the user says."""
    return _checked(tuple(body.message for body in bodies), "messages")


def _checked(messages: tuple[Message, ...], where: str) -> Asked:
    if not messages or messages[-1].role != "user":
        said = f"a last turn of the {messages[-1].role}" if messages else "none"
        raise BadRequestError(f"{where}: got {said}, expected a last turn of the user")
    if not messages[-1].content.strip():
        raise BadRequestError(f"{where}: got a blank question, expected text")
    return Asked(messages)


def encode_asked(policy: Policy, asked: Asked) -> tuple[int, ...]:
    """Ids of the policy's prompt. Raises BadRequestError for a chat that it cannot read."""
    if asked.is_question:
        return policy.encode_prompt(asked.messages[0].content)
    try:
        return need_chat_policy(policy).encode_chat(asked.messages)
    except InputError as error:
        raise BadRequestError(f"messages: {error}") from None


class AskedPolicy:
    """`policy` that has been asked already: its prompt is `prompt_ids`, whatever the question.

    `tell` is given the ids of each draw while they are written, if the policy tells: those between the prompt
    and the draw, and the draw's so far.
    """

    def __init__(
        self,
        policy: Policy,
        prompt_ids: tuple[int, ...],
        tell: Callable[[Sequence[int], Sequence[int]], None] | None = None,
    ) -> None:
        self.policy_id, self.base_seed = policy.policy_id, policy.base_seed
        self.context_length = policy.context_length
        self.model = getattr(policy, "model", None)  # see `scoring.flops.own_model`
        self._policy, self._prompt_ids, self._tell = policy, prompt_ids, tell

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return self._prompt_ids

    def encode_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        return need_chat_policy(self._policy).encode_chat(messages)

    def token_bytes(self) -> list[bytes]:
        return self._policy.token_bytes()

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        if not isinstance(self._policy, TellingPolicy):
            completion = await self._policy.sample(prefix_ids, params, index)
        else:
            completion = await self._told(self._policy, prefix_ids, params, index)
        charge_draw(completion.usage.n_generated)
        return completion

    async def _told(
        self, policy: TellingPolicy, prefix_ids: tuple[int, ...], params: SamplingParams, index: int
    ) -> Completion:
        """What was written of a draw that is cancelled is charged, too: a client may have read it."""
        n_written, before_ids = 0, prefix_ids[len(self._prompt_ids) :]

        def tell(token_ids: Sequence[int]) -> None:
            nonlocal n_written
            n_written = len(token_ids)
            if self._tell is not None:
                self._tell(before_ids, token_ids)

        try:
            return await policy.sample_told(prefix_ids, params, index, tell)
        except asyncio.CancelledError:
            charge(n_written)
            raise


class AskedScorer:
    """`scorer` whose sessions begin with a chat of several turns."""

    def __init__(self, scorer: Scorer, asked: Asked) -> None:
        if not isinstance(scorer, ChatScorer):
            raise BadRequestError(
                f"messages: got {len(asked.messages)} turns; this server's scorer ({type(scorer).__name__}) "
                "reads a question alone, expected one message of the user (or a strategy without scorer)"
            )
        self.scorer_id, self.scores_steps = scorer.scorer_id, scorer.scores_steps
        self.aggregation: Aggregation = scorer.aggregation
        self.model = getattr(scorer, "model", None)
        self._scorer, self._asked = scorer, asked

    def session(self, question: str) -> AbstractAsyncContextManager[ScoringTree]:
        return self._scorer.chat_session(self._asked.messages)


class ChargedScorer:
    """`scorer` whose sessions are charged when they end, that of a client which has gone away, too."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer_id, self.scores_steps = scorer.scorer_id, scorer.scores_steps
        self.aggregation: Aggregation = scorer.aggregation
        self.model = getattr(scorer, "model", None)
        self._scorer = scorer

    @asynccontextmanager
    async def session(self, question: str) -> AsyncIterator[ScoringTree]:
        async with self._scorer.session(question) as tree:
            try:
                yield tree
            finally:
                charge(tree.usage.n_new)


def scorer_for(scorer: Scorer, asked: Asked) -> Scorer:
    """A scorer that reads what was asked. Raises BadRequestError where it cannot read a chat."""
    return scorer if asked.is_question else AskedScorer(scorer, asked)
