"""How a policy is asked: the text around a question, what the system says before it, and the variables of the
chat template.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data_gen.models.prompt_ids import encode_around, encode_chain, encode_question, render_chat, template_of
from data_gen.records.chats import QUESTION, Message
from data_gen.records.steps import check_newlines
from data_gen.settings.errors import InputError

# Of a chat template or of its rendering: what is said in another way, or follows from the question.
OWN_ARGUMENTS = frozenset(
    {
        "messages",
        "conversation",
        "add_generation_prompt",
        "chat_template",
        "tokenize",
        "tools",
        "documents",
        "continue_final_message",
    }
    | {
        "padding",
        "truncation",
        "max_length",
        "return_tensors",
        "return_dict",
        "return_assistant_tokens_mask",
        "tokenizer_kwargs",
    }
)


@dataclass(frozen=True)
class PromptLayout:
    """`template` holds `{question}`; `system_prompt` and `chat_template_kwargs` need a tokenizer with a chat
    template.

    Raises ValueError for a template without question, a blank system prompt, and backslashes with an n where
    newlines were meant.
    """

    template: str = QUESTION
    system_prompt: str | None = None
    chat_template_kwargs: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if QUESTION not in self.template:
            raise InputError(f"prompt_template: got {self.template!r}, expected a text that holds {QUESTION}")
        if self.system_prompt is not None and not self.system_prompt.strip():
            raise InputError(
                f"system_prompt: got {self.system_prompt!r}, expected a text (null: no turn of the system)"
            )
        for name, text in (("prompt_template", self.template), ("system_prompt", self.system_prompt or "")):
            check_newlines(name, text)
        own = sorted(OWN_ARGUMENTS & self.chat_template_kwargs.keys())
        if own:
            raise InputError(
                f"chat_template_kwargs: got {own[0]}, which is set for every prompt here; expected variables "
                "of the template"
            )

    def check(self, tokenizer: Any) -> None:
        """Raises InputError for a system prompt or an argument that the tokenizer's chat template does not
        show, or cannot.
        """
        if self.system_prompt is None and not self.chat_template_kwargs:
            return
        name = tokenizer.name_or_path
        if tokenizer.chat_template is None:
            setting = "chat_template_kwargs" if self.system_prompt is None else "system_prompt"
            raise InputError(
                f"{setting}: {name} has no chat template; expected none (what a base model is told goes into "
                "prompt_template)"
            )
        template = template_of(tokenizer)
        for argument in self.chat_template_kwargs:
            if not re.search(rf"\b{re.escape(argument)}\b", template):
                raise InputError(
                    f"chat_template_kwargs: got {argument}, which the chat template of {name} does not read"
                )
        if self.system_prompt is not None and self.system_prompt.strip() not in self._render(tokenizer, "?"):
            raise InputError(
                f"system_prompt: the chat template of {name} leaves it out; expected one that shows it"
            )

    def encode(self, tokenizer: Any, question: str) -> tuple[int, ...]:
        """Ids up to where the answer begins: `encode_question`, behind the system's turn. What these spell is
        meant.
        """
        if self.system_prompt is None and not self.chat_template_kwargs:
            return encode_question(tokenizer, self.template, question)
        return encode_around(tokenizer, [question], lambda texts: self._render(tokenizer, texts[0]))

    def encode_chat(self, tokenizer: Any, messages: Sequence[Message]) -> tuple[int, ...]:
        """Ids of a chat of the user and the policy up to where its next attempt begins, behind the system's
        turn. What the user says is in its template already (`ChainPrompts.first`).
        """
        if self.system_prompt is None and not self.chat_template_kwargs:
            return encode_chain(tokenizer, messages)

        def render(texts: Sequence[str]) -> str:
            turns = zip(messages, texts, strict=True)
            return self._render_chat(tokenizer, [Message(each.role, text) for each, text in turns])

        return encode_around(tokenizer, [message.content for message in messages], render)

    def _render(self, tokenizer: Any, question: str) -> str:
        return self._render_chat(tokenizer, [Message("user", self.template.replace(QUESTION, question))])

    def _render_chat(self, tokenizer: Any, chat: Sequence[Message]) -> str:
        system = [] if self.system_prompt is None else [Message("system", self.system_prompt)]
        return render_chat(tokenizer, [*system, *chat], True, self.chat_template_kwargs)


DEFAULT_PROMPT = PromptLayout()
