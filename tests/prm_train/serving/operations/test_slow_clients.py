"""Clients that send or read as slowly as they can: they hold up nobody, and not for ever."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from data_gen.policies.servers import http_requests
from tests.prm_train.serving.conftest import QUESTION, Served

BODY = json.dumps({"prompt": QUESTION, "seed": 1, "stream": True, "search": {"strategy": "majority", "n": 2}})


@pytest.fixture
def connection(served: Served) -> Iterator[socket.socket]:
    host, port = served.url.removeprefix("http://").split(":")
    with closing(socket.create_connection((host, int(port)), timeout=20)) as made:
        yield made


def head(n_bytes: int) -> bytes:
    return (
        f"POST /v1/completions HTTP/1.1\r\nHost: here\r\nContent-Length: {n_bytes}\r\n"
        "Content-Type: application/json\r\n\r\n"
    ).encode()


@pytest.mark.hostile
def test_a_body_that_trickles_in_is_refused_and_holds_up_nobody(
    served: Served, connection: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_requests, "BODY_SECONDS", 1.0)
    connection.sendall(head(10_000))
    begun, n_answers, reply = time.monotonic(), 0, b""
    connection.settimeout(0.1)
    while not reply and time.monotonic() - begun < 15:
        connection.sendall(b"{")
        n_answers += (
            served.chat(seed=1, search={"strategy": "majority", "n": 1})["object"] == "chat.completion"
        )
        try:
            reply = connection.recv(4096)
        except TimeoutError:
            continue
    assert reply.startswith(b"HTTP/1.1 408")
    assert b"body: not whole after 1 s" in reply + connection.recv(4096)
    assert n_answers > 0
    assert served.client.get(f"{served.url}/health").json()["under_way"] == 0


@pytest.mark.hostile
def test_a_client_that_does_not_read_its_stream_keeps_no_place(
    served: Served, connection: socket.socket
) -> None:
    connection.sendall(head(len(BODY)) + BODY.encode())
    patience = time.monotonic() + 15
    answered = served.chat(seed=1, search={"strategy": "majority", "n": 1})
    while served.client.get(f"{served.url}/health").json()["under_way"] and time.monotonic() < patience:
        time.sleep(0.02)
    assert answered["choices"][0]["finish_reason"] == "stop"
    assert served.client.get(f"{served.url}/health").json()["under_way"] == 0
    received = b""
    while b"[DONE]" not in received:  # all of it, when it reads after all
        received += connection.recv(65_536)
    assert received.startswith(b"HTTP/1.1 200")
