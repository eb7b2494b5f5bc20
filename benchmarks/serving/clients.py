"""Clients that ask one after another, and how long they wait."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from benchmarks.serving.sizes import Size
from benchmarks.serving.target import PATHS, chat, questions

CHAT = "/v1/chat/completions"
PATIENCE_SECONDS = 600.0


@dataclass(frozen=True)
class Reply:
    """`status` is None where there was no reply. `kind` is the asker's word for the request."""

    kind: str
    status: int | None
    body: dict[str, Any]
    seconds: float


Request = tuple[str, str, dict[str, Any]]  # its kind, the path of the URL, the body


async def ask(client: httpx.AsyncClient, request: Request) -> Reply:
    kind, path, body = request
    begun = time.perf_counter()
    try:
        reply = await client.post(path, json=body)
    except httpx.HTTPError as error:
        return Reply(kind, None, {"error": repr(error)}, time.perf_counter() - begun)
    seconds = time.perf_counter() - begun
    return Reply(kind, reply.status_code, reply.json(), seconds)


async def ask_all(url: str, n_clients: int, requests: Iterable[Request]) -> list[Reply]:
    """`n_clients` take the requests in turn, each when its last one was answered. Replies are in the order of
    the requests.
    """
    numbered: Iterator[tuple[int, Request]] = iter(enumerate(requests))
    replies: dict[int, Reply] = {}
    options: dict[str, Any] = {
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=None),
        "timeout": PATIENCE_SECONDS,
        "verify": False,  # reading certificates that nobody needs costs more than many requests
    }
    async with httpx.AsyncClient(base_url=url, **options) as client:

        async def work() -> None:
            for number, request in numbered:
                replies[number] = await ask(client, request)

        await asyncio.gather(*(work() for _ in range(n_clients)))
    return [replies[number] for number in sorted(replies)]


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    found = np.percentile(seconds, (50, 95, 99))
    return {f"p{q}": round(float(value), 4) for q, value in zip((50, 95, 99), found, strict=True)}


def measure_clients(url: str, size: Size) -> dict[str, Any]:
    """Raises RuntimeError where a request is not answered with 200."""
    asyncio.run(ask_all(url, 2, mixed(4, seed=999)))  # what only the first requests cost
    found = {}
    for n_clients in size.n_clients:
        requests = mixed(max(size.n_requests, 2 * n_clients), seed=n_clients)
        begun = time.perf_counter()
        replies = asyncio.run(ask_all(url, n_clients, requests))
        seconds = time.perf_counter() - begun
        if bad := [reply for reply in replies if reply.status != 200]:
            raise RuntimeError(f"{len(bad)} of {len(replies)} requests failed, as {bad[0]}")
        found[str(n_clients)] = {
            "requests_per_second": round(len(replies) / seconds, 2),
            "n_requests": len(replies),
            **percentiles([reply.seconds for reply in replies]),
            **{
                path: percentiles([reply.seconds for reply in replies if reply.kind == path])
                for path in PATHS
            },
        }
    return found


def mixed(n: int, seed: int) -> list[Request]:
    """Of both paths in turn, each question and seed once."""
    kinds = list(PATHS)
    return [
        (kinds[number % 2], CHAT, chat(question, number, PATHS[kinds[number % 2]]))
        for number, question in enumerate(questions(n, seed))
    ]
