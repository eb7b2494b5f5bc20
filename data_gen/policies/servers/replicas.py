"""Which servers may be asked: those that are named and have shown that they are replicas of each other. One
that is not there yet, or that is written into a file of URLs later, joins when it answers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from data_gen.policies.servers.requests import RequestSettings, ServerPool
from data_gen.policies.servers.server_errors import NotAReplicaError, RefusedRequestError, ServerError
from data_gen.settings.errors import InputError

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")
JOIN_SECONDS = 10.0  # between two looks for servers that were not there
PROBE_ATTEMPTS = 5
PATIENCE_SECONDS = 10.0  # for a server at the start, once another one has answered


@dataclass(frozen=True)
class ServerCounts:
    """How many servers a process was given, and how many of them have answered it at least once."""

    n_servers: int
    n_servers_answered: int


class Replicas:
    """`named()` are the URLs that are named now; `admit(url)` raises InputError unless the server there is a
    replica of those that are `present`. `check(url)` looks whether one that was admitted still is: it raises
    NotAReplicaError where it is not, another InputError where it does not say; None: nobody looks.
    """

    def __init__(
        self,
        named: Callable[[], tuple[str, ...]],
        present: Iterable[str],
        admit: Callable[[str], Awaitable[None]],
        check: Callable[[str], Awaitable[None]] | None,
    ) -> None:
        self.urls = tuple(present)
        self.answered = set(self.urls)
        self.doubted = set[str]()  # turned out to be none, and there was no other
        self._named, self._admit, self._check = named, admit, check
        self._all_named = dict.fromkeys((*named(), *self.urls))
        self._refused: set[str] = set()
        self._told = 0

    @property
    def counts(self) -> ServerCounts:
        return ServerCounts(len(self._all_named), len(self.answered))

    async def join_late(self, pool: ServerPool) -> None:
        """Without end: give `pool` each further server as soon as it answers."""
        while True:
            await asyncio.sleep(JOIN_SECONDS)
            absent = [url for url in self._named_now() if url not in (*self.urls, *self._refused)]
            for url, joins in zip(absent, await asyncio.gather(*map(self._joins, absent)), strict=True):
                if joins:
                    logger.info("%s: joins; %d servers", url, len(self.urls) + 1)
                    self.urls += (url,)
                    self.answered.add(url)
                    pool.add(url)

    @property
    def check_again(self) -> Callable[[str], Awaitable[None]] | None:
        """Raises NotAReplicaError where another model is served at a URL: it is asked no more, or, if there
        is no other server, not before it has been looked at again.
        """
        return None if self._check is None else partial(self._check_again, self._check)

    async def _check_again(self, check: Callable[[str], Awaitable[None]], url: str) -> None:
        try:
            await check(url)
        except NotAReplicaError as fault:
            if self.urls == (url,):
                self.doubted.add(url)
            else:
                self._refuse(url, fault)
            raise
        self.doubted.discard(url)

    def _refuse(self, url: str, fault: InputError) -> None:
        if url not in self._refused:
            logger.error("%s; it is not asked", fault)
            self._refused.add(url)
            self.urls = tuple(each for each in self.urls if each != url)

    def tell_missing(self) -> None:
        """Warn of servers that have never answered, once for each number of them."""
        missing = [url for url in self._all_named if url not in self.answered]
        if missing and len(missing) != self._told:
            self._told = len(missing)
            n_named = len(self._all_named)
            logger.warning(
                "%d of %d servers answered; none at %s", n_named - len(missing), n_named, ", ".join(missing)
            )

    def _named_now(self) -> tuple[str, ...]:
        try:
            urls = self._named()
        except InputError as fault:  # the file is just being written, or was emptied
            logger.warning("%s; going on with the servers known", fault)
            return ()
        self._all_named |= dict.fromkeys(urls)
        return urls

    async def _joins(self, url: str) -> bool:
        try:
            await self._admit(url)
        except InputError as fault:
            if not _may_pass(fault):
                self._refuse(url, fault)
            return False
        return True


def fixed(urls: tuple[str, ...]) -> Replicas:
    """Servers that are asked as they are, without a look at what they serve."""

    async def never(url: str) -> None: ...

    return Replicas(lambda: urls, urls, never, None)


def _may_pass(fault: BaseException) -> bool:
    """Whether a server may be there later: of one that answers, but wrongly, nothing better is expected."""
    of_server = fault if isinstance(fault, ServerError) else fault.__cause__
    lasting = (RefusedRequestError, NotAReplicaError)
    return isinstance(of_server, ServerError) and not isinstance(of_server, lasting)


async def probe_present(
    urls: tuple[str, ...],
    settings: RequestSettings,
    probe: Callable[[str, RequestSettings], Awaitable[Answer]],
) -> dict[str, Answer]:
    """What `probe` finds at each server that answers. One that goes away meanwhile is left out if there are
    others. Raises what `probe` raises for another reason.
    """
    present = await present_servers(urls, settings, "/v1/models")
    # They have just answered: to wait long for one that has died would keep the others waiting
    few = replace(settings, n_attempts=min(settings.n_attempts, PROBE_ATTEMPTS))
    answers = await asyncio.gather(*(probe(url, few) for url in present), return_exceptions=True)
    found, gone = dict[str, Answer](), list[BaseException]()
    for url, answer in zip(present, answers, strict=True):
        if not isinstance(answer, BaseException):
            found[url] = answer
        elif _may_pass(answer):
            gone.append(answer)
        else:
            raise answer
    if not found:
        raise gone[0]
    for fault in gone:
        logger.warning("%s; it joins when it answers", fault)
    return found


async def present_servers(urls: tuple[str, ...], settings: RequestSettings, path: str) -> tuple[str, ...]:
    """The URLs of the servers that answer; those of others once PATIENCE_SECONDS have passed since the first
    one did are warned of and left out.

    Raises ServerError at once where no server takes a connection: to wait for what never was there helps
    nobody.
    """
    async with ServerPool(urls, settings) as pool:
        asked = {asyncio.ensure_future(pool.unreachable(each, path)): each.url for each in pool.servers}
        waiting, absent, patience = set(asked), dict[str, str](), None
        while waiting:
            over, waiting = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for each in over:
                if (fault := each.result()) is not None:
                    absent[asked[each]] = f"{asked[each]}: {fault}"
            if not over:
                break
            if len(absent) + len(waiting) < len(asked):
                patience = PATIENCE_SECONDS
        for each in waiting:
            each.cancel()
            absent[asked[each]] = f"{asked[each]}: no answer in {PATIENCE_SECONDS:g} s"
        await asyncio.gather(*waiting, return_exceptions=True)
    if len(absent) == len(urls):
        faults = "; ".join(absent.values())
        raise ServerError(f"no server answers: {faults}; expected one or more that run")
    for said in absent.values():
        logger.warning("%s; it joins when it answers", said)
    return tuple(url for url in urls if url not in absent)
