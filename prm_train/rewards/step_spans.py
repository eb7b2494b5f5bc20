"""Which of a policy's own token ids belong to which step: nothing is tokenized again, so nothing shifts.

What a step is says `data_gen.records.steps`; here its rules are completed to all ids of a completion, each of
which the policy chose and may deserve credit::

    "9 times 9=81\n" "Answer" ": 1" "\n" <eos>     →     steps "9 times 9=81", "Answer: 1"
     0                 1        1     1    1              the step of each id

- A step ends with the id that completes its separator. What that id holds beyond the separator stays with
  it, though it begins the next step's text: the policy chose both at once.
- A step that stands inside such an id as a whole has no id of its own: its score counts in what comes after
  earlier steps, its advantage reaches nothing.
- Ids before the first step (blank lines) belong to it. Ids behind the last one (blank lines, EOS) belong to
  the last: to end here was part of it. So all ids have a step, unless there is none.
- Special ids and ids beyond the tokenizer's vocabulary hold no text and go with the step around them.
- Bytes that are no whole character, as in a completion that was cut, are U+FFFD in the text of a step, as
  decoding would have it; the ids are exact.

A scorer gets the texts of steps and may have any tokenizer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_gen.records.steps import check_separator, spans_of_steps, split_steps, token_bytes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class CompletionSteps:
    """Of one completion: the text of each step and from where to where its ids go; `n_tokens` are all ids."""

    texts: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    n_tokens: int


class StepFinder:
    """Finds steps in ids of one tokenizer. Raises ValueError for one whose tokens stand for no bytes."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", separator: str) -> None:
        check_separator(separator)
        self.separator = separator
        self._bytes = token_bytes(tokenizer)

    def find(self, token_ids: Sequence[int]) -> CompletionSteps:
        """`token_ids` are those of a completion, up to its EOS and without padding."""
        pieces = [self._bytes[token] if token < len(self._bytes) else b"" for token in token_ids]
        spans = spans_of_steps(pieces, self.separator)
        if spans:
            spans[-1] = (spans[-1][0], len(pieces))
        texts = split_steps(b"".join(pieces).decode(errors="replace"), self.separator)
        assert len(texts) == len(spans)
        return CompletionSteps(texts, tuple(spans), len(pieces))


def per_token(values: ArrayLike, steps: CompletionSteps) -> NDArray[np.float64]:
    """(T,): the value of the step of each id, of `values` (K,), one a step; 0 without steps or values."""
    found = np.zeros(steps.n_tokens)
    for value, (start, end) in _by_step(values, steps):
        found[start:end] = value
    return found


def at_step_ends(values: ArrayLike, steps: CompletionSteps) -> NDArray[np.float64]:
    """(T,): the value of each step at its last id, 0 elsewhere: what frameworks that sum rewards from each
    token on take. What a step without an id is worth goes to the id that holds it.
    """
    found = np.zeros(steps.n_tokens)
    for value, (_, end) in _by_step(values, steps):
        found[end - 1] += value
    return found


def _by_step(values: ArrayLike, steps: CompletionSteps) -> Iterable[tuple[float, tuple[int, int]]]:
    """Of a completion without scores there are no values."""
    own = np.asarray(values, dtype=float)
    return zip(own, steps.spans, strict=True) if len(own) else ()
