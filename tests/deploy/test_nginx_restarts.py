"""nginx repeats a GET and never a POST while replicas come and go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

if TYPE_CHECKING:
    from tests.deploy.door import Answer, Door


async def test_connections_to_the_replicas_are_kept(door: Door) -> None:
    """Nginx reuses its connections to the replicas."""
    for _ in range(40):
        async with door.client.get(door.url("/healthz")) as response:
            assert response.status == 200

    connections = door.replicas[0].connections | door.replicas[1].connections
    assert len(connections) < 20
    assert all("Connection" not in sent for sent in door.replicas[0].headers)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
async def test_a_replica_that_is_gone_costs_no_request(door: Door, method: str) -> None:
    """While one replica restarts, the other one answers everything."""
    for _ in range(4):
        async with door.client.request(method, door.url("/api/images")) as response:
            assert response.status == 200
    await door.replicas[0].stop()

    for _ in range(20):
        async with door.client.request(method, door.url("/api/images")) as response:
            assert response.status == 200


async def test_a_replica_that_is_back_is_used_again(door: Door) -> None:
    """After a restart both replicas get requests again."""
    await door.replicas[0].stop()
    async with door.client.get(door.url("/healthz")) as response:
        assert await response.text() == "two"

    await door.replicas[0].start()
    names = set()
    for _ in range(8):
        async with door.client.get(door.url("/healthz")) as response:
            names.add(await response.text())

    assert names == {"one", "two"}


async def _hang_up(request: web.Request) -> web.StreamResponse:
    """Read the request, then cut the connection like a killed process."""
    await request.read()
    assert request.transport
    request.transport.abort()
    return web.Response()


async def test_a_post_is_never_sent_twice(door: Door) -> None:
    """A POST whose replica dies is 503 and not sent to the other one."""
    door.both(_hang_up)

    url = door.url("/api/images")
    async with door.client.post(url, data=b"a lighthouse") as response:
        problem = await response.json(content_type="application/problem+json")

    assert response.status == problem["status"] == 503
    assert problem["code"] == "no_replica"
    assert problem["type"] == "urn:paintonce:problem:no_replica"
    assert response.headers["Retry-After"]
    assert len(door.seen()) == 1


async def _shutting_down(request: web.Request) -> web.StreamResponse:
    """Answer like a replica that gave a painting up."""
    return web.json_response(
        {"code": "shutting_down"},
        status=503,
        headers={"Retry-After": "1"},
        content_type="application/problem+json",
    )


@pytest.mark.parametrize("answer", [_hang_up, _shutting_down])
async def test_a_get_of_a_replica_that_ends_is_asked_again_elsewhere(
    door: Door, answer: Answer
) -> None:
    """A GET whose replica dies or answers 503 is answered by the other one."""
    door.replicas[0].answer = answer

    for _ in range(4):
        async with door.client.get(door.url("/api/v1/live/generate")) as response:
            assert await response.text() == "two"


async def test_an_outage_of_both_keeps_their_own_answer(door: Door) -> None:
    """If both replicas answer 503, the client gets their answer."""
    door.both(_shutting_down)

    for _ in range(10):
        async with door.client.get(door.url("/api/v1/live/generate")) as response:
            assert response.status == 503
            problem = await response.json(content_type="application/problem+json")
            assert problem == {"code": "shutting_down"}


async def test_a_picture_that_breaks_off_is_cut(door: Door) -> None:
    """A body shorter than its length breaks the client's connection too."""

    async def short(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100000"})
        await response.prepare(request)
        await response.write(b"only the beginning")
        assert request.transport
        request.transport.abort()
        return response

    door.both(short)

    async with door.client.get(door.url("/api/v1/live/generate")) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_events_are_passed_on_one_by_one(door: Door) -> None:
    """Nginx passes each server-sent event on without delay."""
    first_was_read = asyncio.Event()

    async def states(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"event: state\ndata: running\n\n")
        await first_was_read.wait()
        await response.write(b"event: state\ndata: done\n\n")
        return response

    door.both(states)
    url = door.url("/api/v1/generations/8a0bb4a5-6e5e-4c0b-9d7a-4a3f2c1d0e9f/events")

    async with door.client.get(url) as response:
        assert b"running" in await response.content.readuntil(b"\n\n")
        first_was_read.set()
        assert b"done" in await response.content.read()
