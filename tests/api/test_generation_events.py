"""Generations as server-sent events: every state, resumption, and drain."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from app.errors import PromptRejected
from app.prompt_cache.generations import events, generations
from tests.access.service import ADMIN, LIVE, running
from tests.fakes import SOON_SECONDS, a_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from tests.access.service import Paintonce
    from tests.fakes import Gate, World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Give an empty world whose records are written as soon as they change."""
    monkeypatch.setattr(generations, "LOOK_EVERY_SECONDS", 0.001)
    return a_world()


@pytest.fixture
async def service(world: World) -> AsyncIterator[Paintonce]:
    """Run one replica."""
    async with running(world) as started:
        yield started


async def begun(service: Paintonce, prompt: str = "a lighthouse in a storm") -> str:
    """Begin a painting; return the address of its generation."""
    answer = await service.get(
        LIVE, {**ADMIN, "Prefer": "respond-async"}, prompt=prompt
    )
    assert answer.status == 202
    assert answer.headers["Preference-Applied"] == "respond-async"
    return str(answer.headers["Location"])


async def begun_at_gate(service: Paintonce) -> tuple[Gate, str]:
    """Begin a painting that waits at a gate; return it and the generation's address."""
    gate = service.world.provider.before("paint")
    location = await begun(service)
    await gate.reached()
    return gate, location


class Stream:
    """An open stream, read event by event."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def next(self) -> dict[str, str] | None:
        """Return the next event's fields (a comment's key is `""`), None at the end."""
        async with asyncio.timeout(SOON_SECONDS):
            fields: dict[str, str] = {}
            async for line in self.answer.content:
                if line == b"\n":
                    return fields
                name, _, value = line.decode().rstrip("\n").partition(": ")
                fields[name.rstrip(":")] = value
        return None

    async def state(self) -> dict[str, Any]:
        """Return the document of the next event, with its id."""
        event = await self.next()
        assert event is not None
        assert event["event"] == "state"
        return {**json.loads(event["data"]), "id": event["id"]}


@asynccontextmanager
async def opened(
    service: Paintonce, location: str, last_event_id: str | None = None
) -> AsyncIterator[Stream]:
    """Follow a generation as long as the context is open."""
    headers = dict(ADMIN)
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    url = f"http://127.0.0.1:{service.port}{location}/events"
    async with service.client.get(url, headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        yield Stream(answer)


async def until_running(stream: Stream) -> dict[str, Any]:
    """Return the state in which a generation runs."""
    state = await stream.state()
    while state["state"] != "running":
        assert state["state"] == "queued"
        state = await stream.state()
    return state


async def test_every_state_is_sent_and_then_the_stream_ends(
    service: Paintonce, world: World
) -> None:
    """The stream sends each state as the generation's JSON and ends when it is done."""
    gate, location = await begun_at_gate(service)
    async with opened(service, location) as stream:
        runs = await until_running(stream)
        gate.open()
        last = await stream.state()
        end = await stream.next()

    assert runs["queue_position"] is None
    assert (last["state"], last["progress"], end) == ("done", 1.0, None)
    document = (await service.get(location, ADMIN)).json
    assert {name: last[name] for name in document} == document


async def test_a_queued_generation_has_its_position_from_one(
    service: Paintonce, world: World
) -> None:
    """A queued generation's event has its position; the next in line has 1."""
    # As many as the model paints at once.
    gates = [world.provider.before("paint") for _ in range(8)]
    for number, gate in enumerate(gates):
        await begun(service, f"a lighthouse, number {number}")
        await gate.reached()
    last = await begun(service, "one too many")
    async with opened(service, last) as stream:
        first = await stream.state()
        for gate in gates:
            gate.open()

    assert (first["state"], first["queue_position"]) == ("queued", 1)


async def test_a_stream_is_resumed_after_the_last_event_that_was_seen(
    service: Paintonce, world: World
) -> None:
    """A resumed stream repeats no event, and is 204 after the last one."""
    gate, location = await begun_at_gate(service)
    async with opened(service, location) as stream:
        seen = await until_running(stream)
    async with running(world) as another:
        async with opened(another, location, seen["id"]) as resumed:
            gate.open()
            last = await resumed.state()
        again = await another.get(
            f"{location}/events", {**ADMIN, "Last-Event-ID": last["id"]}
        )

    assert last["state"] == "done"
    assert (again.status, again.body) == (204, b"")


async def test_a_failure_is_sent_as_a_problem(service: Paintonce, world: World) -> None:
    """The `error` of a failed generation is the problem of a live request."""
    world.provider.script.append(PromptRejected("Not in this shop."))
    async with opened(service, await begun(service)) as stream:
        last = await stream.state()
        while last["state"] != "failed":
            last = await stream.state()

    request_id = last["error"].pop("request_id")
    assert request_id
    assert last["error"] == {
        "type": "urn:paintonce:problem:prompt_rejected",
        "title": "Prompt rejected",
        "status": 422,
        "detail": "Not in this shop.",
        "code": "prompt_rejected",
    }


async def test_silence_is_filled_with_comments(
    service: Paintonce, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream without events sends comments, so that proxies keep it open."""
    monkeypatch.setattr(events, "COMMENT_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(events, "LOOK_EVERY_SECONDS", 0.01)
    gate, location = await begun_at_gate(service)
    async with opened(service, location) as stream:
        while (event := await stream.next()) and "" not in event:
            pass
        gate.open()

    assert event == {"": "still here"}


async def test_a_drain_ends_a_stream_with_the_last_state(
    service: Paintonce, world: World
) -> None:
    """A draining replica sends the current state and ends the stream."""
    gate, location = await begun_at_gate(service)
    async with opened(service, location) as stream:
        state = await until_running(stream)
        service.drain()
        last = await stream.state()
        end = await stream.next()
    gate.open()

    assert (last["state"], last["id"]) == ("running", state["id"])
    assert end is None


@pytest.mark.parametrize("path", ["", "/events"])
async def test_anothers_generation_is_not_there(
    service: Paintonce, world: World, path: str
) -> None:
    """Another project's generation and a malformed id are 404."""
    location = await begun(service)
    elsewhere = {**ADMIN, "X-Project": "acme/zoo"}

    foreign = await service.get(f"{location}{path}", elsewhere)
    malformed = await service.get(f"/api/v1/generations/nothing{path}", ADMIN)

    assert (foreign.status, malformed.status) == (404, 404)


async def test_a_wait_that_is_longer_than_the_bound_is_applied_in_part(
    service: Paintonce, world: World
) -> None:
    """A `wait` above the bound is cut, and `Preference-Applied` names the cut value."""
    gate = world.provider.before("paint")
    answer = await service.get(LIVE, {**ADMIN, "Prefer": "wait=1"}, prompt="a slow one")
    gate.open()

    assert (answer.status, answer.headers["Preference-Applied"]) == (202, "wait=1")
