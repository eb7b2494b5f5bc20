"""pass@k: whether any of k solutions is right."""

from math import comb


def pass_at_k(n: int, n_correct: int, k: int) -> float:
    """The probability that k of n solutions, drawn without replacement, hold a right one: the unbiased
    estimate of pass@k (Chen et al. 2021, eq. 1).

    Raises ValueError unless 0 <= n_correct <= n and 1 <= k <= n.
    """
    if not (0 <= n_correct <= n and 1 <= k <= n):
        raise ValueError(f"pass@{k} of {n_correct} right in {n}: expected 0 <= right <= n and 1 <= k <= n")
    return 1 - comb(n - n_correct, k) / comb(n, k)
