"""`sample` and `label` through servers that fail one request in three: what comes out is what comes out
without faults.
"""

import asyncio
import gzip
import json
import logging
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from data_gen.label import main as label
from data_gen.ledger.store import Ledger
from data_gen.policies.config import PolicyConfig
from data_gen.policies.servers.requests import RequestSettings, ServerPool, retry_after_seconds
from data_gen.policies.servers.routing import Server
from data_gen.records.sampling import SamplingParams
from data_gen.sample import main as sample
from data_gen.settings.errors import InputError

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
    return good(changed(reply, token_ids=None) | {"policy_id": None})  # nor who drew it


def changed(reply: Reply, **changes: Any) -> Reply:
    return reply | {"choices": [reply["choices"][0] | changes]}


def good(reply: Reply) -> bytes:
    return response(200, json.dumps(reply).encode())


def response(status: int, body: bytes, headers: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: "
        f"{len(body)}\r\n{headers}\r\n".encode()
        + body
    )


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
    """A server on the loopback that passes requests on to `upstream` and spoils every third draw, each kind
    of fault in turn.

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
        passed_on = (
            {"Authorization": f"Bearer {KEY}"}
            if headers.get("authorization") == f"bearer {KEY.lower()}"
            else {}
        )
        upstream = await self._client.request(method, self._upstream + path, content=body, headers=passed_on)
        is_draw = path == "/v1/completions" and upstream.is_success
        if is_draw:
            self.prompts.append(bytes(json.loads(body)["prompt"]))
        fault = self._next_fault() if is_draw and self._spoil_all is None else None
        if fault == "reset":
            writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            writer.transport.abort()
            return False
        if fault == "no answer":
            await reader.read()  # until the client gives up
            return False
        spoil = SPOILED[fault] if fault else self._spoil_all if is_draw else None
        writer.write(
            response(upstream.status_code, upstream.content) if spoil is None else spoil(upstream.json())
        )
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
    sample(
        [
            "--output",
            str(run),
            "--problems.n",
            "8",
            "--problems.split",
            "train",
            *policy,
            *patience,
            "--n_samples",
            "3",
        ]
    )
    label(["--run", str(run), "--method", "every_step", "--n_rollouts", "3"])


@pytest.mark.hostile
def test_faulty_servers_change_no_label_and_no_draw(
    keyed_server: str,
    put_before: Callable[..., FaultyProxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
):
    monkeypatch.setenv("CLIENT_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    proxy = put_before(keyed_server)
    sample_and_label(tmp_path / "sound", keyed_server)
    sample_and_label(tmp_path / "faulty", proxy.url)

    assert set(proxy.injected) == set(SPOILED)
    assert min(proxy.injected.values()) >= 10
    record_property("n_probes", proxy.injected.total())
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
    assert [
        path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()
    ] == []


@pytest.mark.hostile
def test_the_last_error_names_server_and_fault_and_never_the_key(
    keyed_server: str, put_before: Callable[..., FaultyProxy], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CLIENT_KEY", KEY)
    proxy = put_before(keyed_server, http_500)
    with pytest.raises(
        InputError, match=rf"3 attempts failed: 3 × {proxy.url}: HTTP 500 Internal error near \*\*\*"
    ) as caught:
        PolicyConfig(
            model="simulated",
            servers=(proxy.url,),
            api_key_env="CLIENT_KEY",
            n_attempts=3,
            retry_seconds=0.01,
        ).load()
    assert KEY not in str(caught.value)


@pytest.mark.hostile
def test_an_endpoint_without_token_ids_is_refused(simulated_server, put_before: Callable[..., FaultyProxy]):
    proxy = put_before(simulated_server.url, without_token_ids)
    with pytest.raises(InputError) as caught:
        PolicyConfig(model="simulated", servers=(proxy.url,)).load()
    assert str(caught.value) == (
        f"{proxy.url}: returns no token ids; step rollouts need an endpoint that continues "
        "token ids, such as vLLM's or that of llama.cpp's server"
    )


def test_all_draws_of_a_problem_go_to_one_replica(simulated_server, put_before: Callable[..., FaultyProxy]):
    replicas = [put_before(simulated_server.url, good) for _ in range(3)]
    policy = PolicyConfig(model="simulated", servers=tuple(replica.url for replica in replicas)).load()
    questions = [f"Start with {i}: plus {j}, minus 2, plus 6." for i in range(1, 7) for j in range(1, 6)]

    async def draw_and_continue(question: str) -> None:
        prompt = policy.encode_prompt(question)
        step = await policy.sample(prompt, SamplingParams(100, stop="\n"), 0)
        await asyncio.gather(
            *(policy.sample(prompt + step.token_ids, SamplingParams(100), index) for index in range(4))
        )

    async def draw_all() -> None:
        await asyncio.gather(*(draw_and_continue(question) for question in questions))

    for replica in replicas:
        replica.prompts.clear()  # of the probe
    asyncio.run(draw_all())
    asked = [Counter(prompt.split(b"\n")[0].decode() for prompt in replica.prompts) for replica in replicas]
    assert all(len(each) > 0 for each in asked)
    assert sum(asked, Counter()) == dict.fromkeys(questions, 5)
    assert all(set(each.values()) == {5} for each in asked)


class HostileServer:
    """A server on the loopback that answers each connection's first request by what `answer` does with the
    socket; without `reads_first` the request is still to be read.
    """

    def __init__(self, answer: Callable[[socket.socket], None], *, reads_first: bool = True) -> None:
        self._answer, self._reads_first = answer, reads_first
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):  # closed
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the client had enough
            if self._reads_first:
                connection.recv(65536)
            self._answer(connection)

    def close(self) -> None:
        self._listener.close()


def drip_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    drip(connection)


def drip(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x")
        time.sleep(0.1)


def drip_head(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    drip(connection)


def endless_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b" " * 2**16 + b"\r\n")


def gzip_bomb(connection: socket.socket) -> None:
    body = gzip.compress(b" " * 10**7)
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )


def endless_error(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Type: text/plain; charset=rot13\r\n\r\n")
    while True:
        connection.sendall(b"\x1b[2J" * 2**14)


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (drip_body, "no whole answer in 0.5 s"),
        (drip_head, "no whole answer in 0.5 s"),
        (endless_body, "a body of more than 1,048,576 bytes"),
        (gzip_bomb, "a packed body, expected a plain one"),
        (endless_error, "HTTP 503 a body of more than 65,536 bytes"),
    ],
)
def test_a_reply_has_a_limit_in_time_and_in_bytes(answer: Callable[[socket.socket], None], said: str):
    server = HostileServer(answer)
    started = time.monotonic()
    with pytest.raises(InputError) as caught:
        PolicyConfig(
            model="simulated", servers=(server.url,), timeout_seconds=0.5, n_attempts=2, retry_seconds=0.01
        ).load()
    server.close()
    assert str(caught.value) == f"2 attempts failed: 2 × {server.url}: {said}"
    assert time.monotonic() - started < 10


@pytest.mark.hostile
@pytest.mark.parametrize("written", [KEY, quote(KEY.replace("-", "/"), safe=""), KEY.upper(), KEY[:-3]])
def test_the_key_and_control_characters_do_not_come_back_in_any_field(
    simulated_server,
    put_before: Callable[..., FaultyProxy],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    written: str,
):
    key = KEY.replace("-", "/") if "%2F" in written else KEY
    monkeypatch.setenv("CLIENT_KEY", key)

    def refusal(url: str) -> str:
        with pytest.raises(InputError) as caught:
            PolicyConfig(model="simulated", servers=(url,), api_key_env="CLIENT_KEY", n_attempts=1).load()
        return str(caught.value) + caplog.text

    for field in ("finish_reason", "text"):
        proxy = put_before(
            simulated_server.url,
            lambda reply, field=field: good(changed(reply, **{field: f"{written}\x1b[2J\n12:00:00 ok"})),
        )
        said = refusal(proxy.url)
        assert "***" in said
        assert written not in said
        assert "\x1b" not in said
        assert "\n12:00:00 ok" not in said
    models = json.dumps({"data": [{"id": f"{written}\x1b[2J"}] + [{"id": "m"}] * 20_000}).encode()
    said = refusal(HostileServer(lambda connection: connection.sendall(response(200, models))).url)
    assert "serves ***" in said
    assert written not in said
    assert "\x1b" not in said
    assert len(said) < 3000


@pytest.mark.hostile
def test_a_server_that_was_never_there_ends_the_run_at_once():
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(InputError) as caught:
        PolicyConfig(model="simulated", servers=(url,)).load()
    assert (
        str(caught.value)
        == f"no server answers: {url}: no connection: Connection refused; expected one or more that run"
    )
    assert time.monotonic() - started < 5


@pytest.mark.hostile
def test_a_server_that_goes_down_is_one_log_line_at_once_and_one_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
):
    server = Server("http://a", 8, pause_seconds=60)
    assert [server.faults_to_log(60) for _ in range(3)] == [1, 0, 0]
    assert server.faults_to_log(0) == 0
    caplog.set_level(logging.INFO)
    replies = iter(
        [response(503, b"busy", "Retry-After: 0.2\r\n"), *[response(500, b"no")] * 4, response(200, b"{}")]
    )
    hostile = HostileServer(
        lambda connection: connection.sendall(
            next(replies).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        )
    )

    async def ask() -> bytes:
        async with ServerPool((hostile.url,), RequestSettings(retry_seconds=0.01)) as pool:
            return await pool.get("/v1/models", lambda body: body)

    assert asyncio.run(ask()) == b"{}"
    hostile.close()
    assert [record.getMessage() for record in caplog.records if "127.0.0.1" in record.getMessage()] == [
        f"{hostile.url}: HTTP 503 busy; trying again in 0 s, as it asks",
        f"{hostile.url} answers again",
    ]


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("1e400", 120.0),
        ("86400", 120.0),
        ("nan", None),
        ("soon", None),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 120.0),
        ("Mon, 41 Jan 2001 00:00:00 GMT", None),
    ],
)
def test_the_pause_that_a_server_asks_for_is_bounded(value: str | None, seconds: float | None):
    assert retry_after_seconds(value) == seconds


def test_running_out_of_open_files_is_not_called_a_fault_of_the_server(simulated_server):
    code = (
        "import resource, asyncio\nfrom data_gen.policies.servers.requests import RequestSettings, "
        "ServerPool\n"
        "async def main():\n"
        f"    async with ServerPool(({simulated_server.url!r},), RequestSettings()) as pool:\n"
        # Which imports all that there is to import
        "        await pool.get('/v1/models', lambda body: body)\n"
        "        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))\n"
        "        files = [open('/dev/null') for _ in range(20 - "
        "len(__import__('os').listdir('/proc/self/fd')) + 1)]\n"
        "        await asyncio.gather(*(pool.get('/v1/models', lambda body: body) for _ in range(2)))\n"
        "from data_gen.settings.parse import run_command\nrun_command(lambda: asyncio.run(main()), "
        "'sample')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == (
        "sample: error: Too many open files in this process, which may have 20; expected a lower "
        "max_concurrency (got 128 for each of 1 servers) or a higher limit (ulimit -n)\n"
    )
