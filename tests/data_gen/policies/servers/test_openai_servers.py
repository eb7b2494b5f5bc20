"""Draws from real server processes over the loopback: the same whatever else is drawn, whichever replica
makes them, whoever goes away.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from data_gen.policies.config import PolicyConfig
from data_gen.policies.protocol import Policy
from data_gen.policies.servers.completions_server import CompletionsServer
from data_gen.policies.servers.openai_servers import OpenAIServersPolicy
from data_gen.policies.servers.server_errors import RefusedRequestError
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from data_gen.settings.errors import InputError
from tests.app_in_thread import in_thread

Serve = Callable[..., Any]  # the fixture of conftest.py
QUESTIONS = [f"Start with {i}: plus {i + 2}, times 7, mix 8, plus 6, minus 1." for i in range(1, 9)]
FREE, STEP = SamplingParams(300), SamplingParams(300, stop="\n")


def connected(*servers: str, **changes: Any) -> Policy:
    settings: dict[str, Any] = {"model": "simulated", "retry_seconds": 0.02} | changes
    return PolicyConfig(**settings, servers=servers).load()


def gather(policy: Policy, requests) -> list[Completion]:
    async def draw() -> list[Completion]:
        return await asyncio.gather(*(policy.sample(*request) for request in requests))

    return asyncio.run(draw())


def requests_of(policy: Policy, params: SamplingParams, n: int = 6):
    return [(policy.encode_prompt(question), params, index) for question in QUESTIONS for index in range(n)]


def test_draws_come_back_whole_and_the_same_whatever_else_is_drawn(simulated_server):
    policy = connected(simulated_server.url)
    draws = gather(policy, requests_of(policy, FREE))
    assert [draw.finish_reason for draw in draws] == [FinishReason.EOS] * 48
    assert all(
        draw.token_ids[-1] == 256 and draw.text.encode() == bytes(draw.token_ids[:-1]) for draw in draws
    )
    assert draws[0].usage == Usage(len(draws[0].token_ids), len(f"{QUESTIONS[0]}\n"), 0)
    assert len({draw.text for draw in draws[:6]}) > 1
    again = connected(f"{simulated_server.url}/v1", max_concurrency=2)
    assert again.policy_id == policy.policy_id
    assert gather(again, reversed(requests_of(again, FREE))) == draws[::-1]  # in another event loop too
    assert gather(policy, requests_of(policy, FREE)[:3]) == draws[:3]


def test_a_step_is_the_head_of_the_whole_draw_and_can_be_continued(simulated_server):
    policy = connected(simulated_server.url)
    rollouts, steps = gather(policy, requests_of(policy, FREE)), gather(policy, requests_of(policy, STEP))
    for rollout, step in zip(rollouts, steps, strict=True):
        assert step.finish_reason is FinishReason.STOP
        assert step.text == rollout.text.split("\n")[0] + "\n"
        assert rollout.token_ids[: len(step.token_ids)] == step.token_ids
    prefix = policy.encode_prompt(QUESTIONS[0]) + steps[0].token_ids
    [continued] = gather(policy, [(prefix, STEP, 0)])
    assert continued.text.startswith(steps[0].text.strip().rpartition("=")[2].partition(",")[0])


def test_seeds_and_revisions_name_other_streams(simulated_server):
    policy = connected(simulated_server.url)
    reseeded = connected(simulated_server.url, base_seed=1)
    assert reseeded.policy_id == policy.policy_id
    texts = {
        each: [draw.text for draw in gather(each, requests_of(each, FREE))] for each in (policy, reseeded)
    }
    assert texts[policy] != texts[reseeded]
    assert connected(simulated_server.url, revision="2026-01").policy_id != policy.policy_id


def test_draws_end_where_the_context_ends_and_a_prefix_beyond_it_is_refused(simulated_server):
    policy = connected(simulated_server.url)
    assert policy.context_length == 4096
    prompt = policy.encode_prompt(QUESTIONS[0])
    [cut] = gather(policy, [(prompt, SamplingParams(5), 0)])
    assert (len(cut.token_ids), cut.finish_reason) == (5, FinishReason.LENGTH)
    with pytest.raises(
        InputError,
        match="a prefix of 4096 tokens leaves no room in a context of 4096 tokens; it begins 'xxxx",
    ):
        gather(policy, [((120,) * 4096, FREE, 0)])
    for prefix in ((), (5, 1000), (-1,)):
        with pytest.raises(ValueError, match=r"expected one or more ids in \[0, 257\)"):
            gather(policy, [(prefix, FREE, 0)])


def test_what_a_server_refuses_ends_at_once_and_names_the_server(simulated_server):
    policy = connected(simulated_server.url, retry_seconds=60.0)
    started = time.monotonic()
    with pytest.raises(
        RefusedRequestError, match=rf"{simulated_server.url}/v1/completions: HTTP 400 .*prompt: "
    ):
        gather(policy, [(tuple(b"What is love?\n"), FREE, 0)])
    with pytest.raises(InputError, match=rf"{simulated_server.url}: serves simulated; expected other"):
        connected(simulated_server.url, model="other", tokenizer="simulated")
    assert time.monotonic() - started < 10


def test_draws_survive_a_replica_that_dies_and_use_it_again_when_it_is_back(serve: Serve):
    stays, dies = serve("--model", "simulated"), serve("--model", "simulated")
    policy = connected(stays.url, dies.url)
    expected = gather(policy, requests_of(policy, FREE))
    everything = requests_of(policy, FREE, n=20)

    async def killed_on_the_way() -> list[Completion]:
        tasks = [asyncio.create_task(policy.sample(*request)) for request in everything]
        await tasks[10]
        dies.kill()
        return await asyncio.gather(*tasks)

    draws = asyncio.run(killed_on_the_way())
    assert [draws[20 * i + j] for i in range(8) for j in range(6)] == expected

    back = serve("--model", "simulated", "--port", str(dies.port))
    assert back.url == dies.url
    stays.kill()
    assert gather(policy, requests_of(policy, FREE)) == expected


def test_a_fault_that_stays_ends_every_draw_that_waits_for_it(simulated_server):
    policy = connected(simulated_server.url, n_attempts=4)
    # An operation that it does not know
    strange = [(policy.encode_prompt(f"Start with {i}: launder 3."), FREE, 0) for i in range(200)]

    async def all_of_them() -> list[Completion | BaseException]:
        return await asyncio.gather(*(policy.sample(*request) for request in strange), return_exceptions=True)

    errors = asyncio.run(all_of_them())
    assert all(
        isinstance(error, InputError) and str(error).startswith("4 attempts failed: ") for error in errors
    )
    assert all("HTTP 500 Internal Server Error" in str(error) for error in errors)


def test_when_no_server_answers_the_error_says_what_was_tried(serve: Serve):
    server = serve("--model", "simulated")
    policy = connected(server.url, n_attempts=3)
    server.kill()
    with pytest.raises(InputError, match=rf"^3 attempts failed: 3 × {server.url}: no connection"):
        gather(policy, requests_of(policy, FREE)[:1])
    with pytest.raises(InputError, match="no connection"):
        connected(server.url, n_attempts=1)


def test_a_draw_of_the_base_policy_is_that_of_its_engine(serve: Serve):
    server = serve("--model", "base")
    remote, local = connected(server.url, model="base"), PolicyConfig().load()
    assert isinstance(remote, OpenAIServersPolicy)
    assert remote.token_bytes() == local.token_bytes()
    prompts = [remote.encode_prompt(question) for question in QUESTIONS]
    assert prompts == [local.encode_prompt(question) for question in QUESTIONS]
    greedy = [(prompt, SamplingParams(100, temperature=0.0), 0) for prompt in prompts]
    for ours, theirs in zip(gather(local, greedy), gather(remote, greedy), strict=True):
        assert (theirs.token_ids, theirs.text, theirs.finish_reason) == (
            ours.token_ids,
            ours.text,
            ours.finish_reason,
        )
        assert theirs.logprobs == pytest.approx(ours.logprobs, abs=1e-4)


def test_a_key_is_asked_for_and_sent(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    server = serve(
        "--model", "simulated", "--api_key_env", "SERVER_KEY", environment={"SERVER_KEY": "sk-right"}
    )
    monkeypatch.setenv("CLIENT_KEY", "sk-wrong")
    with pytest.raises(InputError, match=r"HTTP 401 .*expected 'Bearer' and the API key") as caught:
        connected(server.url, api_key_env="CLIENT_KEY")
    assert "sk-" not in str(caught.value)
    monkeypatch.setenv("CLIENT_KEY", "sk-right")
    policy = connected(server.url, api_key_env="CLIENT_KEY")
    assert len(gather(policy, requests_of(policy, FREE)[:2])) == 2


def test_rules_about_ids_are_those_of_the_engine_behind_the_server(serve: Serve):
    remote, local = connected(serve("--model", "base").url, model="base"), PolicyConfig().load()
    [free] = gather(local, [(local.encode_prompt(QUESTIONS[0]), SamplingParams(20, 0.0), 0)])
    rules: list[dict[str, Any]] = [
        {"banned_ids": free.token_ids[:3]},
        {"biases": ((free.token_ids[1], -20.0), (7, 5.0))},
        {"allowed_ids": (*free.token_ids[:2], 7, 9)},
    ]
    for each in rules:
        params = SamplingParams(20, 0.0, **each)
        asked = [(local.encode_prompt(question), params, 0) for question in QUESTIONS]
        [*ours], [*theirs] = gather(local, asked), gather(remote, asked)
        assert [draw.token_ids for draw in theirs] == [draw.token_ids for draw in ours]
        assert params.token_rules.broken_by(ours[0].token_ids) is None
        assert ours[0].token_ids != free.token_ids
    with pytest.raises(ValueError, match=r"biases: got id 9000, expected ids in \[0, "):
        gather(remote, [(local.encode_prompt(QUESTIONS[0]), SamplingParams(3, biases=((9000, 1.0),)), 0)])


class ForeignServer(CompletionsServer):
    """A server that does not say that it is ours."""

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"data": [{"id": "base", "max_model_len": 512}]})


class DeafPolicy:
    """`policy` without the rules that it does not know."""

    def __init__(self, policy: Policy, ignored: tuple[str, ...]) -> None:
        self.policy_id, self.base_seed = policy.policy_id, policy.base_seed
        self.context_length, self.token_bytes = policy.context_length, policy.token_bytes
        self.encode_prompt, self._policy, self._ignored = policy.encode_prompt, policy, ignored

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        heard: dict[str, Any] = dict.fromkeys(self._ignored, ())
        return await self._policy.sample(prefix_ids, replace(params, **heard), index)


@pytest.mark.parametrize(
    ("ignored", "faults"),
    [
        ((), (None, None)),
        (("biases", "banned_ids"), ("does not heed logit_bias", None)),
        (("allowed_ids",), (None, "does not heed allowed_token_ids")),
    ],
)
def test_a_server_that_reads_over_rules_is_found_out_before_it_draws_by_them(ignored, faults):
    policy = DeafPolicy(PolicyConfig().load(), ignored)
    with in_thread(ForeignServer(policy, policy.encode_prompt, "base").app) as port:
        remote = connected(f"http://127.0.0.1:{port}", model="base", tokenizer="base")
        prompt = remote.encode_prompt(QUESTIONS[0])
        gather(remote, [(prompt, SamplingParams(3, 0.0), 0)])
        for params, name, fault in [
            (SamplingParams(3, 0.0, biases=((5, 1.0),)), "biases", faults[0]),
            (SamplingParams(3, 0.0, banned_ids=(5,)), "banned_ids", faults[0]),
            (SamplingParams(3, 0.0, allowed_ids=(5,)), "allowed_ids", faults[1]),
        ]:
            asked = [(prompt, params, 0)]
            if fault is None:
                gather(remote, asked)
            else:
                with pytest.raises(InputError, match=f"^{name}: http.*: {fault}; expected"):
                    gather(remote, asked)
