"""A language model as judge of solutions: asked over HTTP for the first wrong step, its answer taken
strictly.

Works with any server that speaks OpenAI's /chat/completions. A server's faults are retried and never become
judgements; an answer that names no step is unknown with its reason, which is no disagreement.
"""

import asyncio
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from annotated_types import Ge, Gt

from data_gen.answers.find import find_boxed
from data_gen.policies.servers.foreign_text import shown_text
from data_gen.policies.servers.http_client import (
    UnusableBodyError,
    fault_of,
    new_session,
    proxy_for,
    read_body,
)
from data_gen.policies.servers.requests import retry_after_seconds
from data_gen.records.draw_keys import content_hash
from data_gen.records.first_error import NO_ERROR
from data_gen.records.sampling import check_temperature
from data_gen.settings.api_keys import check_api_key_env, read_api_key
from data_gen.settings.errors import InputError

logger = logging.getLogger(__name__)

# The question of ProcessBench and of Qwen's consensus filter (Zheng et al. 2024; Zhang et al. 2025, section
# 3), in our words.
PROMPT = """Below are a math problem and a solution to it. The solution is cut into paragraphs, which are numbered from 0.

[Problem]
{question}

[Solution]
{paragraphs}

Check the solution paragraph by paragraph, in order. A paragraph is wrong if it states something false, computes something wrongly, or \
draws a conclusion that does not follow; a roundabout way is not wrong. Stop at the first paragraph that is wrong: its number is your \
answer. If every paragraph is right, your answer is -1.

Reason first, then end with your answer alone in \\boxed{{}}, for example \\boxed{{2}} or \\boxed{{-1}}."""  # noqa: E501

_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_REFUSED = {400, 413, 422}  # of this one request, such as a solution beyond the model's context
_LONGEST_PAUSE_SECONDS = 60.0
_REPLY_BYTES, _TOKEN_BYTES = 2**20, 2**10  # the longest reply, and what each token of the answer adds to it
_ERROR_BYTES = 2**16  # of what a server says of an error, of which a line is shown


@dataclass(frozen=True)
class JudgeSettings:
    """A model that judges, and how it is asked."""

    base_url: str = field(
        metadata={"help": "URL of an OpenAI-compatible server, as http://localhost:8000/v1"}
    )
    model: str = field(metadata={"help": "the name by which the server knows the judge"})
    api_key_env: str | None = field(
        default=None,
        metadata={"help": "name of the environment variable that holds the API key; null: no key"},
    )
    temperature: float = field(
        default=0.0, metadata={"help": "sampling temperature of the judge's answers; 0 is greedy"}
    )
    max_tokens: Annotated[int, Ge(1)] = field(
        default=4096,
        metadata={
            "help": "maximum number of tokens of an answer; a longer one counts as unknown (truncated)"
        },
    )
    at_once: Annotated[int, Ge(1)] = field(
        default=64, metadata={"help": "how many requests are under way at a time"}
    )
    timeout_seconds: Annotated[float, Gt(0)] = field(
        default=600.0, metadata={"help": "longest time for one request, from its first byte to its last"}
    )
    attempts: Annotated[int, Ge(1)] = field(
        default=6, metadata={"help": "how often a request is sent before a fault of the server ends the run"}
    )
    pause_seconds: Annotated[float, Ge(0)] = field(
        default=1.0, metadata={"help": "pause before the second attempt; it doubles with each further one"}
    )

    def __post_init__(self) -> None:
        check_api_key_env(self.api_key_env)
        check_temperature(self.temperature)
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"base_url: got {self.base_url!r}, expected http://host[:port]/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError(
                "base_url: holds a user name, password or query; expected a plain address, the key goes into "
                "api_key_env"
            )


class Answer(NamedTuple):
    """`first_error` is None where the answer names none, for a `reason`. `is_final` is False where the server
    refused to answer.
    """

    first_error: int | None
    reason: str
    text: str
    is_final: bool = True


class _ServerFaultError(Exception):
    """An answer of the server that is worth another attempt, after `pause_seconds` where it said so."""

    def __init__(self, what: str, pause_seconds: float | None = None) -> None:
        super().__init__(what)
        self.pause_seconds = pause_seconds


def judge_prompt(question: str, steps: Sequence[str]) -> str:
    paragraphs = "\n\n".join(
        f"<paragraph_{number}>\n{step}\n</paragraph_{number}>" for number, step in enumerate(steps)
    )
    return PROMPT.format(question=question, paragraphs=paragraphs)


def read_answer(text: str, n_steps: int) -> tuple[int | None, str]:
    r"""The step that the last `\boxed{}` names (thoughts left out), -1 for none; or None and why there is no
    such step.
    """
    boxed = find_boxed(text.rpartition("</think>")[2])
    if boxed is None:
        return None, "no_box"
    number = re.fullmatch(r"\s*(-?[0-9]{1,9})\s*", boxed)
    if number is None:
        return None, "box_holds_no_number"
    error = int(number[1])
    return (error, "") if NO_ERROR <= error < n_steps else (None, "no_such_step")


class ChatJudge:
    """Asks a model: `async with ChatJudge(settings) as judge`. `asked` names what an answer depends on, so
    that a stored one is only used for the same request.
    """

    def __init__(self, settings: JudgeSettings) -> None:
        """Raises InputError if the environment does not hold the key."""
        self._settings, self._key = settings, read_api_key(settings.api_key_env)

    async def __aenter__(self) -> "ChatJudge":
        self._session = new_session(self._key, self._settings.timeout_seconds)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()

    def asked(self, question: str, steps: Sequence[str]) -> str:
        settings = self._settings
        return content_hash(
            "judge", settings.model, settings.temperature, settings.max_tokens, judge_prompt(question, steps)
        )

    async def judge(self, question: str, steps: Sequence[str]) -> Answer:
        """Raises InputError when the server does not know us or the model, or fails `attempts` times."""
        settings = self._settings
        message = {"role": "user", "content": judge_prompt(question, steps)}
        body = {
            "model": settings.model,
            "messages": [message],
            "temperature": settings.temperature,
            "max_tokens": settings.max_tokens,
        }
        for attempt in range(1, settings.attempts + 1):
            try:
                return await self._ask(body, len(steps))
            except (_ServerFaultError, aiohttp.ClientError, TimeoutError) as error:
                said = fault_of(error) if isinstance(error, aiohttp.ClientError) else str(error)
                what = shown_text(said or type(error).__name__, self._key)
                asked_pause = error.pause_seconds if isinstance(error, _ServerFaultError) else None
            if attempt < settings.attempts:
                pause = settings.pause_seconds * 2 ** (attempt - 1) if asked_pause is None else asked_pause
                logger.info(
                    "judge, attempt %d of %d: %s; again in %.1f s", attempt, settings.attempts, what, pause
                )
                await asyncio.sleep(min(pause, _LONGEST_PAUSE_SECONDS))
        raise InputError(
            f"judge at {settings.base_url}: failed {settings.attempts} times, the last time: {what}; what it "
            "said so far is kept"
        )

    async def _ask(self, body: dict[str, Any], n_steps: int) -> Answer:
        url = f"{self._settings.base_url.rstrip('/')}/chat/completions"
        async with (
            asyncio.timeout(self._settings.timeout_seconds),
            self._session.post(url, json=body, proxy=proxy_for(url), allow_redirects=False) as response,
        ):
            status = response.status
            try:
                reply = await read_body(response, _REPLY_BYTES + _TOKEN_BYTES * self._settings.max_tokens)
            except UnusableBodyError as error:
                raise _ServerFaultError(str(error)) from None
        said = shown_text(reply[:_ERROR_BYTES].decode(errors="replace"), self._key)
        if status in _RETRIED:
            raise _ServerFaultError(
                f"status {status}: {said}", retry_after_seconds(response.headers.get("Retry-After"))
            )
        if status in _REFUSED:
            logger.warning("judge: refused a solution (status %d): %s", status, said)
            return Answer(None, f"refused_{status}", "", is_final=False)
        if status != 200:
            raise InputError(
                f"judge at {self._settings.base_url}: status {status}: {said}; expected 200 (check base_url, "
                "model and api_key_env)"
            )
        text, finish_reason = _content(reply)
        if finish_reason not in ("stop", None):
            reason = (
                "truncated"
                if finish_reason == "length"
                else f"finish_reason_{shown_text(finish_reason, self._key, 40)}"
            )
            return Answer(None, reason, text)
        return Answer(*read_answer(text, n_steps), text)


def _content(reply: bytes) -> tuple[str, str | None]:
    """Text and finish_reason of the only choice. Raises _ServerFaultError for any other body."""
    try:
        (choice,) = json.loads(reply)["choices"]
        text, finish_reason = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _ServerFaultError(
            f"a body that is no chat completion with one choice ({type(error).__name__}): {reply[:100]!r}"
        ) from None
    if not isinstance(text, str | None) or not isinstance(finish_reason, str | None):
        raise _ServerFaultError(
            f"content {type(text).__name__} and finish_reason {type(finish_reason).__name__}; expected texts"
        )
    return (text or "").encode(errors="replace").decode(), finish_reason
