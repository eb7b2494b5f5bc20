r"""Units after an amount: which words are one, and exact conversion between those of one kind by the registry
of pint.

Money has kinds of its own, one a currency. A word that no registry knows (`eggs`) still names what is
counted: it is a unit that converts to nothing else. Words that belong to the mathematics (`5 squared`, `2 or
more`) are none.
"""

import functools
import re
from fractions import Fraction
from typing import Any

CURRENCY_SIGNS = {
    "$": "dollar",
    "¢": "cent",
    "US$": "dollar",
    "€": "euro",
    "£": "sterling",
    "¥": "yen",
    "₹": "rupee",
    "₩": "won",
    "₽": "rouble",
}
_CURRENCIES = (
    "dollar = [dollar] = _ = USD = usd = buck",
    "cent = dollar / 100",
    "euro = [euro] = _ = EUR = eur",
    "sterling = [sterling] = _ = GBP = gbp",
    "pence = sterling / 100 = _ = penny",
    "yen = [yen] = _ = JPY = jpy",
    "rupee = [rupee] = _ = INR = inr",
    "won = [won]",
    "rouble = [rouble] = _ = ruble",
    "yuan = [yuan] = _ = CNY = RMB",
)
_OTHER_SPELLINGS = {
    "gm": "g",
    "gms": "g",
    "kgs": "kg",
    "cms": "cm",
    "kms": "km",
    "sqft": "square feet",
    "yrs": "years",
    "yr": "year",
}
_POUNDS = {"pound", "pounds"}  # of weight, or of sterling
_GLUED = re.compile(
    r"(?:[cmk]?m|[kmµ]?g|[mcd]?[lL]|ft|in|yd|mi|lbs?|oz|mph|km/h|kph|m/s|hrs?|min|secs?|k[WNJ]|Hz|MB|GB)(?:\^?\{?[23]\}?)?"
)
_SHORT = {"m", "g", "s", "h", "l", "L", "N", "J", "W", "V", "A", "K", "C", "F"}
_MATHEMATICS = re.compile(
    r"pi|sqrt|mod|log|ln|sin|cos|tan|base|times|plus|minus|over|squared|cubed|factorial|choose|divided|multiplied|raised|"
    r"power|powers|root|roots|infinity|infinite|and|or|more|less|fewer|than|at|most|least|to|if|is|are|of|not|from|by|out|"
    r"as|each|either|doubled|tripled|halved|inverse|negative|positive|below|above|zero|e|i|x|y|z",
    re.IGNORECASE,
)
_POWERED = r"[^\W\d_]+\.?(?: ?\^ ?\{?[23]\}?|[23](?![\d.]))?"
_PHRASE = re.compile(rf"(?:per |/ ?)?{_POWERED}(?:(?:[ -]| ?/ ?){_POWERED})*")
_WORD = re.compile(r"[^\W\d_]+")
_TEMPERATURE = re.compile(r"\^\\circ ?(C|F|Celsius|Fahrenheit)?", re.IGNORECASE)


def read_unit(phrase: str, is_glued: bool = False, is_text: bool = False) -> str | None:
    r"""The unit that a phrase after an amount names; None if it names none.

    `is_glued` where no blank stands before it (`10cm`, but no `4t`), `is_text` where it is set as text
    (`\text{t}`) and so no variable.
    """
    phrase = phrase.strip().rstrip(".")
    degrees = _TEMPERATURE.fullmatch(phrase)
    if degrees:
        return {"c": "degC", "f": "degF"}.get((degrees[1] or "")[:1].casefold(), "degree")
    if phrase in CURRENCY_SIGNS:
        return CURRENCY_SIGNS[phrase]
    if phrase.casefold().replace(".", "") in ("am", "pm"):
        return None  # a time of day
    if not _PHRASE.fullmatch(phrase) or (
        is_glued and phrase.isascii() and phrase[0] != "/" and not _GLUED.fullmatch(phrase)
    ):
        return None
    words = _WORD.findall(phrase)
    if any(_MATHEMATICS.fullmatch(word) for word in words[: 2 if is_text else None]):
        return None
    if not is_text and not is_glued and len(words) == 1 and len(words[0]) < 3 and words[0].isascii():
        return (
            phrase
            if words[0] in _SHORT or words[0] in _OTHER_SPELLINGS or _dimensions(phrase) is not None
            else None
        )
    return phrase


def convert(value: Fraction, unit: str, other: str) -> Fraction | None:
    """A value of one unit in the other; None where they are of different kinds, or unknown and not the same
    words.
    """
    if _is_same(unit, other):
        return value
    if "sterling" in (unit, other) and {unit, other} & _POUNDS:
        return value
    if not 0 < abs(value) < 10**60:
        return None if value else _zero(unit, other)
    one, two = _dimensions(unit), _dimensions(other)
    if one is None or two is None or one.dimensionality != two.dimensionality:
        return None
    converted = _registry().Quantity(value, one).to(two).magnitude
    return Fraction(converted)


def is_known(unit: str) -> bool:
    """Whether the unit is one of measure or money, not a word for what is counted."""
    return _dimensions(unit) is not None


def _zero(unit: str, other: str) -> Fraction | None:
    one, two = _dimensions(unit), _dimensions(other)
    is_proportional = (
        one is not None
        and two is not None
        and one.dimensionality == two.dimensionality
        and "deg" not in unit + other
    )
    return Fraction(0) if is_proportional else None


def _is_same(unit: str, other: str) -> bool:
    """The same words, singular or plural, or all words of one among those of the other (`apples left` are
    apples).
    """
    words = [{_singular(word) for word in _WORD.findall(text.casefold())} for text in (unit, other)]
    if unit.casefold() == other.casefold():
        return True
    is_plain = all(not re.search(r"[\d^/]", text) for text in (unit, other))
    return (
        is_plain
        and bool(words[0])
        and (
            words[0] == words[1]
            or (words[0] <= words[1] and not is_known(other))
            or (words[1] <= words[0] and not is_known(unit))
        )
    )


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("xes", "ches", "shes", "sses")) else word.rstrip("s")


@functools.cache
def _registry() -> Any:
    """pint's registry with exact fractions and currencies; half a second, so only when two units differ."""
    import pint

    registry: Any = pint.UnitRegistry(non_int_type=Fraction)
    for definition in _CURRENCIES:
        registry.define(definition)
    return registry


@functools.lru_cache(maxsize=4096)
def _dimensions(unit: str) -> Any:
    """The unit of pint; None if a word of it is no unit. pint would read `cats` as
    centi-technical-atmospheres: such a reading is none.
    """
    import pint

    registry = _registry()
    text = re.sub(r"\b[sS]q(?:\. ?| )", "square ", unit)
    text = (
        re.sub(r"\b[cC]u(?:\. ?| )", "cubic ", text)
        .replace(".", "")
        .replace("{", "")
        .replace("}", "")
        .lstrip("/ ")
    )
    text = re.sub(r"(?<=[a-zA-Z])(?=[23]$)", "^", text)
    text = re.sub(r"\bper\b", "/", text)
    text = _WORD.sub(lambda word: _OTHER_SPELLINGS.get(word[0].casefold(), word[0]), text)
    for written in (text, text.casefold()):
        words = [
            word for word in _WORD.findall(written) if word not in ("square", "cubic", "squared", "cubed")
        ]
        if words and all(_is_unit_name(registry, word) for word in words):
            try:
                return registry.parse_units(written)
            except (
                pint.errors.PintError,
                ValueError,
                AssertionError,
                TypeError,
            ):  # words that make no unit together: `square`, `feet inches`
                return None
    return None


def _is_unit_name(registry: Any, word: str) -> bool:
    if (len(word) == 1 and word not in _SHORT) or word in ("unit", "units"):
        return False
    readings = registry.parse_unit_name(word)
    return any(not prefix or len(word) <= 3 or word.startswith(prefix) for prefix, _, _ in readings)
