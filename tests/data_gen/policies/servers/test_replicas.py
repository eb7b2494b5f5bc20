"""Replicas that are not there at the start, come later, or turn out to be something else: real servers."""

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from data_gen.policies.config import PolicyConfig
from data_gen.policies.metered import MeteredPolicy
from data_gen.policies.protocol import Policy
from data_gen.policies.servers import replicas
from data_gen.policies.servers.completions_server import CompletionsServer
from data_gen.policies.servers.http_listener import listen, new_server
from data_gen.policies.servers.openai_servers import OpenAIServersPolicy
from data_gen.policies.servers.requests import RequestSettings, ServerPool
from data_gen.policies.servers.server_errors import NotAReplicaError
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.records.sampling import SamplingParams
from tests.data_gen.policies.servers.test_server_faults import response

Serve = Callable[..., Any]  # the fixture of conftest.py
QUESTIONS = [f"Start with {i}: plus {i + 2}, times 7, mix 8, plus 6, minus 1." for i in range(1, 25)]


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
    assert len(asyncio.run(draw_all(policy))) == len(QUESTIONS)


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


@contextmanager
def serving(port: int, policy_id: str, name: str = "simulated") -> Iterator[str]:
    """A server of the simulated policy that gives its weights and its model these names."""
    policy = SimulatedPolicy()
    policy.policy_id = policy_id
    server = new_server(CompletionsServer(policy, lambda text: tuple(text.encode()), name).app)
    listener = listen("127.0.0.1", port)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def test_another_model_at_the_address_of_the_only_server_ends_the_run() -> None:
    with serving(0, "first") as url:
        policy = connected(url)
        assert len(asyncio.run(draw_all(policy))) == len(QUESTIONS)
        before = asyncio.run(draw_all(policy))
    port = int(url.rpartition(":")[2])
    said = f"{url}: serves simulated with policy_id second, before with first; expected replicas"
    with serving(port, "second"):
        for _ in range(2):
            with pytest.raises(NotAReplicaError) as caught:
                asyncio.run(draw_all(policy))
            assert str(caught.value) == said
    with serving(port, "second", name="another"), pytest.raises(NotAReplicaError) as caught:
        asyncio.run(draw_all(policy))
    assert str(caught.value) == f"{url}: serves another; expected simulated"
    with serving(port, "first"):  # put back
        assert asyncio.run(draw_all(policy)) == before


def test_a_replica_that_comes_back_with_another_model_is_sent_away_and_the_others_draw(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def draw_twice(policy: Policy) -> list[list[str]]:
        """It is looked at when it is asked for the second time."""
        return [await draw_all(policy), await draw_all(policy)]

    with serving(0, "first") as url:
        with serving(0, "first") as own_url:
            policy = connected(url, own_url)
            before = asyncio.run(draw_all(policy))
        with serving(int(own_url.rpartition(":")[2]), "second"):
            assert asyncio.run(draw_twice(policy)) == [before] * 2
        assert policy._pool._replicas.urls == (url,)
        said = f"{own_url}: serves simulated with policy_id second, {url} with first; expected replicas"
        assert caplog.messages.count(f"{said}; it is not asked") == 1
        assert asyncio.run(draw_all(policy)) == before


def left_to_the_others(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    """Of two replicas one goes away, and `answer` is what is at its address then: all draws come,
    and the replica is not dismissed, since it may be starting.
    """

    async def draw_twice(policy: Policy, port: int) -> list[list[str]]:
        before = [await draw_all(policy)]  # while nothing is there
        server = await asyncio.start_server(answer, "127.0.0.1", port)
        found = [*before, await draw_all(policy)]
        server.close()
        return found

    with serving(0, "first") as url:
        with serving(0, "first") as own_url:
            policy = connected(url, own_url)
            before = asyncio.run(draw_all(policy))
        port = int(own_url.rpartition(":")[2])
        assert asyncio.run(asyncio.wait_for(draw_twice(policy, port), 60)) == [before] * 2
        assert policy._pool._replicas.urls == (url, own_url)


@pytest.mark.parametrize(
    ("status", "body"), [(401, b"no"), (404, b"no"), (503, b"no"), (200, b"{}"), (200, b'{"data": []}')]
)
def test_what_is_no_policy_at_the_address_of_a_replica_leaves_the_draws_to_the_others(
    status: int, body: bytes
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(response(status, body, "Connection: close\r\n"))
            writer.close()

    left_to_the_others(refuse)


def test_a_server_that_hangs_when_it_is_looked_at_keeps_draws_waiting_no_longer_than_a_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("data_gen.policies.servers.requests.LOOK_SECONDS", 0.2)

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    left_to_the_others(say_nothing)


def test_a_server_that_was_away_is_looked_at_before_it_is_asked_again(closed_url: str) -> None:
    asked, connections = list[str](), list[asyncio.StreamWriter]()

    async def check_again(url: str) -> None:
        asked.append(url)
        if len(asked) == 2:
            raise NotAReplicaError(f"{url}: another model")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(response(200, b"{}"))

    async def ask() -> None:
        settings = RequestSettings(retry_seconds=0.02, n_attempts=100)
        async with ServerPool((closed_url,), settings, check_again=check_again) as pool:
            for n_checks in (1, 2):
                asking = [asyncio.ensure_future(pool.get("/v1/models", bytes.decode)) for _ in range(3)]
                await asyncio.sleep(0.05)
                assert len(asked) == n_checks - 1
                server = await asyncio.start_server(answer, "127.0.0.1", int(closed_url.rpartition(":")[2]))
                if n_checks == 1:
                    assert await asyncio.gather(*asking) == ["{}"] * 3
                else:
                    with pytest.raises(NotAReplicaError, match="another model"):
                        await asyncio.gather(*asking)
                assert asked == [closed_url] * n_checks
                server.close()
                for connection in connections:
                    connection.close()

    asyncio.run(asyncio.wait_for(ask(), 30))
