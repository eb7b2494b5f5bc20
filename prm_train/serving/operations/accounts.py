"""What the holder of a key has used, and whether there is more for them now.

Requests and tokens are counted by the minutes and days of the clock (UTC), in this process: a restart begins
anew, and replicas count apart. Tokens are those that were generated or computed by the scorer, also for a
client that has gone away (of a policy that does not tell what it writes: finished draws). What a request will
take is not known before, so the one that goes beyond a limit is answered, and the next is not.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from data_gen.policies.servers.http_requests import BadRequestError
from prm_train.serving.admission import TOO_MANY_REQUESTS
from prm_train.serving.operations.api_keys import ApiKey
from prm_train.serving.operations.settings import Quota

MINUTE, DAY = 60, 86_400
SPANS = {"minute": MINUTE, "day": DAY}
ANYBODY = "anybody"  # the name of who needs no key


class Window:
    """Counts within the minute or day that it is."""

    def __init__(self, seconds: int) -> None:
        self._seconds, self._number, self._count = seconds, -1, 0

    def count(self, now: float) -> int:
        number = int(now // self._seconds)
        if number != self._number:
            self._number, self._count = number, 0
        return self._count

    def add(self, n: int, now: float) -> None:
        self._count = self.count(now) + n

    def rest(self, now: float) -> int:
        """Seconds until it begins anew, at least 1."""
        return int(self._seconds - now % self._seconds) + 1


class Account:
    """`clock` gives seconds since 1970."""

    def __init__(self, name: str, quota: Quota, clock: Callable[[], float] = time.time) -> None:
        self.name, self._quota, self._clock = name, quota, clock
        self._used = {
            (what, per): Window(seconds) for what in ("requests", "tokens") for per, seconds in SPANS.items()
        }

    def admit(self) -> None:
        """Count a request. Raises BadRequestError (429, with Retry-After) where a limit is reached."""
        now = self._clock()
        full = [
            (window.rest(now), f"{what}_per_{per}", limit)
            for (what, per), window in self._used.items()
            if (limit := getattr(self._quota, f"{what}_per_{per}")) is not None and window.count(now) >= limit
        ]
        if full:
            seconds, name, limit = max(full)
            raise BadRequestError(
                f"quota of {self.name}: {name} is {limit}, all used; expected this request again in "
                f"{seconds} s",
                TOO_MANY_REQUESTS,
                seconds,
            )
        self._add("requests", 1, now)

    def charge(self, n_tokens: int) -> None:
        self._add("tokens", n_tokens, self._clock())

    def _add(self, what: str, n: int, now: float) -> None:
        for per in SPANS:
            self._used[what, per].add(n, now)


class Accounts:
    """One of each key; who needs none share one."""

    def __init__(self, quota: Quota, clock: Callable[[], float] = time.time) -> None:
        self._quota, self._clock = quota, clock
        self._accounts: dict[str, Account] = {}

    def of(self, holder: ApiKey | None) -> Account:
        name, quota = (ANYBODY, self._quota) if holder is None else (holder.name, holder.quota)
        if name not in self._accounts:
            self._accounts[name] = Account(name, quota, self._clock)
        return self._accounts[name]


# Of the request that a task works on; tasks that it starts have it, too
CURRENT: ContextVar[Account | None] = ContextVar("account", default=None)


def charge(n_tokens: int) -> None:
    """To who asked, if that is known."""
    if (account := CURRENT.get()) is not None:
        account.charge(n_tokens)


@dataclass
class Drawn:
    """How many tokens were generated for a search so far; what was in the ledger was not."""

    n_tokens: int = 0


_DRAWN: ContextVar[Drawn | None] = ContextVar("drawn", default=None)


@contextmanager
def counting_draws() -> Iterator[Drawn]:
    """Those of this task, and of the tasks that it starts."""
    drawn = Drawn()
    token = _DRAWN.set(drawn)
    try:
        yield drawn
    finally:
        _DRAWN.reset(token)


def charge_draw(n_tokens: int) -> None:
    """As soon as it is made: the client may go away before its answer is found."""
    charge(n_tokens)
    if (drawn := _DRAWN.get()) is not None:
        drawn.n_tokens += n_tokens
