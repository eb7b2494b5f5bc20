"""What a client asks of `/v1/completions`: its body checked and made into sampling parameters.

What would change the distribution in a way that is not known here (penalties, ...) is refused unless it
changes nothing.
"""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from data_gen.policies.servers.http_requests import BadRequestError, parse_object, take_neutral, validated
from data_gen.records.sampling import SamplingParams
from data_gen.records.stop_strings import MAX_STOP_STRINGS
from data_gen.records.token_rules import LARGEST_BIAS

# What a request may say beside what is read, as long as it changes nothing.
NEUTRAL: dict[str, tuple[object, ...]] = {
    "repetition_penalty": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
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
    logit_bias: dict[str, Annotated[float, Field(ge=-LARGEST_BIAS, le=LARGEST_BIAS)]] = {}  # -100: a ban
    allowed_token_ids: Annotated[list[int], Field(min_length=1)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=1)] | None = None
    return_token_ids: bool = False
    user: str | None = None


def parse_body(raw: bytes) -> CompletionBody:
    """Raises BadRequestError, naming the field."""
    fields = parse_object(raw)
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and len(prompt) > MAX_CHOICES and not isinstance(prompt[0], int):
        raise BadRequestError(f"prompt: {len(prompt)} prompts, expected at most {MAX_CHOICES}")
    why = "this server draws from the model's own distribution"
    return validated(CompletionBody, take_neutral(fields, NEUTRAL, why))


def sampling_params(body: CompletionBody) -> SamplingParams:
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    if "" in stops:
        raise BadRequestError(f"stop: got {stops!r}, expected strings that are not empty")
    if len(stops) > MAX_STOP_STRINGS + 1:  # a client's own and its separator
        raise BadRequestError(f"stop: {len(stops)} strings, expected at most {MAX_STOP_STRINGS + 1}")
    separator, stop_strings = (stops[0], ()) if len(stops) == 1 else (None, tuple(dict.fromkeys(stops)))
    strange = next((key for key in body.logit_bias if not re.fullmatch("0|[1-9][0-9]{0,8}", key)), None)
    if strange is not None:
        raise BadRequestError(f"logit_bias: got key {strange!r}, expected token ids")
    bias = {int(key): value for key, value in body.logit_bias.items()}
    try:
        return SamplingParams(
            body.max_tokens,
            body.temperature,
            separator,
            body.top_p,
            max(body.top_k, 0),
            body.min_p,
            stop_strings=stop_strings,
            banned_ids=tuple(token_id for token_id, value in bias.items() if value == -LARGEST_BIAS),
            allowed_ids=tuple(body.allowed_token_ids or ()),
            biases=tuple((token_id, value) for token_id, value in bias.items() if value > -LARGEST_BIAS),
        )
    except ValueError as error:
        raise BadRequestError(str(error)) from None
