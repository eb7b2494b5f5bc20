"""Exact rules for answers in words: choice letters, yes or no, names, and sentences against numbers.

Each rule gives a verdict or passes (None). Where the words may mean the same it is unknown (ambiguous).
"""

import re

import data_gen.answers.choices as answer_choices
from data_gen.answers.notation import WrittenAnswer, read_number
from data_gen.answers.numbers import as_verdict
from data_gen.answers.vote_key import is_words
from data_gen.records.verdicts import CORRECT, INCORRECT, Verdict, unknown

AMBIGUOUS = unknown("ambiguous")
_LONG_WORD = re.compile(r"[a-zA-Z]{3,}")
_FORMULA_WORD = re.compile(
    r"sqrt|frac|infty|emptyset|\b(?:a?(?:sin|cos|tan)h?|log|ln|exp|max|min|mod|pi)\b", re.IGNORECASE
)
_NUMBER_WORD = re.compile(
    r"zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|teen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
    r"|half|third|quarter|dozen|hundred|thousand|[mb]illion|plus|minus|times|over|square|cube|root|factorial|choose|percent|none|infinit|\bno\b|\bonce\b|\btwice\b"
    r"|out of|\bin \d",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
_SINGLE_LETTER = re.compile(r"\(?([a-zA-Z])\)?")
_TWO_CAPITALS = re.compile(r"[A-Z]{2}")
_CIRCLED = re.compile(r"[①-⑳ ,]*[①-⑳]")
_CHOICES = re.compile(r"[A-F]{2,6}")
_SAME_WORDS = {"dne": "does not exist", "undefined": "does not exist"}
_YES = {"yes", "true"}
_YES_OR_NO = re.compile(r"(yes|true|no|false)\b(.*)", re.IGNORECASE | re.DOTALL)
_FUNCTION_WORD = re.compile(r"(?<=[ \d%])(?:of|to|if|is|in|by)(?= )")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{[a-zA-Z]*\}(?:\{[clr|]*\})?")
_POINTS = re.compile(r"[A-Z]{3,6}")  # of a triangle, an angle
_PROSE_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]*[aeiouAEIOU][a-zA-Z]*(?![a-zA-Z])")


def compare_choices(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """A letter alone against a number or words, which may be the text of that option."""
    for one, other in ((gold, answer), (answer, gold)):
        choice = answer_choices.read_choice(one.plain) if answer_choices.is_choice(one.plain) else None
        other_choice = answer_choices.read_choice(other.plain)
        if choice is None or other_choice is not None:
            if choice is not None and other_choice is not None and " " in one.plain:  # option B
                return as_verdict(choice[0] == other_choice[0])
            continue
        if answer_choices.may_begin_with(other.plain, choice[0]):
            return AMBIGUOUS
        if not re.search(rf"(?<![a-zA-Z]){choice[0]}(?![a-zA-Z])", other.plain):
            return unknown("choice_text")
    return _several_choices(gold, answer)


def _several_choices(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """`ABD` of a question with several right options, which may be written `A, B, D`; an order of events is
    not in the alphabet's.
    """
    if not _CHOICES.fullmatch(gold.plain) or "".join(sorted(gold.plain)) != gold.plain:
        return None
    letters = re.sub(r"[\s,;]|and", "", answer.plain)
    if not _CHOICES.fullmatch(letters):
        return None
    if set(letters) == set(gold.plain) and len(letters) == len(gold.plain):
        return CORRECT if answer.plain != letters and letters == gold.plain else AMBIGUOUS
    return INCORRECT


def compare_yes_or_no(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    one, other = _YES_OR_NO.fullmatch(gold.plain), _YES_OR_NO.fullmatch(answer.plain)
    if one is None or other is None:
        return None
    return AMBIGUOUS if (one[1].casefold() in _YES) == (other[1].casefold() in _YES) else INCORRECT


def compare_words(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    letters = _SINGLE_LETTER.fullmatch(gold.plain), _SINGLE_LETTER.fullmatch(answer.plain)
    if letters[0] and letters[1]:
        if letters[0][1].casefold() != letters[1][1].casefold():
            return INCORRECT
        # X and X may be two variables
        return CORRECT if letters[0][1].upper() in answer_choices.LETTERS else AMBIGUOUS
    if all(_TWO_CAPITALS.fullmatch(written.plain) for written in (gold, answer)):
        is_roman = all(set(written.plain) <= set("IVXLCDM") for written in (gold, answer))
        # AB and BA are one segment
        return INCORRECT if is_roman or set(gold.plain) != set(answer.plain) else AMBIGUOUS
    if all(_CIRCLED.fullmatch(written.plain) for written in (gold, answer)):
        statements = [sorted(set(written.plain) - set(" ,")) for written in (gold, answer)]
        return CORRECT if statements[0] == statements[1] else INCORRECT
    if not (is_words(gold.plain) and is_words(answer.plain)) or "emptyset" in (gold.plain, answer.plain):
        return None
    texts = [written.plain.casefold() for written in (gold, answer)]
    if _SAME_WORDS.get(texts[0], texts[0]) == _SAME_WORDS.get(texts[1], texts[1]):
        return AMBIGUOUS if "undefined" in texts else CORRECT
    if sorted(texts[0].replace(" ", "")) == sorted(texts[1].replace(" ", "")) and _may_be_products(
        gold.plain, answer.plain
    ):
        return AMBIGUOUS  # xyz and zxy
    words = [set(text.split()) for text in texts]
    return AMBIGUOUS if words[0] <= words[1] or words[1] <= words[0] else INCORRECT


def _may_be_products(*words: str) -> bool:
    return all(word.islower() and " " not in word and not re.search("[eiou]", word) for word in words)


def compare_with_prose(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """A number against a sentence: another answer, unless the sentence names the number or spells one out."""
    number, prose = (gold.number, answer.plain) if gold.number else (answer.number, gold.plain)
    if number is None or "\\" in prose or not _LONG_WORD.search(prose):
        return None
    if _FORMULA_WORD.search(prose):
        return None
    named = [read_number(one) for one in _DIGITS.findall(prose)]
    is_named = any(one is not None and one.value == number.value for one in named)
    return AMBIGUOUS if is_named or _NUMBER_WORD.search(prose) else INCORRECT


def mentions_words(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """Algebra would take the words of a sentence for products of letters."""
    for written in (gold, answer):
        text = _ENVIRONMENT.sub("", written.plain)
        words = [
            word
            for word in _PROSE_WORD.findall(text)
            if len(word) > 2 and not _FORMULA_WORD.search(word) and not _POINTS.fullmatch(word)
        ]
        if (words and not _may_be_products(*words)) or _FUNCTION_WORD.search(text):
            return AMBIGUOUS
    return None
