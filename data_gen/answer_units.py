"""Exact conversion between units of one kind: length, area and volume of lengths, mass, volume, time and money."""

import re
from fractions import Fraction

# spellings: factor to the first unit of the kind
_KINDS: tuple[dict[str, str], ...] = (
    {
        "m meter meters metre metres": "1",
        "km kilometer kilometers kilometre kilometres": "1000",
        "cm centimeter centimeters centimetre centimetres": "1/100",
        "mm millimeter millimeters millimetre millimetres": "1/1000",
        "in inch inches": "127/5000",
        "ft foot feet": "381/1250",
        "yd yard yards": "1143/1250",
        "mi mile miles": "201168/125",
    },
    {
        "g gram grams": "1",
        "mg milligram milligrams": "1/1000",
        "kg kilogram kilograms": "1000",
        "oz ounce ounces": "45359237/1600000",
        "lb lbs pound pounds": "45359237/100000",
    },
    {"ml milliliter milliliters millilitre millilitres": "1", "liter liters litre litres": "1000"},
    {
        "sec second seconds": "1",
        "min minute minutes": "60",
        "hour hours hr hrs": "3600",
        "day days": "86400",
        "week weeks": "604800",
    },
    {"cent cents": "1", "dollar dollars": "100"},
)
_UNITS = {
    spelling: (kind, Fraction(factor))
    for kind, units in enumerate(_KINDS)
    for spellings, factor in units.items()
    for spelling in spellings.split()
}
_UNIT = re.compile(r"(?P<square>square |cubic )?(?P<name>[a-z]+)(?: ?\^\{?(?P<power>[23])\}?)?")


def convert(unit: str, other: str) -> Fraction | None:
    """How many of `other` one `unit` is; None for units of different kinds or unknown ones. Both in lower case."""
    one, two = _read(unit), _read(other)
    if unit == other or unit.rstrip("s") == other.rstrip("s"):
        return Fraction(1)
    if one is None or two is None or one[0] != two[0]:
        return None
    return one[1] / two[1]


def _read(unit: str) -> tuple[tuple[int, int], Fraction] | None:
    match = _UNIT.fullmatch(unit)
    if match is None or match["name"] not in _UNITS:
        return None
    kind, factor = _UNITS[match["name"]]
    power = int(match["power"] or {"square ": 2, "cubic ": 3}.get(match["square"] or "", 1))
    return (kind, power), factor**power
