"""A loopback server that speaks vLLM's `/pooling` over real sockets, with a model of transformers behind it,
and misbehaves on request.

As vLLM does, it refuses another task than its model's (400), other names (404) and paths beyond
`max_model_len` (400), and answers by probabilities unless `use_activation` is false.
"""

import json
import math
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch


class PoolingServer(ThreadingHTTPServer):
    """`step_tag_id` gives STEP pooling by that token, None a row for each token. `faults` come first, one a
    request to /pooling; the bodies of all are kept.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, model: Any, name: str = "prm", step_tag_id: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model, self.name, self.step_tag_id = model.eval(), name, step_tag_id
        self.is_orm = model.config.num_labels == 1
        self.max_model_len: int = model.config.max_position_embeddings
        self.always = ""  # a fault of every request
        self.api_key: str | None = None
        self.faults: deque[str] = deque()
        self.bodies: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.n_open = self.n_open_at_most = 0
        self.lock, self.stopped = threading.Lock(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def lengths(self) -> list[int]:
        """Tokens of each path that came."""
        return [len(body["input"][0]) for body in self.bodies]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is what some tests are about."""

    def pooled(self, ids: list[int], use_activation: bool) -> list[Any]:
        with self.lock, torch.no_grad():
            logits = self.model(input_ids=torch.tensor([ids])).logits[0]
        if self.is_orm:
            raw = not use_activation or self.model.config.problem_type == "regression"
            return [float(logits[0] if raw else logits[0].sigmoid())]
        rows = (logits.softmax(-1) if use_activation else logits).tolist()
        if self.step_tag_id is not None:
            rows = [row for row, token in zip(rows, ids, strict=True) if token == self.step_tag_id]
        return rows


class _Handler(BaseHTTPRequestHandler):
    server: PoolingServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        card = {"id": self.server.name, "object": "model", "max_model_len": self.server.max_model_len}
        self._send(200, {"object": "list", "data": [card]})

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.bodies.append(body)
            fault = server.faults.popleft() if server.faults else server.always
            server.n_open += 1
            server.n_open_at_most = max(server.n_open_at_most, server.n_open)
        try:
            # No model runs in a thread that outlives the test
            if not server.stopped.wait(60.0 if fault == "slow" else server.seconds):
                self._answer(body, fault)
        finally:
            with server.lock:
                server.n_open -= 1

    def _answer(self, body: dict[str, Any], fault: str) -> None:
        server, (ids,) = self.server, body["input"]
        if server.api_key is not None and self.headers["Authorization"] != f"Bearer {server.api_key}":
            return self._refuse(401, "Unauthorized")
        if body["model"] != server.name:
            return self._refuse(404, f"The model `{body['model']}` does not exist.")
        task = "classify" if server.is_orm else "token_classify"
        if body["task"] != task:
            return self._refuse(400, f"Unsupported task: {body['task']!r} Supported tasks: ('{task}',)")
        if len(ids) > server.max_model_len:
            return self._refuse(400, f"This model's maximum context length is {server.max_model_len} tokens")
        if fault.isdecimal():
            return self._refuse(int(fault), "Engine core busy")
        data = server.pooled(ids, body["use_activation"] or fault == "ignores use_activation")
        item = {"index": 0, "object": "pooling", "data": spoiled(data, fault)}
        usage = {"prompt_tokens": len(ids) + (fault == "another prompt")}
        reply = {"object": "list", "model": server.name, "data": [item], "usage": usage}
        self._send(200, reply | {"data": [item, item]} if fault == "two paths" else reply)
        return None

    def _refuse(self, status: int, message: str) -> None:
        self._send(status, {"error": {"message": message, "code": status}})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def spoiled(data: list[Any], fault: str) -> list[Any]:
    is_rows = isinstance(data[0], list) if data else True
    match fault:
        case "a row too few":
            return data[:-1]
        case "no rows":
            return []
        case "three classes":
            return [[*row, 0.0] for row in data]
        case "numbers for rows":
            return [row[0] for row in data]
        case "NaN":
            return [[math.nan] * len(row) for row in data] if is_rows else [math.nan]
        case "null":
            return [[None] * len(row) for row in data] if is_rows else [None]
        case _:
            return data


@contextmanager
def serve(model: Any, name: str = "prm", step_tag_id: int | None = None) -> Iterator[PoolingServer]:
    with PoolingServer(model, name, step_tag_id) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stopped.set()
            server.shutdown()
            thread.join()
