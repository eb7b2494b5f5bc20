"""`prm-train serve-policy` as a client sees it: a real process, asked over HTTP."""

import asyncio
import json
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from data_gen.policies.servers import http_requests, patient_protocol
from data_gen.policies.servers.completions_server import CompletionsServer
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.records.sampling import Completion, SamplingParams
from tests.app_in_thread import in_thread

QUESTION = "Start with 3: plus 4, minus 2.\n"
STEPS = ["3 plus 4=7\n", "7 minus 2=5\n", "Answer: 7 5"]


def ask(url: str, **body: Any) -> httpx.Response:
    # Httpx's own sends no half of a surrogate pair
    content = json.dumps({"prompt": QUESTION, "max_tokens": 200} | body)
    return httpx.post(f"{url}/v1/completions", content=content, timeout=30)


def choices(url: str, **body: Any) -> list[dict[str, Any]]:
    answer = ask(url, **body)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"]


def test_models_and_health(simulated_server):
    assert httpx.get(f"{simulated_server.url}/health").status_code == 200
    [card] = httpx.get(f"{simulated_server.url}/v1/models").json()["data"]
    assert (card["id"], card["max_model_len"], card["policy_id"]) == (
        "simulated",
        4096,
        "simulated-arithmetic-1",
    )


def test_a_completion_is_that_of_the_policy_with_the_seed_as_index(simulated_server):
    [choice] = choices(simulated_server.url, seed=5, logprobs=0, return_token_ids=True)
    prompt = tuple(QUESTION.encode())
    drawn = asyncio.run(SimulatedPolicy().sample(prompt, SamplingParams(200), 5))
    assert choice == {
        "index": 0,
        "text": drawn.text,
        "finish_reason": "stop",
        "stop_reason": None,
        "token_ids": list(drawn.token_ids),
        "prompt_token_ids": list(prompt),
        "logprobs": {
            "tokens": [*drawn.text, ""],
            "token_logprobs": [0.0] * len(drawn.token_ids),
            "text_offset": list(range(len(drawn.token_ids))),
            "top_logprobs": None,
        },
    }
    assert choices(simulated_server.url, seed=5, prompt=list(prompt)) == choices(simulated_server.url, seed=5)


def test_usage_counts_prompt_and_completion_tokens(simulated_server):
    usage = ask(simulated_server.url, seed=0, max_tokens=5, n=3).json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (
        len(QUESTION),
        15,
        len(QUESTION) + 15,
    )


def test_several_choices_are_the_draws_of_the_seeds_that_follow(simulated_server):
    three = [choice["text"] for choice in choices(simulated_server.url, seed=7, n=3)]
    assert three == [choices(simulated_server.url, seed=seed)[0]["text"] for seed in (7, 8, 9)]
    two_prompts = choices(simulated_server.url, seed=7, n=2, prompt=[QUESTION, QUESTION + STEPS[0]])
    assert [choice["index"] for choice in two_prompts] == [0, 1, 2, 3]
    assert [choice["text"] for choice in two_prompts[:2]] == three[:2]
    assert two_prompts[2]["text"].startswith("7 minus 2")


def test_requests_without_seed_differ(simulated_server):
    hard = "Start with 3: " + ", ".join(["knead 4 7, fold 5"] * 5) + ".\n"
    assert len({choices(simulated_server.url, prompt=hard)[0]["text"] for _ in range(10)}) > 1


def test_a_stop_string_ends_the_text_before_it_and_the_ids_after_it(simulated_server):
    [choice] = choices(simulated_server.url, seed=1, stop="\n", return_token_ids=True)
    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == ("3 plus 4=7", "stop", "\n")
    assert bytes(choice["token_ids"]) == b"3 plus 4=7\n"
    [choice] = choices(simulated_server.url, seed=1, stop=["\n"], include_stop_str_in_output=True)
    assert choice["text"] == "3 plus 4=7\n"


def test_the_first_of_several_stop_strings_ends_the_text(simulated_server):
    [choice] = choices(
        simulated_server.url,
        seed=1,
        stop=["minus", "=7"],
        top_p=0.9,
        top_k=5,
        min_p=0.1,
        return_token_ids=True,
    )
    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == ("3 plus 4", "stop", "=7")
    assert bytes(choice["token_ids"]) == b"3 plus 4=7"


def test_max_tokens_cuts(simulated_server):
    [choice] = choices(simulated_server.url, seed=1, max_tokens=6)
    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == ("3 plus", "length", None)


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"prompt": ""}, "prompt: empty, expected one or more tokens"),
        ({"prompt": [5, 300]}, "prompt: token id 300, expected ids in [0, 257)"),
        ({"prompt": [-1]}, "prompt: token id -1, expected ids in [0, 257)"),
        ({"prompt": None}, "prompt: Field required"),
        ({"prompt": [65] * 4096}, "prompt: 4096 tokens leave no room in a context of 4096 tokens"),
        ({"prompt": "What is love?\n"}, "prompt: "),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"temperature": -1}, "temperature: got -1.0, expected 0 (greedy) or a number of 0.000001 or more"),
        (
            {"temperature": 1e-45},
            "temperature: got 1e-45, expected 0 (greedy) or a number of 0.000001 or more",
        ),
        ({"temperature": 9e-7}, "temperature: got 9e-07, expected"),
        ({"temperature": 1e39}, "temperature: got 1e+39, expected"),
        ({"temperature": "hot"}, "temperature: Input should be a valid number"),
        ({"n": 5000}, "n: 1 prompts with 5000 choices each; expected at most 4096 choices"),
        (
            {"repetition_penalty": 1.1},
            "repetition_penalty: got 1.1; this server draws from the model's own distribution, expected 1",
        ),
        ({"top_p": 0}, "top_p: Input should be greater than 0"),
        ({"top_k": -2}, "top_k: Input should be greater than or equal to -1"),
        ({"top_k": 10**400}, "top_k: Input should be less than 9223372036854775808"),
        ({"min_p": 1.0}, "min_p: Input should be less than 1"),
        ({"stream": True}, "stream: got True"),
        ({"echo": True}, "echo: got True"),
        ({"stop": ["a", ""]}, "stop: got ['a', ''], expected strings that are not empty"),
        ({"stop": [str(i) for i in range(20)]}, "stop: 20 strings, expected at most 17"),
        ({"logprobs": 5}, "logprobs: Input should be less than or equal to 1"),
        ({"guided_regex": "a*"}, "guided_regex: Extra inputs are not permitted"),
        ({"logit_bias": {"05": 1}}, "logit_bias: got key '05', expected token ids"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5: Input should be less than or equal to 100"),
        ({"logit_bias": {"5": "x"}}, "logit_bias.5: Input should be a valid number"),
        (
            {"logit_bias": {"300": 1}},
            "logit_bias, allowed_token_ids: biases: got id 300, expected ids in [0, ",
        ),
        (
            {"logit_bias": {str(i): -100 for i in range(257)}},
            "logit_bias, allowed_token_ids: banned_ids: got all",
        ),
        ({"logit_bias": {"5": -100}, "allowed_token_ids": [5]}, "banned_ids, allowed_ids: got 5 in both"),
        ({"allowed_token_ids": []}, "allowed_token_ids: List should have at least 1 item"),
        ({"logit_bias": {"5": 1}}, "prompt: biases: a simulated policy has no logits to change"),
        ({"seed": 1.5}, "seed: Input should be a valid integer"),
        ({"prompt": ["x"] * 5000}, "prompt: 5000 prompts, expected at most 4096"),
        ({"seed": 10**40}, "seed: Input should be less than 18446744073709551616"),
        ({"prompt": "plus\ud800"}, "body: holds half of a surrogate pair"),
        ({"model": "\udfff"}, "body: holds half of a surrogate pair"),
        (
            {"prompt": "+" * 4097},
            "prompt: a text of 4097 bytes leaves no room in a context of 4096 tokens, which hold at most 4096",  # noqa: E501
        ),
        ({"stop": ["\x1b[2J", ""] * 50_000}, r"stop: got ['\x1b[2J', '', '\x1b[2J', "),
        ({"a\nb" * 100_000: 1}, "a\\nba\\nb"),
    ],
)
def test_bad_requests_are_refused_with_the_field(simulated_server, body: dict[str, Any], message: str):
    answer = ask(simulated_server.url, **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(message)
    assert len(answer.content) < 2000


@pytest.mark.hostile
def test_what_is_no_json_and_no_known_model_is_refused(simulated_server):
    answer = httpx.post(f"{simulated_server.url}/v1/completions", content=b'{"prompt": "x')
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("body: not JSON")
    for strange in (
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe{\0}\0",
        b'{"prompt": "\xed\xa0\x80"}',
        b'{"seed": ' + b"9" * 5000 + b"}",
    ):
        assert httpx.post(f"{simulated_server.url}/v1/completions", content=strange).status_code == 400
    assert ask(simulated_server.url, model="gpt").status_code == 404
    assert httpx.get(f"{simulated_server.url}/v1/completions").status_code == 405


def test_neutral_values_of_what_is_not_offered_are_taken(simulated_server):
    neutral = {
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "logit_bias": {},
        "echo": False,
        "user": "me",
        "suffix": None,
    }
    assert choices(simulated_server.url, seed=3, **neutral) == choices(simulated_server.url, seed=3)


class EndlessPolicy:
    """Draws that never end, and are noted when they are cancelled."""

    policy_id, base_seed, context_length = "endless", 0, 100

    def __init__(self) -> None:
        self.n_begun = 0
        self.n_cancelled = 0

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return tuple(question.encode())

    def token_bytes(self) -> list[bytes]:
        return [bytes([i]) for i in range(256)]

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        self.n_begun += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.n_cancelled += 1
        raise AssertionError("an event that nobody sets")


@pytest.mark.hostile
def test_a_client_that_goes_away_ends_its_draws():
    policy = EndlessPolicy()
    with in_thread(CompletionsServer(policy, policy.encode_prompt, "endless").app) as port:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"http://127.0.0.1:{port}/v1/completions", json={"prompt": "x", "n": 3}, timeout=0.5)
        patience = time.monotonic() + 10
        while policy.n_cancelled < 3 and time.monotonic() < patience:
            time.sleep(0.01)
    assert (policy.n_begun, policy.n_cancelled) == (3, 3)


@pytest.mark.hostile
def test_a_body_beyond_the_limit_is_refused_before_it_is_read(simulated_server):
    url = f"{simulated_server.url}/v1/completions"
    with socket.create_connection(("127.0.0.1", simulated_server.port), timeout=10) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000000\r\n\r\n{")
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")
    try:
        chunked = httpx.post(url, content=iter([b" " * 2**20] * 20), timeout=30)
    except httpx.TransportError:
        pass  # the connection ends while the client still sends
    else:
        assert chunked.status_code == 413
    assert (
        httpx.post(url, content=b" " * 2**20 + b'{"prompt": "x", "n": 0}')
        .json()["error"]["message"]
        .startswith("n: ")
    )


@pytest.mark.hostile
def test_a_client_that_reads_nothing_of_its_reply_is_left(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(patient_protocol, "UNREAD_SECONDS", 0.3)
    ended = threading.Event()

    async def endless(request: Request) -> Response:
        async def lines():
            try:
                while True:
                    yield b"x" * 2**16
                    await asyncio.sleep(0)
            finally:
                ended.set()

        return StreamingResponse(lines())

    with (
        in_thread(Starlette(routes=[Route("/", endless)])) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(4):  # one that reads now and then is not
            time.sleep(0.2)
            for _ in range(64):
                client.recv(2**17)
        assert not ended.is_set()
        assert ended.wait(10)


@pytest.mark.hostile
def test_requests_that_are_sent_by_halves_are_timed_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(patient_protocol, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(http_requests, "BODY_SECONDS", 0.3)
    policy = EndlessPolicy()
    app = CompletionsServer(policy, policy.encode_prompt, "endless").app
    whole = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with in_thread(app) as port:
        for begun in (
            b"",
            b"POST /v1/comp",
            whole + b"GET /h",
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(begun)
                started, said = time.monotonic(), b""
                while part := client.recv(4096):  # until the server ends the connection
                    said += part
                assert 0.2 < time.monotonic() - started < 4  # uvicorn ends an idle connection after 5 s
                assert (b"HTTP/1.1 408 " in said) == begun.endswith(b"{")
        with pytest.raises(httpx.ReadTimeout):  # a draw may take longer
            httpx.post(f"http://127.0.0.1:{port}/v1/completions", json={"prompt": "x"}, timeout=1)


@pytest.mark.hostile
def test_a_server_without_descriptors_says_so_once_and_serves_again(tmp_path: Path):
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-m", "data_gen.serve_policy", "--model", "simulated", "--port", "0"]
        process = subprocess.Popen(command, stderr=log)
    try:
        while "serving" not in (tmp_path / "log").read_text():
            assert process.poll() is None
            time.sleep(0.05)
        port = int((tmp_path / "log").read_text().partition("http://127.0.0.1:")[2].split()[0])
        assert (
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE)[0] > 1024
            or resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= 1024
        )
        n_open = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (n_open + 10, n_open + 10))
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
        time.sleep(2.5)  # asyncio tries again each second
        for client in clients:
            client.close()
        assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=20).status_code == 200
    finally:
        process.kill()
        process.wait()
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert said.count("Too many open files: new connections wait until others end") == 1
    assert len(said.splitlines()) == 3  # which policy, where it serves, and the fault


def test_a_port_in_use_and_a_missing_package_are_said_in_one_line(simulated_server):
    command = [
        sys.executable,
        "-m",
        "data_gen.serve_policy",
        "--model",
        "simulated",
        "--port",
        str(simulated_server.port),
    ]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "error: cannot listen on 127.0.0.1:" in refused.stderr
    assert "Traceback" not in refused.stderr
    code = (
        "import sys; sys.modules['uvicorn'] = None; from prm_train.cli import main; "
        "main(['serve-policy', "
        "'--model', 'simulated'])"
    )
    refused = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "pip install 'prm-train[serve]'" in refused.stderr.splitlines()[-1]
