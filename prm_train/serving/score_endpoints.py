"""`/v1/score`, scoring sessions below it, and `/verify` as NeMo-Gym asks it."""

from collections.abc import Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from data_gen.policies.servers.http_requests import (
    CLIENT_CLOSED_REQUEST,
    BadRequestError,
    parse_object,
    read_body,
    unless_disconnected,
    validated,
)
from prm_train.scoring.protocol import Scorer, ScorerUsage
from prm_train.serving.admission import Admission
from prm_train.serving.answering import chosen_name
from prm_train.serving.chats import Asked
from prm_train.serving.operations.accounts import charge
from prm_train.serving.operations.spans import span
from prm_train.serving.score_request import (
    ExtendBody,
    NodesBody,
    QuestionBody,
    ScoreBody,
    VerifyBody,
    cut_solution,
    parse,
)
from prm_train.serving.scoring_sessions import ScoringSession, SessionLimits, SessionStore
from prm_train.serving.settings import ServeConfig
from prm_train.serving.step_scores import PathScores, StepScore, score_path

if TYPE_CHECKING:
    from prm_train.serving.metrics import Metrics

Result = TypeVar("Result")
CREATED = 201


class ScoreEndpoints:
    """`routes` score steps with `scorer`, or with the one of `others` that a request names as its model."""

    def __init__(
        self,
        config: ServeConfig,
        scorer: Scorer,
        admission: Admission,
        metrics: "Metrics | None" = None,
        others: Mapping[str, Scorer] = MappingProxyType({}),
        n_keys: int = 0,
    ) -> None:
        self._config, self._scorer, self._others = config, scorer, others
        self._admission, self._metrics = admission, metrics
        limits = SessionLimits(
            config.max_sessions,
            config.sessions_per_key(n_keys),
            config.max_session_nodes,
            config.max_session_bytes,
            config.session_idle_seconds,
        )
        self.sessions = SessionStore(limits)

    @property
    def routes(self) -> list[Route]:
        one = "/v1/score/sessions/{name}"
        return [
            Route("/v1/score", self._score, methods=["POST"]),
            Route("/v1/score/sessions", self._open, methods=["POST"]),
            Route(one, self._show, methods=["GET"]),
            Route(one, self._close, methods=["DELETE"]),
            Route(f"{one}/extend", self._extend, methods=["POST"]),
            Route(f"{one}/score", self._score_nodes, methods=["POST"]),
            Route("/verify", self._verify, methods=["POST"]),
        ]

    async def _score(self, request: Request) -> Response:
        body = parse(ScoreBody, await read_body(request))
        label, scorer = self._chosen(body)
        steps = body.cut(self._config.step_separator)
        self._check_size(body.asked, steps)
        found = await self._in_turn(request, score_path(scorer, body.asked, steps))
        if found is None:
            return _gone()
        self._count(found.scores, scorer is self._scorer)
        return JSONResponse(self._score_reply(found, label))

    def _score_reply(self, found: PathScores, label: str | None) -> dict[str, Any]:
        return {
            "object": "score",
            "model": label,
            "scores": [each.score for each in found.scores],
            "score": found.score,
            "aggregation": found.aggregation,
            "failures": found.failures,
            "usage": usage_of(found.usage),
        }

    async def _open(self, request: Request) -> Response:
        body = parse(QuestionBody, await read_body(request))
        label, scorer = self._chosen(body)
        self._check_size(body.asked)
        session = await self.sessions.open(body.asked, scorer, label)
        return JSONResponse(self._session_reply(session), CREATED)

    async def _show(self, request: Request) -> Response:
        with self.sessions.using(request.path_params["name"]) as session:
            return JSONResponse(self._session_reply(session))

    async def _close(self, request: Request) -> Response:
        name = request.path_params["name"]
        with self.sessions.using(name) as session:
            reply = self._session_reply(session) | {"closed": True}
            await self.sessions.close(name)
        return JSONResponse(reply)

    async def _extend(self, request: Request) -> Response:
        body = parse(ExtendBody, await read_body(request))
        with self.sessions.using(request.path_params["name"]) as session:
            numbers = [session.extend(each.parent, each.step) for each in body.steps]
            if not body.score:
                return JSONResponse(self._session_reply(session) | {"nodes": numbers})
            return await self._scored(request, session, numbers)

    async def _score_nodes(self, request: Request) -> Response:
        body = parse(NodesBody, await read_body(request))
        with self.sessions.using(request.path_params["name"]) as session:
            return await self._scored(request, session, body.nodes)

    async def _scored(self, request: Request, session: ScoringSession, numbers: list[int]) -> Response:
        try:
            found = await self._in_turn(request, session.score(numbers))
        finally:  # for a client that went away, too: who asks again gets what was computed for nothing
            charge(session.take_uncharged())
        if found is None:
            return _gone()
        self._count(found, session.label == self._config.scorer_label)
        scored = {
            "nodes": numbers,
            "scores": [each.score for each in found],
            "failures": _failures(numbers, found),
        }
        return JSONResponse(self._session_reply(session) | scored)

    def _session_reply(self, session: ScoringSession) -> dict[str, Any]:
        return {
            "id": session.name,
            "object": "score.session",
            "model": session.label,
            "root": 0,
            "n_nodes": session.n_nodes,
            "usage": usage_of(session.tree.usage),
        }

    async def _verify(self, request: Request) -> Response:
        """What came, with `reward` and `step_rewards`. A reward that is unknown is null and masked."""
        fields = parse_object(await read_body(request))
        body = validated(VerifyBody, fields)
        steps = cut_solution(body.response.text, self._config.step_separator)
        self._check_size(body.asked, steps)
        found = await self._in_turn(request, score_path(self._scorer, body.asked, steps))
        if found is None:
            return _gone()
        self._count(found.scores)
        failures = found.failures
        known = {
            "reward": found.score,
            "step_rewards": [each.score for each in found.scores],
            "mask_sample": found.score is None,
            "failure_reason": failures[0]["reason"] if failures else None,
        }
        return JSONResponse(fields | known)

    def _chosen(self, body: QuestionBody) -> tuple[str | None, Scorer]:
        """The scorer that a request names, and its name. Raises BadRequestError (404)."""
        name = chosen_name("model", body.model, self._config.scorer_label, self._others)
        return (self._config.scorer_label, self._scorer) if name is None else (name, self._others[name])

    def _check_size(self, asked: Asked, steps: Sequence[str] = ()) -> None:
        """Before it is made into ids, which takes a while and the event loop."""
        n_bytes, longest = (
            asked.n_bytes + sum(len(step.encode()) for step in steps),
            self._config.max_session_bytes,
        )
        if n_bytes > longest:
            raise BadRequestError(f"body: texts of {n_bytes} bytes, expected at most {longest}")

    def _count(self, scores: Sequence[StepScore], is_own: bool = True) -> None:
        """`is_own`: of the server's own scorer."""
        if self._metrics is not None:
            self._metrics.count_scores((each.score for each in scores), is_own=is_own)

    async def _in_turn(self, request: Request, work: Coroutine[Any, Any, Result]) -> Result | None:
        """None where the client went away."""

        async def turn() -> Result:
            async with self._admission.turn():
                with span("score"):
                    return await work

        try:
            return await unless_disconnected(request, turn())
        finally:
            work.close()  # where its turn never came


def _failures(numbers: list[int], found: list[StepScore]) -> list[dict[str, Any]]:
    pairs = zip(numbers, found, strict=True)
    return [{"node": number, "reason": each.failure} for number, each in pairs if each.failure is not None]


def usage_of(usage: ScorerUsage) -> dict[str, Any]:
    """Tokens that the scorer computed, as `prompt_tokens` and `total_tokens`, and read from its cache."""
    said = {"prompt_tokens": usage.n_new, "total_tokens": usage.n_new}
    return said | {"cached_tokens": usage.n_reused, "rescored_tokens": usage.n_rescored}


def _gone() -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)
