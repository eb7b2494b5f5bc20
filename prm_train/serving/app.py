"""The application: what is answered while the models are being loaded, and what once they are."""

import logging
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from data_gen.policies.servers.http_requests import (
    CLIENT_CLOSED_REQUEST,
    BadRequestError,
    internal_error_body,
    refusal,
)
from prm_train.serving.admission import Admission
from prm_train.serving.answering import Models
from prm_train.serving.ask_endpoints import AskEndpoints
from prm_train.serving.operations.accounts import CURRENT, Accounts
from prm_train.serving.operations.api_keys import key_ring
from prm_train.serving.operations.drift import Drift, find_reference
from prm_train.serving.operations.logs import LogRequests
from prm_train.serving.operations.spans import TraceRequests, otlp_provider
from prm_train.serving.page_endpoint import StrategiesEndpoint, show_page
from prm_train.serving.pooling_endpoint import PoolingEndpoint
from prm_train.serving.score_endpoints import ScoreEndpoints
from prm_train.serving.scoring_sessions import SessionStore
from prm_train.serving.settings import ServeConfig

if TYPE_CHECKING:
    from prm_train.serving.metrics import Metrics

logger = logging.getLogger(__name__)
UNAVAILABLE = 503
LOADING_SECONDS = 5  # after which a client may ask again
NEED_A_SCORER = ("/v1/score", "/v1/score/sessions", "/verify", "/pooling")


def around(config: ServeConfig) -> list[Middleware]:
    """What watches requests, as far as wanted."""
    logs = [Middleware(LogRequests)] if config.log.json else []
    provider = otlp_provider(config.policy_name) if config.traces else None
    return logs + ([Middleware(TraceRequests, provider=provider)] if provider is not None else [])


def new_metrics(admission: Admission) -> tuple["Metrics | None", list[Middleware]]:
    """And what counts requests; none without prometheus-client."""
    if find_spec("prometheus_client") is None:
        return None, []
    from prm_train.serving.metrics import CountRequests, Metrics

    metrics = Metrics(admission)
    return metrics, [Middleware(CountRequests, metrics=metrics)]


class ServeApp:
    """`app` answers at once that the process lives; all else once `ready` was called with the models.

    With `api_key`, or where the config names a file of keys, every request but those for the health and the
    page must carry one. Raises InputError for a file that will not do.
    """

    def __init__(self, config: ServeConfig, api_key: str | None = None) -> None:
        self._config = config
        self._keys, self._accounts = key_ring(config, api_key), Accounts(config.quota)
        self._router: Router | None = None
        self.sessions: SessionStore | None = None
        self._admission = Admission(config.max_concurrency, config.max_queue)
        self._created = int(time.time())
        self._metrics, middleware = new_metrics(self._admission)
        page = [Route("/", show_page)] if config.page else []
        self.app = Starlette(
            middleware=around(config) + middleware,
            routes=[
                Route("/health/live", self._live),
                Route("/health/ready", self._readiness),
                Route("/health", self._health),
                *page,
            ],
            exception_handlers={
                BadRequestError: refusal,
                ClientDisconnect: _closed,
                HTTPException: _as_json,
            },
        )
        self.app.router.default = self._rest

    def ready(self, models: Models) -> None:
        """Raises InputError where the models cannot do what the config asks for."""
        config, scorer, admission, metrics = self._config, models.scorer, self._admission, self._metrics
        routes = [Route("/v1/models", self._list_models), Route("/metrics", self._count_page)]
        routes += AskEndpoints(config, models, admission, metrics).routes
        routes += StrategiesEndpoint(config, models).routes
        if scorer is not None:
            endpoints = ScoreEndpoints(config, scorer, admission, metrics, models.scorers, len(self._keys))
            self.sessions = endpoints.sessions
            self._watch_drift()
            routes += endpoints.routes
            routes += PoolingEndpoint(config, scorer, admission, models.scorers).routes
        else:
            routes += [Route(path, _no_scorer, methods=["POST"]) for path in NEED_A_SCORER]
        self._cards = list(self._model_cards(models))
        self._router = Router(routes)

    async def _live(self, request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def _health(self, request: Request) -> Response:
        if self._router is None:
            return JSONResponse({"status": "loading"}, UNAVAILABLE, {"Retry-After": str(LOADING_SECONDS)})
        inside, waiting = self._admission.n_inside, self._admission.n_waiting
        return JSONResponse({"status": "ready", "under_way": inside - waiting, "waiting": waiting})

    async def _readiness(self, request: Request) -> Response:
        """503 also while as many wait as may, for balancers that have others; not for those that must keep a
        session where it is.
        """
        if self._router is not None and self._admission.is_full:
            return JSONResponse({"status": "full"}, UNAVAILABLE, {"Retry-After": "1"})
        return await self._health(request)

    def _watch_drift(self) -> None:
        folder = self._config.prm or self._config.orm
        reference = find_reference(self._config.score_reference, folder)
        if reference is not None and self._metrics is not None:
            self._metrics.watch_drift(Drift(reference))

    async def _rest(self, scope: Scope, receive: Receive, send: Send) -> None:
        account = self._accounts.of(self._keys.holder(Request(scope)))
        CURRENT.set(account)
        if self._router is None:
            raise BadRequestError("the models are still being loaded", UNAVAILABLE, LOADING_SECONDS)
        if scope["method"] == "POST":
            account.admit()
        try:
            await self._router(scope, receive, send)
        except (BadRequestError, HTTPException, ClientDisconnect):
            raise
        except Exception as error:
            # Starlette's own handler raises it again, upon which uvicorn ends the connection under its client
            logger.exception("a request failed")
            await JSONResponse(internal_error_body(error), 500)(scope, receive, send)

    async def _count_page(self, request: Request) -> Response:
        if self._metrics is None:
            raise BadRequestError("/metrics needs prometheus-client: pip install 'prm-train[serve]'", 404)
        return await self._metrics.page(request)

    async def _list_models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": self._cards})

    def _model_cards(self, models: Models) -> Any:
        card = {"object": "model", "created": self._created, "owned_by": "prm-train"}
        policies = {self._config.policy_name: models.policy, **models.policies}
        scorers = [(self._config.scorer_label, models.scorer), *models.scorers.items()]
        for name, policy in policies.items():
            yield card | {
                "id": name,
                "max_model_len": policy.context_length,
                "policy_id": policy.policy_id,
            }
        for label, scorer in scorers:
            if scorer is not None:
                yield card | {
                    "id": label,
                    "max_model_len": getattr(scorer, "context_length", None),
                    "scorer_id": scorer.scorer_id,
                }


async def _no_scorer(request: Request) -> Response:
    raise BadRequestError("this server was started without a scorer (prm or orm)", 404)


def _closed(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def _as_json(request: Request, error: Exception) -> Response:
    """What Starlette refuses: paths and methods that there are not."""
    assert isinstance(error, HTTPException)
    said = BadRequestError(f"{request.method} {request.url.path}: {error.detail}", error.status_code)
    return refusal(request, said)
