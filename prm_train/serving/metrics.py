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
from prm_train.serving.operations.drift import Drift
from prm_train.serving.operations.endpoints import endpoint_of

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
TENTHS = tuple(number / 10 for number in range(1, 11))


class Metrics:
    """What is counted of one server."""

    def __init__(self, admission: Admission) -> None:
        self._registry = CollectorRegistry()
        self._drift: Drift | None = None
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
        self._cache = Counter(
            "answer_cache",
            "Requests that may have been answered before, by what came of it",
            ["result"],
            **made,
        )
        waiting = Gauge("requests_waiting", "Requests that wait for their turn", **made)
        waiting.set_function(lambda: admission.n_waiting)
        under_way = Gauge("requests_under_way", "Requests that are worked on", **made)
        under_way.set_function(lambda: admission.n_inside - admission.n_waiting)

    def count_answer(self, answer: Answer, *, is_own: bool = True) -> None:
        """`is_own`: scored by the server's own scorer, whose drift is watched."""
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
        self.count_scores(answer.scores, is_own=is_own)

    def count_cache(self, result: str) -> None:
        self._cache.labels(result).inc()

    def count_scores(self, scores: Iterable[float | None], *, is_own: bool = True) -> None:
        for score in scores:
            if score is None:
                self._unknown.inc()
                continue
            self._scores.observe(score)
            if self._drift is not None and is_own:
                self._drift.observe(score)

    def watch_drift(self, drift: Drift) -> None:
        """Show the share of scores in each bin beside that of the reference."""
        self._drift = drift
        made: dict[str, Any] = {"registry": self._registry, "namespace": "prm_train"}
        now = Gauge("scorer_bin_share", "Share of the last scores in each bin", ["low"], **made)
        wanted = Gauge("scorer_bin_reference", "The same of held-out labels", ["low"], **made)
        for place, low in enumerate(drift.reference.lows):
            now.labels(low).set_function(lambda place=place: drift.shares[place])
            wanted.labels(low).set(drift.reference.shares[place])
        distance = Gauge("scorer_drift", "Total variation distance of the two", **made)
        distance.set_function(lambda: drift.distance)

    async def page(self, request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    def count_request(self, path: str, status: str, seconds: float) -> None:
        endpoint = endpoint_of(path)
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
