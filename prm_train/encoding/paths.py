"""(question, steps) → token ids and step positions: the one encoding that training and scoring share.

The ids of a path are `head + step_1 + marker + step_2 + marker + …`. Each piece is tokenized by itself and
only then joined, so the ids of a prefix of the path are a prefix of its ids, whatever the tokenizer would
have merged across the border; a scorer extends a path without encoding it again. A step's score is read at
its marker, one reserved token that no step's text encodes to. With the tokenizer of the built-in policy::

    question "Start with 3: plus 4.", steps ["3 plus 4 = 7", "Answer: 7"]
    <|user|>Start with 3: plus 4.<|end|><|assistant|>3 plus 4 = 7\\n<|step|>Answer: 7\\n<|step|>
                                                                  score 1 ┘              score 2 ┘
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any, Literal

from data_gen.models.prompt_ids import encode_messages, encode_text
from data_gen.models.tokenizer import MARKER
from data_gen.records.chats import Message
from data_gen.records.steps import split_steps
from prm_train.networks.special_ids import settle_padding

Layout = Literal["chat", "plain"]

# Tokens that a tokenizer keeps for such a use and that text never holds, in order of choice: this project's,
# the one of Qwen2.5-Math-PRM, the one that those models renamed (it is in every Qwen2.5, made for images),
# and Llama 3's.
RESERVED_MARKERS = (MARKER, "<extra_0>", "<|quad_end|>", "<|reserved_special_token_0|>")


@dataclass(frozen=True)
class EncodingFacts:
    """What a checkpoint must remember to be encoded for as it was trained. `step_separator` ends every step,
    the last one too.

    Checkpoints whose scores are read off a language model's own tokens have no marker: an empty one.
    """

    layout: Layout
    step_separator: str
    marker_token: str


@dataclass(frozen=True)
class ScorerEncoding:
    """Encodes questions and steps with a tokenizer. Steps come without their separator."""

    tokenizer: Any
    facts: EncodingFacts

    @cached_property
    def marker_id(self) -> int:
        """Raises ValueError if the tokenizer has no such token."""
        marker_id = self.tokenizer.get_vocab().get(self.facts.marker_token)
        if marker_id is None:
            raise ValueError(
                f"step marker {self.facts.marker_token!r}: not a token of "
                f"{self.tokenizer.name_or_path or 'the tokenizer'}"
            )
        return int(marker_id)

    def encode_head(self, question: str) -> tuple[int, ...]:
        """Ids of what stands before the first step: the chat template up to the assistant's turn, or the
        plain question and a newline.
        """
        return self.encode_chat((Message("user", question),))

    def encode_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """A head that holds more than the question: earlier attempts, say, as `data_gen.records.chats` lays
        them out.
        """
        if self.facts.layout == "chat":
            return encode_messages(self.tokenizer, messages)
        return (
            *self._start_ids,
            *chain.from_iterable(self.encode_text(message.content + "\n") for message in messages),
        )

    def encode_step(self, step: str) -> tuple[int, ...]:
        """Ids of a step: the pieces that it is, each with its separator and the marker; its score is read at
        the last id.

        Search finds steps by their separator. So a step that holds it, as those of other data sets do, is
        encoded as the several steps that search would make of it, and a blank one as nothing: a text has the
        same ids, whatever it was cut into.
        """
        pieces = split_steps(step + self.facts.step_separator, self.facts.step_separator)
        return tuple(chain.from_iterable(self.encode_piece(piece) for piece in pieces))

    def encode_piece(self, piece: str) -> tuple[int, ...]:
        """Ids of a step that holds no separator, its separator and the marker, which is the last id and
        occurs nowhere else.
        """
        return (*self.encode_text(piece + self.facts.step_separator), self.marker_id)

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Ids of a piece of the path. What looks like a special token in it is not one."""
        return encode_text(self.tokenizer, text)

    def encode(self, question: str, steps: Sequence[str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids of the path and, for each step, the position of its last marker (of a blank one that of the
        step before it).
        """
        ids, positions = list(self.encode_head(question)), []
        for step in steps:
            ids += self._encode_once(step)
            positions.append(len(ids) - 1)
        return tuple(ids), tuple(positions)

    @cached_property
    def _encode_once(self) -> Callable[[str], tuple[int, ...]]:
        """`encode_step`: solutions of a question share steps, and a tokenizer takes its time each time."""
        return lru_cache(maxsize=2**14)(self.encode_step)

    @cached_property
    def _start_ids(self) -> tuple[int, ...]:
        """The token that this tokenizer starts every text with, if it does."""
        bos = self.tokenizer.bos_token_id
        return (bos,) if bos is not None and self.tokenizer.encode("a")[0] == bos else ()


def prepare_encoding(tokenizer: Any, step_separator: str, eos: Collection[int | None] = ()) -> ScorerEncoding:
    """The encoding for a scorer that is to be trained; gives `tokenizer` the marker and the padding token
    that it lacks.

    `eos` are the ids that the model's config ends a text with, where they may be others than the tokenizer's.
    """
    vocabulary = tokenizer.get_vocab()
    marker = next((token for token in RESERVED_MARKERS if token in vocabulary), None)
    if marker is None:
        tokenizer.add_special_tokens({"extra_special_tokens": [MARKER]}, replace_extra_special_tokens=False)
        marker = MARKER
    settle_padding(tokenizer, {tokenizer.eos_token_id, *eos, tokenizer.get_vocab()[marker]})
    layout: Layout = "chat" if tokenizer.chat_template else "plain"
    return ScorerEncoding(tokenizer, EncodingFacts(layout, step_separator, marker))
