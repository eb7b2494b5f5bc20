"""What a client asks of `/v1/chat/completions` and `/v1/completions`: the bodies, and the settings of a
search that they make of the server's.

What would change an answer in a way that is not known here (penalties, tools, …) is refused unless it changes
nothing; what changes no answer (`user`, `metadata`, …) is ignored.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from data_gen.policies.servers.http_requests import BadRequestError, parse_object, take_neutral, validated
from data_gen.records.stop_strings import MAX_STOP_STRINGS
from prm_train.encoding.aggregation import Aggregation
from prm_train.search.allocation import Allocation
from prm_train.search.solve_settings import SolveSettings
from prm_train.serving.chats import MAX_MESSAGES, Asked, MessageBody, asked_chat, asked_question
from prm_train.strategies.stopping import StopRule
from prm_train.strategies.voting import TreeVote

# What a request may say beside what is read, as long as it changes nothing.
NEUTRAL: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "repetition_penalty": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "echo": (False,),
    "suffix": ("",),
    "ignore_eos": (False,),
    "min_tokens": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "verbosity": ("medium",),
}
# Of these no answer depends on them
IGNORED = (
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "parallel_tool_calls",
)
WHY = "one answer is found by search, and this would change it in a way that is not offered"
NO_PRICES: Mapping[str, float | None] = {}
# Samples or paths, and so times the price of a plain answer
EFFORTS = {"none": 1, "minimal": 1, "low": 4, "medium": 16, "high": 64}
# Of a strategy that the server was set to, they mean nothing to another one
OF_STRATEGY = ("aggregation", "vote", "stop_early")


class SearchBody(BaseModel):
    """`search`: how the answer is looked for; what is left out is as the server was set (`SolveSettings`)."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    strategy: Annotated[str, Field(max_length=200)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    max_steps: Annotated[int, Field(ge=1, le=100_000)] | None = None
    aggregation: Aggregation | None = None
    vote: TreeVote | None = None
    stop_early: StopRule | None = None
    confidence: float | None = None
    margin: float | None = None
    window: Annotated[int, Field(ge=1)] | None = None
    scorer: Annotated[str, Field(max_length=200)] | None = None
    budget_tokens: Annotated[int, Field(gt=0)] | None = None
    budget_flops: Annotated[float, Field(gt=0)] | None = None
    budget_seconds: Annotated[float, Field(gt=0)] | None = None
    budget_money: Annotated[float, Field(gt=0)] | None = None
    return_steps: bool = False
    progress: bool = True  # of a stream

    @property
    def changes(self) -> dict[str, Any]:
        """Of the server's settings."""
        return self.model_dump(exclude={"return_steps", "progress", "scorer"}, exclude_none=True)


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")
    include_usage: bool = False


class _AskBody(BaseModel):
    """What both endpoints read."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    model: str | None = None
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    temperature: float | None = None  # SamplingParams says which
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, lt=2**63)] | None = None
    min_p: Annotated[float, Field(ge=0, lt=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    search: SearchBody = SearchBody()

    @property
    def n_tokens(self) -> int | None:
        return self.max_tokens

    @property
    def effort(self) -> str | None:
        return None

    @property
    def asked(self) -> Asked:
        raise NotImplementedError


class ChatBody(_AskBody):
    messages: Annotated[list[MessageBody], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    reasoning_effort: str | None = None

    @property
    def n_tokens(self) -> int | None:
        if self.max_tokens is not None and self.max_completion_tokens not in (None, self.max_tokens):
            raise BadRequestError(
                f"max_tokens, max_completion_tokens: got {self.max_tokens} and {self.max_completion_tokens}, "
                "expected one of them"
            )
        return self.max_completion_tokens or self.max_tokens

    @property
    def effort(self) -> str | None:
        return self.reasoning_effort

    @property
    def asked(self) -> Asked:
        return asked_chat(self.messages)


class CompletionBody(_AskBody):
    """`prompt` is a question: the policy's prompt template is put around it, as everywhere."""

    prompt: str

    @property
    def asked(self) -> Asked:
        return asked_question(self.prompt)


AskBody = ChatBody | CompletionBody


def parse_ask(kind: type[ChatBody] | type[CompletionBody], raw: bytes) -> AskBody:
    """Raises BadRequestError, naming the field."""
    given = parse_object(raw)
    if isinstance(given.get("stop"), list) and len(given["stop"]) > MAX_STOP_STRINGS:
        raise BadRequestError(f"stop: {len(given['stop'])} strings, expected at most {MAX_STOP_STRINGS}")
    taken = take_neutral(given, NEUTRAL, WHY)
    return validated(kind, {name: value for name, value in taken.items() if name not in IGNORED})


def settings_for(
    server: SolveSettings,
    body: AskBody,
    strategy: str | None,
    max_n: int,
    allocation: Allocation | None = None,
    prices: Mapping[str, float | None] = NO_PRICES,
) -> SolveSettings:
    """The server's settings as a request changes them; `strategy` is that of its URL, `allocation` what the
    server's settings name, `prices` those for a budget of money. Raises BadRequestError for what does not go
    together.
    """
    draws = _draw_changes(body)
    changes = draws | _search_changes(server, body, strategy, allocation)
    if any(getattr(server, name) != value for name, value in draws.items()):
        changes["router"] = None  # it was fitted for the server's way of drawing
    if "budget_money" in changes:
        changes |= prices
    try:
        settings = replace(server, **changes)
    except ValueError as error:
        raise BadRequestError(str(error)) from None
    if settings.n > max_n:
        raise BadRequestError(f"n: got {settings.n}, expected at most {max_n}")
    return settings


def _draw_changes(body: AskBody) -> dict[str, Any]:
    stop = (body.stop,) if isinstance(body.stop, str) else body.stop
    given = {
        "max_new_tokens": body.n_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": None if body.top_k is None else max(body.top_k, 0),
        "min_p": body.min_p,
        "stop": None if stop is None else tuple(stop),
    }
    return {name: value for name, value in given.items() if value is not None}


def _search_changes(
    server: SolveSettings, body: AskBody, strategy: str | None, allocation: Allocation | None
) -> dict[str, Any]:
    changes = body.search.changes
    if strategy is not None and changes.setdefault("strategy", strategy) != strategy:
        raise BadRequestError(
            f"search.strategy: got {changes['strategy']!r} at the URL of {strategy!r}, expected one of them"
        )
    effort = _effort(body)
    if effort is not None and "n" in changes:
        raise BadRequestError("reasoning_effort, search.n: got both, expected one of them")
    is_allocated = server.allocation is not None and not changes
    # Who says how to search is not routed
    not_routed = {"router": None} if changes or effort is not None else {}
    if effort is not None:
        changes |= _effort_changes(effort, allocation if is_allocated else None)
    if "strategy" in changes and changes["strategy"] != server.strategy:
        changes = dict.fromkeys(OF_STRATEGY) | changes
    changes |= not_routed
    return changes if is_allocated else {"allocation": None, "allocation_budget": None} | changes


def without_fits(server: SolveSettings) -> SolveSettings:
    """For other models than the server's own: what was fitted to those says nothing of them."""
    return replace(server, router=None, allocation=None, allocation_budget=None)


def _effort(body: AskBody) -> int | None:
    if body.effort is None:
        return None
    if body.effort not in EFFORTS:
        raise BadRequestError(f"reasoning_effort: got {body.effort!r}, expected one of {', '.join(EFFORTS)}")
    return EFFORTS[body.effort]


def _effort_changes(effort: int, allocation: Allocation | None) -> Mapping[str, Any]:
    """An allocation spends as much as so many plain answers, but never less than its smallest budget. Where
    that is not in generations, its smallest budget stands for a plain answer.
    """
    if allocation is None:
        return {"n": effort}
    smallest = min(each.budget for each in allocation.budgets)
    unit = 1.0 if allocation.unit == "generations" else smallest
    return {"allocation_budget": max(effort * unit, smallest)}
