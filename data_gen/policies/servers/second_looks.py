"""Looks at servers that may serve something else by now: one that was lost for a while may have been started
again, with another model.
"""

import asyncio
from collections.abc import Awaitable, Callable

from data_gen.policies.servers.replies import OtherModelError
from data_gen.policies.servers.routing import Server
from data_gen.policies.servers.server_errors import (
    LostServerError,
    NotAReplicaError,
    PassingFaultError,
)
from data_gen.settings.errors import InputError


class SecondLooks:
    """`knock(server)` raises where it does not answer; `check_again(url)` raises NotAReplicaError where
    another model is served, so that the server is sent away, and another InputError where it does not say.
    Without it nothing is looked at.
    """

    def __init__(
        self,
        knock: Callable[[Server], Awaitable[object]],
        check_again: Callable[[str], Awaitable[None]] | None,
        send_away: Callable[[Server], None],
    ) -> None:
        self._knock, self._check_again, self._send_away = knock, check_again, send_away
        self._under_way = set[asyncio.Future[None]]()

    @property
    def are_taken(self) -> bool:
        return self._check_again is not None

    def after(self, fault: Exception, server: Server) -> None:
        """After this fault, is the server to be looked at before it is asked again?"""
        is_doubtful = isinstance(fault, (OtherModelError, LostServerError)) or server.is_failing
        server.must_be_checked |= is_doubtful and self.are_taken

    async def at(self, server: Server) -> None:
        """One look for all requests that wait for it. Raises NotAReplicaError, or a PassingFaultError where
        the server does not answer, or does not say what it serves.
        """
        if server.look is None or server.look.done():
            server.look = asyncio.ensure_future(self._look(server))
            self._under_way.add(server.look)
            server.look.add_done_callback(self._ended)
        await asyncio.shield(server.look)

    async def end(self) -> None:
        for look in self._under_way:
            look.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _ended(self, look: asyncio.Future[None]) -> None:
        self._under_way.discard(look)
        if not look.cancelled():
            look.exception()  # those who waited for it may all be gone

    async def _look(self, server: Server) -> None:
        assert self._check_again is not None
        try:
            await self._knock(server)
            await self._check_again(server.url)
        except NotAReplicaError:
            self._send_away(server)
            raise
        except InputError as fault:
            raise PassingFaultError(without_url(fault, server)) from None
        server.must_be_checked = False


def without_url(fault: Exception, server: Server) -> str:
    """What is said of a fault, for whoever puts the server's URL before it."""
    return str(fault).removeprefix(f"{server.url}: ")
