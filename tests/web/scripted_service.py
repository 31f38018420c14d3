"""The service as the page sees it, controlled by a test.

It shows states that a real one shows only with luck: a position in the queue, a replica
that drains under an open stream, exact statistics.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from app.errors import NotFound, ServiceError
from app.http.problems import problem_response
from app.urls import LIVE as GENERATE
from app.web import page

if TYPE_CHECKING:
    from collections.abc import Iterator

GENERATION = "6014b108-42f1-4645-a8b8-5c98c2a92ec6"
PROMPT_HASH = "3" * 64
PERMALINK = (
    "/api/v1/images/acme/shop/generated/081e7a85-213f-4299-a3c0-267416281cf2.png"
)


@dataclass(frozen=True)
class Asked:
    """One request of the page."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: str


@dataclass
class ScriptedService:
    """*answers* are JSON or a problem by method and path, or functions of the query.

    *streams* are the answers of `events` in turn: states, then the stream ends. A state
    of None holds the stream until `go_on`.
    """

    picture: bytes
    answers: dict[tuple[str, str], Any] = field(default_factory=dict)
    streams: list[list[dict[str, Any] | None]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _held: asyncio.Event = field(default_factory=asyncio.Event)
    _last_id: int = 0

    def state(self, state: str, **news: Any) -> dict[str, Any]:
        """Return a generation's JSON."""
        return {
            "generation_id": GENERATION,
            "state": state,
            "prompt_hash": PROMPT_HASH,
            "created_at": "2026-11-21T12:00:00Z",
            "elapsed_seconds": 0.5,
            "queue_position": None,
            "progress": None,
            "image_id": None,
            "image_url": f"https://elsewhere.example{PERMALINK}"
            if state == "done"
            else None,
            "error": None,
        } | news

    def go_on(self) -> None:
        """Release a held stream."""
        self.loop.call_soon_threadsafe(self._held.set)

    def asked_for(self, path: str) -> list[Asked]:
        """Return the requests for *path*, in order."""
        return [one for one in self.asked if one.path == path]

    def application(self) -> web.Application:
        """Return the routes: the page's files and the scripted answers."""
        app = web.Application()
        app.router.add_get("/", page.page)
        app.router.add_get("/web/{file}", page.file)
        app.router.add_get(f"/api/v1/generations/{GENERATION}/events", self._events)
        app.router.add_get(PERMALINK, self._picture)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _note(self, request: web.Request) -> None:
        self.asked.append(
            Asked(
                request.method,
                request.path,
                request.query_string,
                dict(request.headers),
                await request.text(),
            )
        )

    async def _picture(self, request: web.Request) -> web.Response:
        await self._note(request)
        return web.Response(body=self.picture, content_type="image/png")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        await self._note(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": a comment\n\n")
        for state in self.streams.pop(0):
            if state is None:
                await self._held.wait()
                self._held.clear()
                continue
            self._last_id += 1
            data = json.dumps(state)
            event = f"id: {self._last_id}\nevent: state\ndata: {data}\n\n"
            await response.write(event.encode())
        return response

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        await self._note(request)
        answer = self.answers.get((request.method, request.path), NotFound("None."))
        if callable(answer):
            answer = answer(request.query)
        if isinstance(answer, ServiceError):
            return problem_response(answer, "lighthouse-1")
        status, headers = 200, {}
        if request.path == GENERATE:
            status, headers = 202, {"Location": f"/api/v1/generations/{GENERATION}"}
        return web.json_response(answer, status=status, headers=headers)


@contextmanager
def running(service: ScriptedService) -> Iterator[ScriptedService]:
    """Run *service* in a thread while the context is open."""
    loop = service.loop
    thread = threading.Thread(target=loop.run_forever, name="scripted-service")
    thread.start()
    # A stream that a test left held is not waited for; 0 would be for ever.
    runner = web.AppRunner(service.application(), shutdown_timeout=0.01)

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return int(runner.addresses[0][1])

    try:
        port = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        service.url = f"http://127.0.0.1:{port}"
        yield service
    finally:
        try:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def entry(prompt: str) -> dict[str, Any]:
    """Return the JSON of an entry with the fields that the gallery shows."""
    return {
        "prompt_hash": hashlib.sha256(prompt.encode()).hexdigest(),
        "prompt": prompt,
        "model": "default",
        "parameters": {"model": "default"},
        "hits": 1,
        "created_at": "2026-11-21T12:00:00Z",
        "storage_key": PERMALINK.removeprefix("/api/v1/images/"),
        "width": 96,
        "height": 64,
    }
