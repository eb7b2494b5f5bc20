"""Connections to servers for whoever outlives an event loop: a policy or a scorer that several runs use one
after the other.
"""

import asyncio
from collections.abc import AsyncGenerator

from data_gen.policies.servers.replicas import Replicas, ServerCounts
from data_gen.policies.servers.requests import RequestSettings, ServerPool


class PoolOfLoop:
    """`await pool.get()` gives the connections of the event loop that runs, made when it first asks. Servers
    that join while it runs are there in the next loop, too.
    """

    def __init__(self, replicas: Replicas, settings: RequestSettings) -> None:
        self._replicas, self._settings = replicas, settings
        self._loop: asyncio.AbstractEventLoop | None = None

    async def get(self) -> ServerPool:
        """The loop closes them when it ends: it closes the async generators that it has begun."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            replicas = self._replicas
            pool = ServerPool(
                replicas.urls, self._settings, replicas.answered, replicas.check_again, replicas.doubted
            )
            self._loop, self._connected = loop, pool
            self._closing = _close_at_the_end(pool, self._replicas)
            await anext(self._closing)
        return self._connected

    @property
    def counts(self) -> ServerCounts:
        return self._replicas.counts


async def _close_at_the_end(pool: ServerPool, replicas: Replicas) -> AsyncGenerator[None, None]:
    joining = asyncio.get_running_loop().create_task(replicas.join_late(pool))
    try:
        async with pool:
            yield
    finally:
        joining.cancel()
        replicas.tell_missing()
