"""Requests to `/v1/completions` and what their replies must be: a reply that is not exactly an answer to its
request is never used.
"""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from data_gen.policies.servers.engine_draw import EngineDraw
from data_gen.policies.vocabulary import Vocabulary
from data_gen.records.sampling import ALL_TOKENS, Truncation, Usage
from data_gen.records.token_rules import LARGEST_BIAS, NO_RULES, TokenRules

LEAST_LOGPROB = -3.4028234663852886e38  # the ledger keeps 4 bytes of each: below, it would be -inf
LOGPROB_ROUNDING = 1e-3  # a log-probability may exceed 0 by the rounding of a 16-bit model


class WrongReplyError(ValueError):
    """A reply that cannot be an answer to its request; the request is repeated."""


class OtherModelError(WrongReplyError):
    """A reply of another model than the one that was asked: the server was started again, with something
    else.
    """


class NoTokenIdsError(WrongReplyError):
    """A reply without token ids, its own or the prompt's: this server can continue texts, not token
    prefixes.
    """


@dataclass(frozen=True)
class CompletionRequest:
    """One draw asked of a server. `policy_id` is what its reply must say of who drew it; None: anything."""

    model: str
    prompt_ids: tuple[int, ...]
    max_tokens: int
    temperature: float
    seed: int
    stop: str | None = None
    stop_strings: tuple[str, ...] = ()
    truncation: Truncation = ALL_TOKENS
    rules: TokenRules = NO_RULES
    policy_id: str | None = None

    @property
    def all_stops(self) -> list[str]:
        return [*(() if self.stop is None else (self.stop,)), *self.stop_strings]

    @property
    def n_tokens(self) -> int:
        """Of prompt and completion, at most."""
        return len(self.prompt_ids) + self.max_tokens

    def as_json(self) -> dict[str, object]:
        """The body of the request.

        All that shapes the distribution is said: vLLM takes what a request leaves out from the model's
        generation_config.json, where instruct models have a top_p, a top_k and a repetition penalty of their
        own. A ban is OpenAI's bias of -100; `allowed_token_ids` are vLLM's.
        """
        body: dict[str, object] = {
            "model": self.model,
            "prompt": list(self.prompt_ids),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "n": 1,
            "logprobs": 0,
            "return_token_ids": True,
            "top_p": self.truncation.top_p,
            "top_k": self.truncation.top_k or -1,
            "min_p": self.truncation.min_p,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
        }
        if self.all_stops:
            body |= {"stop": self.all_stops, "include_stop_str_in_output": True}
        bias = {**dict(self.rules.biases), **dict.fromkeys(self.rules.banned_ids, -LARGEST_BIAS)}
        if bias:
            body["logit_bias"] = {str(token_id): value for token_id, value in sorted(bias.items())}
        if self.rules.allowed_ids:
            body["allowed_token_ids"] = sorted(set(self.rules.allowed_ids))
        return body


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class _Logprobs(_Part):
    token_logprobs: list[float | None]


class _Choice(_Part):
    text: str
    finish_reason: str | None
    stop_reason: int | str | None = None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    logprobs: _Logprobs | None = None


class _PromptDetails(_Part):
    cached_tokens: int | None = None


class _Usage(_Part):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _PromptDetails | None = None


class _Reply(_Part):
    choices: list[_Choice]
    usage: _Usage
    policy_id: str | None = None


def read_reply(body: bytes, request: CompletionRequest, vocabulary: Vocabulary) -> EngineDraw:
    """The draw that a reply holds. Raises WrongReplyError, naming what came and what was wanted."""
    try:
        reply = _Reply.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise WrongReplyError(
            f"{len(body)} bytes that are no completion: {'.'.join(map(str, first['loc']))} {first['msg']}"
        ) from None
    if len(reply.choices) != 1:
        raise WrongReplyError(f"{len(reply.choices)} choices, expected 1")
    choice, usage = reply.choices[0], reply.usage
    ids = _checked_ids(choice, request, vocabulary)
    if request.policy_id not in (None, reply.policy_id):
        drawn = "does not say which policy drew it" if reply.policy_id is None else f"is by {reply.policy_id}"
        raise OtherModelError(f"a draw that {drawn}, expected one by policy_id {request.policy_id}")
    if (usage.prompt_tokens, usage.completion_tokens) != (len(request.prompt_ids), len(ids)):
        raise WrongReplyError(
            f"usage of {usage.prompt_tokens} + {usage.completion_tokens} tokens, expected "
            f"{len(request.prompt_ids)} + {len(ids)}"
        )
    finish = _checked_finish(choice, ids, request, vocabulary)
    _check_text(choice.text, ids, request, vocabulary)
    n_cached = (usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens) or 0
    if not 0 <= n_cached <= len(request.prompt_ids):
        raise WrongReplyError(f"{n_cached} cached tokens of a prompt of {len(request.prompt_ids)}")
    return EngineDraw(
        ids,
        _checked_logprobs(choice, ids),
        finish,
        finish == "stop" and _is_eos(choice, ids, vocabulary),
        Usage(len(ids), len(request.prompt_ids) - n_cached, n_cached),
    )


def _checked_ids(choice: _Choice, request: CompletionRequest, vocabulary: Vocabulary) -> tuple[int, ...]:
    if choice.token_ids is None or choice.prompt_token_ids is None:
        raise NoTokenIdsError(
            "no token ids"
            if choice.token_ids is None
            else "no prompt_token_ids, which say what was continued"
        )
    ids = tuple(choice.token_ids)
    if not 1 <= len(ids) <= request.max_tokens:
        raise WrongReplyError(f"{len(ids)} token ids, expected 1 to {request.max_tokens}")
    strange = [token_id for token_id in ids if token_id not in vocabulary]
    if strange:
        raise WrongReplyError(f"token id {strange[0]}, expected ids below {len(vocabulary.token_bytes)}")
    if any(token_id in vocabulary.eos_ids for token_id in ids[:-1]):
        raise WrongReplyError("token ids that go on after an EOS")
    forbidden = request.rules.broken_by(ids)
    if forbidden is not None:
        raise WrongReplyError(f"token id {forbidden}, which the request forbids")
    if tuple(choice.prompt_token_ids) != request.prompt_ids:
        raise WrongReplyError(
            "the answer to another prompt: its prompt_token_ids are not those that were sent"
        )
    return ids


def _checked_logprobs(choice: _Choice, ids: tuple[int, ...]) -> tuple[float, ...]:
    given = [] if choice.logprobs is None else choice.logprobs.token_logprobs
    logprobs = tuple(
        value for value in given if value is not None and LEAST_LOGPROB <= value <= LOGPROB_ROUNDING
    )
    if not len(logprobs) == len(given) == len(ids):
        raise WrongReplyError(
            f"{len(logprobs)} log-probabilities among {len(given)} values, expected {len(ids)}"
        )
    return logprobs


def _checked_finish(
    choice: _Choice, ids: tuple[int, ...], request: CompletionRequest, vocabulary: Vocabulary
) -> Literal["stop", "length"]:
    if choice.finish_reason == "length":
        if len(ids) != request.max_tokens:
            raise WrongReplyError(
                f"finish_reason length after {len(ids)} tokens, expected {request.max_tokens}"
            )
        return "length"
    if choice.finish_reason != "stop":
        raise WrongReplyError(f"finish_reason {choice.finish_reason!r}, expected 'stop' or 'length'")
    text = vocabulary.text(ids)
    if not any(stop in text for stop in request.all_stops) and not _is_eos(choice, ids, vocabulary):
        raise WrongReplyError(
            f"finish_reason stop after token {ids[-1]}, which is no EOS of this tokenizer "
            f"({sorted(vocabulary.eos_ids)})"
        )
    return "stop"


def _is_eos(choice: _Choice, ids: tuple[int, ...], vocabulary: Vocabulary) -> bool:
    """Models may have more EOS ids than the tokenizer names: then vLLM names the one that it met."""
    return ids[-1] in vocabulary.eos_ids or (
        isinstance(choice.stop_reason, int) and choice.stop_reason == ids[-1]
    )


def _check_text(text: str, ids: tuple[int, ...], request: CompletionRequest, vocabulary: Vocabulary) -> None:
    """The text must be that of the ids, with or without an EOS that has one. Where a stop string fired it may
    end before or with it.
    """
    got, wanted = _visible(text), _visible(_text_after(request.prompt_ids, ids, vocabulary))
    if got in (wanted, _visible(_text_after(request.prompt_ids, _without_eos(ids, vocabulary), vocabulary))):
        return
    if wanted.startswith(got):
        for stop in map(_visible, request.all_stops):
            if got.endswith(stop) or wanted[len(got) :].startswith(stop):
                return
    raise WrongReplyError(f"text {text[:60]!r} beside ids of the text {wanted[:60]!r}")


def _without_eos(ids: tuple[int, ...], vocabulary: Vocabulary) -> tuple[int, ...]:
    return ids[:-1] if ids[-1] in vocabulary.eos_ids else ids


def _visible(text: str) -> str:
    """Servers differ in what they show of half a character and of the space that begins a sentencepiece
    token.
    """
    return text.replace("�", "").removeprefix(" ")


def _text_after(prefix_ids: Sequence[int], ids: Sequence[int], vocabulary: Vocabulary) -> str:
    """The text that `ids` add: with the prefix's last bytes in front where they are half of a character."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    decoder.decode(b"".join([vocabulary.token_bytes[token_id] for token_id in prefix_ids[-8:]]))
    return decoder.decode(b"".join([vocabulary.token_bytes[token_id] for token_id in ids]), final=True)
