"""llama.cpp's own server as a policy: its `/completion` continues token ids and returns them, its
`/v1/completions` does not.

What differs from an OpenAI-compatible server:

- A stop string takes the log-probabilities of its tokens out of the reply. So none is sent: a draw runs to
  its end or its length, and its first step is cut out of it here. Whole solutions and rollouts cost nothing
  more for that; a search in a tree pays for what it cuts off.
- The reply does not say which prompt was continued, only how long it was.
- Seeds have 32 bits, and the largest of them asks for a random one. `cache_prompt` stays on, as everywhere;
  the server's results may then differ in the last bits between batches, and with them a draw that is made
  again.
- Ids cannot be restricted to a set (`allowed_token_ids`).

The names of fields are those of the server's README (tools/server), of a version from 2025 on.
"""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from data_gen.policies.servers.engine_draw import EngineDraw
from data_gen.policies.servers.replies import (
    LEAST_LOGPROB,
    LOGPROB_ROUNDING,
    CompletionRequest,
    NoTokenIdsError,
    WrongReplyError,
)
from data_gen.policies.vocabulary import Vocabulary
from data_gen.records.sampling import Usage

OWNER = "llamacpp"  # what /v1/models says of a model there
PATH = "/completion"
N_SEEDS = 2**32 - 1  # 0xFFFFFFFF would be replaced by a random one
# The temperature comes first, as in vLLM: what top_p and min_p cut is the distribution that is drawn from
SAMPLERS = ("temperature", "top_k", "top_p", "min_p")
# Whatever else the server was started with is switched off
OFF: dict[str, float] = {
    **{"repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "typical_p": 1.0},
    **{"dry_multiplier": 0.0, "xtc_probability": 0.0, "dynatemp_range": 0.0, "mirostat": 0},
}


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class _Token(_Part):
    id: int
    logprob: float | None = None
    top_logprobs: list[dict[str, Any]] = []


class _Timings(_Part):
    cache_n: int = 0


class _Reply(_Part):
    tokens: list[int] = []
    stop_type: Literal["none", "eos", "limit", "word"]
    tokens_evaluated: int
    truncated: bool = False
    completion_probabilities: list[_Token] = []
    timings: _Timings = _Timings()


class _Settings(BaseModel):
    n_ctx: int


class _Properties(BaseModel):
    default_generation_settings: _Settings


@dataclass(frozen=True)
class LlamaRequest:
    """A draw as llama.cpp's server is asked for it."""

    request: CompletionRequest

    def as_json(self) -> dict[str, object]:
        request = self.request
        rules, cut = request.rules, request.truncation
        biases: list[list[float | bool]] = [[each, bias] for each, bias in rules.biases]
        biases += [[each, False] for each in rules.banned_ids]
        return {
            "model": request.model,
            "prompt": list(request.prompt_ids),
            "n_predict": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed % N_SEEDS,
            "samplers": list(SAMPLERS),
            "top_k": cut.top_k,
            "top_p": cut.top_p,
            "min_p": cut.min_p,
            "n_probs": 1,
            "post_sampling_probs": False,
            "return_tokens": True,
            "cache_prompt": True,
            "stream": False,
            **OFF,
            **({"logit_bias": biases} if biases else {}),
        }

    def read(self, body: bytes, vocabulary: Vocabulary) -> EngineDraw:
        """The draw that a reply holds. Raises WrongReplyError, naming what came and what was wanted."""
        reply = _parsed(body, _Reply)
        ids, prompt_ids = tuple(reply.tokens), self.request.prompt_ids
        if not ids:
            raise NoTokenIdsError("no token ids (`tokens`), which return_tokens asks for")
        if reply.truncated or reply.tokens_evaluated != len(prompt_ids):
            raise WrongReplyError(
                f"a prompt of {reply.tokens_evaluated} tokens was continued"
                f"{', cut' * reply.truncated}; expected the {len(prompt_ids)} that were sent"
            )
        self._check_ids(ids, reply.stop_type, vocabulary)
        n_cached = min(max(reply.timings.cache_n, 0), len(prompt_ids))
        return EngineDraw(
            ids,
            _logprobs(reply.completion_probabilities, ids),
            "length" if reply.stop_type == "limit" else "stop",
            reply.stop_type == "eos",
            Usage(len(ids), len(prompt_ids) - n_cached, n_cached),
        )

    def _check_ids(self, ids: tuple[int, ...], stop_type: str, vocabulary: Vocabulary) -> None:
        strange = [token_id for token_id in ids if token_id not in vocabulary]
        if strange:
            raise WrongReplyError(f"token id {strange[0]}, expected ids below {len(vocabulary.token_bytes)}")
        if any(token_id in vocabulary.eos_ids for token_id in ids[:-1]):
            raise WrongReplyError("token ids that go on after an EOS")
        forbidden = self.request.rules.broken_by(ids)
        if forbidden is not None:
            raise WrongReplyError(f"token id {forbidden}, which the request forbids")
        n_most = self.request.max_tokens
        is_whole = len(ids) == n_most if stop_type == "limit" else len(ids) <= n_most
        if stop_type not in ("eos", "limit") or not is_whole:
            raise WrongReplyError(
                f"stop_type {stop_type!r} after {len(ids)} tokens, expected eos, or limit after {n_most}"
            )


def read_context_length(body: bytes) -> int:
    """Of one slot, as `/props` says it."""
    return _parsed(body, _Properties).default_generation_settings.n_ctx


def read_top_logprob(body: bytes) -> float | None:
    """That of the most likely first token, of a request for its log-probabilities."""
    found = _parsed(body, _Reply).completion_probabilities
    tops = [each["logprob"] for each in found[0].top_logprobs if "logprob" in each] if found else []
    return max(tops, default=None)


def _logprobs(found: list[_Token], ids: tuple[int, ...]) -> tuple[float, ...]:
    """Of every token, under the model itself; some versions leave out those of half a character."""
    if tuple(each.id for each in found) != ids:
        raise WrongReplyError(f"log-probabilities of {len(found)} tokens beside {len(ids)} ids")
    values = tuple(each.logprob for each in found)
    known = tuple(
        value for value in values if value is not None and LEAST_LOGPROB <= value <= LOGPROB_ROUNDING
    )
    if len(known) < len(ids):
        raise WrongReplyError(f"{len(known)} log-probabilities that can be used, expected {len(ids)}")
    return known


def _parsed(body: bytes, kind: type[Any]) -> Any:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise WrongReplyError(
            f"{len(body)} bytes that are no reply of llama.cpp's server: "
            f"{'.'.join(map(str, first['loc']))} {first['msg']}"
        ) from None
