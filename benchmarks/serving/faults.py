"""kill -9 of what stands behind a server, in the midst of its searches."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from benchmarks.serving.clients import CHAT, Reply, Request, ask_all
from benchmarks.serving.sizes import Size
from benchmarks.serving.target import (
    COMPLEX,
    Starting,
    Target,
    chat,
    questions,
    start_replica,
    start_server,
)

N_CLIENTS = 8
N_SEARCHES = 24  # of each kill
ABSENT_SECONDS = 2.0  # until what was killed is started again


class Replaced:
    """A process that can be killed and started again at the same address."""

    def __init__(self, first: Starting, target: Target, again: Any, stack: ExitStack) -> None:
        self.target, self._starting, self._again, self._stack = target, first, again, stack

    def kill(self) -> None:
        self.target.kill()

    async def start(self) -> None:
        port = int(self.target.url.rpartition(":")[2])
        assert self._starting.process is not None
        self._starting.process.wait()
        starting = self._again(port)
        self.target = await asyncio.to_thread(self._stack.enter_context, starting)
        self._starting = starting


def requests_of(seed: int) -> list[Request]:
    return [
        ("search", CHAT, chat(text, index, COMPLEX)) for index, text in enumerate(questions(N_SEARCHES, seed))
    ]


async def ask_through_a_kill(
    url: str, requests: Sequence[Request], victim: Replaced, moment: float
) -> list[Reply]:
    """The victim dies when about `moment` of the requests are answered, and comes back a while later."""
    n_done = 0

    async def watched() -> list[Reply]:
        return await ask_all(url, N_CLIENTS, counting())

    def counting() -> Any:
        nonlocal n_done
        for request in requests:
            n_done += 1
            yield request

    task = asyncio.create_task(watched())
    while n_done < max(N_CLIENTS + 1, moment * len(requests)) and not task.done():
        await asyncio.sleep(0.002)
    assert not task.done(), "all was answered before anything was killed"
    victim.kill()
    await asyncio.sleep(ABSENT_SECONDS)
    await victim.start()
    return await task


def told(reply: Reply) -> tuple[str | None, Mapping[str, float]]:
    found = reply.body["search"]
    return found["answer"], found["shares"]


def judge(before: Sequence[Reply], after: Sequence[Reply]) -> Counter[str]:
    """Raises RuntimeError where one from before any fault is no answer."""
    counts: Counter[str] = Counter()
    for known, reply in zip(before, after, strict=True):
        if known.status != 200:
            raise RuntimeError(f"a search without faults failed: {known}")
        if reply.status is None:
            counts["lost"] += 1
        elif reply.status >= 500 and "error" in reply.body:
            counts["errors"] += 1
        elif reply.status == 200 and _agree(told(known), told(reply)):
            counts["right"] += 1
        else:
            counts["wrong"] += 1
    return counts


def _agree(
    one: tuple[str | None, Mapping[str, float]], other: tuple[str | None, Mapping[str, float]]
) -> bool:
    """Batches of another shape move the weights of a vote by about 1e-6."""
    shares = one[1].keys() | other[1].keys()
    return one[0] == other[0] and all(abs(one[1].get(key, 0) - other[1].get(key, 0)) < 1e-3 for key in shares)


def measure_faults(prm: Path, size: Size) -> dict[str, Any]:
    with ExitStack() as stack:

        def keep(starting: Starting, again: Any) -> Replaced:
            return Replaced(starting, stack.enter_context(starting), again, stack)

        def scorer_server(port: int = 0) -> Starting:
            return start_server(prm, strategy="majority", port=port)

        replicas = [keep(start_replica(), start_replica) for _ in range(2)]
        scorer = keep(scorer_server(), scorer_server)
        policies = ",".join(each.target.url for each in replicas)
        behind = {
            "policy.servers": policies,
            "scorer.servers": scorer.target.url,
            "scorer.server_model": "prm",
        }
        server = stack.enter_context(start_server(prm, **behind))
        rng, found = random.Random(0), {}
        for kind, victims in {"policy_replica": replicas, "scorer": [scorer]}.items():
            counts: Counter[str] = Counter()
            for number in range(size.n_kills):
                requests = requests_of(seed=100 + number)
                before = asyncio.run(ask_all(server.url, N_CLIENTS, requests))
                victim = victims[number % len(victims)]
                killed = ask_through_a_kill(server.url, requests, victim, rng.uniform(0.3, 0.9))
                counts += judge(before, asyncio.run(killed))
                httpx.get(f"{server.url}/health").raise_for_status()
            found[kind] = {
                "injected": size.n_kills,
                **{each: counts[each] for each in ("right", "errors", "wrong", "lost")},
            }
    sums = {
        each: sum(kind[each] for kind in found.values()) for each in ("injected", "wrong", "lost", "errors")
    }
    return {"faults": {**sums, **found}}
