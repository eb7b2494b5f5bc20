"""`sample` and `label` through servers that fail one request in three: what comes out is what comes out without faults."""

import asyncio
import json
import logging
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from data_gen.config import InputError
from data_gen.label import main as label
from data_gen.ledger import Ledger
from data_gen.policy_config import PolicyConfig
from data_gen.records import SamplingParams
from data_gen.sample import main as sample

KEY = "sk-Vn7-not-for-print"
Reply = dict[str, Any]


def http_500(reply: Reply) -> bytes:
    return response(500, f"Internal error near {KEY}".encode())  # a server that is careless with keys


def http_429(reply: Reply) -> bytes:
    return response(429, b"slow down", "Retry-After: 0.01\r\n")


def half_a_body(reply: Reply) -> bytes:
    return response(200, json.dumps(reply).encode())[:-40]


def two_choices(reply: Reply) -> bytes:
    return good(reply | {"choices": reply["choices"] * 2})


def wrong_ids(reply: Reply) -> bytes:
    ids = [*reply["choices"][0]["token_ids"]]
    ids[len(ids) // 2] = ids[len(ids) // 2] % 250 + 1
    return good(changed(reply, token_ids=ids))


def ids_of_another_text(reply: Reply) -> bytes:
    ids = [*b"Answer: 1", 256]
    logprobs = {"token_logprobs": [0.0] * len(ids)}
    usage = reply["usage"] | {"completion_tokens": len(ids)}
    return good(changed(reply, token_ids=ids, logprobs=logprobs, finish_reason="stop") | {"usage": usage})


def answer_to_another_prompt(reply: Reply) -> bytes:
    """A whole and sound reply, but that of another request with a prompt of the same length."""
    prompt = reply["choices"][0]["prompt_token_ids"]
    return good(changed(reply, prompt_token_ids=[*prompt[:-2], prompt[-2] % 250 + 1, prompt[-1]]))


def without_token_ids(reply: Reply) -> bytes:
    return good(changed(reply, token_ids=None))


def changed(reply: Reply, **changes: Any) -> Reply:
    return reply | {"choices": [reply["choices"][0] | changes]}


def good(reply: Reply) -> bytes:
    return response(200, json.dumps(reply).encode())


def response(status: int, body: bytes, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


SPOILED: dict[str, Callable[[Reply], bytes] | None] = {
    "HTTP 500": http_500,
    "reset": None,
    "no answer": None,
    "half a body": half_a_body,
    "two choices": two_choices,
    "wrong ids": wrong_ids,
    "ids of another text": ids_of_another_text,
    "answer to another prompt": answer_to_another_prompt,
    "HTTP 429": http_429,
}


class FaultyProxy:
    """A server on the loopback that passes requests on to `upstream` and spoils every third draw, each kind of fault in turn.

    `spoil_all` spoils each draw in one way instead. `prompts` are those that came.
    """

    def __init__(self, upstream: str, spoil_all: Callable[[Reply], bytes] | None = None) -> None:
        self.injected: Counter[str] = Counter()
        self.prompts: list[bytes] = []
        self._spoil_all = spoil_all
        self.n_draws = 0
        self.url = ""
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._client = httpx.AsyncClient(limits=httpx.Limits(max_connections=None), timeout=60)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        connections = asyncio.all_tasks(self._loop)
        for connection in connections:
            connection.cancel()
        self._loop.run_until_complete(asyncio.gather(*connections, return_exceptions=True))
        self._loop.run_until_complete(self._client.aclose())
        self._loop.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split("\r\n")[0].split()
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        passed_on = {"Authorization": f"Bearer {KEY}"} if headers.get("authorization") == f"bearer {KEY.lower()}" else {}
        upstream = await self._client.request(method, self._upstream + path, content=body, headers=passed_on)
        is_draw = path == "/v1/completions" and upstream.is_success
        if is_draw:
            self.prompts.append(bytes(json.loads(body)["prompt"]))
        fault = self._next_fault() if is_draw and self._spoil_all is None else None
        if fault == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        if fault == "no answer":
            await reader.read()  # until the client gives up
            return False
        spoil = SPOILED[fault] if fault else self._spoil_all if is_draw else None
        writer.write(response(upstream.status_code, upstream.content) if spoil is None else spoil(upstream.json()))
        await writer.drain()
        return fault != "half a body"

    def _next_fault(self) -> str | None:
        self.n_draws += 1
        if self.n_draws % 3:
            return None
        fault = list(SPOILED)[self.n_draws // 3 % len(SPOILED)]
        self.injected[fault] += 1
        return fault


@pytest.fixture
def keyed_server(serve) -> str:
    return serve("--model", "simulated", "--api_key_env", "SERVER_KEY", environment={"SERVER_KEY": KEY}).url


@pytest.fixture
def put_before() -> Iterator[Callable[..., FaultyProxy]]:
    """Put a proxy before a server; it is closed when the test ends."""
    proxies: list[FaultyProxy] = []

    def put(upstream: str, spoil_all: Callable[[Reply], bytes] | None = None) -> FaultyProxy:
        proxies.append(FaultyProxy(upstream, spoil_all))
        return proxies[-1]

    yield put
    for proxy in proxies:
        proxy.close()


def sample_and_label(run: Path, url: str) -> None:
    policy = ("--policy.model", "simulated", "--policy.servers", url, "--policy.api_key_env", "CLIENT_KEY")
    patience = (
        "--policy.retry_seconds",
        "0.01",
        "--policy.timeout_seconds",
        "4",
        "--policy.n_attempts",
        "40",
        "--policy.max_concurrency",
        "16",
    )
    sample(["--output", str(run), "--problems.n", "8", "--problems.split", "train", *policy, *patience, "--n_samples", "3"])
    label(["--run", str(run), "--method", "every_step", "--n_rollouts", "3"])


def test_faulty_servers_change_no_label_and_no_draw(
    keyed_server: str,
    put_before: Callable[..., FaultyProxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("CLIENT_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    proxy = put_before(keyed_server)
    sample_and_label(tmp_path / "sound", keyed_server)
    sample_and_label(tmp_path / "faulty", proxy.url)

    assert set(proxy.injected) == set(SPOILED)
    assert min(proxy.injected.values()) >= 10
    for name in ("solutions.jsonl", "labels.jsonl"):
        sound, faulty = ((tmp_path / run / name).read_bytes() for run in ("sound", "faulty"))
        assert len(sound.splitlines()) == 24
        assert faulty == sound
    with Ledger(tmp_path / "sound/ledger.sqlite", read_only=True) as sound_ledger:
        sound_rows = list(sound_ledger.contents())
        n_draws = sound_ledger.n_draws()
    with Ledger(tmp_path / "faulty/ledger.sqlite", read_only=True) as faulty_ledger:
        assert list(faulty_ledger.contents()) == sound_rows
    assert proxy.n_draws - sum(proxy.injected.values()) >= n_draws  # each draw took one sound reply

    shown = capfd.readouterr()
    assert KEY not in caplog.text + shown.out + shown.err
    assert [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []


def test_the_last_error_names_server_and_fault_and_never_the_key(
    keyed_server: str, put_before: Callable[..., FaultyProxy], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CLIENT_KEY", KEY)
    proxy = put_before(keyed_server, http_500)
    with pytest.raises(InputError, match=rf"3 attempts failed: 3 × {proxy.url}: HTTP 500 Internal error near \*\*\*") as caught:
        PolicyConfig(model="simulated", servers=(proxy.url,), api_key_env="CLIENT_KEY", n_attempts=3, retry_seconds=0.01).load()
    assert KEY not in str(caught.value)


def test_an_endpoint_without_token_ids_is_refused(simulated_server, put_before: Callable[..., FaultyProxy]):
    proxy = put_before(simulated_server.url, without_token_ids)
    with pytest.raises(InputError) as caught:
        PolicyConfig(model="simulated", servers=(proxy.url,)).load()
    assert str(caught.value) == (
        f"{proxy.url}: returns no token ids; step rollouts need an endpoint that continues token ids, such as vLLM"
    )


def test_all_draws_of_a_problem_go_to_one_replica(simulated_server, put_before: Callable[..., FaultyProxy]):
    replicas = [put_before(simulated_server.url, good) for _ in range(3)]
    policy = PolicyConfig(model="simulated", servers=tuple(replica.url for replica in replicas)).load()
    questions = [f"Start with {i}: plus {j}, minus 2, plus 6." for i in range(1, 7) for j in range(1, 6)]

    async def draw_and_continue(question: str) -> None:
        prompt = policy.encode_prompt(question)
        step = await policy.sample(prompt, SamplingParams(100, stop="\n"), 0)
        await asyncio.gather(*(policy.sample(prompt + step.token_ids, SamplingParams(100), index) for index in range(4)))

    async def draw_all() -> None:
        await asyncio.gather(*(draw_and_continue(question) for question in questions))

    for replica in replicas:
        replica.prompts.clear()  # of the probe
    asyncio.run(draw_all())
    asked = [Counter(prompt.split(b"\n")[0].decode() for prompt in replica.prompts) for replica in replicas]
    assert all(len(each) > 0 for each in asked)
    assert sum(asked, Counter()) == dict.fromkeys(questions, 5)
    assert all(set(each.values()) == {5} for each in asked)
