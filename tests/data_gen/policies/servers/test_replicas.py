"""Replicas that are not there at the start, come later, or turn out to be something else: real servers."""

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_gen.policies.config import PolicyConfig
from data_gen.policies.metered import MeteredPolicy
from data_gen.policies.protocol import Policy
from data_gen.policies.servers import replicas
from data_gen.policies.servers.openai_servers import OpenAIServersPolicy
from data_gen.records.sampling import SamplingParams

Serve = Callable[..., Any]  # the fixture of conftest.py
QUESTIONS = [f"Start with {i}: plus {i + 2}, times 7, mix 8, plus 6, minus 1." for i in range(1, 9)]


@pytest.fixture
def closed_url() -> str:
    """Where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def connected(*servers: str) -> OpenAIServersPolicy:
    policy = PolicyConfig("simulated", servers=servers, retry_seconds=0.02).load()
    assert isinstance(policy, OpenAIServersPolicy)
    return policy


async def draw_all(policy: Policy) -> list[str]:
    draws = [policy.sample(policy.encode_prompt(each), SamplingParams(300), 0) for each in QUESTIONS]
    return [draw.text for draw in await asyncio.gather(*draws)]


def test_a_replica_that_is_not_there_is_told_of_and_the_others_draw(simulated_server, closed_url, caplog):
    policy = MeteredPolicy(connected(closed_url, simulated_server.url))
    assert asyncio.run(draw_all(policy)) == asyncio.run(draw_all(connected(simulated_server.url)))
    facts = policy.facts(0)
    assert (facts.n_servers, facts.n_servers_answered) == (2, 1)
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert said == [
        f"{closed_url}: no connection: Connection refused; it joins when it answers",
        f"1 of 2 servers answered; none at {closed_url}",
    ]


def test_a_process_without_servers_says_nothing_of_them():
    assert MeteredPolicy(PolicyConfig("simulated").load()).facts(0).n_servers is None


def test_a_replica_that_is_written_into_the_file_later_joins(
    simulated_server, serve: Serve, tmp_path: Path, monkeypatch, caplog
):
    monkeypatch.setattr(replicas, "JOIN_SECONDS", 0.1)
    caplog.set_level(logging.INFO)
    names = tmp_path / "replicas.txt"
    names.write_text(f"{simulated_server.url}\n")
    policy = connected(f"@{names}")
    counts = []

    async def draw() -> None:
        before = await draw_all(policy)
        late = serve("--model", "simulated")
        names.write_text(f"{simulated_server.url}\n{late.url}\n")
        while f"{late.url}: joins; 2 servers" not in caplog.messages:
            await asyncio.sleep(0.05)
        assert await draw_all(policy) == before
        counts.append(policy.server_counts)
        simulated_urls = [server.url for server in (await policy._pool.get()).servers]
        assert simulated_urls == [simulated_server.url, late.url]

    asyncio.run(asyncio.wait_for(draw(), 60))
    assert counts == [replicas.ServerCounts(2, 2)]
    names.write_text("")  # is being written: the servers that are known go on
    assert len(asyncio.run(draw_all(policy))) == 8


@pytest.mark.slow
def test_what_comes_late_and_serves_another_model_is_never_asked(
    simulated_server, serve: Serve, tmp_path: Path, monkeypatch, caplog
):
    monkeypatch.setattr(replicas, "JOIN_SECONDS", 0.1)
    names = tmp_path / "replicas.txt"
    names.write_text(f"{simulated_server.url}\n")
    policy = connected(f"@{names}")

    async def draw() -> None:
        await draw_all(policy)
        other = serve("--model", "base", "--name", "simulated")
        names.write_text(f"{simulated_server.url}\n{other.url}\n")
        while not any(each.endswith("; it is not asked") for each in caplog.messages):
            await asyncio.sleep(0.05)
        await draw_all(policy)

    asyncio.run(asyncio.wait_for(draw(), 60))
    assert policy.server_counts == replicas.ServerCounts(2, 1)
