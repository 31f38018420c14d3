"""A process for tests of the drain: `python drained_app.py PORT GRACE MODE`.

It logs each step, so that the tests need no guesses. MODE is `willing`, `stubborn`
(nothing ends by itself) or `starting` (never ready).
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING

import uvloop
from aiohttp import web

from app.errors import ShuttingDown
from app.server.frame import install
from app.server.lifecycle import Lifecycle
from app.server.serving import CannotListen, EndedNow, serve
from app.telemetry import Metrics, configure_logging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

logger = logging.getLogger("app.drained")


class Work:
    """One painting: `/held` waits for it, `/release` ends it."""

    def __init__(self, *, stubborn: bool) -> None:
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.running = False
        self.stubborn = stubborn

    async def hello(self, _: web.Request) -> web.Response:
        """Answer without waiting."""
        return web.Response(text="hello")

    async def held(self, _: web.Request) -> web.Response:
        """Answer when the painting is done."""
        logger.info("held")
        return web.Response(body=await asyncio.shield(self.done))

    async def paint(self, _: web.Request) -> web.Response:
        """Start the painting without waiting for it."""
        self.running = True
        return web.Response()

    async def release(self, request: web.Request) -> web.Response:
        """End the painting once the body has arrived."""
        logger.info("releasing")
        await request.read()
        self.done.set_result(b"a lighthouse in a storm" * 1000)
        return web.Response()

    async def upload(self, request: web.Request) -> web.Response:
        """Answer with the length of the body."""
        logger.info("uploading")
        return web.json_response(len(await request.read()))

    async def finished(self) -> None:
        """Return when no painting is running."""
        if self.running:
            await self.done
            logger.info("painted")
        if self.stubborn:
            await asyncio.Event().wait()

    async def give_up(self) -> None:
        """Fail all waiters."""
        logger.info("giving up")
        if not self.done.done():
            self.done.set_exception(ShuttingDown("This replica is stopping."))
            self.done.exception()
        if self.stubborn:
            await asyncio.Event().wait()


async def main(port: int, grace_seconds: float, mode: str) -> None:
    """Serve until a signal comes."""
    work, lifecycle, app = (
        Work(stubborn=mode == "stubborn"),
        Lifecycle(),
        web.Application(),
    )
    install(app, metrics=Metrics(), lifecycle=lifecycle)
    lifecycle.on_drain(lambda: logger.info("drain noticed"))
    lifecycle.on_finish(work.finished)
    lifecycle.on_give_up(work.give_up)
    app.router.add_get("/", work.hello)
    app.router.add_get("/held", work.held)
    app.router.add_post("/paint", work.paint)
    app.router.add_post("/release", work.release)
    app.router.add_post("/upload", work.upload)

    async def services(_: web.Application) -> AsyncIterator[None]:
        """Open and close what a service needs."""
        logger.info("opening")
        if mode == "starting":
            await asyncio.Event().wait()
        yield
        if mode == "stubborn":
            await asyncio.Event().wait()
        logger.info("closed")

    app.cleanup_ctx.append(services)
    await serve(app, host="127.0.0.1", port=port, grace_seconds=grace_seconds)


if __name__ == "__main__":
    configure_logging("INFO", "json")
    try:
        uvloop.run(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))
    except CannotListen as error:
        sys.exit(str(error))
    except EndedNow:
        sys.exit(130)
