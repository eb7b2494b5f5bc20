"""The key under which answers are counted as one: equal keys are equal answers, other keys may still be."""

import re
from functools import lru_cache

from data_gen.answers.notation import MAX_ANSWER_LENGTH, read_answer

# --- votes

_CHOICE = re.compile(r"\(([A-Z])\)")
_WORDS = re.compile(r"[^\W\d_]{3,}|[^\W\d_]+(?: [^\W\d_]+)+")
_LOOSE_BLANK = re.compile(r"(?<!\d) | (?!\d)")  # between two digits a blank separates values


@lru_cache(maxsize=8192)  # votes ask for the same few answers again and again
def answer_key(answer: str) -> str:
    """The key under which votes for an answer are counted: equal keys are equal answers, and most equal
    answers have equal keys.
    """
    if len(answer) > MAX_ANSWER_LENGTH:
        return answer
    read = read_answer(answer)
    if read.number is not None:
        return str(read.number.value)
    choice = _CHOICE.fullmatch(read.plain)
    if choice:
        return choice[1]
    return read.plain.casefold() if is_words(read.plain) else _LOOSE_BLANK.sub("", read.plain)


def is_words(written: str) -> bool:
    """Whether an answer without layout is prose: words alone, the first of at least three letters where it is
    the only one.
    """
    return _WORDS.fullmatch(written) is not None
