"""What is known here of the tokens of a language model that runs elsewhere: how a prompt is encoded and what
each id stands for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from data_gen.models.eos_ids import need_eos_ids
from data_gen.models.prompt_layout import DEFAULT_PROMPT, PromptLayout
from data_gen.models.tokenizer import load_tokenizer
from data_gen.policies.simulated import EOS_ID, SimulatedPolicy
from data_gen.records import steps
from data_gen.records.chats import Message
from data_gen.records.draw_keys import content_hash
from data_gen.settings.errors import InputError

if TYPE_CHECKING:
    from transformers import GenerationConfig, PretrainedConfig


@dataclass(frozen=True)
class Vocabulary:
    """`fingerprint` is a content hash of tokenizer and chat template; `context_length` is None where the
    model's files do not say it.
    """

    token_bytes: list[bytes]
    eos_ids: frozenset[int]
    encode_prompt: Callable[[str], tuple[int, ...]]
    fingerprint: str
    context_length: int | None = None
    chat: Callable[[Sequence[Message]], tuple[int, ...]] | None = None

    def encode_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Raises InputError for the simulated policy, which reads questions alone."""
        if self.chat is None:
            raise InputError("the simulated policy reads questions alone; expected a model that reads a chat")
        return self.chat(messages)

    def text(self, token_ids: Sequence[int]) -> str:
        return b"".join([self.token_bytes[token_id] for token_id in token_ids]).decode(errors="replace")

    def __contains__(self, token_id: int) -> bool:
        return 0 <= token_id < len(self.token_bytes)


def load_vocabulary(
    name_or_path: str, prompt: PromptLayout = DEFAULT_PROMPT, trust_remote_code: bool = False
) -> Vocabulary:
    """The vocabulary of a folder or Hub name; "simulated" is that of the simulated policy, whose tokens are
    bytes.

    A question is asked as `prompt` says. Where the folder holds the model's config too, the ids that pad its
    embeddings count as known and every EOS that it names ends a text. Raises InputError for a prompt that its
    chat template cannot show.
    """
    if name_or_path == "simulated":
        simulated = SimulatedPolicy()
        return Vocabulary(
            simulated.token_bytes(),
            frozenset({EOS_ID}),
            simulated.encode_prompt,
            simulated.policy_id,
            simulated.context_length,
        )
    tokenizer = load_tokenizer(name_or_path, trust_remote_code)

    config = _model_config(name_or_path, trust_remote_code)
    known = steps.token_bytes(tokenizer)
    n_padding = max(getattr(config, "vocab_size", 0) - len(known), 0)
    prompt.check(tokenizer)
    ask = partial(prompt.encode, tokenizer)
    fingerprint = content_hash(tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template)
    context_length = getattr(config, "max_position_embeddings", None)
    ends = need_eos_ids(name_or_path, tokenizer, config, _generation_config(name_or_path))
    chat = partial(prompt.encode_chat, tokenizer)
    return Vocabulary(known + [b""] * n_padding, ends, ask, fingerprint, context_length, chat)


def _model_config(name_or_path: str, trust_remote_code: bool) -> "PretrainedConfig | None":
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(name_or_path, trust_remote_code=trust_remote_code)
    # A folder with a tokenizer and no model (or one that this transformers does not know): all we need
    except (OSError, ValueError):
        return None


def _generation_config(name_or_path: str) -> "GenerationConfig | None":
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(name_or_path)
    except OSError:  # no generation_config.json
        return None
