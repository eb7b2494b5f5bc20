"""A policy that samples in this process from a transformers model.

The life of a draw here, from `sample` to its completion::

    sample() ── _waiting ── _admit() ── _under_way, in the batch ── batch.step() until it ends ── _completion()
                   │                        │
                   └── cancelled by whoever awaits it: skipped, or dropped from the batch before the next step

One asyncio task (`_run`) serves all draws that are awaited at the same time: it gives each a token, lets
other tasks run, and so on until none is left. The next call of `sample` starts a new one. There are no
threads: the model computes between two turns of the event loop. `data_gen.policies.engine.row_batch`
describes what happens to a draw inside the batch.
"""  # noqa: E501

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from data_gen.models.cache_size import POLICY_SHARE, default_cache_bytes, free_bytes
from data_gen.models.eos_ids import need_eos_ids
from data_gen.models.forward_settings import context_length, short_length
from data_gen.models.names import check_device
from data_gen.models.pretrained import load_model
from data_gen.models.prompt_layout import DEFAULT_PROMPT, PromptLayout
from data_gen.models.tokenizer import load_tokenizer
from data_gen.models.weights_digest import POLICY_LINE, weights_digest
from data_gen.policies.engine.draw import Choice, Draw, StopRule
from data_gen.policies.engine.logit_offsets import logit_offsets
from data_gen.policies.engine.plain_batch import PlainBatch
from data_gen.policies.engine.plain_model import PlainModel
from data_gen.policies.engine.ragged_model import RaggedModel, UnknownModelError
from data_gen.policies.engine.row_batch import RowBatch
from data_gen.records import steps
from data_gen.records.chats import Message
from data_gen.records.draw_keys import content_hash, draw_seed
from data_gen.records.sampling import Completion, SamplingParams, Truncation, Usage
from data_gen.records.stop_strings import StopStrings
from data_gen.records.token_rules import TokenRules
from data_gen.settings.errors import InputError

logger = logging.getLogger(__name__)

# Draws join the batch when they take an eighth of the rows under way, or after so many steps: prefixes that
# are computed together read the weights once, and the rows that are free meanwhile cost nothing.
JOINING_SHARE = 1 / 8
MOST_HELD_STEPS = 4
# So many ways to choose a token and to stop are kept: a server is asked for any.
N_SHARED = 64


class TransformersPolicy:
    """See `data_gen.policies.protocol.Policy`. The policy takes the model over: it sets its attention
    implementation and eval mode.

    At most `max_rows` texts have keys and values in memory at a time, beside the prefixes that are kept
    between draws, which `prefix_cache_bytes` bounds (None: see `data_gen.models.cache_size`). Draws that have
    written the same so far are one text, so many more may be under way; a draw waits while its prefix has no
    row. `cancelled_usage` is the cost of draws that were cancelled before they ended. The tokenizer needs no
    pad token.

    On a CPU the weights of larger Llama and Qwen2 models are laid out anew (`llama_decoder`): `model`
    computes the same afterwards, but its queries, keys and values share memory, which `save_pretrained`
    refuses. Save it before.

    A model whose cache is not plain keys and values of all positions is sampled with its own cache
    (`plain_batch`), a row for each draw, which is slower; a warning says so. Raises InputError for a model
    without EOS token.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        base_seed: int = 0,
        prompt: PromptLayout = DEFAULT_PROMPT,
        max_rows: int = 256,
        prefix_cache_bytes: int | None = None,
    ) -> None:
        prompt.check(tokenizer)
        self.tokenizer, self.model = tokenizer, model
        self.prompt = prompt
        self.base_seed = base_seed
        self.context_length = context_length(model.config)
        name = model.config.name_or_path or model.config.model_type
        self.eos_ids = tuple(sorted(need_eos_ids(name, tokenizer, model.config, model.generation_config)))
        self.policy_id = _policy_id(model, tokenizer)
        self.cancelled_usage = Usage()
        self.n_parameters = model.num_parameters()

        # Embeddings are often padded beyond the tokenizer's vocabulary: the ids in between stand for no text.
        self._vocabulary_size = model.get_input_embeddings().num_embeddings
        token_bytes = steps.token_bytes(tokenizer)
        self._token_bytes = token_bytes + [b""] * (self._vocabulary_size - len(token_bytes))
        # Draws that are to choose or to stop alike share the object that says so. (A cache of bound methods
        # would hold the policy in a circle, and with it the memory of its rows, until garbage is collected.)
        scanner = steps.step_scanners(self._token_bytes)
        self._choice = lru_cache(N_SHARED)(partial(_choice, self._vocabulary_size, model.device))
        self._stop_rule = lru_cache(N_SHARED)(partial(_stop_rule, self._token_bytes, scanner))

        self._batch = _batch(model.eval(), self.eos_ids, max_rows, prefix_cache_bytes)
        self._waiting: deque[tuple[Draw, asyncio.Future[Draw]]] = deque()
        self._under_way: dict[Draw, asyncio.Future[Draw]] = {}
        self._cancelled: list[Draw] = []
        self._told: dict[Draw, Callable[[Sequence[int]], None]] = {}
        self._scheduler: asyncio.Task[None] | None = None
        self._n_held_steps = 0

    @property
    def n_cacheable_tokens(self) -> int | None:
        """How many tokens of prefixes are kept between draws. None: the engine keeps none."""
        return self._batch.n_cacheable_tokens if isinstance(self._batch, RowBatch) else None

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return self.prompt.encode(self.tokenizer, question)

    def encode_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        return self.prompt.encode_chat(self.tokenizer, messages)

    def token_bytes(self) -> list[bytes]:
        return self._token_bytes

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        return await self._drawn(self._new_draw(tuple(prefix_ids), params, index))

    async def sample_told(
        self,
        prefix_ids: tuple[int, ...],
        params: SamplingParams,
        index: int,
        tell: Callable[[Sequence[int]], None],
    ) -> Completion:
        draw = self._new_draw(tuple(prefix_ids), params, index)
        self._told[draw] = tell
        try:
            return await self._drawn(draw)
        finally:
            del self._told[draw]

    async def _drawn(self, draw: Draw) -> Completion:
        future: asyncio.Future[Draw] = asyncio.get_running_loop().create_future()
        self._waiting.append((draw, future))

        if self._scheduler is None or self._scheduler.done():
            self._scheduler = asyncio.create_task(self._run())
            self._scheduler.add_done_callback(self._on_end)
        try:
            return self._completion(await future)
        except asyncio.CancelledError:
            self._cancelled.append(draw)
            raise

    def _new_draw(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Draw:
        n_free = self.context_length - len(prefix_ids)
        if n_free < 1:
            beginning = self.tokenizer.decode(prefix_ids[:40])
            raise InputError(
                f"a prefix of {len(prefix_ids)} tokens leaves no room in a context of {self.context_length} "
                f"tokens; it begins {beginning!r}"
            )
        if not prefix_ids or not 0 <= min(prefix_ids) <= max(prefix_ids) < self._vocabulary_size:
            raise ValueError(
                f"prefix {prefix_ids[:8]}… of {len(prefix_ids)} ids: expected one or more ids in [0, "
                f"{self._vocabulary_size})"
            )

        noise = random.Random(draw_seed(self.base_seed, self.policy_id, prefix_ids, index))
        return Draw(
            prefix_ids,
            min(params.max_new_tokens, n_free),
            noise.random,
            self._choice(params.temperature, params.truncation, params.token_rules),
            self._stop_rule(params.stop, params.stop_strings),
        )

    async def _run(self) -> None:
        """Give every draw a token, again and again, until none is left; other tasks of the event loop run
        between two tokens.
        """
        while self._waiting or self._under_way:
            self._drop_cancelled()
            self._admit()
            if self._under_way:
                for draw in self._batch.step():
                    future = self._under_way.pop(draw)
                    if future.done():  # cancelled while it got its last token
                        self.cancelled_usage += draw.usage
                    else:
                        future.set_result(draw)
                for draw, tell in self._told.items():
                    if draw.history is not None:
                        tell(draw.history.token_ids)
            await asyncio.sleep(0)

    def _drop_cancelled(self) -> None:
        """Forget draws under way that nobody awaits any more; those that wait are skipped when it is their
        turn.
        """
        for draw in self._cancelled:
            if self._under_way.pop(draw, None) is not None:
                self._batch.drop(draw)
                self.cancelled_usage += draw.usage
        self._cancelled.clear()

    def _admit(self) -> None:
        """Let draws join in the order in which they came, as far as there are rows, but for those that were
        cancelled meanwhile.
        """
        if not self._is_time_to_join():
            return
        joining: list[Draw] = []
        rows: set[Hashable] = set()
        n_free_rows = self._batch.n_free_rows
        while self._waiting:
            draw, future = self._waiting[0]
            if not future.done():
                rows.add(self._batch.row_key(draw))
                if len(rows) > n_free_rows:
                    break
                joining.append(draw)
                self._under_way[draw] = future
            self._waiting.popleft()
        if joining:
            self._batch.admit(joining)

    def _is_time_to_join(self) -> bool:
        """Whether those that wait are enough to join, or have been held long enough."""
        n_free = self._batch.n_free_rows
        n_joining, n_rows = min(len(self._waiting), n_free), self._batch.max_rows - n_free
        is_held = n_joining < JOINING_SHARE * n_rows and self._n_held_steps < MOST_HELD_STEPS
        self._n_held_steps = self._n_held_steps + 1 if is_held and n_joining else 0
        return not is_held

    def _on_end(self, scheduler: asyncio.Task[None]) -> None:
        """If the task failed or was cancelled, so are all its draws: otherwise their callers would wait for
        ever.
        """
        failure = None if scheduler.cancelled() else scheduler.exception()
        if failure is None and not scheduler.cancelled():
            return

        futures = [*self._under_way.values(), *(future for _, future in self._waiting)]
        self._under_way.clear()
        self._waiting.clear()
        self._batch.clear()

        for future in futures:
            if failure is None:
                future.cancel()
            elif not future.done():
                # Each caller gets an exception of its own: one that is raised in several tasks collects all
                # their tracebacks.
                error = RuntimeError("sampling failed")
                error.__cause__ = failure
                future.set_exception(error)

    def _completion(self, draw: Draw) -> Completion:
        assert draw.finish_reason is not None
        ids = draw.token_ids
        text_ids = ids[:-1] if ids[-1] in self.eos_ids else ids
        text = b"".join([self._token_bytes[token_id] for token_id in text_ids]).decode(errors="replace")
        return Completion(ids, text, draw.logprobs, draw.finish_reason, draw.usage)


def load_policy(
    name_or_path: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    trust_remote_code: bool = False,
    **settings: Any,
) -> TransformersPolicy:
    """The policy of a folder or a Hub name, with the settings of `TransformersPolicy`. `dtype` and weights
    are part of its identity: another dtype is another policy.
    """
    check_device(device)
    tokenizer = load_tokenizer(name_or_path, trust_remote_code)
    model = load_model(AutoModelForCausalLM, name_or_path, dtype=dtype, trust_remote_code=trust_remote_code)
    return TransformersPolicy(model.to(device), tokenizer, **settings)


def _choice(
    vocabulary_size: int,
    device: torch.device,
    temperature: float,
    truncation: Truncation,
    rules: TokenRules,
) -> Choice:
    return Choice(temperature, truncation, logit_offsets(rules, vocabulary_size, device))


def _stop_rule(
    token_bytes: list[bytes],
    scanner_of: Callable[[str], steps.StepScanner],
    stop: str | None,
    stop_strings: tuple[str, ...],
) -> StopRule | None:
    scanner = None if stop is None else scanner_of(stop)
    strings = StopStrings(token_bytes, stop_strings) if stop_strings else None
    return StopRule(scanner, strings) if scanner or strings else None


def _batch(
    model: PreTrainedModel, eos_ids: tuple[int, ...], max_rows: int, prefix_cache_bytes: int | None
) -> RowBatch | PlainBatch:
    """The fast batch where it gives the model's own results, else the plain one."""
    try:
        ragged = RaggedModel(model)
    except UnknownModelError as reason:
        plain = PlainModel(model)
        way = "whole texts, token by token" if plain.cache_name is None else "the model's own cache"
        logger.warning("%s is sampled with %s, slower than others: %s", model.config.model_type, way, reason)
        return PlainBatch(plain, eos_ids, max_rows, short_length(model.config))
    if prefix_cache_bytes is None:
        layout = ragged.layout
        prefix_cache_bytes = default_cache_bytes(
            layout.bytes_per_token, POLICY_SHARE, free_bytes(layout.device)
        )
        logger.info(
            "prefix cache: %s MiB, room for %s tokens",
            f"{prefix_cache_bytes / 2**20:,.0f}",
            f"{prefix_cache_bytes // layout.bytes_per_token:,}",
        )
    return RowBatch(ragged, eos_ids, max_rows, prefix_cache_bytes)


def _policy_id(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """Content hash of the weights, the tokenizer and the chat template."""
    return content_hash(
        weights_digest(POLICY_LINE, model), tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template
    )
