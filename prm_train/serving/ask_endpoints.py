"""`/v1/chat/completions` and `/v1/completions`, with the strategy in front of them if a client wants another
one than the server's: `/particle_filter/v1/chat/completions`.

A stream (`prm_train.serving.streams`) begins when the request is understood: bad requests have a status, and
what fails later is an event with `error`.
"""

import logging
import time
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from data_gen.policies.servers.http_requests import (
    CLIENT_CLOSED_REQUEST,
    BadRequestError,
    read_body,
    unless_disconnected,
)
from data_gen.records.draw_keys import content_hash
from prm_train.search.allocation import Allocation
from prm_train.serving.admission import Admission
from prm_train.serving.answering import Answerer, Asking, Found, Models
from prm_train.serving.replies import Wording
from prm_train.serving.search_request import (
    ChatBody,
    CompletionBody,
    base_settings,
    parse_ask,
    settings_for,
)
from prm_train.serving.settings import ServeConfig
from prm_train.serving.streams import HEADERS, stream

if TYPE_CHECKING:
    from prm_train.serving.metrics import Metrics

logger = logging.getLogger(__name__)
NOT_FOUND = 404


class AskEndpoints:
    """`routes` answer questions by search."""

    def __init__(
        self, config: ServeConfig, models: Models, admission: Admission, metrics: "Metrics | None" = None
    ) -> None:
        self._config, self._admission, self._metrics = config, admission, metrics
        self._settings, self._answerer = base_settings(config), Answerer(models)
        self._allocation = None if config.allocation is None else Allocation.read(config.allocation)
        scorer_id = models.scorer.scorer_id if models.scorer is not None else None
        self._fingerprint = f"fp_{content_hash(models.policy.policy_id, scorer_id)[:12]}"

    @property
    def routes(self) -> list[Route]:
        return [
            Route(f"{before}/v1/{path}", endpoint, methods=["POST"])
            for before in ("", "/{strategy}")
            for path, endpoint in (("chat/completions", self._chat), ("completions", self._completions))
        ]

    async def _chat(self, request: Request) -> Response:
        return await self._reply(request, ChatBody)

    async def _completions(self, request: Request) -> Response:
        return await self._reply(request, CompletionBody)

    async def _reply(self, request: Request, kind: type[ChatBody] | type[CompletionBody]) -> Response:
        try:
            body = parse_ask(kind, await read_body(request))
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        name = self._config.policy_name
        if body.model not in (None, name):
            raise BadRequestError(f"model: got {body.model!r}; this server serves {name!r}", NOT_FOUND)
        settings = settings_for(
            self._settings,
            body,
            request.path_params.get("strategy"),
            self._config.max_n,
            self._allocation,
        )
        wording = Wording(kind is ChatBody, name, self._fingerprint, body.search.return_steps)
        self._admission.check()
        asking = await self._answerer.ask(body.asked, settings, body.seed)
        if body.stream:
            events = stream(
                asking,
                self._find,
                wording,
                include_usage=body.stream_options.include_usage,
                has_progress=body.search.progress,
            )
            return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)
        found = await unless_disconnected(request, self._find(asking))
        if found is None:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        return JSONResponse(wording.whole(found))

    async def _find(self, asking: Asking) -> Found:
        async with self._admission.turn():
            begun = time.monotonic()
            found = await asking.answer()
        answer = found.answer
        if self._metrics is not None:
            self._metrics.count_answer(answer)
        logger.info(
            "%s, N = %d: %s in %.2f s, %d tokens generated, %d scored",
            answer.strategy,
            answer.n,
            "answered" if answer.answer is not None else "no answer",
            time.monotonic() - begun,
            answer.cost.policy.n_generated,
            answer.cost.scorer.n_new,
        )
        return found
