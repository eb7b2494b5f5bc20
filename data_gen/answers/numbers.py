"""Which numbers are equal, with their units, percent signs and roundings; the policies stand in
answer_equality.py.
"""

import re
from dataclasses import replace
from fractions import Fraction

from data_gen.answers.notation import Number, WrittenAnswer
from data_gen.answers.units import convert
from data_gen.records.verdicts import CORRECT, INCORRECT, Verdict, unknown

AMBIGUOUS = unknown("ambiguous")
# a month of 30 days, a ton of 1000 kg, a gigabyte of 1024 megabytes
_BY_CONVENTION = re.compile(
    r"\b(?:t|tons?|tonnes?|months?|years?|decades?|[KMGT]B|gallons?|cups?|pints?|quarts?)\b", re.IGNORECASE
)


def compare_numbers(gold: Number, answer: Number) -> Verdict:
    if gold.unit != answer.unit and gold.unit and answer.unit:
        converted = convert(gold.value, gold.unit, answer.unit)
        if converted is None:
            return AMBIGUOUS
        if converted == gold.value:
            return _compare_values(gold, answer)
        margin = Fraction(1, 8) if _BY_CONVENTION.search(f"{gold.unit} {answer.unit}") else Fraction(1, 1000)
        is_near = converted != answer.value and abs(converted - answer.value) < abs(converted) * margin
        # Near: a factor may be rounded, or of another country
        return AMBIGUOUS if is_near else as_verdict(converted == answer.value)
    if gold.is_percent != answer.is_percent and (gold.unit or answer.unit):
        return AMBIGUOUS  # 5% is not 5 cm
    if gold.is_compound != answer.is_compound and not (gold.unit and answer.unit):
        return AMBIGUOUS  # 90 or 1.5 for 1 hour 30 minutes
    return _compare_values(gold, answer)


def _compare_values(gold: Number, answer: Number) -> Verdict:
    if gold.value == answer.value:
        return CORRECT
    if gold.is_percent != answer.is_percent:
        percent, fraction = (gold, answer) if gold.is_percent else (answer, gold)
        if percent.value / 100 == fraction.value:
            return CORRECT
        as_percent = replace(fraction, value=fraction.value * 100, n_decimals=max(0, fraction.n_decimals - 2))
        return unknown("rounded_gold") if gold.is_percent and _is_rounding(gold, as_percent) else INCORRECT
    if 0 < gold.n_decimals < 6 and _is_rounding(gold, answer):
        return unknown("rounded_gold")
    if max(gold.n_decimals, answer.n_decimals) < 6:
        return INCORRECT
    exact, rounded = (gold, answer) if answer.n_decimals else (answer, gold)
    is_close = abs(exact.value - rounded.value) < Fraction(1, 10**rounded.n_decimals)
    is_exact = not exact.terminates or (
        not exact.n_decimals and abs(rounded.value) * 10**rounded.n_decimals > 1000
    )
    return as_verdict(is_close and rounded.n_decimals >= 6 and is_exact)


def _is_rounding(gold: Number, answer: Number) -> bool:
    """Whether the answer is the exact value that a gold decimal may round: one with more places, or with
    endless ones.
    """
    if not gold.n_decimals or abs(gold.value) * 10**gold.n_decimals < 10:  # of one digit
        return False
    if abs(gold.value - answer.value) > Fraction(1, 2 * 10**gold.n_decimals):
        return False
    return not answer.terminates or answer.n_decimals > gold.n_decimals


def units_agree(gold: WrittenAnswer, answer: WrittenAnswer) -> bool:
    return not (gold.unit and answer.unit) or convert(Fraction(1), gold.unit, answer.unit) == 1


def as_verdict(is_equal: bool) -> Verdict:
    return CORRECT if is_equal else INCORRECT
