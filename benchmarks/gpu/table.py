"""The figures of `benchmarks.gpu` as lines for a terminal."""

from collections.abc import Iterator
from typing import Any


def lines(found: Any, indent: int) -> Iterator[str]:
    """One line a figure; groups of figures are indented below their name."""
    for name, value in found.items():
        if isinstance(value, dict):
            yield " " * indent + str(name)
            yield from lines(value, indent + 2)
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            yield f"{' ' * indent + str(name):<44} {shown}"


def table(figures: dict[str, Any]) -> str:
    head = f"{figures['card'] or 'CPU'}, {figures['machine']}, model {figures['model']}"
    return "\n".join([head, *lines(figures["parts"], 0)])
