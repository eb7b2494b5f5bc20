"""What settings of strategies may be."""

import math


def check_at_least(lowest: float, **settings: float) -> None:
    """Raises ValueError for a setting below `lowest` or without end, by its name."""
    for name, value in settings.items():
        if not lowest <= value < math.inf:
            raise ValueError(f"{name}: got {value}, expected {lowest:g} or more")
