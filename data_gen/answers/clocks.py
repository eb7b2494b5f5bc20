"""Times of day and dates: `9 a.m.`, `21:30`, `noon`; `June 20`, `20th of June 2024`."""

import re
from typing import NamedTuple

from data_gen.answers.notation import WrittenAnswer
from data_gen.records.verdicts import CORRECT, INCORRECT, Verdict, unknown

AMBIGUOUS = unknown("ambiguous")
_CLOCK = re.compile(
    r"(\d{1,2})(?:\s?:\s?(\d{2}))?(?:\s?:\s?(\d{2}))?\s*(?:(a|p)\.?\s?m\b\.?|(o'clock))?(?:\s+in the "
    r"(?:morning|afternoon|evening))?",
    re.IGNORECASE,
)
_NAMED = {"noon": (12, "p"), "12 noon": (12, "p"), "midnight": (12, "a"), "12 midnight": (12, "a")}
_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_MONTH = "|".join(rf"{month[:3]}(?:{month[3:]})?" for month in _MONTHS)
_WEEKDAY = r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day,?\s+)?"
_DATE = re.compile(
    rf"{_WEEKDAY}(?:the )?(?:(?P<month>{_MONTH})\.?\s+(?:the "
    rf")?(?P<day>\d{{1,2}})(?:\s?\^?\{{?\s?(?:st|nd|rd|th)\s?\}}?)?"
    rf"|(?P<day2>\d{{1,2}})(?:\s?\^?\{{?\s?(?:st|nd|rd|th)\s?\}}?)?(?: day)?\s+(?:of "
    rf")?(?P<month2>{_MONTH})\.?)(?:,?\s+(?P<year>\d{{4}}))?",
    re.IGNORECASE,
)


class Clock(NamedTuple):
    """A time as it was written: `half` is a, p or "" where none is named; `is_bare` for an hour alone,
    `of_24` for an hour over 12.
    """

    hour: int
    minute: int
    second: int
    half: str
    is_bare: bool = False
    of_24: bool = False

    @property
    def seconds(self) -> int:
        """Since midnight, on a dial of 12 hours where no half is named."""
        hour = self.hour % 12 + 12 * (self.half == "p") if self.half else self.hour
        return 3600 * hour + 60 * self.minute + self.second


def read_clock(written: str) -> Clock | None:
    """A time of day; `9` alone and `3:4` are none. An hour over 12 names its half, as 0 does."""
    named = _NAMED.get(written.casefold())
    if named is not None:
        return Clock(named[0], 0, 0, named[1])
    match = _CLOCK.fullmatch(written)
    if match is None or not (match[2] or match[4] or match[5]):
        return None
    hour, minute, second, half = (
        int(match[1]),
        int(match[2] or 0),
        int(match[3] or 0),
        (match[4] or "").casefold(),
    )
    if hour > 24 or minute > 59 or second > 59 or (half and not 1 <= hour <= 12):
        return None
    of_24 = not half and (hour > 12 or hour == 0)
    if of_24:
        hour, half = hour % 24, "p" if hour % 24 >= 12 else "a"
    return Clock(hour % 12 or 12 if half else hour, minute, second, half, match[2] is None, of_24)


def compare_clocks(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """Two times; a half of the day counts only if both name one. `9 a.m.` is the 9 of a question about hours;
    `12:00` may be 12.
    """
    one, other = read_clock(gold.plain), read_clock(answer.plain)
    if one and other:
        if one.half and other.half:
            return CORRECT if one.seconds == other.seconds else INCORRECT
        is_same = (one.hour % 12, *one[1:3]) == (other.hour % 12, *other[1:3])
        if is_same and (one.of_24 or other.of_24):
            return AMBIGUOUS  # 15:16 and 3:16 may be ratios
        if is_same or one.half or other.half or 0 in (one.minute, other.minute):
            return CORRECT if is_same else INCORRECT
        is_same_ratio = one.hour * other.minute == other.hour * one.minute and not (
            one.second or other.second
        )
        return AMBIGUOUS if is_same_ratio else INCORRECT
    for clock, other_answer in ((one, answer), (other, gold)):
        if (
            clock
            and other_answer.number is not None
            and not other_answer.unit
            and not (clock.minute or clock.second)
        ):
            if clock.hour == other_answer.number.value:
                return CORRECT if clock.half else AMBIGUOUS
            return INCORRECT if clock.half or clock.is_bare else None
        if clock and clock.half and other_answer.number is None:
            return AMBIGUOUS  # words, or a time that was mangled before it was stored
    return None


def compare_dates(gold: WrittenAnswer, answer: WrittenAnswer) -> Verdict | None:
    """Two days of the year; the year counts only if both name one."""
    dates = _read_date(gold.plain), _read_date(answer.plain)
    if dates[0] is None or dates[1] is None:
        return None
    is_same_year = dates[0][2] is None or dates[1][2] is None or dates[0][2] == dates[1][2]
    return CORRECT if dates[0][:2] == dates[1][:2] and is_same_year else INCORRECT


def _read_date(written: str) -> tuple[str, int, str | None] | None:
    match = _DATE.fullmatch(written)
    if match is None:
        return None
    return (
        (match["month"] or match["month2"]).casefold()[:3],
        int(match["day"] or match["day2"]),
        match["year"],
    )
