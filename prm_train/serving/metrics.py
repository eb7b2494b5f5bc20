"""`/metrics` for Prometheus: requests, how long they take, tokens by kind, who waits, why searches stop, and
the scores of steps, whose share in each tenth shows a scorer that meets other texts than it was calibrated
on.
"""

import time
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prm_train.search.answer import Answer
from prm_train.serving.admission import Admission

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
TENTHS = tuple(number / 10 for number in range(1, 11))
# The ends of paths, by which requests are counted: strategies and names of sessions would be endless labels
ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/score",
    "/v1/score/sessions",
    "/extend",
    "/score",
    "/verify",
    "/pooling",
    "/v1/models",
)
OTHER = "other"


class Metrics:
    """What is counted of one server."""

    def __init__(self, admission: Admission) -> None:
        self._registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self._registry, "namespace": "prm_train"}
        self._requests = Counter(
            "requests", "Requests by endpoint and status", ["endpoint", "status"], **made
        )
        self._seconds = Histogram(
            "request_seconds", "From a request to its reply", ["endpoint"], buckets=SECONDS, **made
        )
        self._tokens = Counter("tokens", "Tokens of policy and scorer by kind", ["kind"], **made)
        self._answers = Counter(
            "answers", "Answers by strategy and how the search ended", ["strategy", "ended"], **made
        )
        self._routes = Counter("routes", "Router decisions by path and reason", ["path", "reason"], **made)
        self._scores = Histogram("step_scores", "Scores of steps that were asked for", buckets=TENTHS, **made)
        self._unknown = Counter("unknown_scores", "Scores that could not be computed", **made)
        waiting = Gauge("requests_waiting", "Requests that wait for their turn", **made)
        waiting.set_function(lambda: admission.n_waiting)
        under_way = Gauge("requests_under_way", "Requests that are worked on", **made)
        under_way.set_function(lambda: admission.n_inside - admission.n_waiting)

    def count_answer(self, answer: Answer) -> None:
        cost = answer.cost
        for kind, n_tokens in {
            "generated": cost.policy.n_generated,
            "prefilled": cost.policy.n_prefilled,
            "cached": cost.policy.n_cached,
            "scorer": cost.scorer.n_new,
            "scorer_cached": cost.scorer.n_reused,
        }.items():
            self._tokens.labels(kind).inc(n_tokens)
        ended = "unsolved" if answer.answer is None else answer.stopped or "whole"
        self._answers.labels(answer.strategy.partition(":")[0], ended).inc()
        if answer.route is not None:
            self._routes.labels(answer.route.path, answer.route.reason).inc()
        if answer.large_cost is not None:
            self._tokens.labels("large_generated").inc(answer.large_cost.policy.n_generated)
        self.count_scores(answer.scores)

    def count_scores(self, scores: Iterable[float | None]) -> None:
        for score in scores:
            if score is None:
                self._unknown.inc()
            else:
                self._scores.observe(score)

    async def page(self, request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    def count_request(self, path: str, status: str, seconds: float) -> None:
        endpoint = next((end for end in ENDPOINTS if path.endswith(end)), OTHER)
        self._requests.labels(endpoint, status).inc()
        self._seconds.labels(endpoint).observe(seconds)


class CountRequests:
    """A middleware that counts requests when they have been answered."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun, status = time.monotonic(), "500"  # of a fault, which is answered outside

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            self._metrics.count_request(scope["path"], status, time.monotonic() - begun)
