r"""Answers of multiple-choice questions: `B`, `(B)`, `\textbf{(B)}\ 12`, `B) 12`, and the options that a
question lists.
"""

import re

from data_gen.answers.layout import plain
from data_gen.answers.notation import WrittenAnswer
from data_gen.answers.vote_key import answer_key

LETTERS = "ABCDEFGHIJ"
_LETTER = re.compile(r"(?:(?:option|choice|answer) )?\(?([A-Ja-j])\)?", re.IGNORECASE)
_STARTS = re.compile(r"([A-J])(?:[.,:;、．]|\s+(?![*+/^=_]))")
_WITH_TEXT = re.compile(
    r"(?:(?:option|choice|answer) )?(?:\(([A-Ja-j])\)\s*[:.]?\s*|([A-J])\s*(?:\)|[:.](?=\s))\s*)(\S.*)",
    re.DOTALL,
)
_NO_TEXT = re.compile(r"(?:and|or|,|;|/|\(|\+|-|=|\^|\*)")
# (a) 5 (b) 6 answers two parts of a question
_NEXT_PART = re.compile(r"\([b-jB-J]\)|(?:^|\s)[B-J][.)]\s|\(ii\)")
_OPTION_LINE = re.compile(r"^\s*\(?([A-J])(?:\)|\.|:)\s*(\S.*?)\s*$", re.MULTILINE)
_OPTION_INLINE = re.compile(
    r"\\text(?:bf)?\s*\{\s*\(([A-J])\)\s*\}\s*(.*?)(?=\\q?quad|\\text(?:bf)?\s*\{\s*\(|\$|$)"
)


def read_choice(written: str) -> tuple[str, str] | None:
    """The letter and the text of a choice without layout; the text is "" for a letter alone. None if it is
    none.
    """
    letter = _LETTER.fullmatch(written)
    if letter is not None:
        return letter[1].upper(), ""
    match = _WITH_TEXT.fullmatch(written)
    if match is None or _NO_TEXT.match(match[3]) or _NEXT_PART.search(match[3]):
        return None
    return (match[1] or match[2]).upper(), match[3]


def is_choice(written: str) -> bool:
    """Whether an answer is a capital letter in the range of options, or any such letter in brackets."""
    return read_choice(written) is not None and (
        written[:1] == "(" or written[:1].isupper() or " " in written
    )


def may_begin_with(written: str, letter: str) -> bool:
    """Whether a text may begin with the letter of an option: `D - 5`, `D, because it is larger`."""
    match = _STARTS.match(written)
    return match is not None and match[1] == letter


def simplified(gold: WrittenAnswer, answer: WrittenAnswer) -> tuple[str, str] | None:
    """A pair where one has letter and text, made to name the same: two letters, or two texts; None if nothing
    is to be made.
    """
    choices = read_choice(gold.plain), read_choice(answer.plain)
    texts = [choice[1] if choice else "" for choice in choices]
    if not any(texts):
        return None
    if choices[0] and choices[1]:
        return choices[0][0], choices[1][0]
    return (texts[0], answer.text) if texts[0] else (gold.text, texts[1])


def letter_of(answer: str, options: dict[str, str]) -> str | None:
    """The letter of the one option whose text is the answer; None if none is, or more than one."""
    keys = {letter: answer_key(text) for letter, text in options.items()}
    letters = [letter for letter, key in keys.items() if key == answer_key(answer)]
    return letters[0] if len(letters) == 1 else None


def read_options(question: str) -> dict[str, str]:
    r"""The options that a question lists, letter to text: lines `A) 12`, or `\textbf{(A)}\ 12` in a row; empty
    if there are not two.
    """  # noqa: E501
    found = _OPTION_LINE.findall(question)
    if len(found) < 2:
        found = _OPTION_INLINE.findall(question)
    letters = [letter for letter, _ in found]
    first = letters.index("A") if "A" in letters else len(letters)
    options = dict(found[first:])
    return (
        {letter: plain(text) for letter, text in options.items()}
        if len(options) > 1 and "".join(options) in LETTERS
        else {}
    )
