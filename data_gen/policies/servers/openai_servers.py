"""A policy whose draws are made by any number of servers that speak `/v1/completions` with token ids: vLLM,
or `prm-train serve-policy`; or llama.cpp's own `/completion` (`data_gen.policies.servers.llama_cpp`).

One request a draw, each with a seed of its own (a seed shared by a batch would give all its draws the same
noise). The servers keep the keys and values of shared prefixes, and the draws of a problem go to the same
server (`data_gen.policies.servers.routing`). Prompts go out as token ids and draws come back as token ids.
Cancelling a draw closes its request.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from data_gen.policies.protocol import Policy
from data_gen.policies.servers.addresses import server_urls
from data_gen.policies.servers.engine_draw import EngineDraw, draw_completion
from data_gen.policies.servers.foreign_text import shown_text
from data_gen.policies.servers.pool_of_loop import PoolOfLoop
from data_gen.policies.servers.probe import (
    RuleFaults,
    ServedModel,
    as_sent,
    get_card,
    probe_server,
    read_draw,
)
from data_gen.policies.servers.replicas import Replicas, ServerCounts, probe_present
from data_gen.policies.servers.replies import CompletionRequest
from data_gen.policies.servers.requests import LOOK_SECONDS, RequestSettings, ServerPool
from data_gen.policies.servers.routing import RecentPrompts
from data_gen.policies.servers.server_errors import NotAReplicaError
from data_gen.policies.vocabulary import Vocabulary
from data_gen.process.daemon_threads import run_in_thread
from data_gen.records.chats import Message
from data_gen.records.draw_keys import content_hash, draw_seed
from data_gen.records.sampling import Completion, SamplingParams
from data_gen.records.steps import step_scanners
from data_gen.records.token_rules import check_known_ids
from data_gen.settings.api_keys import read_api_key
from data_gen.settings.errors import InputError

N_SEEDS = 2**53  # seeds below it are exact in every reader of JSON, and vLLM takes them


class OpenAIServersPolicy(Policy):
    """See `data_gen.policies.protocol.Policy`.

    `policy_id` hashes what the servers report (the model's name; of `prm-train serve-policy` also the hash of
    its weights), the tokenizer and `revision`. A server cannot prove its weights: change `revision` when you
    change what it serves, or a ledger mixes two models.

    The noise of a draw follows from the request's seed, which is derived from (base_seed, policy_id, prefix,
    index). Whether a server makes the same draw again is its own matter: vLLM does, up to ties between logits
    that depend on the shape of its batch.
    """

    def __init__(
        self,
        replicas: Replicas,
        served: ServedModel,
        vocabulary: Vocabulary,
        settings: RequestSettings,
        base_seed: int,
        revision: str,
    ) -> None:
        self.policy_id = content_hash(
            "openai servers", served.name, served.policy_id, vocabulary.fingerprint, revision
        )
        self.base_seed = base_seed
        context_length = served.context_length or vocabulary.context_length
        if context_length is None:
            raise InputError(
                f"{replicas.urls[0]}: says no max_model_len for {served.name}, nor does the tokenizer's "
                "folder; expected one of them"
            )
        self.context_length = context_length
        self._model, self._vocabulary, self._served_id = served.name, vocabulary, served.policy_id
        self._rule_faults, self._is_llama_cpp = served.rule_faults, served.is_llama_cpp
        self._prompts = RecentPrompts()
        self._scanner = step_scanners(vocabulary.token_bytes)
        self._pool = PoolOfLoop(replicas, settings)

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        prompt_ids = self._vocabulary.encode_prompt(question)
        self._prompts.add(prompt_ids)
        return prompt_ids

    def encode_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        return self._vocabulary.encode_chat(messages)

    def token_bytes(self) -> list[bytes]:
        return self._vocabulary.token_bytes

    @property
    def server_counts(self) -> ServerCounts:
        return self._pool.counts

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        """Raises ServerError (an InputError) when a server refuses the request or every attempt fails, and
        InputError for rules about ids that a server does not heed.
        """
        check_prefix(prefix_ids, self._vocabulary, self.context_length)
        check_known_ids(params.token_rules, len(self._vocabulary.token_bytes))
        rule_fault = self._rule_faults.of(params.token_rules)
        if rule_fault is not None:
            raise InputError(
                f"{', '.join(params.token_rules.facts)}: {rule_fault}; expected a server that does"
            )
        seed = draw_seed(self.base_seed, self.policy_id, prefix_ids, index) % N_SEEDS
        n_tokens = min(params.max_new_tokens, self.context_length - len(prefix_ids))
        request = CompletionRequest(
            self._model,
            prefix_ids,
            n_tokens,
            params.temperature,
            seed,
            stop_strings=params.stop_strings,
            truncation=params.truncation,
            rules=params.token_rules,
            policy_id=self._served_id,
        )
        affinity, pool = self._prompts.affinity_key(prefix_ids), await self._pool.get()

        async def draw(stop: str | None) -> EngineDraw:
            asked = replace(request, stop=stop)
            path, body = as_sent(asked, self._is_llama_cpp)
            return await pool.post(
                path,
                body,
                asked.n_tokens,
                affinity,
                seed,
                lambda reply: read_draw(reply, asked, self._vocabulary, self._is_llama_cpp),
            )

        scanner = None if params.stop is None else self._scanner(params.stop)
        return await draw_completion(draw, self._vocabulary, params, scanner)


def check_prefix(prefix_ids: tuple[int, ...], vocabulary: Vocabulary, context_length: int) -> None:
    """Raises ValueError for ids that the model does not have, InputError for a prefix that leaves no room in
    the context.
    """
    if not prefix_ids or min(prefix_ids) not in vocabulary or max(prefix_ids) not in vocabulary:
        n_ids = len(vocabulary.token_bytes)
        raise ValueError(
            f"prefix {prefix_ids[:8]}… of {len(prefix_ids)} ids: expected one or more ids in [0, {n_ids})"
        )
    if len(prefix_ids) >= context_length:
        beginning = vocabulary.text(prefix_ids[:40])
        raise InputError(
            f"a prefix of {len(prefix_ids)} tokens leaves no room in a context of {context_length} tokens; "
            f"it begins {beginning!r}"
        )


def connect(
    servers: tuple[str, ...],
    model: str,
    vocabulary: Vocabulary,
    settings: RequestSettings,
    *,
    base_seed: int = 0,
    revision: str = "",
) -> OpenAIServersPolicy:
    """The policy behind these servers (URLs, or @file of them), each of which is probed. One that does not
    answer now joins when it does, and so does one that is written into a file later, if it is a replica.

    Raises InputError where none answers, or one cannot make step rollouts or serves something else than the
    first.
    """

    async def probe() -> dict[str, ServedModel]:
        return await probe_present(
            server_urls(servers), settings, lambda url, few: probe_server(url, model, vocabulary, few)
        )

    # So that it does not matter whether an event loop runs here
    served = run_in_thread(lambda: asyncio.run(probe()))
    first_url, key = next(iter(served)), read_api_key(settings.api_key_env)
    for url, each in served.items():
        _check_replica(url, each.policy_id, first_url, served[first_url], key)
    lengths = [each.context_length for each in served.values() if each.context_length is not None]
    biases, allowed_ids = zip(*(each.rule_faults for each in served.values()), strict=True)
    faults = RuleFaults(next(filter(None, biases), None), next(filter(None, allowed_ids), None))
    first = replace(served[first_url], context_length=min(lengths, default=None), rule_faults=faults)

    async def admit(url: str) -> None:
        late = await probe_server(url, model, vocabulary, replace(settings, n_attempts=1))
        _check_replica(url, late.policy_id, first_url, first, key)
        _check_as_able(url, late, first)

    async def check(url: str) -> None:
        seconds = min(LOOK_SECONDS, settings.timeout_seconds)
        async with ServerPool((url,), replace(settings, n_attempts=1, timeout_seconds=seconds)) as pool:
            card = await get_card(pool, url, model)
        _check_replica(url, card.policy_id, first_url, first, key)
        shorter = _shorter_context(url, card.max_model_len, first)
        if shorter is not None:
            raise NotAReplicaError(shorter)

    replicas = Replicas(lambda: server_urls(servers), served, admit, check)
    return OpenAIServersPolicy(replicas, first, vocabulary, settings, base_seed, revision)


def _check_replica(
    url: str, policy_id: str | None, first_url: str, first: ServedModel, key: str | None
) -> None:
    """Raises NotAReplicaError where the model at `url` is another than the first one was."""
    if policy_id != first.policy_id:
        now, then = (shown_text(str(each), key) for each in (policy_id, first.policy_id))
        where = "before" if url == first_url else first_url
        raise NotAReplicaError(
            f"{url}: serves {first.name} with policy_id {now}, {where} with {then}; expected replicas"
        )


def _check_as_able(url: str, late: ServedModel, first: ServedModel) -> None:
    """Raises InputError where a server that comes late could not make a draw that the others make."""
    if late.is_llama_cpp != first.is_llama_cpp:
        raise InputError(f"{url}: llama.cpp's server beside another kind; expected one kind")
    shorter = _shorter_context(url, late.context_length, first)
    if shorter is not None:
        raise InputError(shorter)
    for fault, known in zip(late.rule_faults, first.rule_faults, strict=True):
        if fault is not None and known is None:
            raise InputError(f"{fault}; expected a server that does, as the others do")


def _shorter_context(url: str, context_length: int | None, first: ServedModel) -> str | None:
    """What is said of a server that has a shorter context than the others."""
    if context_length is None or first.context_length is None or context_length >= first.context_length:
        return None
    return (
        f"{url}: has a context of {context_length} tokens; expected {first.context_length} or more, as the "
        "others have"
    )
