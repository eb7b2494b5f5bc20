"""A loopback server that speaks OpenAI's /chat/completions over real sockets, and misbehaves on request."""

import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# What a server may do instead of answering; each is taken once, by the next request.
FAULTS = (
    "500",
    "503",
    "429",
    "reset",
    "half_a_body",
    "half_json",
    "slow",
    "html",
    "two_choices",
    "no_choices",
    "wrong_content",
    "list",
)


class ChatServer(ThreadingHTTPServer):
    """Answers each prompt by `answer(prompt)`: a text, or a whole choice. `faults` come first; all requests
    are kept.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, answer: Callable[[str], Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.faults: deque[str] = deque()
        self.bodies: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self.seconds = 0.0
        self.retry_after = "0"  # said with status 429
        self.n_open = self.n_open_at_most = 0
        self.lock = threading.Lock()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def prompts(self) -> list[str]:
        return [body["messages"][0]["content"] for body in self.bodies]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.authorizations.append(self.headers.get("Authorization"))
            fault = self.server.faults.popleft() if self.server.faults else None
            self.server.n_open += 1
            self.server.n_open_at_most = max(self.server.n_open_at_most, self.server.n_open)
        time.sleep(self.server.seconds)
        try:
            self._answer(fault, self.server.answer(body["messages"][0]["content"]))
        finally:
            with self.server.lock:
                self.server.n_open -= 1

    def _answer(self, fault: str | None, answer: Any) -> None:
        choice = (
            answer if isinstance(answer, dict) else {"message": {"content": answer}, "finish_reason": "stop"}
        )
        whole = json.dumps({"choices": [choice]}).encode()
        wrong = {
            "half_json": whole[: len(whole) // 2],
            "html": b"<html>busy</html>",
            "two_choices": json.dumps({"choices": [choice, choice]}).encode(),
            "no_choices": b'{"choices": []}',
            "wrong_content": b'{"choices": [{"message": {"content": 1}}]}',
            "list": b"[]",
        }
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif fault == "half_a_body":
            self._send(200, whole[: len(whole) // 2], length=len(whole))
        elif fault is not None and fault.isdecimal():
            # A careless server repeats the key
            said = f"status {fault} for {self.headers.get('Authorization')}".encode()
            self._send(int(fault), said, retry_after=self.server.retry_after if fault == "429" else None)
        else:
            time.sleep(2 if fault == "slow" else 0)
            self._send(200, wrong.get(fault or "", whole))

    def _send(
        self, status: int, body: bytes, length: int | None = None, retry_after: str | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(body)
        if length is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def serve(answer: Callable[[str], Any]) -> Iterator[ChatServer]:
    with ChatServer(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
