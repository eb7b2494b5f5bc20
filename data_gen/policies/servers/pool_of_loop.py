"""Connections to servers for whoever outlives an event loop: a policy or a scorer that several runs use one
after the other.
"""

import asyncio
from collections.abc import AsyncGenerator

from data_gen.policies.servers.requests import RequestSettings, ServerPool


class PoolOfLoop:
    """`await pool.get()` gives the connections of the event loop that runs, made when it first asks."""

    def __init__(self, urls: tuple[str, ...], settings: RequestSettings) -> None:
        self._urls, self._settings = urls, settings
        self._loop: asyncio.AbstractEventLoop | None = None

    async def get(self) -> ServerPool:
        """The loop closes them when it ends: it closes the async generators that it has begun."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._connected = loop, ServerPool(self._urls, self._settings)
            self._closing = _close_at_the_end(self._connected)
            await anext(self._closing)
        return self._connected


async def _close_at_the_end(pool: ServerPool) -> AsyncGenerator[None, None]:
    async with pool:
        yield
