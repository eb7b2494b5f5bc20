"""How much is measured: in full, and small, to see that it works."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    n_clients: tuple[int, ...]
    n_requests: int  # of each number of clients, at least
    n_rounds: int  # in turn by HTTP and in process
    n_searches: int  # of each round
    n_memory_requests: int
    n_sessions: int
    n_kills: int  # of each kind


FULL = Size((1, 10, 50, 200), 400, 6, 40, 10_000, 40, 10)
SMALL = Size((1, 4), 8, 1, 6, 120, 2, 1)
