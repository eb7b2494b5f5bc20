"""`/v1/chat/completions` and `/v1/completions`, with the strategy in front of them if a client wants another
one than the server's: `/particle_filter/v1/chat/completions`.

A stream (`prm_train.serving.streams`) begins when the request is understood: bad requests have a status, and
what fails later is an event with `error`.
"""

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from data_gen.policies.servers.http_requests import (
    CLIENT_CLOSED_REQUEST,
    read_body,
    unless_disconnected,
)
from data_gen.records.draw_keys import content_hash
from prm_train.search.budget import money_of
from prm_train.search.solve_settings import base_settings
from prm_train.serving.admission import Admission
from prm_train.serving.answering import Answerer, Asking, Found, Models, chosen_name
from prm_train.serving.operations.answer_cache import AnswerCache, CacheControl, cache_control
from prm_train.serving.operations.draw_cache import DrawCache
from prm_train.serving.operations.logs import answer_facts, facts
from prm_train.serving.operations.spans import span
from prm_train.serving.replies import Wording
from prm_train.serving.search_request import (
    AskBody,
    ChatBody,
    CompletionBody,
    parse_ask,
    settings_for,
    without_fits,
)
from prm_train.serving.settings import ServeConfig
from prm_train.serving.streams import HEADERS, stream

if TYPE_CHECKING:
    from prm_train.serving.metrics import Metrics

logger = logging.getLogger(__name__)


class AskEndpoints:
    """`routes` answer questions by search."""

    def __init__(
        self, config: ServeConfig, models: Models, admission: Admission, metrics: "Metrics | None" = None
    ) -> None:
        self._config, self._admission, self._metrics = config, admission, metrics
        self._settings = base_settings(config)
        self._cache, self._draws = AnswerCache(config.cache), DrawCache(config.cache)
        self._answerers = {
            (policy, scorer): Answerer(models.choose(policy, scorer))
            for policy in (None, *models.policies)
            for scorer in (None, *models.scorers)
        }

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
        policy, scorer = self._chosen(body)
        answerer = self._answerers[policy, scorer]
        settings = settings_for(
            self._settings if (policy, scorer) == (None, None) else without_fits(self._settings),
            body,
            request.path_params.get("strategy"),
            self._config.max_n,
            answerer.models.fits.allocation,
            prices := self._config.prices_of(policy),
        )
        wording = Wording(
            kind is ChatBody,
            policy or self._config.policy_name,
            answerer.models.fingerprint,
            body.search.return_steps,
        )
        self._admission.check()
        asking = replace(await answerer.ask(body.asked, settings, body.seed), prices=prices)
        asking = self._with_key(asking, body, cache_control(request.headers.getlist("Cache-Control")))
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

    def _with_key(self, asking: Asking, body: AskBody, control: CacheControl) -> Asking:
        """By which its answer is kept, if it is."""
        draws = self._draws if body.seed is not None and self._config.cache.max_questions else None
        asking = replace(asking, may_be_kept=control.may_keep, draws=draws)
        if not self._config.cache.keeps(asking.settings, body.seed):
            return asking
        if not control.may_keep:
            self._count_cache("bypassed")
            return asking
        # The body as well as the settings: a request that says anything else is another one
        unsaid: dict[str, Any] = {
            "stream": True,
            "stream_options": True,
            "search": {"return_steps", "progress"},
        }
        said = body.model_dump(mode="json", exclude=unsaid)
        policy, scorer = asking.models.policy, asking.models.scorer
        models = policy.policy_id, policy.base_seed, scorer.scorer_id if scorer is not None else None
        key = content_hash(models, repr(asking.settings), asking.prompt_ids, said)
        return replace(asking, cache_key=key, may_be_cached=control.may_read)

    def _count_cache(self, result: str) -> None:
        if self._metrics is not None:
            self._metrics.count_cache(result)

    def _chosen(self, body: AskBody) -> tuple[str | None, str | None]:
        """The names of policy and scorer; None: the server's own. Raises BadRequestError (404)."""
        models = self._answerers[None, None].models
        return (
            chosen_name("model", body.model, self._config.policy_name, models.policies),
            chosen_name("search.scorer", body.search.scorer, self._config.scorer_label, models.scorers),
        )

    async def _find(self, asking: Asking) -> Found:
        """Once more, or anew."""
        if asking.cache_key is None:
            return await self._search(asking)
        kept = self._cache.get(asking.cache_key) if asking.may_be_cached else None
        self._count_cache("miss" if kept is None else "hit")
        if kept is not None:
            return kept
        found = await self._search(asking)
        self._cache.put(asking.cache_key, found)
        return found

    async def _search(self, asking: Asking) -> Found:
        async with self._admission.turn():
            begun = time.monotonic()
            with span("search", strategy=asking.settings.strategy, n=asking.settings.n) as noted:
                found = await asking.answer()
                noted.note(n_generated=found.n_drawn, n_scored=found.answer.cost.scorer.n_new)
        answer, cost = found.answer, found.answer.cost
        if self._config.has_prices:
            money = money_of(asking.prices, cost.policy, cost.scorer.n_new)
            if answer.large_cost is not None:
                large = self._config.prices_of(self._config.large_name)
                money += money_of(large, answer.large_cost.policy, answer.large_cost.scorer.n_new)
            found = replace(found, money=money)
        if self._metrics is not None:
            own = self._answerers[None, None].models.scorer
            self._metrics.count_answer(answer, is_own=asking.models.scorer is own)
        logger.info(
            "%s, N = %d: %s in %.2f s, %d tokens generated, %d scored",
            answer.strategy,
            answer.n,
            "answered" if answer.answer is not None else "no answer",
            time.monotonic() - begun,
            cost.policy.n_generated,
            cost.scorer.n_new,
            extra=facts(**answer_facts(found, asking, with_prompts=self._config.log.prompts)),
        )
        return found
