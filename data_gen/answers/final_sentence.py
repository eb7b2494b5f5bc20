r"""The answer that the last sentence of a solution concludes, where no marker names one: `Therefore, the
customer paid $37 on this trip.`

Read is a sentence that leaves no choice: the one passage in bold; the formula that it ends with, at its last
equals sign; the one number in plain text. A sentence with several numbers, or with none, states no answer
that a program could tell.
"""

import re

from data_gen.answers.notation import read_number
from data_gen.answers.number_words import MAGNITUDES, PARTS, spelled_number

_BREAK = re.compile(r"(?<=[.!?])\s+(?=[A-Z\\$*])|(?<=\\\])\s+(?=[A-Z][a-z]*\b)|\n(?!\s*(?:\\\[|\$\$|=))")
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_MATH = re.compile(
    r"\\\((.+?)\\\)|\\\[(.+?)\\\]|\$\$(.+?)\$\$|(?<!\\)\$([^$\d][^$]*|\d[^$]*[^$\s\w,.][^$]*|-?\d[\d.,]*)\$(?!\d)",
    re.DOTALL,
)
_CONCLUDES = re.compile(
    r"(?:(?:so|thus|hence|therefore|then|finally|consequently|in (?:total|conclusion|summary|all)|as a "
    r"result|this means(?: that)?|"
    r"final answer)\b[\s,:-]*)+",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"-?\\?[$£€]?-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s?/\s?\d+)?(?:\\?%)?(?:\^\{?\\circ\}?|°)?"
)
_NOT_AN_ANSWER = re.compile(
    r"\b(?:not|never|no "
    r"solution|cannot|impossible|unclear|unable|insufficient|please|necessary|whether|suppose|assum\w+|"
    r"substitut\w+|check|verif\w+|let(?:'s| "
    r"us)?|try|consider|guess|estimate|claim\w*|lemma|theorem|information|reject\w*|discard\w*|"
    r"contradict\w*|undefined|fails?|wrong|"
    r"incorrect|exceeds?|nothing|none|no \w+ left|within|except|setting|divisible|multiple|short "
    r"by|because|since|when)\b|n't\b",
    re.IGNORECASE,
)
# directly before a number: it is a bound, a sign, a name or the argument of a function
_BEFORE = re.compile(
    r"(?:\b(?:negative|minus|than|below|above|over|under|at least|at most|up "
    r"to|between|by|lemma|problem|equation|method|step|case|part|"
    r"option|figure|radius|modulo|double|twice|but|one in|one out of|one "
    r"to|log|sqrt|sin|cos|tan|ln)\s*|\bfor [a-z] =\s*|[(^√/*+]\s*)$",
    re.IGNORECASE,
)
# directly after it: it goes on
_AFTER = re.compile(
    r"[a-zA-Z]|\s*[!^(*/+π]|,\s*[a-z]\)|\s[a-zA-Z]\b|\s(?:times|"
    r"more than|less than|past|percent "
    r"(?:higher|lower|more|less)|squared|cubed|factorial|choose|pi|to|plus|minus|in an?|out of)\b"
)
_SAYS = re.compile(r"\b(?:is|are|be|equals?|equal to)(?:\s+(?:exactly|approximately|simply|therefore))?\W*$")
_WORD = re.compile(r"[a-zA-Z]+(?:-[a-z]+)?")
_APPROXIMATELY = re.compile(
    r"\b(?:approximately|about|around|roughly|nearly|almost|close to)\s+\\?\W{0,4}$", re.IGNORECASE
)
_TOTAL_OF = re.compile(
    r"\b(?:total|sum|average|maximum|minimum|charge|cost|price|score|profit|speed|rate|number|count|loss|age) of\s*$"  # noqa: E501
)
_MAGNITUDE = re.compile(rf"\s+(?:{'|'.join((*MAGNITUDES, *PARTS))})\b")
_IS = re.compile(
    r"\b(?:is|are|was|were|be|equals?|costs?|totals?)\s+(?:exactly |only |now |a total of |about "
    r"|approximately )*$",
    re.IGNORECASE,
)
MAX_SENTENCE_LENGTH = 600


def read_final_sentence(text: str) -> str | None:
    """The answer of the last sentence, or None where it concludes none."""
    tail = text.rstrip()[-4 * MAX_SENTENCE_LENGTH :]
    sentences = [sentence for sentence in _BREAK.split(tail) if sentence.strip()]
    sentence = _joined(sentences).strip()
    if len(sentence) > MAX_SENTENCE_LENGTH or _NOT_AN_ANSWER.search(sentence) or sentence.endswith("?"):
        return None
    is_conclusion = _CONCLUDES.match(sentence) is not None
    bold = list(_BOLD.finditer(sentence))
    if len(bold) == 1 and (
        is_conclusion
        or (_SAYS.search(sentence[: bold[0].start()]) and not sentence[bold[0].end() :].strip(" ."))
    ):
        return _without_verb(bold[0][1])
    return _last_formula(sentence, is_conclusion) or _only_number(sentence, is_conclusion)


def _joined(sentences: list[str]) -> str:
    """The last sentence; with the one before it, where it is only a displayed formula (`Thus, the sum is:`
    and then the formula).
    """
    if not sentences:
        return ""
    last = sentences[-1].strip()
    return (
        f"{sentences[-2].strip()} {last}"
        if last.startswith(("\\[", "$$")) and len(sentences) > 1 and sentences[-2].rstrip().endswith(":")
        else last
    )


def _without_verb(bold: str) -> str | None:
    """A passage in bold: the number in it where it has one, else the whole."""
    bold = bold.strip().rstrip(".")
    formulas = list(_MATH.finditer(bold))
    if len(formulas) == 1:
        return _right_side(_content(formulas[0]))
    numbers = _NUMBER.findall(bold)
    if len(numbers) == 1:
        return bold if read_number(bold) is not None else str(numbers[0])
    return bold if not numbers and len(bold.split()) < 4 else None


def _last_formula(sentence: str, is_conclusion: bool) -> str | None:
    """The formula that ends the sentence (a unit may follow), where the words before it lead up to it."""
    formulas = list(_MATH.finditer(sentence))
    if not formulas:
        return None
    last = formulas[-1]
    if "=" in _content(last) and sum("=" in _content(formula) for formula in formulas) > 1:
        return None  # x = 2 and y = 3, or x = 2, for 2 + 2 = 4
    after = sentence[last.end() :].strip().rstrip(".!").strip()
    content = _content(last)
    if re.search(r"\d", after) or len(after.split()) > (12 if len(formulas) == 1 else 2):
        return None
    before = _MATH.sub(" ", sentence[: last.start()])
    says = _SAYS.search(sentence[: last.start()]) is not None
    leads = is_conclusion or sentence[: last.start()].rstrip().endswith(("=", ":")) or (says and not after)
    if not leads or (after and len(after.split()) > 2 and _NUMBER.search(before)):
        return None
    if (
        "=" not in content
        and len(formulas) > 1
        and not (says or sentence[: last.start()].rstrip().endswith(":"))
    ):
        return None
    if re.search(r"\bequation\b", before):
        return content.strip().rstrip(".")  # the answer is not its right side alone
    value = _right_side(content)
    is_approximate = _APPROXIMATELY.search(sentence[: last.start()]) is not None
    return f"about {value}" if value and is_approximate else value


def _content(match: re.Match[str]) -> str:
    return next(part for part in match.groups() if part is not None)


def _right_side(formula: str) -> str | None:
    """What stands after the last equals sign; None for an inequality or an empty side."""
    if re.search(r"[<>]|\\(?:[lg]eq?|ne|neq|approx|to)(?![a-z])", formula):
        return None
    side = formula.rpartition("=")[2].strip().rstrip(".,").strip()
    return side or None


def _only_number(sentence: str, is_conclusion: bool) -> str | None:
    """The one number of a sentence in plain text, or the one after its last equals sign."""
    if _MATH.search(sentence) or re.search(r"[<>≤≥#]", sentence):
        return None
    head, equals, right = sentence.rpartition("=")
    if equals:
        found = _NUMBER.match(right.strip())
        rest = right.strip()[found.end() :] if found else ""
        return (
            found[0].rstrip(",")
            if found and head and not re.search(r"\d", rest) and len(rest.split()) < 6
            else None
        )
    numbers = list(_NUMBER.finditer(sentence))
    if not numbers and is_conclusion:
        return _only_spelled_number(sentence)
    if len(numbers) != 1:
        return None
    before, after = sentence[: numbers[0].start()], sentence[numbers[0].end() :]
    of = before.rstrip().endswith(" of") and not _TOTAL_OF.search(before)
    if of or not (is_conclusion or _IS.search(before)) or _BEFORE.search(before) or _AFTER.match(after):
        return None
    magnitude = _MAGNITUDE.match(after)
    if _only_spelled_number(after[magnitude.end() :] if magnitude else after) or _only_spelled_number(before):
        return None  # `36 miles in six hours`
    number = numbers[0][0] + (magnitude[0] if magnitude else "")
    return f"about {number}" if _APPROXIMATELY.search(before) else number


def _only_spelled_number(sentence: str) -> str | None:
    """The words of the one number that a sentence spells out; `one` and `a` are none."""
    found = []
    for word in _WORD.finditer(sentence):
        spelled = spelled_number(sentence[word.start() :])
        if spelled is not None and word[0].casefold() not in ("a", "an", "one", "minus", "negative"):
            found.append(sentence[word.start() : len(sentence) - len(spelled[1])])
    return found[0] if len(found) == 1 else None
