"""Requests to OpenAI-compatible servers that come back with a sound reply, or end with an error that says what was tried and what came.

What may pass (no connection, a time-out, half a body, 429, 5xx, a reply that does not fit its request) is tried again, first on the other
servers, then after a pause that doubles each time; any other status is the request's own fault and ends it at once. The API key is read
from the environment and appears in the Authorization header alone: texts of servers lose it before they enter an error.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx

from data_gen.config import InputError
from data_gen.policies.api_keys import read_api_key
from data_gen.policies.server_replies import WrongReplyError
from data_gen.policies.server_routing import Server, choose, rank
from data_gen.records import derive_seed

LONGEST_BACKOFF_SECONDS = 60.0
LONGEST_RETRY_AFTER_SECONDS = 600.0
CONNECT_SECONDS = 10.0
Read = TypeVar("Read")


class ServerError(InputError):
    """A server refused a request, or every attempt failed. What was drawn before is in the ledger: the same command goes on."""


class _PassingFaultError(Exception):
    """Something that another attempt may not meet; `retry_after_seconds` where the server said when to come back."""

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True)
class RequestSettings:
    """How requests are made; `api_key_env` names the environment variable that holds the key."""

    api_key_env: str | None = None
    max_concurrency: int = 128  # requests under way at each server
    timeout_seconds: float = 600.0  # for one reply
    n_attempts: int = 10  # of one draw, over all servers
    retry_seconds: float = 0.5  # the first pause


class ServerPool:
    """Open connections to some servers, within one event loop: `async with ServerPool(urls, settings) as pool`.

    Each request under way has an HTTP client of its own, which keeps its one connection: what httpx's pool does for a request grows with
    the square of its connections.
    """

    def __init__(self, urls: tuple[str, ...], settings: RequestSettings) -> None:
        self.servers = [Server(url, settings.max_concurrency, 2 * settings.retry_seconds) for url in urls]
        self._settings, self._key = settings, read_api_key(settings.api_key_env)
        self._came_back = asyncio.Event()
        self._tls = httpx.create_ssl_context()
        self._clients: list[httpx.AsyncClient] = []
        self._idle: dict[Server, list[httpx.AsyncClient]] = {server: [] for server in self.servers}

    async def __aenter__(self) -> "ServerPool":
        return self

    async def __aexit__(self, *error: object) -> None:
        for client in self._clients:
            await client.aclose()

    async def get(self, path: str, read: Callable[[bytes], Read]) -> Read:
        return await self._ask("GET", path, None, b"", 0, read)

    async def post(self, path: str, body: dict[str, object], affinity: bytes, jitter_seed: int, read: Callable[[bytes], Read]) -> Read:
        """What `read` makes of the first sound reply. Draws with equal `affinity` go to one server while it is up.

        `read` raises WrongReplyError for what must be asked again. Raises ServerError.
        """
        return await self._ask("POST", path, body, affinity, jitter_seed, read)

    async def _ask(
        self, method: str, path: str, body: dict[str, object] | None, affinity: bytes, jitter_seed: int, read: Callable[[bytes], Read]
    ) -> Read:
        ranked, tried, faults = rank(self.servers, affinity), set[Server](), list[str]()
        n_rounds = 0
        while len(faults) < self._settings.n_attempts:
            server = choose(ranked, tried)
            if server is None:
                if not tried and all(each.is_failing for each in ranked):  # or a draw would wait for ever for what never comes back
                    faults.append(f"{ranked[0].url}: set aside after: {ranked[0].last_fault}")
                await self._pause(ranked, tried, n_rounds, jitter_seed)
                n_rounds += bool(tried)
                tried.clear()
                continue
            async with server.places:
                if not server.is_open():  # it went down while this draw waited for a place
                    continue
                is_trial, client = server.start(), self._idle_client(server)
                try:
                    reply = read(await self._send(client, server, method, path, body))
                except (_PassingFaultError, WrongReplyError) as fault:
                    self._note(server, fault, is_trial)
                    tried.add(server)
                    faults.append(f"{server.url}: {fault}")
                else:
                    if server.is_failing:
                        self._wake_all()
                    server.succeeded()
                    return reply
                finally:
                    self._idle[server].append(client)
        counts = "; ".join(f"{n} × {fault}" for fault, n in Counter(faults).most_common())
        raise ServerError(f"{len(faults)} attempts failed: {counts}")

    def _idle_client(self, server: Server) -> httpx.AsyncClient:
        if self._idle[server]:
            return self._idle[server].pop()
        seconds = self._settings.timeout_seconds
        client = httpx.AsyncClient(
            base_url=server.url,
            headers={} if self._key is None else {"Authorization": f"Bearer {self._key}"},
            timeout=httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds)),
            verify=self._tls,
        )
        self._clients.append(client)
        return client

    @staticmethod
    def _note(server: Server, fault: _PassingFaultError | WrongReplyError, is_trial: bool) -> None:
        if isinstance(fault, _PassingFaultError) and fault.retry_after_seconds is not None:
            server.ask_again_in(fault.retry_after_seconds)
        else:
            server.failed(str(fault), is_trial)

    async def _pause(self, ranked: list[Server], tried: set[Server], n_rounds: int, jitter_seed: int) -> None:
        """Until the first server opens or comes back, and at least the backoff of this round where all of them were tried in it."""
        opens_in = min(server.closed_until for server in ranked) - time.monotonic()
        longest = min(self._settings.retry_seconds * 2**n_rounds, LONGEST_BACKOFF_SECONDS) if tried else 0.0
        jitter = 0.5 + (derive_seed("backoff", jitter_seed, n_rounds) % 1024) / 2048  # in [0.5, 1): what failed together comes back apart
        await asyncio.sleep(longest * jitter)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._came_back.wait(), max(opens_in - longest * jitter + 0.001, 0.0))

    def _wake_all(self) -> None:
        """End the pauses of all draws that wait for a server."""
        self._came_back.set()
        self._came_back = asyncio.Event()

    async def _send(self, client: httpx.AsyncClient, server: Server, method: str, path: str, body: dict[str, object] | None) -> bytes:
        try:
            response = await client.request(method, path, json=body)
        except httpx.TimeoutException as error:
            raise _PassingFaultError(f"no answer in time ({type(error).__name__})") from None
        except httpx.RequestError as error:
            raise _PassingFaultError(f"{type(error).__name__} {self._without_key(str(error))}".rstrip()) from None
        if response.status_code == httpx.codes.OK:
            return response.content
        said = f"HTTP {response.status_code} {self._without_key(response.text)[:300]}".rstrip()
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.status_code >= 500:
            raise _PassingFaultError(said, _retry_after_seconds(response.headers.get("Retry-After")))
        raise ServerError(f"{server.url}{path}: {said}")

    def _without_key(self, text: str) -> str:
        return text if self._key is None else text.replace(self._key, "***")


def _retry_after_seconds(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS) if seconds == seconds else None
