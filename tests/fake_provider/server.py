"""The fake provider as an application: the dialects, and routes to steer it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fake_provider.dialects import DIALECTS
from tests.fake_provider.dialects.dialect import PROVIDER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from ssl import SSLContext

    from tests.fake_provider.dialects.dialect import Dialect
    from tests.fake_provider.provider import FakeProvider

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(provider: FakeProvider) -> web.Application:
    """Return the application, to be served with `handler_cancellation`."""
    app = web.Application(client_max_size=1 << 30)
    app[PROVIDER] = provider
    for dialect in DIALECTS.values():
        # Before the paths to paint: fal's takes whatever is posted below it.
        app.add_routes(dialect.others)
        for path in dialect.paths:
            app.router.add_post(path, _painting(provider, dialect))
    app.add_routes(
        [
            web.get("/results/{number}.png", provider.result),
            web.get("/redirects/{number}.png", provider.redirect),
            web.get("/expired/{number}.png", provider.expired),
            web.get("/_jobs", _jobs(provider)),
            web.get("/_calls", _calls(provider)),
            web.get("/_held", _long_poll(provider.until_held)),
            web.get("/_aborted", _long_poll(provider.until_aborted)),
            web.get("/_cancelled", _long_poll(provider.until_cancelled)),
            web.post("/_behaviour", _order(provider.behave)),
            web.post("/_release", _order(provider.release)),
            web.post("/_reset", _order(provider.reset)),
        ]
    )
    return app


@asynccontextmanager
async def serve(
    provider: FakeProvider, *, port: int = 0, ssl_context: SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve *provider* on 127.0.0.1 and give its origin; a free port for 0."""
    runner = web.AppRunner(
        create_app(provider),
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=0.1,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=ssl_context)
        await site.start()
        scheme = "https" if ssl_context else "http"
        yield f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _calls(provider: FakeProvider) -> Handler:
    """Return the requests so far."""

    async def handler(_request: web.Request) -> web.Response:
        prompts = {call.prompt: provider.count(call.prompt) for call in provider.calls}
        calls = [call.as_json() for call in provider.calls]
        return web.json_response({"prompts": prompts, "calls": calls})

    return handler


def _painting(provider: FakeProvider, dialect: Dialect) -> Handler:
    """Paint, in one dialect."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return await provider.paint(dialect, request)

    return handler


def _jobs(provider: FakeProvider) -> Handler:
    """Return all jobs, in the order in which they were taken on."""

    async def handler(_request: web.Request) -> web.Response:
        return web.json_response([job.as_json() for job in provider.jobs.values()])

    return handler


def _long_poll(until: Callable[[int], Awaitable[None]]) -> Handler:
    """Answer when *until* returns for `n`; 408 after `timeout` seconds."""

    async def handler(request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(float(request.query.get("timeout", "10"))):
                await until(int(request.query.get("n", "1")))
        except TimeoutError as error:
            raise web.HTTPRequestTimeout from error
        return web.json_response({})

    return handler


def _order(obey: Callable[..., None]) -> Handler:
    """Pass the JSON on as arguments; 400 for an unknown mode or field."""

    async def handler(request: web.Request) -> web.Response:
        arguments: dict[str, Any] = {}
        if request.can_read_body:
            arguments = await request.json()
        try:
            obey(**arguments)
        except (KeyError, TypeError) as error:
            raise web.HTTPBadRequest(text=repr(error)) from error
        return web.json_response({})

    return handler
