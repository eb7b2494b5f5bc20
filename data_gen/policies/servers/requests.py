"""Requests to OpenAI-compatible servers that come back with a sound reply, or end with an error that says
what was tried and what came.

What may pass (no connection, a time-out, half a body, 429, 5xx, a reply that does not fit its request) is
tried again, first on the other servers, then after a pause that doubles each time; any other status is the
request's own fault and ends it at once. The first fault of a server is logged at once, later ones once a
minute. A reply has a limit in time and in bytes. The API key is read from the environment and appears in the
Authorization header alone: what servers say loses it before it enters a log or an error.
"""

import asyncio
import errno
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

import aiohttp

from data_gen.policies.servers.foreign_text import shown_text
from data_gen.policies.servers.http_client import (
    UnusableBodyError,
    connect_seconds,
    fault_of,
    new_session,
    proxy_for,
    read_beginning,
    read_body,
)
from data_gen.policies.servers.replies import OtherModelError, WrongReplyError
from data_gen.policies.servers.routing import Server, choose, least_pending, rank
from data_gen.policies.servers.second_looks import SecondLooks, without_url
from data_gen.policies.servers.server_errors import (
    LostServerError,
    NotAReplicaError,
    PassingFaultError,
    RefusedRequestError,
    SentAwayError,
    ServerError,
    UnreachableError,
)
from data_gen.process.open_files import raise_open_files_limit
from data_gen.records.draw_keys import derive_seed
from data_gen.settings.api_keys import read_api_key

logger = logging.getLogger(__name__)
LONGEST_BACKOFF_SECONDS = 60.0
LONGEST_RETRY_AFTER_SECONDS = 120.0
LOOK_SECONDS = 20.0  # that a server may take to say what it serves, while draws wait for that
LOG_SECONDS = 60.0  # between two lines about the faults of one server
# The longest reply, and what each token of prompt and completion adds to it
REPLY_BYTES, TOKEN_BYTES = 2**20, 2**10
ERROR_BYTES = 2**16  # of the body of an error, of which a line is shown
# Statuses that blame what a request says; others blame the key, the address or the server
OF_CONTENT = {400, 413, 422}
Read = TypeVar("Read")


@dataclass(frozen=True)
class RequestSettings:
    """How requests are made; `api_key_env` names the environment variable that holds the key."""

    api_key_env: str | None = None
    max_concurrency: int = 128  # requests under way at each server
    timeout_seconds: float = 600.0  # for one reply, from the first to the last byte
    n_attempts: int = 10  # of one draw, over all servers
    retry_seconds: float = 0.5  # the first pause


class ServerPool:
    """Open connections to some servers, within one event loop: `async with ServerPool(urls, settings) as
    pool`.

    What was started at a server's address meanwhile may be another model. So where there is `check_again`, a
    server is looked at by it before it is asked again, once it was lost, was set aside, or gave a draw of
    another model (`OtherModelError`); those that are `doubted`, before they are asked at all. `check_again`
    raises NotAReplicaError for a server that is not to be asked any more.
    """

    def __init__(
        self,
        urls: tuple[str, ...],
        settings: RequestSettings,
        answered: set[str] | None = None,
        check_again: Callable[[str], Awaitable[None]] | None = None,
        doubted: Collection[str] = (),
    ) -> None:
        self.answered = set[str]() if answered is None else answered  # URLs that gave a sound reply
        self.servers = [Server(url, settings.max_concurrency, 2 * settings.retry_seconds) for url in urls]
        # For requests that any server may get: one that waits for a place takes the first that is free
        self._places = asyncio.Semaphore(len(urls) * settings.max_concurrency)
        self._settings, self._key = settings, read_api_key(settings.api_key_env)
        for server in self.servers:
            server.must_be_checked = server.url in doubted
        self._looks = SecondLooks(self._knock, check_again, self._send_away)
        self._proxies = {server: proxy_for(server.url) for server in self.servers}
        self._came_back = asyncio.Event()
        raise_open_files_limit()

    async def __aenter__(self) -> "ServerPool":
        self._session = new_session(self._key, self._settings.timeout_seconds)
        return self

    async def __aexit__(self, *error: object) -> None:
        try:
            await self._looks.end()
        finally:
            await self._session.close()

    def add(self, url: str) -> None:
        """One more server, also for the requests that wait."""
        server = Server(url, self._settings.max_concurrency, 2 * self._settings.retry_seconds)
        self._proxies[server] = proxy_for(url)
        self.servers = [*self.servers, server]
        for _ in range(self._settings.max_concurrency):
            self._places.release()
        self._wake_all()

    async def get(self, path: str, read: Callable[[bytes], Read]) -> Read:
        return await self._ask(_Request("GET", path, None, REPLY_BYTES), None, 0, read)

    async def post(
        self,
        path: str,
        body: dict[str, object],
        n_tokens: int,
        affinity: bytes | None,
        jitter_seed: int,
        read: Callable[[bytes], Read],
    ) -> Read:
        """What `read` makes of the first sound reply. Draws with equal `affinity` go to one server while it
        is up; None: each to the server with the fewest requests.

        `n_tokens` are those that a reply may tell of. `read` raises WrongReplyError for what must be asked
        again. Raises ServerError.
        """
        request = _Request("POST", path, body, REPLY_BYTES + n_tokens * TOKEN_BYTES)
        async with self._places if affinity is None else nullcontext():
            return await self._ask(request, affinity, jitter_seed, read)

    def shown(self, text: str) -> str:
        """What a server said, as it may be shown."""
        return shown_text(text, self._key)

    async def unreachable(self, server: Server, path: str) -> str | None:
        """Why no connection to a server comes about; None where it answers, well or badly."""
        try:
            await self._send(server, _Request("GET", path, None, REPLY_BYTES))
        except UnreachableError as fault:
            return str(fault)
        except (PassingFaultError, ServerError):
            return None  # an answer, if not a good one: who asks in earnest deals with it
        return None

    async def _ask(
        self, request: "_Request", affinity: bytes | None, jitter_seed: int, read: Callable[[bytes], Read]
    ) -> Read:
        known, by_affinity = self.servers, None if affinity is None else rank(self.servers, affinity)
        tried, faults, n_rounds, n_replies = set[Server](), list[str](), 0, 0
        while len(faults) < self._settings.n_attempts:
            if affinity is not None and self.servers is not known:  # one has joined, or was sent away
                known, by_affinity = self.servers, rank(self.servers, affinity)
            ranked = by_affinity or least_pending(self.servers)
            server = choose(ranked, tried)
            if server is None:
                # Or a draw would wait for ever for what never comes back
                if not tried and all(each.is_failing for each in ranked):
                    faults.append(f"{ranked[0].url}: set aside after: {ranked[0].last_fault}")
                await self._pause(ranked, tried, n_rounds, jitter_seed)
                n_rounds += bool(tried)
                tried.clear()
                continue
            async with server.place():
                # It went down, or was sent away, while this draw waited for a place
                if not server.is_open() or server not in self.servers:
                    continue
                is_trial = server.start()
                try:
                    if server.must_be_checked:
                        await self._check(server)
                    reply = read(await self._send(server, request))
                except (PassingFaultError, WrongReplyError) as fault:
                    faults.append(f"{server.url}: {self._note(server, fault, is_trial)}")
                    tried.add(server)
                    n_replies += isinstance(fault, WrongReplyError) and not isinstance(fault, OtherModelError)
                    self._looks.after(fault, server)
                else:
                    if server.is_failing:
                        logger.info("%s answers again", server.url)
                        self._wake_all()
                    server.succeeded()
                    self.answered.add(server.url)
                    return reply
        counts = "; ".join(f"{n} × {fault}" for fault, n in Counter(faults).most_common())
        kind = RefusedRequestError if n_replies == len(faults) else ServerError
        raise kind(f"{len(faults)} attempts failed: {counts}")

    async def _check(self, server: Server) -> None:
        """Raises NotAReplicaError where the server is none, and no other is left."""
        try:
            await self._looks.at(server)
        except NotAReplicaError as fault:
            if server in self.servers:
                raise
            raise SentAwayError(without_url(fault, server)) from None

    async def _knock(self, server: Server) -> None:
        seconds = min(LOOK_SECONDS, self._settings.timeout_seconds)
        await self._send(server, _Request("GET", "/v1/models", None, REPLY_BYTES, seconds))

    def _send_away(self, server: Server) -> None:
        """The last one stays: something may be put right there."""
        self.servers = [each for each in self.servers if each is not server] or [server]

    def _note(self, server: Server, fault: PassingFaultError | WrongReplyError, is_trial: bool) -> str:
        """What is shown of the fault."""
        said = self.shown(str(fault))
        if isinstance(fault, SentAwayError):  # which was told
            return said
        retry_after = fault.retry_after_seconds if isinstance(fault, PassingFaultError) else None
        if retry_after is not None:
            server.ask_again_in(retry_after)
        else:
            server.failed(said, is_trial)
        n_faults = server.faults_to_log(LOG_SECONDS)
        if n_faults:
            times = f" ({n_faults} faults since the last line)" if n_faults > 1 else ""
            pause = "" if retry_after is None else f" in {retry_after:.0f} s, as it asks"
            logger.warning("%s: %s%s; trying again%s", server.url, said, times, pause)
        return said

    async def _pause(self, ranked: list[Server], tried: set[Server], n_rounds: int, jitter_seed: int) -> None:
        """Until the first server opens or comes back, and at least the backoff of this round where all of
        them were tried in it.
        """
        opens_in = min(server.closed_until for server in ranked) - time.monotonic()
        longest = min(self._settings.retry_seconds * 2**n_rounds, LONGEST_BACKOFF_SECONDS) if tried else 0.0
        # In [0.5, 1): what failed together comes back apart
        jitter = 0.5 + (derive_seed("backoff", jitter_seed, n_rounds) % 1024) / 2048
        await asyncio.sleep(longest * jitter)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._came_back.wait(), max(opens_in - longest * jitter + 0.001, 0.0))

    def _wake_all(self) -> None:
        """End the pauses of all draws that wait for a server."""
        self._came_back.set()
        self._came_back = asyncio.Event()

    async def _send(self, server: Server, request: "_Request") -> bytes:
        seconds = request.seconds or self._settings.timeout_seconds
        try:
            async with (
                asyncio.timeout(seconds),
                self._session.request(
                    request.method,
                    server.url + request.path,
                    json=request.body,
                    proxy=self._proxies[server],
                    allow_redirects=False,
                ) as response,
            ):
                if response.status == HTTPStatus.OK:
                    return await read_body(response, request.max_reply_bytes)
                said = await read_beginning(response, ERROR_BYTES)
        except aiohttp.ClientConnectorCertificateError as error:
            raise ServerError(f"{server.url}: {fault_of(error)}") from None
        except aiohttp.ClientConnectorError as error:
            self._check_files(error.os_error)
            raise UnreachableError(fault_of(error)) from None
        except aiohttp.ConnectionTimeoutError:
            raise UnreachableError(f"no connection in {connect_seconds(seconds):g} s") from None
        except TimeoutError:
            raise PassingFaultError(f"no whole answer in {seconds:g} s") from None
        except aiohttp.ClientError as error:
            raise LostServerError(fault_of(error)) from None
        except UnusableBodyError as error:
            raise PassingFaultError(str(error)) from None
        said = f"HTTP {response.status} {said}".rstrip()
        if response.status == HTTPStatus.NOT_FOUND and self._looks.are_taken:
            raise LostServerError(said)
        if response.status == HTTPStatus.TOO_MANY_REQUESTS or response.status >= 500:
            raise PassingFaultError(said, retry_after_seconds(response.headers.get("Retry-After")))
        kind = RefusedRequestError if response.status in OF_CONTENT else ServerError
        raise kind(f"{server.url}{request.path}: {self.shown(said)}")

    def _check_files(self, error: OSError) -> None:
        """Raises ServerError where it is this process that can open no more connections."""
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise ServerError(
                f"{os.strerror(error.errno)} in this process, which may have {raise_open_files_limit()}; "
                "expected a lower max_concurrency "
                f"(got {self._settings.max_concurrency} for each of {len(self.servers)} servers) or a higher "
                "limit (ulimit -n)"
            ) from None


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    body: dict[str, object] | None
    max_reply_bytes: int
    seconds: float | None = None  # for the whole of it; None: those of the settings


def retry_after_seconds(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):  # no date, or none of this calendar
            return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS) if seconds == seconds else None
