"""Spans of requests and of the calls within them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from app.errors import CacheUnavailable
from app.telemetry.log_lines import TRACE_ID
from app.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Lamp:
    """A port with each kind of method."""

    async def shine(self, prompt: str) -> str:
        """Return *text*, or raise."""
        if prompt == "the dark":
            raise CacheUnavailable("The lamp of a secret prompt is out.")
        return prompt

    @asynccontextmanager
    async def lit(self) -> AsyncIterator[str]:
        """Stay lit while the context is open."""
        yield "lit"

    async def rest(self) -> str:
        """Return; this method is not traced."""
        return "resting"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """Give an exporter that collects the spans."""
    return InMemorySpanExporter()


@pytest.fixture
def tracing(spans: InMemorySpanExporter) -> Tracing:
    """Give tracing that exports at once."""
    return Tracing(spans)


async def test_calls_of_a_port_are_spans(
    tracing: Tracing, spans: InMemorySpanExporter
) -> None:
    """Calls and contexts of a traced port are spans and return their results."""
    lamp = tracing.port(Lamp(), "lamp", ("shine", "lit"))

    assert await lamp.shine("a lighthouse") == "a lighthouse"
    async with lamp.lit() as lit:
        assert lit == "lit"
    assert await lamp.rest() == "resting"

    assert [one.name for one in spans.get_finished_spans()] == [
        "lamp.shine",
        "lamp.lit",
    ]


async def test_a_failed_call_says_its_class_alone(
    tracing: Tracing, spans: InMemorySpanExporter
) -> None:
    """The span of a failed call has the error's class and no message."""
    lamp = tracing.port(Lamp(), "lamp", ("shine",))

    with pytest.raises(CacheUnavailable):
        await lamp.shine("the dark")

    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "CacheUnavailable"
    assert not span.events
    assert "secret" not in span.to_json()


async def test_a_request_continues_the_trace_of_its_caller(
    tracing: Tracing, spans: InMemorySpanExporter
) -> None:
    """A request's span is a child of `traceparent`, and its id is in the logs."""
    lamp = tracing.port(Lamp(), "lamp", ("shine",))

    async def handler(_: object) -> SimpleNamespace:
        await lamp.shine("a lighthouse")
        assert TRACE_ID.get() == TRACE
        return SimpleNamespace(status=200)

    traced = tracing.handler(
        handler, route_of=lambda _: "/lamp", status_of=lambda answer: answer.status
    )
    request = SimpleNamespace(
        method="GET", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}
    )

    assert (await traced(request)).status == 200

    inner, outer = spans.get_finished_spans()
    assert inner.parent is not None
    assert outer.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert f"{outer.context.trace_id:032x}" == TRACE
    assert f"{outer.parent.span_id:016x}" == PARENT
    assert outer.name == "GET /lamp"
    assert dict(outer.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/lamp",
        "http.response.status_code": 200,
    }
