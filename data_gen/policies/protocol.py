"""What the rest of the toolkit asks of a language model that writes solutions."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from data_gen.records.chats import Message
from data_gen.records.sampling import Completion, SamplingParams
from data_gen.settings.errors import InputError


class Policy(Protocol):
    """`policy_id` is a content hash of weights, tokenizer and chat template; `base_seed` names the stream of
    sampling noise.
    """

    policy_id: str
    base_seed: int
    context_length: int

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        """Ids of the prompt for a question, up to where the policy's answer begins."""
        ...

    def token_bytes(self) -> list[bytes]:
        """The bytes that each token id stands for (special tokens: none)."""
        ...

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        """One draw after `prefix_ids`.

        The noise of a token is a pure function of (base_seed, policy_id, hash of prefix_ids, index, offset
        from the end of the prefix), whatever else is being drawn: asking again gives the same draw, different
        `index` values never share noise. Many calls run concurrently; cancelling one frees its place in the
        batch. Raises ValueError if the prefix leaves no room in the context.
        """
        ...


@runtime_checkable
class TellingPolicy(Policy, Protocol):
    """A policy that says what it writes while it writes it."""

    async def sample_told(
        self,
        prefix_ids: tuple[int, ...],
        params: SamplingParams,
        index: int,
        tell: Callable[[Sequence[int]], None],
    ) -> Completion:
        """The draw of `sample`. Until it ends, `tell` is called with the draw's ids so far, now and then; it
        must not raise, nor keep or change the ids.
        """
        ...


@runtime_checkable
class ChatPolicy(Policy, Protocol):
    """A policy that can be shown earlier attempts, as models that revise are."""

    def encode_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Ids of a chat (see `data_gen.records.chats`) up to where the next attempt begins. Raises InputError
        where its tokenizer is not known here.
        """
        ...


def need_chat_policy(policy: Policy) -> ChatPolicy:
    """The policy. Raises InputError for one that cannot be shown earlier attempts."""
    if not isinstance(policy, ChatPolicy):
        raise InputError(
            f"policy {policy.policy_id}: {type(policy).__name__} reads questions alone; expected one that "
            "reads a chat with earlier attempts"
        )
    return policy
