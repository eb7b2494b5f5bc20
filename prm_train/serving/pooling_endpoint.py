"""`/pooling` as vLLM has it (`prm_train.scoring.pooling` says what goes to and fro): token ids in, the
numbers of every token (a PRM) or of the last one (an ORM) out. So `scorer.servers` of another process may
name this one. Every path is computed whole; sessions of `/v1/score` compute each distinct token once.
"""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from transformers import PreTrainedModel

from data_gen.policies.servers.http_requests import (
    CLIENT_CLOSED_REQUEST,
    BadRequestError,
    parse_object,
    read_body,
    take_neutral,
    unless_disconnected,
    validated,
)
from data_gen.process.daemon_threads import DaemonThreads
from data_gen.settings.errors import InputError
from prm_train.scoring.class_numbers import class_numbers
from prm_train.scoring.incremental import IncrementalScorer
from prm_train.scoring.protocol import Scorer
from prm_train.serving.admission import Admission
from prm_train.serving.answering import chosen_name
from prm_train.serving.operations.accounts import charge
from prm_train.serving.settings import ServeConfig

MAX_PATHS = 256
NEUTRAL: dict[str, tuple[object, ...]] = {
    "add_special_tokens": (False,),
    "encoding_format": ("float",),
    "dimensions": (),
    "truncate_prompt_tokens": (),
    "user": (),
}
TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class PoolingBody(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    model: str | None = None
    task: Literal["token_classify", "classify"] | None = None
    input: TokenIds | Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_PATHS)]
    use_activation: bool = True

    @property
    def paths(self) -> list[list[int]]:
        is_one = isinstance(self.input[0], int)
        return [self.input] if is_one else self.input  # type: ignore[list-item, return-value]


class PoolingEndpoint:
    """`routes` pool the numbers of `scorer`, or of the one of `others` that a request names; it must be a
    model in this process.
    """

    def __init__(
        self,
        config: ServeConfig,
        scorer: Scorer,
        admission: Admission,
        others: Mapping[str, Scorer] = MappingProxyType({}),
    ) -> None:
        self._label, self._scorer, self._admission = config.scorer_label, scorer, admission
        self._others = others
        self._computing = DaemonThreads(1)

    @property
    def routes(self) -> list[Route]:
        return [Route("/pooling", self._pooling, methods=["POST"])]

    async def _pooling(self, request: Request) -> Response:
        fields = take_neutral(parse_object(await read_body(request)), NEUTRAL, "ids are pooled as they come")
        body = validated(PoolingBody, fields)
        name = chosen_name("model", body.model, self._label, self._others)
        scorer = self._scorer if name is None else self._others[name]
        if not isinstance(scorer, IncrementalScorer):
            raise BadRequestError(
                f"/pooling: this server's scorer ({type(scorer).__name__}) is no single model in this "
                "process, expected /v1/score to be asked",
                404,
            )
        task = "token_classify" if scorer.scores_steps else "classify"
        if body.task not in (None, task):
            raise BadRequestError(f"task: got {body.task!r}, expected {task!r}")
        try:
            data = await unless_disconnected(request, self._pool(scorer.model, body))
        except InputError as error:
            raise BadRequestError(str(error)) from error
        if data is None:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        n_tokens = sum(map(len, body.paths))
        items = [{"index": place, "object": "pooling", "data": each} for place, each in enumerate(data)]
        usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
        return JSONResponse({"object": "list", "model": name or self._label, "data": items, "usage": usage})

    async def _pool(self, model: PreTrainedModel, body: PoolingBody) -> list[Any]:
        """Path by path: who goes away pays for those until then, and the rest is not computed. Raises
        InputError.
        """
        found = []
        async with self._admission.turn():
            for ids in body.paths:
                try:
                    found.append(await self._computing.call(pooled, model, ids, body.use_activation))
                except asyncio.CancelledError:
                    charge(len(ids))  # its thread computes it all the same
                    raise
                charge(len(ids))
        return found


def pooled(model: PreTrainedModel, ids: list[int], use_activation: bool) -> list[Any]:
    found: list[Any] = class_numbers(model, ids, use_activation=use_activation).tolist()
    return found
