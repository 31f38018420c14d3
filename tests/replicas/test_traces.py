"""A traced replica, and the collector of its spans."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import aiohttp
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from tests.replica import environment_of, replica

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tests.servers import S3Server

PROMPT = "a lighthouse that has no name"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@asynccontextmanager
async def collector(spans: list[Span]) -> AsyncIterator[str]:
    """Run a collector that adds received spans to *spans*; give its address."""

    async def collect(request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        for resource in sent.resource_spans:
            for scope in resource.scope_spans:
                spans.extend(scope.spans)
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", collect)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_painting_is_one_trace_from_the_request_to_the_store(
    redis_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    """One trace has the request, the lease, the model call and the commit."""
    spans: list[Span] = []
    async with collector(spans) as address:
        environment = environment_of(
            redis_url=redis_url,
            bucket=f"traces-{uuid4().hex}",
            object_store=s3_server.environment(),
            TRACING="on",
            LOG_LEVEL="DEBUG",
            OTEL_EXPORTER_OTLP_ENDPOINT=address,
        )
        async with (
            replica(environment, folder=tmp_path) as running,
            aiohttp.ClientSession(
                running.url, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}
            ) as client,
        ):
            async with client.get(
                "/api/v1/live/generate", params={"prompt": PROMPT}
            ) as answer:
                assert answer.headers["X-Cache-Status"] == "MISS"
            async with client.get("/api/v1/live/generate") as refused:
                assert refused.status == 400
            running.signal(signal.SIGTERM)
            assert await running.process.wait() == 0

    ours = [one for one in spans if one.trace_id.hex() == TRACE]
    names = {one.name for one in ours}
    assert names >= {
        "GET /api/v1/live/generate",
        "prompt_index.look_up",
        "prompt_index.acquire",
        "models.paint",
        "object_store.create",
        "prompt_index.commit",
    }
    (root,) = [
        one
        for one in ours
        if one.parent_span_id.hex() == PARENT
        and any(
            value.key == "http.response.status_code" and value.value.int_value == 200
            for value in one.attributes
        )
    ]
    below = {one.span_id for one in ours if one.parent_span_id == root.span_id}
    assert below
    assert PROMPT not in "".join(map(str, spans))
