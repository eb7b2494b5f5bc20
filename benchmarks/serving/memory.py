"""Whether a server keeps something of each request."""

import asyncio
from pathlib import Path
from statistics import linear_regression, mean
from typing import Any

from benchmarks.serving.clients import CHAT, Request, ask_all
from benchmarks.serving.sizes import Size
from benchmarks.serving.target import SIMPLE, Target, chat, questions, start_server

N_CLIENTS = 20
N_SAMPLES = 100
CACHE_BYTES = 8 * 2**20
TOLERANCE = 1.02
STEP = {"step": "3 plus 4=7"}


def request_of(number: int, question: str) -> Request:
    """Of ten requests six are answers, two are scores, one opens a session (which expires), one is bad."""
    match number % 10:
        case 0 | 1:
            return "score", "/v1/score", {"question": question, "steps": [STEP["step"]]}
        case 2:
            return "session", "/v1/score/sessions", {"question": question}
        case 3:
            return "bad", CHAT, {"messages": question}
    return "answer", CHAT, chat(question, number, SIMPLE) | {"max_tokens": 12}


def sample_memory(target: Target, n_requests: int) -> list[tuple[int, int]]:
    """Resident bytes after so many requests."""
    found, done = [], 0
    texts = questions(n_requests, seed=7, n_operations=1)
    n_samples = min(N_SAMPLES, n_requests // N_CLIENTS * 2)
    for number in range(n_samples):
        end = n_requests * (number + 1) // n_samples
        requests = [request_of(place, texts[place]) for place in range(done, end)]
        replies = asyncio.run(ask_all(target.url, N_CLIENTS, requests))
        wrong = [each for each in replies if each.status not in (200, 201, 429) and each.kind != "bad"]
        if wrong:
            raise RuntimeError(f"{len(wrong)} of {len(replies)} requests failed, as {wrong[0]}")
        found.append((end, target.resident_bytes))
        done = end
    return found


def judge(samples: list[tuple[int, int]]) -> dict[str, Any]:
    """Means of the second and the last quarter, and the slope of the second half."""
    quarter = len(samples) // 4
    second = mean(size for _, size in samples[quarter : 2 * quarter])
    last = mean(size for _, size in samples[-quarter:])
    half = samples[len(samples) // 2 :]
    slope = linear_regression([n for n, _ in half], [size for _, size in half]).slope
    return {
        "n_requests": samples[-1][0],
        "megabytes": [round(size / 1e6, 1) for _, size in samples[:: max(1, len(samples) // 10)]],
        "last_quarter_over_second": round(last / second, 4),
        "bytes_per_request": round(slope, 1),
        "is_flat": last <= TOLERANCE * second,
    }


def measure_memory(prm: Path, size: Size) -> dict[str, Any]:
    small = {"policy.prefix_cache_bytes": CACHE_BYTES, "scorer.cache_bytes": CACHE_BYTES}
    with start_server(prm, **small, session_idle_seconds=2.0) as target:
        return {"memory": judge(sample_memory(target, size.n_memory_requests))}
