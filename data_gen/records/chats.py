"""How a chain of attempts is shown to a model: the question, an attempt, the next turn of the user, the next
attempt, and so on.

    user       Start with 3: plus 4, times 9.
    assistant  3 plus 4=7\\n7 times 9=62, keep 2\\nAnswer: 7 2
    user       Start with 3: plus 4, times 9.
    assistant  3 plus 4=7\\n7 times 9=63, keep 3\\nAnswer: 7 3

By default the question is asked again after each attempt, as in the text that the built-in policy imitates; a
chat model may rather be told to look for its mistake. Training rows and revision in use share this layout.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from data_gen.records.solutions import Question

QUESTION = "{question}"


@dataclass(frozen=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


def first_question(chat: Sequence[Message]) -> str:
    """What the user says first. Raises ValueError if the user says nothing."""
    for message in chat:
        if message.role == "user":
            return message.content
    raise ValueError(
        f"prompt: got turns of {', '.join(message.role for message in chat) or 'nobody'}, expected one of "
        "the user"
    )


def without_oldest(chat: tuple[Message, ...]) -> tuple[Message, ...]:
    """The chat without its first attempt and the user's turn that answered it; as it is where it shows no
    attempt.
    """
    first = next((place for place, message in enumerate(chat) if message.role == "assistant"), len(chat))
    return chat[:first] + chat[first + 2 :]


@dataclass(frozen=True)
class ChainPrompts:
    """What the user says before each attempt; `{question}` stands for the question."""

    first: str = field(
        default=QUESTION,
        metadata={
            "help": "text before the first attempt: the prompt_template of the policy; holds {question}"
        },
    )
    again: str = field(
        default=QUESTION, metadata={"help": "text before each later attempt; may hold {question}"}
    )

    def __post_init__(self) -> None:
        if QUESTION not in self.first:
            raise ValueError(f"first: got {self.first!r}, expected a text that holds {QUESTION}")


def chain_prompt(problem: Question, attempts: Sequence[str], prompts: ChainPrompts) -> tuple[Message, ...]:
    """The chat up to the next attempt: what a policy continues, and what it was trained on."""
    messages = [Message("user", prompts.first.replace(QUESTION, problem.question))]
    for attempt in attempts:
        messages += [
            Message("assistant", attempt),
            Message("user", prompts.again.replace(QUESTION, problem.question)),
        ]
    return tuple(messages)
