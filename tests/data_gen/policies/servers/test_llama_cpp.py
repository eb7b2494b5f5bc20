"""llama.cpp's server as a policy, against a small server that speaks as its README says: no llama.cpp runs
here.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from data_gen.policies.config import PolicyConfig
from data_gen.policies.servers.llama_cpp import LlamaRequest
from data_gen.policies.servers.replies import CompletionRequest, NoTokenIdsError, WrongReplyError
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.policies.vocabulary import load_vocabulary
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from data_gen.records.token_rules import TokenRules
from data_gen.settings.errors import InputError
from tests.app_in_thread import in_thread

QUESTION = "Start with 3: plus 4, times 7, mix 8, plus 6, minus 1."
REQUEST = CompletionRequest("simulated", (65, 66), max_tokens=4, temperature=0.7, seed=2**33 + 5)
VOCABULARY = load_vocabulary("simulated")


@contextmanager
def llama_server(returns_tokens: bool = True, n_ctx: int = 2048) -> Iterator[tuple[str, list[Any]]]:
    """Draws of the simulated policy in llama.cpp's words; the bodies of requests are kept."""
    asked: list[Any] = []

    async def models(request: Request) -> JSONResponse:
        return JSONResponse({"object": "list", "data": [{"id": "simulated", "owned_by": "llamacpp"}]})

    async def properties(request: Request) -> JSONResponse:
        return JSONResponse({"default_generation_settings": {"n_ctx": n_ctx}, "total_slots": 1})

    async def complete(request: Request) -> JSONResponse:
        body = await request.json()
        asked.append(body)
        params = SamplingParams(body["n_predict"], body["temperature"])
        prompt = tuple(body["prompt"])
        if body["n_predict"] == 1:  # of the probe, whose prompts may end anywhere
            ids = [bias[0] for bias in body.get("logit_bias", []) if bias[1]][:1] or [65]
        else:
            ids = list((await SimulatedPolicy(body["seed"]).sample(prompt, params, 0)).token_ids)
        tops = [{"id": ids[0], "logprob": -0.5}]
        return JSONResponse(
            {
                "content": "not read",
                "tokens": ids if returns_tokens and body["return_tokens"] else [],
                "stop_type": "limit" if len(ids) == body["n_predict"] else "eos",
                "tokens_evaluated": len(prompt),
                "tokens_predicted": len(ids),
                "truncated": False,
                "timings": {"cache_n": len(prompt) - 1, "prompt_n": 1},
                "completion_probabilities": [
                    {"id": each, "token": "?", "logprob": -0.5, "top_logprobs": tops} for each in ids
                ],
            }
        )

    routes = [
        Route("/v1/models", models),
        Route("/props", properties),
        Route("/completion", complete, methods=["POST"]),
    ]
    with in_thread(Starlette(routes=routes)) as port:
        yield f"http://127.0.0.1:{port}", asked


def test_draws_go_to_its_own_endpoint_and_steps_are_cut_out_of_them() -> None:
    with llama_server() as (url, asked):
        policy = PolicyConfig("simulated", servers=(url,)).load()
        assert policy.context_length == 2048
        prompt = policy.encode_prompt(QUESTION)

        async def draw() -> list[Completion]:
            whole, step = SamplingParams(300, 0.7), SamplingParams(300, 0.7, stop="\n")
            return [await policy.sample(prompt, params, 1) for params in (whole, step)]

        whole, step = asyncio.run(draw())
    assert whole.finish_reason is FinishReason.EOS
    assert whole.usage == Usage(len(whole.token_ids), 1, len(prompt) - 1)
    assert whole.logprobs == (-0.5,) * len(whole.token_ids)
    assert step.finish_reason is FinishReason.STOP
    assert step.text == whole.text.split("\n")[0] + "\n"
    assert whole.token_ids[: len(step.token_ids)] == step.token_ids
    body = asked[-1]
    assert body["prompt"] == list(prompt)
    assert (body["n_predict"], body["temperature"], body["return_tokens"]) == (300, 0.7, True)
    assert (body["top_k"], body["top_p"], body["min_p"], body["repeat_penalty"]) == (0, 1.0, 0.0, 1.0)
    assert "stop" not in body
    assert 0 <= body["seed"] < 2**32 - 1


def test_a_server_that_returns_no_token_ids_is_refused_with_the_reason() -> None:
    with (
        llama_server(returns_tokens=False) as (url, _),
        pytest.raises(InputError, match=r"returns no token ids \(`tokens`\)"),
    ):
        PolicyConfig("simulated", servers=(url,)).load()


def test_a_set_of_allowed_ids_cannot_be_asked_for() -> None:
    with llama_server() as (url, _):
        policy = PolicyConfig("simulated", servers=(url,)).load()
        params = SamplingParams(4, allowed_ids=(65,))
        with pytest.raises(InputError, match="knows no allowed_token_ids"):
            asyncio.run(policy.sample(policy.encode_prompt(QUESTION), params, 0))


def test_biases_and_bans_are_said_in_its_words() -> None:
    rules = TokenRules(banned_ids=(7,), biases=((9, 2.5),))
    body = LlamaRequest(CompletionRequest("m", (1,), 4, 0.7, 5, rules=rules)).as_json()
    assert body["logit_bias"] == [[9, 2.5], [7, False]]


def test_no_seed_is_the_one_that_stands_for_a_random_seed() -> None:
    bodies = [LlamaRequest(replace(REQUEST, seed=seed)).as_json() for seed in (2**32 - 2, 2**32 - 1, 2**32)]
    assert [body["seed"] for body in bodies] == [2**32 - 2, 0, 1]


def reply(**changes: Any) -> bytes:
    ids = changes.get("tokens", [67, 68])
    sound = {
        **{"tokens": ids, "stop_type": "eos", "tokens_evaluated": 2, "truncated": False},
        "completion_probabilities": [{"id": each, "logprob": -1.0} for each in ids],
    }
    return json.dumps(sound | changes).encode()


def test_a_sound_reply_is_a_draw() -> None:
    drawn = LlamaRequest(REQUEST).read(reply(), VOCABULARY)
    assert (drawn.token_ids, drawn.logprobs, drawn.finish, drawn.is_eos) == (
        (67, 68),
        (-1.0, -1.0),
        "stop",
        True,
    )
    assert (
        LlamaRequest(REQUEST).read(reply(tokens=[67] * 4, stop_type="limit"), VOCABULARY).finish == "length"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokens_evaluated": 3}, "a prompt of 3 tokens was continued; expected the 2"),
        ({"truncated": True}, "continued, cut"),
        ({"stop_type": "none"}, "stop_type 'none' after 2 tokens"),
        ({"stop_type": "limit"}, "expected eos, or limit after 4"),
        ({"tokens": [67] * 5}, "after 5 tokens"),
        ({"tokens": [999]}, "token id 999"),
        ({"tokens": [256, 67]}, "go on after an EOS"),
        ({"completion_probabilities": [{"id": 67, "logprob": -1.0}]}, "of 1 tokens beside 2 ids"),
        ({"completion_probabilities": [{"id": 67}, {"id": 68}]}, "0 log-probabilities that can be used"),
        ({"tokens_evaluated": "2"}, "tokens_evaluated Input should be a valid integer"),
    ],
)
def test_a_reply_that_is_no_answer_is_never_used(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongReplyError, match=said):
        LlamaRequest(REQUEST).read(reply(**changes), VOCABULARY)


def test_a_reply_without_ids_is_told_apart() -> None:
    with pytest.raises(NoTokenIdsError):
        LlamaRequest(REQUEST).read(reply(tokens=[]), VOCABULARY)
