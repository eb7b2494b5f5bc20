"""What a language model computes for a text: the measure behind tokens and FLOPs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """Tokens that go through the model, and pairs of such a token with one that its attention weighs: itself
    and all before it, those read from a cache included.
    """

    n_tokens: int = 0
    n_pairs: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.n_tokens + other.n_tokens, self.n_pairs + other.n_pairs)


def passed(n_before: int, n_tokens: int) -> Work:
    """Of `n_tokens` tokens behind `n_before` others: 2 behind 3 are 4 + 5 pairs."""
    return Work(n_tokens, n_tokens * n_before + n_tokens * (n_tokens + 1) // 2)
