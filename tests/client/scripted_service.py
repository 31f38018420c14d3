"""A service that answers each request with the next step of a script."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from aiohttp.test_utils import TestServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    Step = Callable[[web.Request], Awaitable[web.StreamResponse]]

BYTES = b"a lighthouse in a storm"
WHOLE = {
    "Content-Type": "image/png",
    "X-Cache-Status": "HIT",
    "X-Cache-Hit-Count": "7",
    "X-Image-Id": "081e7a85-213f-4299-a3c0-267416281cf2",
    "X-Prompt-Hash": "3" * 64,
    "X-Model": "default",
    "Content-Location": "/api/v1/images/acme/shop/generated/1.png",
    "ETag": f'"{sha256(BYTES).hexdigest()}"',
}


async def picture(request: web.Request) -> web.StreamResponse:
    """Answer with the whole picture."""
    return web.Response(body=BYTES, headers=WHOLE)


async def other_bytes(request: web.Request) -> web.StreamResponse:
    """Answer with other bytes of the right length, which do not match the ETag."""
    return web.Response(body=BYTES[::-1], headers=WHOLE)


async def cut(request: web.Request) -> web.StreamResponse:
    """End the connection without an answer."""
    _cut_off(request)
    return web.Response()


async def cut_within(request: web.Request) -> web.StreamResponse:
    """End the connection in the middle of the body."""
    answer = web.StreamResponse(headers={**WHOLE, "Content-Length": str(len(BYTES))})
    await answer.prepare(request)
    await answer.write(BYTES[:9])
    _cut_off(request)
    return answer


async def hang(request: web.Request) -> web.StreamResponse:
    """Answer after half a minute."""
    await asyncio.sleep(30)
    return web.Response()


def refusal(status: int, code: str = "provider_failed", **headers: str) -> Step:
    """Return a step that answers with a problem."""

    async def refuse(request: web.Request) -> web.StreamResponse:
        problem = {"code": code, "detail": "It was scripted.", "status": status}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(
            status=status,
            body=json.dumps(problem),
            content_type="application/problem+json",
            headers={"X-Request-Id": "mine-1", **named},
        )

    return refuse


def document(value: Mapping[str, Any], status: int = 200) -> Step:
    """Return a step that answers with JSON."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(value, status=status)

    return answer


def _cut_off(request: web.Request) -> None:
    cast("asyncio.Transport", request.transport).abort()


@dataclass
class ScriptedService:
    """A running script: its address and the requests so far, as `GET /path`."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)


@asynccontextmanager
async def scripted(*steps: Step) -> AsyncIterator[ScriptedService]:
    """Serve *steps*; the last one answers all further requests."""
    service = ScriptedService()

    async def answer(request: web.Request) -> web.StreamResponse:
        step = steps[min(len(service.asked), len(steps) - 1)]
        service.asked.append(f"{request.method} {request.path}")
        service.headers.append(request.headers.copy())
        await request.read()
        return await step(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        service.url = str(server.make_url("/"))
        yield service
