"""When a wave of requests is complete: once nobody asks for more."""

import asyncio
import math
from collections.abc import Callable

# After so many turns of the event loop without a new request everybody who could ask has asked. A gather
# inside a gather needs three turns until its innermost tasks have run.
QUIET_TURNS = 3


async def until_quiet(n_requests: Callable[[], int], enough: float = math.inf) -> None:
    """Let other tasks run until no more requests come, so that a wave holds what all of them want, or there
    are `enough`.
    """
    n_quiet = 0
    while n_quiet < QUIET_TURNS:
        n_before = n_requests()
        await asyncio.sleep(0)
        if n_requests() >= enough:
            return
        n_quiet = n_quiet + 1 if n_requests() == n_before else 0
