"""A policy of ours behind `/v1/completions`, as vLLM's server speaks it: token ids in and out, and no setting
is ignored silently.

A draw is a pure function of the server's policy and base seed, the prompt's ids and the request's `seed`,
whatever else is asked for; choice i of a request with n choices is the draw of seed + i, and a request
without seed gets a fresh one. What would change the distribution in a way that is not known here (penalties,
...) is refused unless it changes nothing. `stop` with one string ends a text by the toolkit's rule of steps:
after nothing but blanks it ends nothing; several end it wherever one of them shows up. A client that goes
away ends its draws.

A request is refused before it costs anything: a body of more than MAX_BODY_BYTES, one that does not come
whole in BODY_SECONDS, a text that cannot fit the context whatever its tokens are. Texts become ids in a
thread, so that a long one holds up nobody else.
"""

import asyncio
import itertools
import json
import re
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from data_gen.policies.protocol import Policy
from data_gen.policies.servers.foreign_text import shown_text
from data_gen.process.daemon_threads import DaemonThreads
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from data_gen.records.stop_strings import MAX_STOP_STRINGS

Result = TypeVar("Result")
CLIENT_CLOSED_REQUEST = 499
# What a request may say beside what is read, as long as it changes nothing.
NEUTRAL: dict[str, tuple[object, ...]] = {
    "repetition_penalty": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "best_of": (1,),
    "echo": (False,),
    "stream": (False,),
    "suffix": ("",),
    "ignore_eos": (False,),
    "skip_special_tokens": (True,),
    "stop_token_ids": ([],),
    "min_tokens": (0,),
}
MAX_CHOICES = 4096
MAX_BODY_BYTES = 8 * 2**20  # a million token ids
BODY_SECONDS = 30.0
LONGEST_MESSAGE = 500  # characters of a refusal, which repeats what came
REQUEST_TIMEOUT, CONTENT_TOO_LARGE = 408, 413
LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class BadRequestError(ValueError):
    """A request that the server cannot answer as it stands; `status` is that of the reply."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class CompletionBody(BaseModel):
    """What is read of a request."""

    model_config = ConfigDict(strict=True, extra="forbid")
    model: str | None = None
    prompt: str | list[int] | list[str] | list[list[int]]
    n: Annotated[int, Field(ge=1)] = 1
    max_tokens: Annotated[int, Field(ge=1)] = 16
    temperature: float = 1.0  # SamplingParams says which
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=-1, lt=2**63)] = -1
    min_p: Annotated[float, Field(ge=0, lt=1)] = 0.0
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    stop: str | list[str] | None = None
    include_stop_str_in_output: bool = False
    logprobs: Annotated[int, Field(ge=0, le=1)] | None = None
    return_token_ids: bool = False
    user: str | None = None


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
        self.app = Starlette(routes=routes, exception_handlers={BadRequestError: _refusal})

    async def _health(self, request: Request) -> Response:
        return Response()

    async def _models(self, request: Request) -> Response:
        self._check_key(request)
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
        self._check_key(request)
        try:
            body = parse_body(await read_body(request))
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        if body.model not in (None, self._model):
            raise BadRequestError(f"model: got {body.model!r}; this server serves {self._model!r}", 404)
        prompts, params = await self._prompts(body), _sampling_params(body)
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
            "choices": choices,
            "usage": _usage(sum(map(len, prompts)), completions),
        }
        return JSONResponse(reply)

    def _check_key(self, request: Request) -> None:
        if self._api_key is None:
            return
        given = request.headers.get("Authorization", "").encode()
        if not secrets.compare_digest(given, f"Bearer {self._api_key}".encode()):
            raise BadRequestError("Authorization: expected 'Bearer' and the API key of this server", 401)

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


async def read_body(request: Request) -> bytes:
    """Raises BadRequestError for a body that is too long or does not come whole in time, ClientDisconnect
    where the client goes away.
    """
    too_long = BadRequestError(f"body: more than {MAX_BODY_BYTES} bytes", CONTENT_TOO_LARGE)
    said_length = request.headers.get("Content-Length", "0")
    if len(said_length) > len(str(MAX_BODY_BYTES)) or int(said_length) > MAX_BODY_BYTES:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise too_long
    except TimeoutError:
        raise BadRequestError(f"body: not whole after {BODY_SECONDS:g} s", REQUEST_TIMEOUT) from None
    return bytes(body)


def parse_body(raw: bytes) -> CompletionBody:
    """Raises BadRequestError, naming the field."""
    try:
        text = raw.decode()
        fields = json.loads(text)
        if LONE_SURROGATE.search(text):  # perhaps one of a pair
            json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadRequestError("body: holds half of a surrogate pair, which is no text") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested too deep
        raise BadRequestError(f"body: not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise BadRequestError("body: expected a JSON object")
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and len(prompt) > MAX_CHOICES and not isinstance(prompt[0], int):
        raise BadRequestError(f"prompt: {len(prompt)} prompts, expected at most {MAX_CHOICES}")
    for name, allowed in NEUTRAL.items():
        value = fields.pop(name, None)
        if value is not None and value not in allowed:
            raise BadRequestError(
                f"{name}: got {value!r}; this server draws from the model's own distribution, expected "
                f"{allowed[0]!r}"
            )
    try:
        return CompletionBody.model_validate(
            {name: value for name, value in fields.items() if value is not None}
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise BadRequestError(f"{first['loc'][0]}: {first['msg']}") from None


def _sampling_params(body: CompletionBody) -> SamplingParams:
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    if "" in stops:
        raise BadRequestError(f"stop: got {stops!r}, expected strings that are not empty")
    if len(stops) > MAX_STOP_STRINGS + 1:  # a client's own and its separator
        raise BadRequestError(f"stop: {len(stops)} strings, expected at most {MAX_STOP_STRINGS + 1}")
    separator, stop_strings = (stops[0], ()) if len(stops) == 1 else (None, tuple(dict.fromkeys(stops)))
    truncation = body.top_p, max(body.top_k, 0), body.min_p
    try:
        return SamplingParams(
            body.max_tokens, body.temperature, separator, *truncation, stop_strings=stop_strings
        )
    except ValueError as error:
        raise BadRequestError(str(error)) from None


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


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, Result]) -> Result | None:
    """The result of `work`, which is cancelled when the client goes away: then None. The request's body must
    have been read.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnection(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnection(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, BadRequestError)
    message = shown_text(str(error), longest=LONGEST_MESSAGE)
    # The body's rest is not read
    headers = {"Connection": "close"} if error.status in (REQUEST_TIMEOUT, CONTENT_TOO_LARGE) else None
    return JSONResponse(
        {"error": {"message": message, "type": "BadRequestError", "code": error.status}},
        error.status,
        headers,
    )
