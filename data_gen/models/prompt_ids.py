"""Prompts → token ids in which no token is special but those that the template itself puts there.

A question may spell a special token: `<|im_end|>` would end its turn, a scorer's step marker would be a step.
What users wrote is text, here as in steps. A prompt that spells none has the ids of its text as a whole. In
one that does, each spelled token is tokenized by itself, as the letters that it is, and so is what stands
between::

    <|user|>What does <|end|> mean?<|end|><|assistant|>    →    [<|user|>, What, does,] [<, |, end, |, >]
                                                           [mean, ?, <|end|>, <|assistant|>]
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import count, pairwise
from typing import Any, NamedTuple

from data_gen.records.chats import QUESTION, Message
from data_gen.settings.errors import InputError


def encode_messages(
    tokenizer: Any, messages: Sequence[Message], add_generation_prompt: bool = True
) -> tuple[int, ...]:
    """By the chat template. Raises InputError where the tokenizer has several and none is called default."""

    def render(contents: Sequence[str]) -> str:
        chat = [Message(message.role, content) for message, content in zip(messages, contents, strict=True)]
        return render_chat(tokenizer, chat, add_generation_prompt)

    return encode_around(tokenizer, [message.content for message in messages], render)


def encode_chain(tokenizer: Any, prompt: Sequence[Message]) -> tuple[int, ...]:
    """Ids of a chain of attempts (`data_gen.records.chats`) up to where the next attempt begins: by the chat
    template, or each turn and a newline without one.
    """
    if tokenizer.chat_template is None:
        turns = [message.content for message in prompt]
        return encode_around(
            tokenizer, turns, lambda texts: "".join(f"{text}\n" for text in texts), add_special_tokens=True
        )
    return encode_messages(tokenizer, prompt)


def encode_question(tokenizer: Any, prompt_template: str, question: str) -> tuple[int, ...]:
    """The question in a prompt template: as a user's message up to where the assistant begins, or, for a
    tokenizer without chat template (a base model), the prompt template, where few-shot examples go, and a
    newline. What the prompt template spells is meant.
    """

    def render(texts: Sequence[str]) -> str:
        prompt = prompt_template.replace(QUESTION, texts[0])
        return prompt + "\n" if is_plain else render_chat(tokenizer, [Message("user", prompt)], True)

    is_plain = tokenizer.chat_template is None
    return encode_around(tokenizer, [question], render, add_special_tokens=is_plain)


def encode_text(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Ids of a text by itself. What looks like a special token in it is not one."""
    ids = _ids_of(tokenizer, text)
    special = _special_tokens(tokenizer)
    # Sentencepiece finds them in its vocabulary; cut behind their first letter they are none
    if not special.ids.isdisjoint(ids):
        cuts = [match.start() + 1 for match in special.pattern.finditer(text)]
        pieces = [text[start:end] for start, end in pairwise((0, *cuts, len(text))) if end > start]
        ids = [token for piece in pieces for token in _ids_of(tokenizer, piece)]
    return tuple(ids)


def _ids_of(tokenizer: Any, text: str) -> list[int]:
    """As `tokenizer(text, add_special_tokens=False, split_special_tokens=True)` gives them. The call also
    builds masks and copies, which takes twice as long as the ids, for every step that a search scores.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids
    backend.encode_special_tokens = True  # every call of the tokenizer sets it anew
    if backend.truncation is not None:
        backend.no_truncation()
    if backend.padding is not None:
        backend.no_padding()
    ids = backend.encode(text, add_special_tokens=False).ids
    return ids


def encode_around(
    tokenizer: Any,
    texts: Sequence[str],
    render: Callable[[Sequence[str]], str],
    add_special_tokens: bool = False,
) -> tuple[int, ...]:
    """Ids of `render(texts)`, in which a special token that one of `texts` spells is text, and what `render`
    adds is what it is.
    """
    pattern = _special_tokens(tokenizer).pattern
    if not any(pattern.search(text) for text in texts):
        return tuple(tokenizer(render(texts), add_special_tokens=add_special_tokens)["input_ids"])
    word = next(word for word in (f"spelled{n}x" for n in count()) if not any(word in text for text in texts))
    spelled: list[str] = []

    def stand_in(match: re.Match[str]) -> str:
        spelled.append(match[0])
        return f"{word}{len(spelled) - 1}x"

    pieces = re.split(f"{word}([0-9]+)x", render([pattern.sub(stand_in, text) for text in texts]))
    ids: list[int] = []
    for number, piece in enumerate(pieces):
        if number % 2:
            ids += encode_text(tokenizer, spelled[int(piece)])
        elif piece or not number:
            ids += tokenizer(piece, add_special_tokens=add_special_tokens and not number)["input_ids"]
    return tuple(ids)


def template_of(tokenizer: Any) -> str:
    """The chat template of a tokenizer that has one. Raises InputError where it has several and none is
    called default.
    """
    templates = tokenizer.chat_template
    if isinstance(templates, dict) and "default" not in templates and len(templates) > 1:
        names = ", ".join(sorted(templates))
        raise InputError(
            f"model {tokenizer.name_or_path}: its chat templates are called {names}; expected one that is "
            "called default"
        )
    template: str = (
        templates.get("default", next(iter(templates.values()))) if isinstance(templates, dict) else templates
    )
    return template


def render_chat(
    tokenizer: Any,
    chat: Sequence[Message],
    add_generation_prompt: bool,
    arguments: Mapping[str, object] | None = None,
) -> str:
    """The text of a chat, with `arguments` as variables of the template. Raises InputError where the template
    refuses the chat.
    """
    from jinja2 import TemplateError

    messages = [{"role": message.role, "content": message.content} for message in chat]
    layout: dict[str, Any] = {
        "chat_template": template_of(tokenizer),
        "add_generation_prompt": add_generation_prompt,
        "tokenize": False,
    }
    try:
        text: str = tokenizer.apply_chat_template(messages, **layout, **(arguments or {}))
    except TemplateError as error:  # raised by the template itself, as for a role that it does not know
        roles = ", ".join(message.role for message in chat)
        raise InputError(
            f"chat template of {tokenizer.name_or_path}: refuses messages of {roles}: {error}"
        ) from error
    return text


class _Special(NamedTuple):
    """What text must not be taken for, and the ids that it must not have (that of unknown letters it may)."""

    pattern: re.Pattern[str]
    ids: frozenset[int]


def _special_tokens(tokenizer: Any) -> _Special:
    return _special_tokens_of(tokenizer, len(tokenizer), tuple(tokenizer.all_special_tokens))


@lru_cache(4)
def _special_tokens_of(tokenizer: Any, n_tokens: int, named: tuple[str, ...]) -> _Special:
    """`n_tokens` and `named` are those of the tokenizer: it may have got new ones since it was asked last."""
    added = {
        token.content: token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    tokens = added | dict(zip(named, tokenizer.convert_tokens_to_ids([*named]), strict=True))
    letters = "|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True))
    return _Special(re.compile(letters or r"(?!)"), frozenset(tokens.values()) - {tokenizer.unk_token_id})
