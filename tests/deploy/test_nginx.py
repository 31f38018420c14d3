"""Requests that nginx passes on, refuses, or hides from the outside."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from tests.deploy.door import LONGEST_TARGET, MIB

if TYPE_CHECKING:
    from yarl import URL

    from tests.deploy.door import Door


def _target(length: int) -> str:
    """Return a live target of *length* bytes."""
    start = "/api/v1/live/generate?prompt="
    return start + "a" * (length - len(start))


async def test_the_longest_prompt_reaches_a_replica(door: Door) -> None:
    """A request target of 64 KB reaches a replica unchanged."""
    target = _target(LONGEST_TARGET)

    async with door.client.get(door.url(target)) as response:
        assert response.status == 200

    assert door.seen() == [f"GET {target}"]


async def test_a_longer_target_is_refused_with_a_problem(door: Door) -> None:
    """A target beyond the service's bound is a 414 problem from nginx."""
    async with door.client.get(door.url(_target(70_000))) as response:
        problem = await response.json(content_type="application/problem+json")

    assert response.status == problem["status"] == 414
    assert problem["code"] == "uri_too_long"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Request-Id"] == problem["request_id"]


@pytest.mark.parametrize(
    "size", [16 * MIB + 1024, 16 * MIB * 4 // 3 + 1024], ids=["multipart", "data URL"]
)
async def test_the_largest_picture_is_uploaded_whole(door: Door, size: int) -> None:
    """A picture of 16 MiB passes nginx as a form and as a data URL."""
    body = b"\x89" * size

    url = door.url("/api/images")
    async with door.client.post(url, data=io.BytesIO(body)) as response:
        assert response.status == 200

    assert response.headers["X-Body-Digest"] == hashlib.sha256(body).hexdigest()


async def test_a_body_beyond_every_limit_is_refused_unread(door: Door) -> None:
    """A body that is too large for the service is a 413 before it is sent."""
    headers = {"Content-Length": str(100 * MIB), "Expect": "100-continue"}
    url = door.url("/api/images")

    async with door.client.put(url, headers=headers, data=b"") as response:
        problem = await response.json(content_type="application/problem+json")

    assert response.status == 413
    assert problem["code"] == "payload_too_large"
    assert not door.seen()


_HOST = b"HTTP/1.1\r\nHost: a"


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET /%00 " + _HOST, 400, "malformed_request"),
        (b"GET / " + _HOST + b"\r\nHost: b", 400, "malformed_request"),
        (b"GET / " + _HOST + b"\r\nX: " + b"a" * 70_000, 431, "headers_too_large"),
        (b"GET / HTTP/3.0\r\nHost: a", 400, "malformed_request"),
        (
            b"POST / " + _HOST + b"\r\nTransfer-Encoding: gzip",
            400,
            "malformed_request",
        ),
        (b"TRACE / " + _HOST, 405, "method_not_allowed"),
    ],
    ids=["target", "hosts", "headers", "version", "coding", "TRACE"],
)
async def test_what_nginx_does_not_pass_on_is_a_problem(
    door: Door, head: bytes, status: int, code: str
) -> None:
    """A refusal of nginx is a problem document like the service's."""
    answer, _, body = (await _raw(door, head)).partition(b"\r\n\r\n")
    problem = json.loads(body)

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Type: application/problem+json" in answer
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["type"] == f"urn:paintonce:problem:{code}"
    assert f"X-Request-Id: {problem['request_id']}".encode() in answer
    assert (b"Allow: " in answer) == (status == 405)
    assert not door.seen()


async def _raw(door: Door, head: bytes) -> bytes:
    """Send *head* unchanged; return the whole response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.nginx.port)
    writer.write(head + b"\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_refusal_keeps_the_id_that_the_request_has(door: Door) -> None:
    """A refusal of nginx keeps a valid request id and replaces any other."""
    url = door.url("/api/images")
    for sent, kept in (("storm-7", True), ("no id at all", False)):
        headers = {"X-Request-Id": sent, "Content-Length": str(100 * MIB)}
        async with door.client.put(url, headers=headers, data=b"") as response:
            problem = await response.json(content_type="application/problem+json")

        assert response.headers["X-Request-Id"] == problem["request_id"]
        assert (problem["request_id"] == sent) is kept


async def test_one_address_can_not_take_every_connection(door: Door) -> None:
    """Beyond 512 concurrent requests an address gets 429, and others are served."""
    full, go_on = asyncio.Event(), asyncio.Event()

    async def hold(request: web.Request) -> web.Response:
        if len(door.seen()) == 512:
            full.set()
        await go_on.wait()
        return web.Response()

    door.both(hold)
    url = door.url("/api/v1/live/generate")
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as crowd,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
        ) as stranger,
    ):
        held = [asyncio.create_task(_status(crowd, url)) for _ in range(512)]
        async with asyncio.timeout(20):
            await full.wait()
        async with crowd.get(url) as refused:
            problem = await refused.json(content_type="application/problem+json")
        asked = asyncio.create_task(_status(stranger, url))
        go_on.set()

        assert (refused.status, problem["code"]) == (429, "rate_limited")
        assert refused.headers["Retry-After"] == "1"
        assert await asked == 200
        assert set(await asyncio.gather(*held)) == {200}


async def _status(client: aiohttp.ClientSession, url: URL) -> int:
    async with client.get(url) as response:
        return response.status


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/live/generate?prompt=a%20red%2Ffox&&seed=+0",
        "/api/v1/images/acme/shop/generated/%2e%2E%2Fx.png",
        "/api/v1/images//acme/shop/x.png",
    ],
)
async def test_a_target_arrives_as_it_was_sent(door: Door, target: str) -> None:
    """Nginx passes a target on without decoding it or merging slashes."""
    async with door.client.get(door.url(target)) as response:
        assert response.status == 200

    assert door.seen() == [f"GET {target}"]


async def test_no_answer_has_the_version_of_the_server(door: Door) -> None:
    """The Server header has no version."""
    for target in ("/healthz", "/%00", _target(70_000)):
        async with door.client.get(door.url(target)) as response:
            assert response.headers["Server"] == "nginx"


async def test_a_claimed_address_does_not_reach_a_replica(door: Door) -> None:
    """Nginx replaces the client's forwarding headers with the address that it sees."""
    lies = {
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Host": "evil.example",
        "X-Real-IP": "203.0.113.7",
        "Forwarded": "for=203.0.113.7",
    }

    async with door.client.get(door.url("/healthz"), headers=lies) as response:
        assert response.status == 200

    (sent,) = door.replicas[0].headers + door.replicas[1].headers
    assert sent["X-Forwarded-For"] == "127.0.0.1"
    assert not {"X-Forwarded-Host", "X-Real-IP", "Forwarded"} & set(sent)


async def test_the_metrics_of_a_replica_are_not_for_the_outside(door: Door) -> None:
    """/metrics is 403 through nginx."""
    from_elsewhere = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))

    async with (
        aiohttp.ClientSession(connector=from_elsewhere) as stranger,
        stranger.get(door.url("/metrics")) as response,
    ):
        problem = await response.json(content_type="application/problem+json")

    assert response.status == 403
    assert problem["code"] == "forbidden"


async def test_no_prompt_is_written_down(door: Door) -> None:
    """Nginx logs no query, even if no replica answers."""
    url = door.url("/api/v1/live/generate?prompt=a+lighthouse+in+a+storm&sig=abc")
    async with door.client.get(url):
        pass
    for replica in door.replicas:
        await replica.stop()
    async with door.client.get(url) as response:
        assert response.status == 503
    async with door.client.get(door.url("/" + "lighthouse" * 7000)):
        pass

    logs = door.nginx.logs()
    assert '"path":"/api/v1/live/generate"' in logs
    assert "lighthouse" not in logs
