"""Traces (OpenTelemetry): what a request waited for, across replicas.

Off unless `TRACING=on`, and then what is traced is wrapped where the service is
put together: no feature knows of it, and without it nothing is added to a
request. The optional packages are imported here alone. Where spans go is
OpenTelemetry's own configuration (`OTEL_EXPORTER_OTLP_ENDPOINT`, ...).

Spans have names, routes, aliases and outcomes, and never a prompt or a key.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from app.telemetry.log_lines import TRACE_ID

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Collection,
        Mapping,
    )
    from contextlib import AbstractAsyncContextManager

    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

T = TypeVar("T")

NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

PARENT_HEADERS = ("traceparent", "tracestate")

# Spans that wait to be exported when the service ends have this long.
FLUSH_MILLISECONDS = 2000


def is_installed() -> bool:
    """Whether the extra `tracing` is there."""
    try:
        return all(find_spec(name) is not None for name in NEEDED)
    except ModuleNotFoundError:
        return False


@asynccontextmanager
async def open_tracing(switch: Literal["on", "off"]) -> AsyncIterator[Tracing | None]:
    """Trace as long as the context is open, if *switch* is on."""
    if switch == "off":
        yield None
        return
    tracing = Tracing()
    try:
        yield tracing
    finally:
        await asyncio.to_thread(tracing.close)


def traced(tracing: Tracing | None, port: T, name: str, methods: Collection[str]) -> T:
    """Return *port* with spans of its *methods*, or as it is without tracing."""
    return port if tracing is None else tracing.port(port, name, methods)


class Tracing:
    """Makes spans of requests and of calls to ports; *exporter* takes them.

    Without an exporter they go where OpenTelemetry's environment says, in
    batches, from a thread of its own.
    """

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import (
            BatchSpanProcessor,
            SimpleSpanProcessor,
        )

        resource = Resource.create({"service.name": "paintonce"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter())
            if exporter is None
            else SimpleSpanProcessor(exporter)
        )
        self._tracer = self._provider.get_tracer("paintonce")

    def close(self) -> None:
        """Export what is left, for a bounded time. It blocks."""
        self._provider.force_flush(FLUSH_MILLISECONDS)
        self._provider.shutdown()

    def handler(
        self,
        handler: Callable[[Any], Awaitable[T]],
        *,
        route_of: Callable[[Any], str],
        status_of: Callable[[T], int],
    ) -> Callable[[Any], Awaitable[T]]:
        """Return *handler* with a span of each request, a child of the caller's.

        A caller says its own in `traceparent` (W3C Trace Context).
        """
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        @wraps(handler)
        async def traced(request: Any) -> T:
            async with self.span(
                request.method, kind=SpanKind.SERVER, context=extract(_parent(request))
            ) as span:
                TRACE_ID.set(f"{span.get_span_context().trace_id:032x}")
                span.set_attribute("http.request.method", request.method)
                answer = await handler(request)
                route, status = route_of(request), status_of(answer)
                span.update_name(f"{request.method} {route}")
                span.set_attribute("http.route", route)
                span.set_attribute("http.response.status_code", status)
                return answer

        return traced

    def port(self, port: T, name: str, methods: Collection[str]) -> T:
        """Return *port* with a span of each call of one of its *methods*.

        Those return an awaitable or an asynchronous context manager.
        """
        return cast("T", _Traced(port, self, {one: f"{name}.{one}" for one in methods}))

    @asynccontextmanager
    async def span(self, name: str, **options: Any) -> AsyncIterator[Span]:
        """Open a span; an exception is recorded in it by its class alone."""
        from opentelemetry.trace import Status, StatusCode

        with self._tracer.start_as_current_span(
            name, record_exception=False, set_status_on_exception=False, **options
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__qualname__))
                raise


class _Traced:
    """A port, with spans of some of its methods."""

    def __init__(
        self, port: object, tracing: Tracing, spans: Mapping[str, str]
    ) -> None:
        self._port = port
        self._tracing = tracing
        self._spans = spans

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        span = self._spans.get(name)
        if span is None:
            return found

        @wraps(found)
        def traced(*args: Any, **options: Any) -> Any:
            result = found(*args, **options)
            if hasattr(result, "__aenter__"):
                return self._opened(span, result)
            return self._awaited(span, result)

        return traced

    async def _awaited(self, span: str, result: Awaitable[T]) -> T:
        async with self._tracing.span(span):
            return await result

    @asynccontextmanager
    async def _opened(
        self, span: str, result: AbstractAsyncContextManager[T]
    ) -> AsyncIterator[T]:
        async with self._tracing.span(span), result as opened:
            yield opened


def _parent(request: Any) -> dict[str, str]:
    """Return the headers that say the caller's own span."""
    return {
        name: request.headers[name]
        for name in PARENT_HEADERS
        if name in request.headers
    }
