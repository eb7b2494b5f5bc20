"""Revision rows → ids to be trained on: the chain of earlier attempts is context, the loss is on the last
attempt alone.

    <|user|>question<|end|><|assistant|>wrong attempt<|end|><|user|>question<|end|><|assistant|>right answer<|end|>
                                                                                           └── trained on ──┘

A chain that is too long loses its oldest attempts, never a part of its answer: the newest attempt is the one
that the answer resembles.
"""  # noqa: E501

from collections import Counter
from collections.abc import Sequence
from typing import Any

from data_gen.models.prompt_ids import encode_chain, encode_messages, encode_text
from data_gen.records.chats import Message, without_oldest
from data_gen.rows.layouts import RevisionRow
from data_gen.settings.errors import InputError
from prm_train.examples.examples import Example, ExampleSet, counted
from prm_train.examples.unlabeled import UNLABELED


def encode_answer(tokenizer: Any, prompt: Sequence[Message], answer: str) -> tuple[int, ...]:
    """Ids of the answer as it follows the chain, up to and with EOS.

    Raises InputError for a chat template that renders the chain otherwise once an answer follows it, as those
    of thinking models do that strip earlier thoughts: the model would be trained on another context than it
    is asked with.
    """
    if tokenizer.chat_template is None:
        return (*encode_text(tokenizer, answer), tokenizer.eos_token_id)
    before = encode_chain(tokenizer, prompt)
    whole = encode_messages(tokenizer, (*prompt, Message("assistant", answer)), add_generation_prompt=False)
    if whole[: len(before)] != before:
        place = next(i for i, (a, b) in enumerate(zip(before, (*whole, -1), strict=False)) if a != b)
        raise InputError(
            f"chat template of {tokenizer.name_or_path}: the chain is rendered otherwise before an answer, "
            f"from token {place} on: "
            f"{tokenizer.decode(before[place : place + 12])!r} and then "
            f"{tokenizer.decode(whole[place : place + 12])!r}; expected the same"
        )
    ids = whole[len(before) :]
    # Templates may add a newline behind it
    end = ids.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in ids else len(ids)
    return (*ids[:end], tokenizer.eos_token_id)


def revision_examples(rows: Sequence[RevisionRow], tokenizer: Any, max_length: int) -> ExampleSet:
    """One example a row; its positions are those of the answer's tokens. Raises InputError if no row is left,
    or an answer has no end.
    """
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"model {tokenizer.name_or_path}: neither its tokenizer nor its config has an EOS; expected one, "
            "to end answers with"
        )
    examples, left_out = [], Counter[str]()
    for row in rows:
        prompt, (answer,) = row.prompt, row.completion
        ids, answer_ids = encode_chain(tokenizer, prompt), encode_answer(tokenizer, prompt, answer.content)
        while len(ids) + len(answer_ids) > max_length and any(
            message.role == "assistant" for message in prompt
        ):
            prompt = without_oldest(prompt)
            left_out["earlier attempts beyond max_length"] += 1
            ids, answer_ids = (
                encode_chain(tokenizer, prompt),
                encode_answer(tokenizer, prompt, answer.content),
            )
        if len(ids) + len(answer_ids) > max_length:
            left_out["rows longer than max_length without any earlier attempt"] += 1
            continue
        positions = tuple(range(len(ids), len(ids) + len(answer_ids)))
        ones = (1.0,) * len(positions)
        examples.append(
            Example(row.question, ids + answer_ids, positions, ones, ones, tuple(range(len(positions))))
        )
    return counted(examples, left_out, f"{len(rows)} rows", max_length)


def sft_row(example: Example) -> dict[str, list[int]]:
    """Ids and labels: UNLABELED but on the answer."""
    labels = [int(UNLABELED)] * len(example.input_ids)
    for position in example.positions:
        labels[position] = example.input_ids[position]
    return {"input_ids": list(example.input_ids), "labels": labels}
