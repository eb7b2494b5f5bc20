"""What a reward reads from the arguments of TRL's reward functions: texts of completions, questions."""

from collections.abc import Mapping, Sequence
from typing import Any

from data_gen.settings.errors import InputError


def completion_text(completion: Any) -> str:
    """Of a completion that is a text, or a list of messages: what the assistant said in them."""
    if isinstance(completion, str):
        return completion
    return "".join(_content(turn) for turn in completion if turn["role"] == "assistant")


def question_texts(prompts: Sequence[Any], columns: Mapping[str, Sequence[Any]], name: str) -> list[str]:
    """The column of this name; where the dataset has none, what the user said last in each prompt. Raises
    InputError for a prompt that is a text, which holds a template or is already a prompt's layout.
    """
    if name in columns:
        return [str(question) for question in columns[name]]
    questions = []
    for prompt in prompts:
        turns = [] if isinstance(prompt, str) else [turn for turn in prompt if turn["role"] == "user"]
        if not turns:
            raise InputError(
                f"dataset: got neither a column {name!r} nor prompts that are messages; expected one of "
                "them, to know what the question is"
            )
        questions.append(_content(turns[-1]))
    return questions


def row_questions(prompts: Sequence[Any], rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """`question_texts` for the rows of a dataset."""
    return question_texts(prompts, {key: [row[key] for row in rows] for key in rows[0]}, name)


def _content(turn: Mapping[str, Any]) -> str:
    content = turn["content"]
    if isinstance(content, str) or content is None:
        return content or ""
    return "".join(part.get("text", "") for part in content)
