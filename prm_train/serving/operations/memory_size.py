"""How many bytes a record takes in memory."""

import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass


def memory_bytes(value: object, seen: set[int] | None = None) -> int:
    """Of a record of dataclasses, tuples, lists, mappings and plain values with all that it holds, each
    object once. What others hold, too (a constant, say), counts as if it were its own.
    """
    seen = set() if seen is None else seen
    if value is None or isinstance(value, bool) or id(value) in seen:
        return 0
    seen.add(id(value))
    found, parts = sys.getsizeof(value), list[object]()
    if is_dataclass(value):
        parts = [getattr(value, each.name) for each in fields(value)]
        found += 8 * len(parts) + 24  # of attributes that `getsizeof` does not count
    elif isinstance(value, Mapping):
        parts = [each for pair in value.items() for each in pair]
    elif isinstance(value, tuple | list):
        parts = [*value]
    return found + sum(memory_bytes(each, seen) for each in parts)
