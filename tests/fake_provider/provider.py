"""The fake provider itself: it counts, records, holds, and answers by mode."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fake_provider.behaviour import Behaviour
from tests.fake_provider.documents import DOCUMENTS
from tests.fake_provider.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable

MODES = DOCUMENTS | FAULTS


@dataclass(slots=True)
class Call:
    """One request, as it came in; times are of the wall clock."""

    number: int
    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)
    mode: str = "ok"
    started_at: float = field(default_factory=time.time)
    ended_at: float | None = None
    aborted: bool = False
    picture: bytes = b""

    @property
    def prompt(self) -> str:
        """The prompt, empty for requests that have none."""
        return str(self.body.get("prompt", ""))

    def as_json(self) -> dict[str, Any]:
        """Return what `GET /_calls` tells about it."""
        document = dataclasses.asdict(self)
        document.pop("picture")
        for file in document["files"]:
            file["size"] = len(file.pop("data"))
        return document | {"prompt": self.prompt}


class FakeProvider:
    """Paints by order, and remembers who asked for what.

    *calls* are the requests to paint, *fetches* those for result addresses.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.fetches: list[Call] = []
        self._behaviours: dict[str | None, Behaviour] = {}
        # Outlives a reset, so that no two pictures are ever the same.
        self._numbers = itertools.count(1)
        self._barrier: list[tuple[str, asyncio.Event]] = []
        self._changed = asyncio.Condition()

    def behave(
        self, mode: str = "ok", *, prompt: str | None = None, **more: Any
    ) -> None:
        """Answer in *mode* from now on, all prompts or only *prompt*."""
        behaviour = Behaviour.parse({"mode": mode, **more})
        if behaviour.mode not in MODES:
            raise KeyError(behaviour.mode)
        self._behaviours[prompt] = behaviour

    def count(self, prompt: str) -> int:
        """Return how often *prompt* was asked for."""
        return sum(call.prompt == prompt for call in self.calls)

    async def until_held(self, count: int = 1) -> None:
        """Return once *count* calls stand at the barrier."""
        await self._until(lambda: len(self._barrier) >= count)

    async def until_aborted(self, count: int = 1) -> None:
        """Return once the clients of *count* calls have gone away."""
        await self._until(lambda: sum(call.aborted for call in self.calls) >= count)

    def release(self, prompt: str | None = None) -> None:
        """Let what stands at the barrier go on, or only what asked for *prompt*."""
        for held in self._barrier.copy():
            if prompt in (None, held[0]):
                self._barrier.remove(held)
                held[1].set()

    def reset(self) -> None:
        """Forget all calls and behaviours; whoever is held goes on."""
        self.release()
        self.calls.clear()
        self.fetches.clear()
        self._behaviours.clear()

    async def paint(self, request: web.Request) -> web.StreamResponse:
        """Record the call, wait as told, answer by mode."""
        call = Call(
            next(self._numbers), request.method, request.path, dict(request.headers)
        )
        # Entered before the body is read: numbers are in the order of arrival.
        self.calls.append(call)
        try:
            await _read_body(request, call)
            behaviour = self._take(call.prompt)
            call.mode = behaviour.mode
            await asyncio.sleep(behaviour.delay_seconds)
            if behaviour.hold:
                await self._stand_at_barrier(call.prompt)
            return await MODES[behaviour.mode](request, call, behaviour)
        except (asyncio.CancelledError, ConnectionError):
            call.aborted = True
            raise
        finally:
            call.ended_at = time.time()
            await self._notify()

    def _take(self, prompt: str) -> Behaviour:
        """Return the behaviour for a call, and use up one of its times."""
        key = prompt if prompt in self._behaviours else None
        behaviour = self._behaviours.get(key, Behaviour())
        if behaviour.times is None:
            return behaviour
        if behaviour.times <= 0:
            return Behaviour()
        self._behaviours[key] = dataclasses.replace(
            behaviour, times=behaviour.times - 1
        )
        return behaviour

    async def _stand_at_barrier(self, prompt: str) -> None:
        """Wait for the next release."""
        held = (prompt, asyncio.Event())
        self._barrier.append(held)
        await self._notify()
        try:
            await held[1].wait()
        except asyncio.CancelledError:
            if held in self._barrier:
                self._barrier.remove(held)
            raise

    async def _until(self, reached: Callable[[], bool]) -> None:
        """Wait until *reached* holds."""
        async with self._changed:
            await self._changed.wait_for(reached)

    async def _notify(self) -> None:
        """Wake whoever waits for a change."""
        async with self._changed:
            self._changed.notify_all()

    async def result(self, request: web.Request) -> web.Response:
        """Serve the picture of a call whose answer only pointed to it."""
        self._record_fetch(request)
        for call in self.calls:
            if str(call.number) == request.match_info["number"]:
                return web.Response(body=call.picture, content_type="image/png")
        raise web.HTTPNotFound

    async def redirect(self, request: web.Request) -> web.Response:
        """Point on to the picture, as an attacker would to an inner address."""
        self._record_fetch(request)
        raise web.HTTPFound(f"/results/{request.match_info['number']}.png")

    def _record_fetch(self, request: web.Request) -> None:
        """Remember a request for a result."""
        number = len(self.fetches) + 1
        self.fetches.append(
            Call(number, request.method, request.path, dict(request.headers))
        )


async def _read_body(request: web.Request, call: Call) -> None:
    """Parse JSON or a form into *call*."""
    if not request.content_type.startswith("multipart/"):
        call.body = json.loads(await request.read())
        return
    for name, value in (await request.post()).items():
        if isinstance(value, web.FileField):
            call.files.append(
                {
                    "name": name,
                    "filename": value.filename,
                    "content_type": value.content_type,
                    "data": value.file.read(),
                }
            )
            value.file.close()
        else:
            call.body[name] = value
