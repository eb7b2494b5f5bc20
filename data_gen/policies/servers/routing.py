"""Which of several servers makes a draw: the one that has the problem's prompt in its cache, while it is up
and has room. What no server's cache helps with goes to the one with the fewest requests.

Servers are ranked for each prompt by rendezvous hashing (Thaler and Ravishankar 1998), so all draws of a
problem go to one replica, problems spread evenly, and when a replica goes away only its own problems move.
Replicas that fail are set aside and tried again later.
"""

import asyncio
import time
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256

from data_gen.records.draw_keys import prefix_hash

FAILURES_IN_A_ROW = 3  # that set a server aside
LONGEST_PAUSE_SECONDS = 60.0


class Server:
    """One base URL, the requests under way there, and whether it is up. Times are those of `time.monotonic`.

    Three failures in a row set it aside for `pause_seconds`; then one request tries it, and if that fails too
    it is set aside for twice as long.
    """

    def __init__(self, url: str, max_concurrency: int, pause_seconds: float) -> None:
        self.url = url
        self.places = asyncio.Semaphore(max_concurrency)
        self.n_pending = 0  # under way, or waiting for a place
        self.closed_until = 0.0
        self.last_fault = ""
        self.must_be_checked = False  # something else may be served there by now
        self.look: asyncio.Future[None] | None = None  # at what is there, under way or over
        self._n_failures = self._n_unlogged = 0
        self._next_line_at = 0.0
        self._first_pause_seconds = self._pause_seconds = pause_seconds

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """One of the places for requests that are under way, once one is free."""
        self.n_pending += 1
        try:
            async with self.places:
                yield
        finally:
            self.n_pending -= 1

    def is_open(self) -> bool:
        return time.monotonic() >= self.closed_until

    def has_room(self) -> bool:
        return not self.places.locked()

    @property
    def is_failing(self) -> bool:
        return self._n_failures >= FAILURES_IN_A_ROW

    def start(self) -> bool:
        """Whether the request that starts now is the one that tries a server which was set aside; the others
        wait for how it fares.
        """
        if self.is_failing:
            self._close_for(self._pause_seconds)
        return self.is_failing

    def succeeded(self) -> None:
        self.closed_until, self._n_failures, self._pause_seconds = 0.0, 0, self._first_pause_seconds

    def failed(self, fault: str, is_trial: bool) -> None:
        self.last_fault = fault
        self._n_failures += 1
        # What else was under way when it went down says nothing new
        if is_trial or self._n_failures == FAILURES_IN_A_ROW:
            self._close_for(self._pause_seconds)
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)

    def ask_again_in(self, seconds: float) -> None:
        """The server said when it wants to be asked again (Retry-After)."""
        self._close_for(seconds)

    def faults_to_log(self, pause_seconds: float) -> int:
        """To be called at each fault: how many there were since the last line about this server, 0 while that
        was just now.
        """
        self._n_unlogged += 1
        if time.monotonic() < self._next_line_at:
            return 0
        n_faults, self._n_unlogged, self._next_line_at = self._n_unlogged, 0, time.monotonic() + pause_seconds
        return n_faults

    def _close_for(self, seconds: float) -> None:
        self.closed_until = max(self.closed_until, time.monotonic() + seconds)


def rank(servers: Sequence[Server], key: bytes) -> list[Server]:
    """Best first; the order of the others stays when one is taken out."""
    return sorted(
        servers, key=lambda server: sha256(server.url.encode() + b"\n" + key).digest(), reverse=True
    )


def least_pending(servers: Sequence[Server]) -> list[Server]:
    """Those with the fewest requests first."""
    return sorted(servers, key=lambda server: server.n_pending)


def choose(ranked: Sequence[Server], tried: Collection[Server]) -> Server | None:
    """The best ranked open server with room that was not tried yet, else one without room; None if all were
    tried or are set aside.
    """
    untried = [server for server in ranked if server not in tried and server.is_open()]
    return next((server for server in untried if server.has_room()), untried[0] if untried else None)


class RecentPrompts:
    """The prompts encoded last, to find the one that a prefix begins with."""

    def __init__(self, n_prompts: int = 8192) -> None:
        self._n_prompts = n_prompts
        self._sorted: list[tuple[int, ...]] = []
        self._by_age: deque[tuple[int, ...]] = deque()

    def add(self, prompt_ids: tuple[int, ...]) -> None:
        if self.find(prompt_ids) == prompt_ids:
            return
        insort(self._sorted, prompt_ids)
        self._by_age.append(prompt_ids)
        if len(self._by_age) > self._n_prompts:
            del self._sorted[bisect_left(self._sorted, self._by_age.popleft())]

    def find(self, prefix_ids: tuple[int, ...]) -> tuple[int, ...] | None:
        """In lexicographic order nothing stands between a prefix and the prompt it begins with but prompts
        that begin with that prompt.
        """
        i = bisect_right(self._sorted, prefix_ids)
        if i and prefix_ids[: len(self._sorted[i - 1])] == self._sorted[i - 1]:
            return self._sorted[i - 1]
        return None

    def affinity_key(self, prefix_ids: tuple[int, ...]) -> bytes:
        """The same for all prefixes of one prompt; a prefix of no known prompt stands for itself."""
        return prefix_hash(self.find(prefix_ids) or prefix_ids)
