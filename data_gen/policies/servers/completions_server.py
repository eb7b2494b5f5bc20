"""A policy of ours behind `/v1/completions`, as vLLM's server speaks it: token ids in and out, and no setting
is ignored silently.

A draw is a pure function of the server's policy and base seed, the prompt's ids and the request's `seed`,
whatever else is asked for; choice i of a request with n choices is the draw of seed + i, and a request
without seed gets a fresh one. `stop` with one string ends a text by the toolkit's rule of steps:
after nothing but blanks it ends nothing; several end it wherever one of them shows up. A client that goes
away ends its draws.

A request is refused before it costs anything: by `completion_request`, which reads it, or here, as a text
that cannot fit the context whatever its tokens are. Texts become ids in a thread, so that a long one holds
up nobody else.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from data_gen.policies.protocol import Policy
from data_gen.policies.servers.completion_request import (
    MAX_CHOICES,
    CompletionBody,
    parse_body,
    sampling_params,
)
from data_gen.policies.servers.http_requests import (
    CLIENT_CLOSED_REQUEST,
    BadRequestError,
    check_key,
    read_body,
    refusal,
    unless_disconnected,
)
from data_gen.process.daemon_threads import DaemonThreads
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from data_gen.records.token_rules import check_known_ids


class CompletionsServer:
    """`app` answers `/v1/completions`, `/v1/models` and `/health` for `policy` under the name `model`.

    `encode_text` gives the ids of a prompt that comes as text. With `api_key` every request but that for
    /health must carry it.
    """

    def __init__(
        self,
        policy: Policy,
        encode_text: Callable[[str], tuple[int, ...]],
        model: str,
        api_key: str | None = None,
    ) -> None:
        self._policy, self._encode_text, self._model, self._api_key = policy, encode_text, model, api_key
        self._token_bytes = policy.token_bytes()
        self._longest_token = max(map(len, self._token_bytes))
        self._encoding = DaemonThreads(1)
        self._created, self._numbers = int(time.time()), itertools.count()
        routes = [
            Route("/health", self._health),
            Route("/v1/models", self._models),
            Route("/v1/completions", self._completions, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes, exception_handlers={BadRequestError: refusal})

    async def _health(self, request: Request) -> Response:
        return Response()

    async def _models(self, request: Request) -> Response:
        check_key(request, self._api_key)
        card = {
            "id": self._model,
            "object": "model",
            "created": self._created,
            "owned_by": "prm-train",
            "max_model_len": self._policy.context_length,
            "policy_id": self._policy.policy_id,
        }
        return JSONResponse({"object": "list", "data": [card]})

    async def _completions(self, request: Request) -> Response:
        check_key(request, self._api_key)
        try:
            body = parse_body(await read_body(request))
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        if body.model not in (None, self._model):
            raise BadRequestError(f"model: got {body.model!r}; this server serves {self._model!r}", 404)
        prompts, params = await self._prompts(body), sampling_params(body)
        self._check_rules(params)
        seed = secrets.randbits(53) if body.seed is None else body.seed
        draws = [self._policy.sample(prompt, params, seed + i) for prompt in prompts for i in range(body.n)]
        try:
            completions = await unless_disconnected(request, _all(draws))
        except ValueError as error:  # what the policy says of a prefix that it cannot continue
            raise BadRequestError(f"prompt: {error}") from error
        if completions is None:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        owners = [prompt for prompt in prompts for _ in range(body.n)]
        choices = [
            self._choice(i, *pair, body, params)
            for i, pair in enumerate(zip(owners, completions, strict=True))
        ]
        reply = {
            "id": f"cmpl-{next(self._numbers)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": self._model,
            "policy_id": self._policy.policy_id,
            "choices": choices,
            "usage": _usage(sum(map(len, prompts)), completions),
        }
        return JSONResponse(reply)

    async def _prompts(self, body: CompletionBody) -> list[tuple[int, ...]]:
        is_one = isinstance(body.prompt, str) or not body.prompt or isinstance(body.prompt[0], int)
        prompts = cast("list[str | list[int]]", [body.prompt] if is_one else body.prompt)
        if len(prompts) * body.n > MAX_CHOICES:
            raise BadRequestError(
                f"n: {len(prompts)} prompts with {body.n} choices each; expected at most {MAX_CHOICES} "
                "choices"
            )
        ids = []
        for prompt in prompts:
            ids.append(await self._encoded(prompt) if isinstance(prompt, str) else tuple(prompt))
            self._check_prompt(ids[-1])
        return ids

    def _check_rules(self, params: SamplingParams) -> None:
        try:
            check_known_ids(params.token_rules, len(self._token_bytes))
        except ValueError as error:
            raise BadRequestError(f"logit_bias, allowed_token_ids: {error}") from None

    async def _encoded(self, text: str) -> tuple[int, ...]:
        n_bytes, longest = len(text.encode()), self._policy.context_length * self._longest_token
        if n_bytes > longest:
            raise BadRequestError(
                f"prompt: a text of {n_bytes} bytes leaves no room in a context of "
                f"{self._policy.context_length} tokens, which hold at "
                f"most {longest}"
            )
        return await self._encoding.call(self._encode_text, text)

    def _check_prompt(self, ids: tuple[int, ...]) -> None:
        if not ids:
            raise BadRequestError("prompt: empty, expected one or more tokens")
        if not 0 <= min(ids) <= max(ids) < len(self._token_bytes):
            raise BadRequestError(
                f"prompt: token id {max(ids) if min(ids) >= 0 else min(ids)}, expected ids in [0, "
                f"{len(self._token_bytes)})"
            )
        if len(ids) >= self._policy.context_length:
            raise BadRequestError(
                f"prompt: {len(ids)} tokens leave no room in a context of {self._policy.context_length} "
                "tokens"
            )

    def _choice(
        self,
        index: int,
        prompt: tuple[int, ...],
        completion: Completion,
        body: CompletionBody,
        params: SamplingParams,
    ) -> dict[str, Any]:
        ids, is_stop = completion.token_ids, completion.finish_reason is FinishReason.STOP
        choice: dict[str, Any] = {
            "index": index,
            "text": self._shown_text(completion, body, params),
            "finish_reason": "length" if completion.finish_reason is FinishReason.LENGTH else "stop",
            "stop_reason": (params.stop or first_stop(completion.text, params.stop_strings))
            if is_stop
            else None,
            "logprobs": None,
        }
        if body.logprobs is not None:
            tokens = [self._token_bytes[token_id].decode(errors="replace") for token_id in ids]
            offsets = list(itertools.accumulate(map(len, tokens[:-1]), initial=0))
            choice["logprobs"] = {
                "tokens": tokens,
                "token_logprobs": list(completion.logprobs),
                "text_offset": offsets,
                "top_logprobs": None,
            }
        if body.return_token_ids:
            choice |= {"token_ids": list(ids), "prompt_token_ids": list(prompt)}
        return choice

    def _shown_text(self, completion: Completion, body: CompletionBody, params: SamplingParams) -> str:
        """The text up to the stop string, as the field has it, while the ids go on to the end of the token
        that completed it.
        """
        if completion.finish_reason is not FinishReason.STOP:
            return completion.text
        if params.stop is not None:
            stop, end = params.stop, _step_end(completion.text, params.stop)
        else:
            stop = first_stop(completion.text, params.stop_strings)
            end = completion.text.index(stop) + len(stop)
        return completion.text[: end - (0 if body.include_stop_str_in_output else len(stop))]


def first_stop(text: str, stop_strings: Sequence[str]) -> str:
    """The stop string that begins first in a text that holds one."""
    return min((stop for stop in stop_strings if stop in text), key=text.index)


def _step_end(text: str, stop: str) -> int:
    """Where the first stop string that follows a text ends (leading blank lines end nothing)."""
    end = 0
    while True:
        begin = text.index(stop, end)
        if text[end:begin].strip(" \t\n\r\v\f"):
            return begin + len(stop)
        end = begin + len(stop)


def _usage(n_prompt: int, completions: list[Completion]) -> dict[str, object]:
    total = sum((completion.usage for completion in completions), Usage())
    n_completion = sum(len(completion.token_ids) for completion in completions)
    return {
        "prompt_tokens": n_prompt,
        "completion_tokens": n_completion,
        "total_tokens": n_prompt + n_completion,
        "prompt_tokens_details": {"cached_tokens": min(total.n_cached, n_prompt)},
    }


async def _all(draws: list[Coroutine[Any, Any, Completion]]) -> list[Completion]:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(draw) for draw in draws]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
