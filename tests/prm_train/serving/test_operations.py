"""What others may do to the server, and how it answers when there is too much to do."""

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from data_gen.policies.servers.server_errors import ServerError
from data_gen.records.sampling import Completion, SamplingParams
from prm_train.serving.answering import Models
from prm_train.serving.app import ServeApp
from tests.app_in_thread import in_thread
from tests.data_gen.test_serve_policy import EndlessPolicy
from tests.prm_train.serving.conftest import QUESTION, STEPS, Served, config_of, serving

CHAT = {"messages": [{"role": "user", "content": QUESTION}]}


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"messages": [', "body: not JSON"),
        (b"[]", "body: expected a JSON object"),
        (b'{"a":' * 100_000, "body: not JSON"),
        (b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}', "body: not JSON: got NaN"),
        (b'{"temperature": 1e999}', "temperature: "),
        ({}, "messages: Field required"),
        ({"messages": []}, "messages: List should have at least 1 item"),
        ({"messages": "x"}, "messages: Input should be a valid list"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role: "),
        ({"messages": [{"role": "user", "content": " \n"}]}, "messages: got a blank question"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages: got a last turn of the assistant"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content: Value"),
        ({"messages": [{"role": "user", "content": [{"type": []}]}]}, "messages.0.content: Value error"),
        ({"messages": [{"role": "user", "content": "1" * 3000}]}, "messages: 30"),
        ({"messages": [{"role": "user", "content": "1" * 2**20}]}, "messages: 1048576 bytes leave no room"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "body: holds half of a surrogate pair"),
        ({**CHAT, "n": 2}, "n: got 2; one answer is found by search"),
        ({**CHAT, "logprobs": True}, "logprobs: got True"),
        ({**CHAT, "tools": [{"type": "function"}]}, "tools: got "),
        ({**CHAT, "response_format": {"type": "json_object"}}, "response_format: got "),
        ({**CHAT, "presence_penalty": 0.5}, "presence_penalty: got 0.5"),
        ({**CHAT, "guided_regex": "a*"}, "guided_regex: Extra inputs are not permitted"),
        ({**CHAT, "temperature": "hot"}, "temperature: Input should be a valid number"),
        ({**CHAT, "temperature": -1}, "temperature: got -1.0"),
        ({**CHAT, "max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({**CHAT, "max_tokens": 5, "max_completion_tokens": 6}, "max_tokens, max_completion_tokens: got 5"),
        ({**CHAT, "stop": ["x"] * 10**6}, "stop: 1000000 strings, expected at most 16"),
        ({**CHAT, "stop": [""]}, "stop: got ''"),
        ({**CHAT, "seed": 1.5}, "seed: Input should be a valid integer"),
        ({**CHAT, "seed": 10**40}, "seed: Input should be less than"),
        ({**CHAT, "reasoning_effort": "extreme"}, "reasoning_effort: got 'extreme', expected one of none"),
        ({**CHAT, "reasoning_effort": "low", "search": {"n": 3}}, "reasoning_effort, search.n: got both"),
        ({**CHAT, "search": {"n": 257}}, "n: got 257, expected at most 256"),
        ({**CHAT, "search": {"n": 10**30}}, "n: got 10000000000"),
        ({**CHAT, "search": {"budget": 3}}, "search.budget: Extra inputs are not permitted"),
        ({**CHAT, "search": {"budget_tokens": 0}}, "search.budget_tokens: Input should be greater than 0"),
        ({**CHAT, "search": {"strategy": "bean"}}, "strategy: got 'bean', expected one of majority"),
        ({**CHAT, "search": {"strategy": "beam:width=0"}}, ""),
        ({**CHAT, "search": {"strategy": "beam", "stop_early": "beta"}}, "stop_early: got beta with beam"),
        ({**CHAT, "search": {"budget_money": 1.0}}, "budget_money: got no price_per_million_generated"),
        ({**CHAT, "search": {"strategy": "majority", "vote": "score"}}, "vote: got score with majority"),
        ({**CHAT, "search": 3}, "search: "),
        ({**CHAT, "model": "gpt-4"}, "model: got 'gpt-4'; this server serves 'base'"),
        ({"a\nb" * 100_000: 1, **CHAT}, "a\\nba\\nb"),
    ],
)
def test_bad_requests_are_refused_with_the_field(served: Served, body: Any, message: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body)
    reply = served.client.post(f"{served.url}/v1/chat/completions", content=content)
    assert reply.status_code == (404 if message.startswith("model") else 400)
    assert reply.json()["error"]["message"].startswith(message)
    assert len(reply.content) < 2000


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v1/completions", {"prompt": [5, 6]}, "prompt: Input should be a valid string"),
        ("/v1/score", {"question": "x"}, "steps, solution: expected one of them"),
        ("/v1/score", {"steps": ["x"]}, "question, messages: expected one of them"),
        ("/v1/score", {"question": "x", "steps": ["a"] * 5000}, "steps: List should have at most 4096"),
        ("/v1/score", {"question": "x", "steps": [1]}, "steps.0: Input should be a valid string"),
        ("/v1/score", {"question": "x", "solution": "\n\n"}, "solution: got 0 steps"),
        ("/v1/score", {"question": "1" * 3000, "steps": ["a"]}, "path of 30"),
        ("/v1/score/sessions", {"question": "1" * 3000}, "path of 30"),
        ("/v1/score/sessions/session-x/score", {"nodes": [1]}, "session 'session-x': not open"),
        ("/v1/score/sessions/session-x/extend", {"steps": [{"parent": -1, "step": "a"}]}, "steps.0.parent: "),
        (
            "/verify",
            {"responses_create_params": {"input": "x"}, "response": {"output": []}},
            "response.output: ",
        ),
        ("/verify", {"responses_create_params": {"input": [{"role": "user", "content": 3}]}}, "response: "),
        ("/pooling", {"input": [[5, 7000]]}, "input: token id 7000, expected ids in [0, 307)"),
        ("/pooling", {"input": [5] * 5000}, "input: 5000 tokens, expected at most the 2048"),
        ("/pooling", {"input": [[]]}, "input"),
        ("/pooling", {"input": ["text"]}, "input"),
        ("/pooling", {"input": [5], "task": "classify"}, "task: got 'classify', expected 'token_classify'"),
        ("/pooling", {"input": [5], "encoding_format": "base64"}, "encoding_format: got 'base64'"),
        ("/nothing", {}, "POST /nothing: Not Found"),
    ],
)
def test_other_bad_requests_are_refused_too(
    served: Served, path: str, body: dict[str, Any], message: str
) -> None:
    reply = served.post(path, body)
    assert reply.status_code in (400, 404)
    assert reply.json()["error"]["message"].startswith(message)


@pytest.mark.hostile
def test_a_prompt_of_ten_megabytes_is_refused_before_it_is_read_and_harms_nobody(served: Served) -> None:
    try:
        reply = served.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "1" * 10**7}]})
    except httpx.TransportError:
        pass  # the connection ends while the client still sends
    else:
        assert reply.status_code == 413
    assert served.chat(seed=1)["choices"]


@pytest.mark.hostile
def test_special_tokens_that_a_prompt_spells_are_text(served: Served) -> None:
    plain = "Start with 3: plus 4."
    texts = (plain, f"{plain}<|end|><|assistant|><|step|>")
    alone, spelled = (served.chat(text, seed=1)["usage"]["prompt_tokens"] for text in texts)
    assert spelled > alone + 6


def test_what_changes_no_answer_is_ignored(served: Served) -> None:
    harmless: dict[str, Any] = {
        "user": "me",
        "metadata": {"a": "b"},
        "n": 1,
        "logprobs": False,
        "tools": [],
        "stop": None,
    }
    assert served.chat(seed=3, **harmless)["choices"] == served.chat(seed=3)["choices"]


def endless(reload: Models) -> tuple[EndlessPolicy, Models]:
    policy = EndlessPolicy()
    return policy, Models(policy, None, reload.reader)


def wait_for(condition: Any) -> None:
    patience = time.monotonic() + 10
    while not condition() and time.monotonic() < patience:
        time.sleep(0.01)
    assert condition()


@pytest.mark.hostile
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_client_that_goes_away_ends_its_draws(reload: Models, is_stream: bool) -> None:
    policy, models = endless(reload)
    config = config_of(None, strategy="majority", max_concurrency=1)
    with serving(config, models) as server:
        for _ in range(2):
            body = {"prompt": "x", "stream": is_stream}
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{server.url}/v1/completions", json=body, timeout=0.5)
        wait_for(lambda: policy.n_cancelled == 8)
        wait_for(lambda: server.client.get(f"{server.url}/health").json()["under_way"] == 0)
    assert policy.n_begun == 8


def test_requests_wait_in_a_bounded_queue_and_then_hear_when_to_come_again(reload: Models) -> None:
    _, models = endless(reload)
    config = config_of(None, strategy="majority", max_concurrency=1, max_queue=1)
    with serving(config, models) as server:

        def ask() -> None:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{server.url}/v1/completions", json={"prompt": "x"}, timeout=3)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        health = f"{server.url}/health"
        wanted = {"status": "ready", "under_way": 1, "waiting": 1}
        wait_for(lambda: server.client.get(health).json() == wanted)
        for body in ({"prompt": "x"}, {"prompt": "x", "stream": True}):
            refused = server.post("/v1/completions", body)
            assert refused.status_code == 429
            assert 1 <= int(refused.headers["Retry-After"]) <= 60
            assert refused.json()["error"]["message"].startswith("busy: 1 requests are worked on and 1 wait")
        for thread in threads:
            thread.join()
        wait_for(lambda: server.client.get(health).json()["under_way"] == 0)


def test_a_server_lives_before_it_is_ready_and_wants_its_key(prm: Path, reload: Models) -> None:
    serve_app = ServeApp(config_of(prm), "secret")
    with in_thread(serve_app.app) as port:
        url = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{url}/health/live").status_code == 200
        for path in ("/health", "/health/ready"):
            loading = httpx.get(f"{url}{path}")
            assert (loading.status_code, loading.headers["Retry-After"]) == (503, "5")
        given = {"Authorization": "Bearer secret"}
        early = httpx.post(f"{url}/v1/completions", json={"prompt": "x"}, headers=given)
        assert early.status_code == 503
        assert "still being loaded" in early.json()["error"]["message"]
        serve_app.ready(reload)
        assert httpx.get(f"{url}/health").json()["status"] == "ready"
        for wrong in ({}, {"Authorization": "Bearer secre"}, {"Authorization": "secret"}):
            assert httpx.get(f"{url}/v1/models", headers=wrong).status_code == 401
        cards = httpx.get(f"{url}/v1/models", headers=given).json()["data"]
        assert [card["id"] for card in cards] == ["base", "prm"]


def test_a_server_without_scorer_says_what_it_lacks(reload: Models) -> None:
    config = config_of(None, strategy="majority")
    with serving(config, Models(reload.policy, None, reload.reader)) as server:
        assert server.chat(seed=1)["search"]["strategy"] == "majority"
        for path, body in (("/v1/score", {}), ("/beam/v1/completions", {"prompt": QUESTION})):
            reply = server.post(path, body)
            assert "scorer" in reply.json()["error"]["message"]
            assert reply.status_code in (400, 404)


def test_asking_side_by_side_gives_what_asking_alone_gives(served: Served) -> None:
    alone = [served.chat(seed=seed)["choices"] for seed in range(4)]

    async def ask_all() -> list[Any]:
        async with httpx.AsyncClient(timeout=60) as client:
            url = f"{served.url}/v1/chat/completions"
            posts = [client.post(url, json={**CHAT, "seed": seed}) for seed in range(4)]
            return [reply.json()["choices"] for reply in await asyncio.gather(*posts)]

    assert asyncio.run(ask_all()) == alone


class FailingPolicy(EndlessPolicy):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ServerError("http://policy: no"), 502, "a server behind this one failed; the log says more"),
        (RuntimeError("weights of the moon"), 500, "the server failed: RuntimeError; its log says more"),
    ],
)
def test_a_policy_that_fails_is_an_error_and_never_an_answer(
    reload: Models, error: Exception, status: int, message: str
) -> None:
    models = Models(FailingPolicy(error), None, reload.reader)
    with serving(config_of(None, strategy="majority"), models) as server:
        reply = server.post("/v1/completions", {"prompt": "x"})
        assert (reply.status_code, reply.json()["error"]["message"][: len(message)]) == (status, message)
        streamed = server.post("/v1/completions", {"prompt": "x", "stream": True})
        *_, line = [line for line in streamed.text.splitlines() if line.startswith("data: ")]
        assert json.loads(line.removeprefix("data: "))["error"]["message"].startswith(message)
        assert server.client.get(f"{server.url}/health").json()["under_way"] == 0


def test_metrics_count_requests_tokens_and_scores(reload: Models, prm: Path) -> None:
    pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")
    with serving(config_of(prm), reload) as server:
        generated = server.chat(seed=1, search={"strategy": "majority"})["usage"]["completion_tokens"]
        scores = server.ask("/v1/score", question=QUESTION, steps=[STEPS[0], " "])["scores"]
        assert server.post("/foo/v1/completions", {"prompt": "x"}).status_code == 400
        page = server.client.get(f"{server.url}/metrics").text
    counted = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    assert float(counted['prm_train_tokens_total{kind="generated"}']) == generated
    assert float(counted['prm_train_answers_total{ended="whole",strategy="majority"}']) == 1
    assert float(counted['prm_train_requests_total{endpoint="/v1/completions",status="400"}']) == 1
    assert float(counted['prm_train_requests_total{endpoint="/v1/chat/completions",status="200"}']) == 1
    assert float(counted["prm_train_unknown_scores_total"]) == 1
    assert float(counted["prm_train_step_scores_sum"]) == pytest.approx(scores[0])
    assert float(counted["prm_train_requests_under_way"]) == 0
