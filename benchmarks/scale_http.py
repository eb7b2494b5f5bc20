"""What a draw over HTTP costs the process that asks for it, without the server and without waiting: a part of
`python -m benchmarks.scale`.

- *draws*: CPU of `sample` and `label` a draw, from a replica without latencies in another process
  (`benchmarks.simulated_replica`): the request, the reply and its checks, scheduler, ledger and grading.
- *requests*: CPU of one bare request of that kind, 64 at a time, by aiohttp, which the policy uses, and by
  httpx with a client for each of the 64, which it used before; in turns, the least of three.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from benchmarks.scale_processes import start_replica
from benchmarks.throughput import reference_seconds
from data_gen.files.run_folder import write_records
from data_gen.label import LabelConfig, label_run
from data_gen.ledger.store import Ledger
from data_gen.policies.config import PolicyConfig
from data_gen.policies.metered import MeteredPolicy
from data_gen.policies.servers.http_client import new_session
from data_gen.policies.servers.replies import CompletionRequest
from data_gen.problems.sources import ProblemSource, load_problems
from data_gen.records.solutions import Problem
from data_gen.sample import sample_run
from data_gen.sampling.settings import SampleConfig

N_REQUESTS, AT_ONCE = 2_000, 64
PROMPT = tuple(b"Start with 4: plus 9, times 6, minus 7, fold 8.\n")


def over_http(n_problems: int, folder: Path) -> dict[str, Any]:
    with ExitStack() as closing:
        url = start_replica(closing, "--instant")
        return {"draws": draws(n_problems, folder, url), "requests": requests(url)}


def draws(n_problems: int, run: Path, url: str) -> dict[str, Any]:
    source = ProblemSource("arithmetic", n=n_problems)
    write_records(run / "problems.jsonl", Problem, load_problems(source))
    sampling = SampleConfig(
        run, source, policy=PolicyConfig(model="simulated", servers=(url,)), max_new_tokens=200
    )
    policy, labeling = MeteredPolicy(sampling.policy.load()), LabelConfig(run=run, method="every_step")
    reference, started = reference_seconds(200), time.process_time()
    with Ledger(run / "ledger.sqlite") as ledger:
        sample_run(run, n_problems, policy, ledger, sampling)
        label_run(run, n_problems, policy, ledger, sampling, labeling)
    seconds = (time.process_time() - started) / policy.n_draws
    reference = (reference + reference_seconds(200)) / 2
    return {
        "n_draws": policy.n_draws,
        "tokens_per_draw": round(policy.n_generated / policy.n_draws, 1),
        "cpu_microseconds_per_draw": round(1e6 * seconds, 1),
        "reference_microseconds": round(1e6 * reference, 1),
        "references_per_draw": round(seconds / reference, 3),
    }


def requests(url: str) -> dict[str, float]:
    asked = CompletionRequest("simulated", PROMPT, 200, 1.0, 0).as_json()
    ways: dict[str, Callable[[str, dict[str, object]], Awaitable[None]]] = {
        "aiohttp": by_aiohttp,
        "httpx": by_httpx,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(3):
        for name, way in ways.items():
            started = time.process_time()
            asyncio.run(way(f"{url}/v1/completions", asked))  # type: ignore[arg-type]
            found[name].append(1e6 * (time.process_time() - started) / N_REQUESTS)
    least = {f"{name}_microseconds": round(min(each), 1) for name, each in found.items()}
    return least | {"httpx_to_aiohttp": round(min(found["httpx"]) / min(found["aiohttp"]), 2)}


async def by_aiohttp(url: str, body: dict[str, object]) -> None:
    numbers = iter(range(N_REQUESTS))
    async with new_session(None, 60.0) as session:

        async def worker() -> None:
            for seed in numbers:
                async with session.post(url, json=body | {"seed": seed}) as response:
                    assert response.status == 200
                    await response.read()

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def by_httpx(url: str, body: dict[str, object]) -> None:
    numbers = iter(range(N_REQUESTS))

    async def worker() -> None:
        async with httpx.AsyncClient(headers={"Accept-Encoding": "identity"}) as client:
            for seed in numbers:
                response = await client.post(url, json=body | {"seed": seed})
                assert response.status_code == 200

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
