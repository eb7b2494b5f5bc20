"""What a server shows of itself before it is trusted with draws: that it serves the model, continues token
ids and returns them; and whether it heeds biases and allowed ids, which some servers read over.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from data_gen.policies.servers import llama_cpp
from data_gen.policies.servers.engine_draw import EngineDraw
from data_gen.policies.servers.llama_cpp import LlamaRequest
from data_gen.policies.servers.replies import CompletionRequest, NoTokenIdsError, WrongReplyError, read_reply
from data_gen.policies.servers.requests import RequestSettings, ServerPool
from data_gen.policies.servers.server_errors import NotAReplicaError, RefusedRequestError, ServerError
from data_gen.policies.vocabulary import Vocabulary
from data_gen.problems.tasks import DEFAULT_TASK
from data_gen.records.token_rules import LARGEST_BIAS, NO_RULES, TokenRules
from data_gen.settings.errors import InputError

PROBE_QUESTION = DEFAULT_TASK.example_question  # the simulated policy reads no others
LOGPROB_TOLERANCE = 0.01


class RuleFaults(NamedTuple):
    """What is wrong with a server's `logit_bias` and `allowed_token_ids`; None: nothing."""

    biases: str | None = None
    allowed_ids: str | None = None

    def of(self, rules: TokenRules) -> str | None:
        """What keeps a draw by `rules` from being made."""
        asks_bias = bool(rules.banned_ids or rules.biases)
        return (self.biases if asks_bias else None) or (self.allowed_ids if rules.allowed_ids else None)


NO_FAULTS = RuleFaults()


@dataclass(frozen=True)
class ServedModel:
    """What `/v1/models` says. `policy_id` is the content hash that `prm-train serve-policy` adds there and to
    each draw; others do not prove their weights. `rule_faults` say why draws with biases (or bans), and with
    allowed ids, cannot be asked of it.
    """

    name: str
    context_length: int | None
    policy_id: str | None
    rule_faults: RuleFaults = NO_FAULTS
    is_llama_cpp: bool = False


class ModelCard(BaseModel):
    """An entry of `/v1/models`."""

    model_config = ConfigDict(strict=True)
    id: str
    max_model_len: int | None = None
    policy_id: str | None = None
    owned_by: str | None = None


class _Models(BaseModel):
    data: list[ModelCard]


async def probe_server(
    url: str, model: str, vocabulary: Vocabulary, settings: RequestSettings
) -> ServedModel:
    """Raises InputError where the server cannot make step rollouts: no such model, no token ids, log-probs
    after temperature.
    """
    async with ServerPool((url,), settings) as pool:
        card = await get_card(pool, url, model)
        is_llama_cpp = card.owned_by == llama_cpp.OWNER
        prompt_ids = vocabulary.encode_prompt(PROBE_QUESTION)
        request = CompletionRequest(
            model, prompt_ids, max_tokens=2, temperature=0.0, seed=0, policy_id=card.policy_id
        )
        faults = NO_FAULTS
        try:
            likely_id = await _first_id(pool, url, request, request, vocabulary, is_llama_cpp)
            if card.policy_id is None:  # our own server's log-probs are known
                begun = replace(request, prompt_ids=prompt_ids[: max(1, len(prompt_ids) // 2)], max_tokens=1)
                await _check_logprobs(pool, url, begun, is_llama_cpp)
                faults = await _rule_faults(pool, url, request, likely_id, vocabulary, is_llama_cpp)
            if is_llama_cpp:
                n_context = await pool.get("/props", llama_cpp.read_context_length)
                return ServedModel(card.id, n_context, None, faults, is_llama_cpp=True)
        except ServerError as error:
            raise InputError(
                f"{error}; step rollouts need an endpoint that continues token ids, such as vLLM"
            ) from error
    return ServedModel(card.id, card.max_model_len, card.policy_id, faults)


async def get_card(pool: ServerPool, url: str, model: str | None) -> ModelCard:
    """Raises NotAReplicaError where the server has no such model, ServerError where it does not answer."""
    return await pool.get("/v1/models", lambda body: read_card(body, pool, url, model))


def read_card(body: bytes, pool: ServerPool, url: str, model: str | None) -> ModelCard:
    """Of the model with that name; None: of the only one. Raises NotAReplicaError where others are there, and
    WrongReplyError where none is: it may be loading.
    """
    try:
        cards = _Models.model_validate_json(body).data
    except ValidationError as error:
        raise WrongReplyError(
            f"/v1/models is no list of models: {error.errors(include_input=False)[0]['msg']}"
        ) from None
    if not cards:
        raise WrongReplyError(f"serves no model; expected {model or 'one'}")
    found = [card for card in cards if model in (None, card.id)]
    if not found or (model is None and len(found) > 1):
        names = pool.shown(", ".join(card.id for card in cards))
        raise NotAReplicaError(f"{url}: serves {names}; expected {model or 'one model, or its name'}")
    return found[0]


async def _first_id(
    pool: ServerPool,
    url: str,
    asked: CompletionRequest,
    read: CompletionRequest,
    vocabulary: Vocabulary,
    is_llama_cpp: bool,
) -> int:
    """Of the reply to `asked`, read as one to `read`."""

    def first_id(body: bytes) -> int:
        try:
            return read_draw(body, read, vocabulary, is_llama_cpp).token_ids[0]
        except NoTokenIdsError as error:
            raise InputError(
                f"{url}: returns {error}; step rollouts need an endpoint that continues token "
                "ids, such as vLLM's or that of llama.cpp's server"
            ) from None

    path, body = as_sent(asked, is_llama_cpp)
    return await pool.post(path, body, asked.n_tokens, b"", 0, first_id)


def as_sent(request: CompletionRequest, is_llama_cpp: bool) -> tuple[str, dict[str, object]]:
    """The path and the body of a request."""
    if is_llama_cpp:
        return llama_cpp.PATH, LlamaRequest(request).as_json()
    return "/v1/completions", request.as_json()


def read_draw(
    body: bytes, request: CompletionRequest, vocabulary: Vocabulary, is_llama_cpp: bool
) -> EngineDraw:
    """The draw that a reply holds. Raises WrongReplyError."""
    if is_llama_cpp:
        return LlamaRequest(request).read(body, vocabulary)
    return read_reply(body, request, vocabulary)


async def _rule_faults(
    pool: ServerPool,
    url: str,
    request: CompletionRequest,
    likely_id: int,
    vocabulary: Vocabulary,
    is_llama_cpp: bool,
) -> RuleFaults:
    """Found by asking for a token other than the most likely one after the prompt of `request`."""
    words = (each for each, text in enumerate(vocabulary.token_bytes) if text.isalnum())
    other_id = next(each for each in words if each != likely_id)

    async def fault(name: str, rules: TokenRules) -> str | None:
        asked = replace(request, max_tokens=1, rules=rules)
        # What breaks a rule is an answer here, no reason to ask again
        read = replace(asked, rules=NO_RULES)
        try:
            drawn = await _first_id(pool, url, asked, read, vocabulary, is_llama_cpp)
        except RefusedRequestError as error:
            return f"refuses {name}: {error}"
        return None if drawn == other_id else f"{url}: does not heed {name}"

    biases = await fault("logit_bias", TokenRules(biases=((other_id, LARGEST_BIAS),)))
    if is_llama_cpp:
        return RuleFaults(biases, f"{url}: llama.cpp's server knows no allowed_token_ids")
    return RuleFaults(biases, await fault("allowed_token_ids", TokenRules(allowed_ids=(other_id,))))


class _TopLogprobs(BaseModel):
    top_logprobs: list[dict[str, float] | None] | None = None


class _TopChoice(BaseModel):
    logprobs: _TopLogprobs | None = None


class _TopReply(BaseModel):
    choices: list[_TopChoice]


def _top_logprob(body: bytes) -> float | None:
    try:
        logprobs = _TopReply.model_validate_json(body).choices[0].logprobs
    except (ValidationError, IndexError):
        raise WrongReplyError("no log-probabilities that can be read") from None
    tops = logprobs.top_logprobs if logprobs else None
    return max(tops[0].values()) if tops and tops[0] else None


async def _check_logprobs(pool: ServerPool, url: str, request: CompletionRequest, is_llama_cpp: bool) -> None:
    """The most likely token's log-probability must not depend on the temperature. A server that does not name
    it is believed.
    """

    async def top_logprob(temperature: float) -> float | None:
        asked = replace(request, temperature=temperature)
        path, body = as_sent(asked, is_llama_cpp)
        named = {} if is_llama_cpp else {"logprobs": 1}
        read = llama_cpp.read_top_logprob if is_llama_cpp else _top_logprob
        return await pool.post(path, body | named, asked.n_tokens, b"", 0, read)

    at_1, at_2 = await top_logprob(1.0), await top_logprob(2.0)
    if at_1 is not None and at_2 is not None and abs(at_1 - at_2) > LOGPROB_TOLERANCE:
        raise InputError(
            f"{url}: its log-probabilities are those after temperature ({at_1:.3f} at 1, {at_2:.3f} at 2); "
            "expected those of the model (vLLM: --logprobs-mode raw_logprobs)"
        )
