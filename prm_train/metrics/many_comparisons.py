"""Tests of paired differences, and what many of them together show: Holm's correction."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

LEVEL = 0.05
N_SIGN_FLIPS = 20_000
MAX_ENUMERATED = 14  # differences other than 0 of which all signs are tried


def sign_flip_p_value(differences: ArrayLike, rng: np.random.Generator, n_flips: int = N_SIGN_FLIPS) -> float:
    """Two-sided p-value of "neither method is better", from paired differences, one a problem (Fisher's
    randomization test).

    If neither is, the sign of each difference could as well be the other one: p is the share of all choices
    of signs whose mean lies at least as far from 0 as what was found; exact for few problems, otherwise of
    `n_flips` random choices and the one found. 1 where no problem differs. Raises ValueError for no vector or
    a NaN.
    """
    vector = np.asarray(differences, dtype=np.float64)
    if vector.ndim != 1 or not vector.size or np.isnan(vector).any():
        raise ValueError(f"differences: got shape {vector.shape}, expected a number for every problem")
    vector = vector[vector != 0]
    if not vector.size:
        return 1.0
    is_exact = vector.size <= MAX_ENUMERATED
    if is_exact:
        numbers = np.arange(2**vector.size, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
        bits = np.unpackbits(numbers, axis=1, bitorder="little")[:, : vector.size]
    else:
        packed = rng.integers(256, size=(n_flips, -(-vector.size // 8)), dtype=np.uint8)
        bits = np.unpackbits(packed, axis=1)[:, : vector.size]
    sums = np.abs(2 * (bits.astype(np.float32) @ vector) - vector.sum())
    # What equals the sum found but for rounding lies as far from 0
    n_as_far = int((sums >= abs(vector.sum()) * (1 - 1e-9)).sum())
    return n_as_far / len(bits) if is_exact else (n_as_far + 1) / (n_flips + 1)


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """The p-values of m comparisons, in their order, corrected for being many (Holm 1979).

    To call a difference real where its corrected value is below a level keeps the chance that any of those so
    called is none below that level, however the comparisons depend on each other. The smallest is multiplied
    by m, the next by m - 1, …; none falls below one before it. Raises ValueError outside [0, 1].
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"p-values: got {min(p_values)} to {max(p_values)}, expected them in [0, 1]")
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
