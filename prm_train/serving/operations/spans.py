"""OpenTelemetry spans, where a server is told to make them: one of each request, named by its endpoint, and
inside it those of the search or the scoring. A caller's `traceparent` is its parent. Without the option
nothing of OpenTelemetry is loaded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data_gen.settings.errors import InputError
from prm_train.serving.operations.endpoints import endpoint_of

NAME = "prm_train.serving"
Attribute = str | int | float | bool
QUIET = {"record_exception": False, "set_status_on_exception": False}
# Of the request that a task works on; None: no spans
TRACER: ContextVar[Any] = ContextVar("tracer", default=None)


class Span:
    """What a span is told, or nothing where there is none."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def note(self, **attributes: Attribute | None) -> None:
        if self._span is not None:
            known = {f"prm_train.{name}": value for name, value in attributes.items() if value is not None}
            self._span.set_attributes(known)


@contextmanager
def _naming_errors(made: Any) -> Iterator[None]:
    """Without their messages and where they were raised, as OpenTelemetry has it: what was asked may be in
    there.
    """
    from opentelemetry.trace import StatusCode

    try:
        yield
    except Exception as error:
        made.set_status(StatusCode.ERROR, type(error).__name__)
        raise


@contextmanager
def span(name: str, **attributes: Attribute | None) -> Iterator[Span]:
    """Inside that of the request, or nothing. An error ends it with its name."""
    tracer = TRACER.get()
    if tracer is None:
        yield Span()
        return
    with tracer.start_as_current_span(name, **QUIET) as made, _naming_errors(made):
        found = Span(made)
        found.note(**attributes)
        yield found


def otlp_provider(service: str) -> Any:
    """Exports to where OpenTelemetry's own variables say (OTEL_EXPORTER_OTLP_ENDPOINT; without it port 4318
    of this machine). Raises InputError where it is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise InputError(
            f"traces: needs OpenTelemetry ({error}): pip install 'prm-train[tracing]'"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class TraceRequests:
    """A middleware. `provider` makes tracers, as OpenTelemetry's SDK does."""

    def __init__(self, app: ASGIApp, provider: Any) -> None:
        self._app, self._tracer = app, provider.get_tracer(NAME)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        endpoint, method = endpoint_of(scope["path"]), scope["method"]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        known = {"http.request.method": method, "http.route": endpoint}
        with (
            self._tracer.start_as_current_span(
                f"{method} {endpoint}", extract(headers), SpanKind.SERVER, known, **QUIET
            ) as made,
            _naming_errors(made),
        ):
            token = TRACER.set(self._tracer)

            async def note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    made.set_attribute("http.response.status_code", message["status"])
                await send(message)

            try:
                await self._app(scope, receive, note)
            finally:
                TRACER.reset(token)
