"""Numbers in English words: `twenty-five`, `two hundred and six`, `a dozen`, `three quarters`, `one and a
half`.
"""

import re
from fractions import Fraction

_POWERS = {
    "hundred": 2,
    "thousand": 3,
    "million": 6,
    "billion": 9,
    "trillion": 12,
    "quadrillion": 15,
    "lakh": 5,
    "crore": 7,
}
# What a number in digits may be followed by, too: `3.5 million`, `3 quarters`
MAGNITUDES = {f"{word}{s}": 10**power for word, power in _POWERS.items() for s in ("", "s")}
MAGNITUDES |= {
    "tens": 10,
    "dozen": 12,
    "dozens": 12,
    "grand": 1000,
    "百": 10**2,
    "千": 10**3,
    "万": 10**4,
    "亿": 10**8,
}
_ORDINALS = [
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
]
_ORDINALS += ["fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth", "twentieth"]
PARTS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4}
PARTS |= {word + s: i + 3 for i, word in enumerate(_ORDINALS) for s in ("", "s")}
PARTS |= {f"{word}th{s}": 10**power for word, power in _POWERS.items() for s in ("", "s")}

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
]
_ONES += ["fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SMALL = {word: i for i, word in enumerate(_ONES)} | {word: 10 * (i + 2) for i, word in enumerate(_TENS)}

_BELOW_HUNDRED = (
    rf"(?:(?:{'|'.join(_TENS)})(?:[- "
    rf"](?:{'|'.join(_ONES[1:10])}))?|{'|'.join(sorted(_ONES, key=len, reverse=True))})\b"
)
_BELOW_THOUSAND = rf"(?:(?:{_BELOW_HUNDRED}|an?) hundred(?:(?: and)? {_BELOW_HUNDRED})?|{_BELOW_HUNDRED})"
_LARGE = rf"(?:{_BELOW_THOUSAND}|an?) (?:thousand|million|billion|trillion|dozens?)\b"
_CARDINAL = (
    rf"(?:{_LARGE}(?:(?:,| and|, and)? {_LARGE})*(?:(?:,| and|, and)? {_BELOW_THOUSAND})?|{_BELOW_THOUSAND})"
)
_FRACTION = rf"(?P<{{}}>an?|{_CARDINAL})[- ](?P<{{}}>{'|'.join(PARTS)})\b"
_SPELLED = re.compile(
    rf"(?P<sign>minus |negative )?(?:{_FRACTION.format('top', 'bottom')}|(?P<alone>half)(?! an?\b)\b"
    r"|half (?P<halved>an? dozen|an? hundred|an? thousand|an? million)\b"
    rf"|(?P<whole>{_CARDINAL})(?: and {_FRACTION.format('more_top', 'more_bottom')})?)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[a-z]+")


def spelled_number(text: str) -> tuple[Fraction, str] | None:
    """The number that the first words of `text` spell, and the rest of the text; None if they spell none."""
    match = _SPELLED.match(text)
    if match is None:
        return None
    part = {name: words.casefold() for name, words in match.groupdict().items() if words}
    if "halved" in part:
        return Fraction(_cardinal(part["halved"]), 2), text[match.end() :]
    value = (
        Fraction(1, 2)
        if "alone" in part
        else Fraction(_cardinal(part.get("top") or part["whole"]), PARTS.get(part.get("bottom", ""), 1))
    )
    if "more_top" in part:
        value += Fraction(_cardinal(part["more_top"]), PARTS[part["more_bottom"]])
    return (-value if "sign" in part else value), text[match.end() :]


def _cardinal(words: str) -> int:
    total, group = 0, 0
    for word in _WORD.findall(words):
        if word in ("a", "an"):
            group = 1
        elif word == "hundred":
            group *= 100
        elif word in MAGNITUDES:
            total, group = total + group * MAGNITUDES[word], 0
        elif word != "and":
            group += _SMALL[word]
    return total + group
