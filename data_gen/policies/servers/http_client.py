"""HTTP sessions, and bodies of replies, read up to a limit: what a server sends must fit our memory and our
patience.
"""

import json
import os
import socket
from functools import partial
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from data_gen.settings.errors import InputError

CONNECT_SECONDS = 10.0
# Shorter than the 5 s after which uvicorn, vLLM's server and ours, closes a connection that nobody uses: a
# request that meets the close is lost
KEEP_SECONDS = 4.0


class UnusableBodyError(ValueError):
    """A body that is longer than its limit, or packed although a plain one was asked for."""


def new_session(api_key: str | None, timeout_seconds: float) -> aiohttp.ClientSession:
    """A session of the event loop that runs, with as many connections as there are requests under way. The
    caller limits these, and the time that each may take.
    """
    # It would unpack what was never asked for, and a megabyte of gzip may be ten gigabytes
    headers = {"Accept-Encoding": "identity"}
    if api_key is not None:
        headers["Authorization"] = f"Bearer {api_key}"
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_SECONDS),
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        json_serialize=partial(json.dumps, separators=(",", ":"), allow_nan=False),
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_seconds(timeout_seconds)),
    )


def proxy_for(url: str) -> URL | None:
    """The proxy that the environment names for a server (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, but NO_PROXY).
    aiohttp by itself would look for it in a thread, for every request. Raises InputError for one that does
    not speak HTTP.
    """
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme, proxies.get("all"))
    if not proxy or proxy_bypass(parts.netloc) or proxy_bypass(parts.hostname or ""):
        return None
    try:
        found = URL(proxy if "://" in proxy else f"http://{proxy}")
        is_http = found.scheme in ("http", "https") and found.host is not None
    except ValueError:
        is_http = False
    if not is_http:  # not shown: it may hold a password
        raise InputError(f"{url}: the environment names a proxy that is no http://host:port; expected one")
    return found


def connect_seconds(timeout_seconds: float) -> float:
    """How long a connection may take to come about, where a request may take so long."""
    return min(CONNECT_SECONDS, timeout_seconds)


def fault_of(error: aiohttp.ClientError) -> str:
    """What is said of a fault, without the addresses that aiohttp puts into some: a proxy's may hold a
    password.
    """
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        whose = " to the proxy" if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
        return f"no connection{whose}: {_reason(error.os_error)}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy refused: HTTP {error.status} {error.message}"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{type(error).__name__} {error.message}"
    if isinstance(error, aiohttp.InvalidURL):
        return "no URL that can be asked"
    return f"{type(error).__name__} {error}".rstrip()


def _reason(error: OSError) -> str:
    """The system's words, without the address that asyncio adds; those of TLS and of name servers are their
    own.
    """
    is_of_system = type(error).__module__ == "builtins" and error.errno
    if isinstance(error, socket.gaierror) or not is_of_system:
        return str(error.strerror or error)
    assert error.errno is not None
    return os.strerror(error.errno)


async def read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The body of a response. Raises UnusableBodyError before more than `max_bytes` are in memory."""
    packing = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packing not in ("", "identity"):
        raise UnusableBodyError("a packed body, expected a plain one")
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > max_bytes:
            raise UnusableBodyError(f"a body of more than {max_bytes:,} bytes")
    return bytes(body)


async def read_beginning(response: aiohttp.ClientResponse, max_bytes: int) -> str:
    """What a server says of an error; the rest is left where it is."""
    try:
        return (await read_body(response, max_bytes)).decode(errors="replace")
    except UnusableBodyError as error:
        return str(error)
