"""Values as JSON between a program and its tests (remote_program.py), in such a way that a value cannot bring
behaviour along.

`encode` writes numbers, texts and the containers of the standard library by their content; an instance of a
class derived from one of them is written as that one (a number of numpy as the number). Whatever else there
is goes through `reference`, which gives it a name in its own process.

    (1, {"a": b"\\0"})  ->  {"tuple": [1, {"dict": [["a", {"bytes": "00"}]]}]}
"""

import enum
import importlib
import sys
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

Reference = Callable[[object], dict[str, Any]]

_READ: dict[str, Callable[[Any], Any]] = {
    "int": lambda digits: int(digits, 16),
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "dict": dict,
    "Counter": lambda pairs: Counter(dict(pairs)),
    "OrderedDict": OrderedDict,
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "complex": lambda parts: complex(*parts),
    "range": lambda parts: range(*parts),
    "Fraction": lambda parts: Fraction(*parts),
    "Decimal": Decimal,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "timedelta": lambda parts: timedelta(*parts),
    "namedtuple": lambda parts: namedtuple(parts[0], parts[1])(*parts[2]),
    "ndarray": lambda parts: importlib.import_module("numpy").array(parts[1], parts[0]),
}


def encode(value: Any, reference: Reference) -> Any:
    """What json.dumps takes. `reference` gets what is no plain value and returns a dict with one key that
    `decode` is told of.
    """
    if value is None or type(value) in (bool, str, float):
        return value
    if type(value) is int:
        return value if abs(value) < 1 << 62 else {"int": hex(value)}
    if type(value) is list:
        return [encode(item, reference) for item in value]
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return encode(value.item(), reference)
    if numpy is not None and type(value) is numpy.ndarray and value.dtype.kind in "biuf":
        return {"ndarray": [value.dtype.str, value.tolist()]}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {
            "namedtuple": [
                type(value).__name__,
                list(value._fields),
                [encode(item, reference) for item in value],
            ]
        }
    kind = next(
        (kind for kind in type(value).__mro__ if kind in _WRITE or kind in (list, str, int, float)), None
    )
    if kind is None or isinstance(value, enum.Enum):
        return reference(value)
    if kind not in _WRITE:
        return encode(kind(value), reference)  # a class derived from a plain one
    name, content = _WRITE[kind]
    return {name: encode(content(value), reference)}


def decode(code: Any, resolve: Callable[[str, Any], object]) -> Any:
    """The value of `code`; `resolve` gets the key and content of what `reference` wrote. Raises ValueError or
    TypeError for others.
    """
    if isinstance(code, list):
        return [decode(item, resolve) for item in code]
    if not isinstance(code, dict):
        return code
    ((name, content),) = code.items()
    return _READ[name](decode(content, resolve)) if name in _READ else resolve(name, content)


def _pairs(value: Any) -> list[list[object]]:
    return [[key, item] for key, item in dict.items(value)]


_WRITE: dict[type, tuple[str, Callable[[Any], object]]] = {
    tuple: ("tuple", list),
    set: ("set", list),
    frozenset: ("frozenset", list),
    deque: ("deque", list),
    Counter: ("Counter", _pairs),
    OrderedDict: ("OrderedDict", _pairs),
    defaultdict: ("dict", _pairs),
    dict: ("dict", _pairs),
    bytes: ("bytes", bytes.hex),
    bytearray: ("bytearray", bytearray.hex),
    complex: ("complex", lambda value: [value.real, value.imag]),
    range: ("range", lambda value: [value.start, value.stop, value.step]),
    Fraction: ("Fraction", lambda value: [value.numerator, value.denominator]),
    Decimal: ("Decimal", str),
    datetime: ("datetime", datetime.isoformat),
    date: ("date", date.isoformat),
    timedelta: ("timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
}
