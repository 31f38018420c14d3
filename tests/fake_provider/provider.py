"""The fake provider itself: it counts, records, holds, and answers by mode."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aiohttp import web

from tests.fake_provider.answers import ANSWERS
from tests.fake_provider.behaviour import Behaviour
from tests.fake_provider.dialects import DIALECTS
from tests.fake_provider.dialects.dialect import pick
from tests.fake_provider.faults import FAULTS
from tests.fake_provider.records import Call, Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fake_provider.dialects.dialect import Dialect

MODES = {mode for dialect in DIALECTS.values() for mode in dialect.modes}


class FakeProvider:
    """Paints by mode and records every request.

    *calls* are the requests to paint; *polls* and *cancels* those about a job;
    *fetches* those for result addresses.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.polls: list[Call] = []
        self.cancels: list[Call] = []
        self.fetches: list[Call] = []
        self.jobs: dict[str, Job] = {}
        self._behaviours: dict[tuple[str | None, str | None], Behaviour] = {}
        # Outlives a reset, so that no two pictures are ever the same.
        self._numbers = itertools.count(1)
        self._barrier: list[tuple[str, asyncio.Event]] = []
        self._changed = asyncio.Condition()

    def behave(
        self,
        mode: str = "ok",
        *,
        prompt: str | None = None,
        dialect: str | None = None,
        **more: Any,
    ) -> None:
        """Answer in *mode* from now on, to all or only to *prompt* or *dialect*."""
        behaviour = Behaviour.parse({"mode": mode, **more})
        known = MODES if dialect is None else DIALECTS[dialect].modes
        if behaviour.mode not in known:
            raise KeyError(behaviour.mode)
        self._behaviours[prompt, dialect] = behaviour

    def count(self, prompt: str) -> int:
        """Return the number of calls for *prompt*."""
        return sum(call.prompt == prompt for call in self.calls)

    async def until_held(self, count: int = 1) -> None:
        """Return once *count* calls or jobs wait at the barrier."""
        await self._until(lambda: len(self._barrier) >= count)

    async def until_aborted(self, count: int = 1) -> None:
        """Return once the clients of *count* calls have disconnected."""
        await self._until(lambda: sum(call.aborted for call in self.calls) >= count)

    async def until_cancelled(self, count: int = 1) -> None:
        """Return once *count* jobs have been cancelled."""
        await self._until(
            lambda: sum(job.is_cancelled for job in self.jobs.values()) >= count
        )

    def release(self, prompt: str | None = None) -> None:
        """Release all calls at the barrier, or only those for *prompt*."""
        for held in self._barrier.copy():
            if prompt in (None, held[0]):
                self._barrier.remove(held)
                held[1].set()

    def reset(self) -> None:
        """Forget all calls and behaviours, and release the barrier."""
        self.release()
        for records in (self.calls, self.polls, self.cancels, self.fetches):
            records.clear()
        self.jobs.clear()
        self._behaviours.clear()

    async def paint(self, dialect: Dialect, request: web.Request) -> web.StreamResponse:
        """Record the call, wait as set, answer by mode."""
        call = self._record(self.calls, request)
        call.dialect = dialect.name
        try:
            await _read_body(request, call)
            dialect.read(call)
            behaviour = self._take(call)
            call.mode = behaviour.mode
            call.stumbles = list(behaviour.stumbles)
            await asyncio.sleep(behaviour.delay_seconds)
            if behaviour.hold and not dialect.has_jobs:
                await self._wait_at_barrier(call.prompt)
            if behaviour.mode not in dialect.modes:
                raise web.HTTPNotImplemented(text=behaviour.mode)
            return await dialect.modes[behaviour.mode](request, call, behaviour)
        except (asyncio.CancelledError, ConnectionError):
            call.aborted = True
            raise
        finally:
            call.ended_at = time.time()
            await self._notify()

    async def take_on(
        self, call: Call, behaviour: Behaviour, outcome: Callable[[Job], Any]
    ) -> Job:
        """Begin a job that ends with *outcome*, held if the test has set that."""
        job = Job(
            uuid4().hex,
            call,
            behaviour,
            outcome,
            list(behaviour.faults),
            list(behaviour.fetches),
        )
        self.jobs[job.id] = job
        if behaviour.hold:
            self._barrier.append((call.prompt, job.released))
            await self._notify()
        else:
            job.released.set()
        return job

    def record_poll(self, request: web.Request) -> None:
        """Record a poll of a job."""
        self._record(self.polls, request)

    async def cancel(self, job: Job, request: web.Request) -> None:
        """End *job* unless it has ended."""
        self._record(self.cancels, request)
        job.is_cancelled = job.is_cancelled or not job.has_ended
        self._barrier = [held for held in self._barrier if held[1] is not job.released]
        await self._notify()

    def _record(self, records: list[Call], request: web.Request) -> Call:
        # Entered before the body is read: numbers are in the order of arrival.
        number = next(self._numbers) if records is self.calls else len(records) + 1
        call = Call(number, request.method, request.path, dict(request.headers))
        records.append(call)
        return call

    def _take(self, call: Call) -> Behaviour:
        """Return the behaviour for a call, and use up one of its times.

        The order is: a behaviour for the prompt, one for the dialect, then a path whose
        last word is a mode, as models' ids can have.
        """
        keys = [
            *((call.prompt, call.dialect), (call.prompt, None)),
            *((None, call.dialect), (None, None)),
        ]
        key = next((key for key in keys if key in self._behaviours), None)
        if key is None:
            return _behaviour_in(call)
        behaviour = self._behaviours[key]
        if behaviour.times is None:
            return behaviour
        if behaviour.times <= 0:
            return Behaviour()
        self._behaviours[key] = dataclasses.replace(
            behaviour, times=behaviour.times - 1
        )
        return behaviour

    async def _wait_at_barrier(self, prompt: str) -> None:
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
        """Wake all tasks that wait for a change."""
        async with self._changed:
            self._changed.notify_all()

    async def result(self, request: web.Request) -> web.StreamResponse:
        """Serve the picture of a call whose answer had only its address."""
        self._record(self.fetches, request)
        for call in self.calls:
            if str(call.number) == request.match_info["number"]:
                if call.stumbles:
                    spoil = (FAULTS | ANSWERS)[call.stumbles.pop(0)]
                    return await spoil(request, call, Behaviour())
                return web.Response(body=call.picture, content_type="image/png")
        raise web.HTTPNotFound

    async def redirect(self, request: web.Request) -> web.Response:
        """Redirect to the picture, as an attacker would to an internal address."""
        self._record(self.fetches, request)
        raise web.HTTPFound(f"/results/{request.match_info['number']}.png")

    async def expired(self, request: web.Request) -> web.Response:
        """Refuse a picture whose address has expired."""
        self._record(self.fetches, request)
        raise web.HTTPForbidden


def _behaviour_in(call: Call) -> Behaviour:
    """Return the behaviour that a model's id names: `fake/moderation`."""
    checkpoint = pick(call.body, "override_settings", "sd_model_checkpoint")
    model = call.body.get("model") or call.body.get("version") or checkpoint
    words = str(model or call.path).replace(":", "/").split("/")
    asked = [word for word in words if word in MODES - {"text", "array", "null"}]
    return Behaviour(asked[-1]) if asked else Behaviour()


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
