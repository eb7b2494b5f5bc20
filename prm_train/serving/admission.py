"""Who may come in: so many requests are worked on at a time, so many wait, and the rest is told when to come
again.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from data_gen.policies.servers.http_requests import BadRequestError

TOO_MANY_REQUESTS = 429
LONGEST_RETRY_SECONDS = 60
WEIGHT_OF_LAST = 0.1  # of the moving average of how long a request takes


class Admission:
    """`async with admission.turn():` waits for its turn. Raises BadRequestError (429, with Retry-After) where
    as many as may are waiting already. Who is cancelled frees its place.
    """

    def __init__(self, max_concurrency: int, max_queue: int) -> None:
        self.max_concurrency, self.max_queue = max_concurrency, max_queue
        self.n_inside = 0
        self._turns = asyncio.Semaphore(max_concurrency)
        self._mean_seconds = 1.0

    @property
    def n_waiting(self) -> int:
        return max(0, self.n_inside - self.max_concurrency)

    @property
    def is_full(self) -> bool:
        return self.n_inside >= self.max_concurrency + self.max_queue

    def check(self) -> None:
        if self.is_full:
            rounds = self.n_inside / self.max_concurrency
            seconds = min(LONGEST_RETRY_SECONDS, max(1, math.ceil(self._mean_seconds * rounds)))
            raise BadRequestError(
                f"busy: {self.max_concurrency} requests are worked on and {self.max_queue} wait; expected "
                f"this one again in {seconds} s",
                TOO_MANY_REQUESTS,
                seconds,
            )

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        self.check()
        self.n_inside += 1
        try:
            async with self._turns:
                begun = time.monotonic()
                yield
                self._mean_seconds += WEIGHT_OF_LAST * (time.monotonic() - begun - self._mean_seconds)
        finally:
            self.n_inside -= 1
