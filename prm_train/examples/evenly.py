"""Some of many rows, where all would take too long."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def evenly(rows: Sequence[T], n: int) -> list[T]:
    """`n` of the rows, spread evenly over them from the first on, in their order; all of them where there are
    fewer.
    """
    return [rows[i * len(rows) // n] for i in range(n)] if n < len(rows) else list(rows)
