from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta

import pytest
from aiohttp import web

from app.errors import CacheUnavailable, InvalidParameter, NotFound, ServiceError
from app.http.picture_headers import LIVE_VARY
from app.server.request_context import ERROR_HEADERS
from app.telemetry import REQUEST_ID
from app.urls import LIVE as LIVE_PATH
from tests.server.frame import framed, get, wire

PROMPT = "a lighthouse in a storm"


async def hello(request: web.Request) -> web.Response:
    """Answer with the request id that is in the logs."""
    return web.json_response({"logged": REQUEST_ID.get()})


async def echo_length(request: web.Request) -> web.Response:
    """Answer with the length of the body."""
    return web.json_response(len(await request.read()))


def failing(error: Exception) -> web.RouteDef:
    """Return a route whose handler raises *error*."""

    async def fail(request: web.Request) -> web.Response:
        raise error

    return web.get("/fails/{name}", fail, allow_head=False)


async def test_a_well_formed_request_id_is_kept() -> None:
    """A well-formed request id is in the answer and in the logs."""
    async with framed(web.get("/", hello)) as frame, wire(frame.port) as line:
        answer = await line.ask(get("/", "X-Request-Id: storm-1.a_B"))

        assert answer.headers["x-request-id"] == "storm-1.a_B"
        assert answer.problem == {"logged": "storm-1.a_B"}


@pytest.mark.parametrize("given", ["", "a b", "a" * 129, "ö", "<script>", "a\tb"])
async def test_any_other_request_id_is_replaced(given: str) -> None:
    """A malformed request id is replaced."""
    async with framed(web.get("/", hello)) as frame, wire(frame.port) as line:
        answer = await line.ask(get("/", f"X-Request-Id: {given}"))

        own = answer.headers["x-request-id"]
        assert own != given
        assert answer.problem == {"logged": own}


async def test_ids_of_one_connection_differ() -> None:
    """Each request of a connection gets its own id."""
    async with framed(web.get("/", hello)) as frame, wire(frame.port) as line:
        ids = {(await line.ask(get("/"))).headers["x-request-id"] for _ in range(5)}

        assert len(ids) == 5


async def test_no_answer_has_versions() -> None:
    """The Server header names the service without a version, on errors as well."""
    async with framed(web.get("/", hello)) as frame, wire(frame.port) as line:
        for request in (get("/"), get("/nowhere"), get("/", method="PUT")):
            answer = await line.ask(request)

            assert answer.headers["server"] == "paintonce"


async def test_errors_of_the_service_are_problems() -> None:
    """An error is a problem with its parameter and request id, not cacheable."""
    error = InvalidParameter("width", "width goes with height.")
    async with framed(failing(error)) as frame, wire(frame.port) as line:
        answer = await line.ask(get("/fails/1", "X-Request-Id: one"))

        assert answer.status == 400
        assert answer.problem == {
            "type": "urn:paintonce:problem:invalid_parameter",
            "title": "Invalid parameter",
            "status": 400,
            "detail": "width goes with height.",
            "code": "invalid_parameter",
            "request_id": "one",
            "parameter": "width",
        }
        assert answer.headers["cache-control"] == "no-store"


async def test_the_frameworks_refusals_are_problems_on_a_living_connection() -> None:
    """404, 405 and 417 are problems, and the connection stays open."""
    async with framed(web.get("/", hello)) as frame, wire(frame.port) as line:
        missing = await line.ask(get("/nowhere"))
        method = await line.ask(get("/", method="DELETE"))
        expecting = await line.ask(get("/", "Expect: a miracle"))
        served = await line.ask(get("/"))

    assert missing.problem["code"] == "not_found"
    assert (method.status, method.problem["code"]) == (405, "method_not_allowed")
    assert method.headers["allow"] == "GET, HEAD"
    assert expecting.problem["code"] == "expectation_failed"
    assert expecting.headers["x-request-id"] == expecting.problem["request_id"]
    assert served.status == 200


async def test_a_problem_of_head_has_no_body() -> None:
    """A problem of HEAD has no body, and the connection stays usable."""
    async with framed(web.get("/", hello)) as frame, wire(frame.port) as line:
        await line.send(get("/nowhere", method="HEAD") + get("/"))
        head = await line.answer(to_head=True)

        assert head.status == 404
        assert (await line.answer()).status == 200


async def test_an_unknown_error_is_logged_and_not_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An unknown error is a 500 without details, and logged with its trace."""
    async with framed(failing(KeyError(PROMPT))) as frame, wire(frame.port) as line:
        answer = await line.ask(get("/fails/1"))

    assert (answer.status, answer.problem["code"]) == (500, "internal_error")
    assert PROMPT.encode() not in answer.body
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


async def test_an_outage_is_logged_as_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A 5xx is logged with its code and cause."""
    away = CacheUnavailable("Redis is unavailable.", retry_after=timedelta(seconds=7))
    away.__cause__ = ConnectionRefusedError("redis.internal:6379")
    async with framed(failing(away)) as frame, wire(frame.port) as line:
        answer = await line.ask(get("/fails/1"))

    assert answer.headers["retry-after"] == "7"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert vars(record)["code"] == "cache_unavailable"
    assert vars(record)["cause"] == "ConnectionRefusedError"
    assert vars(record)["route"] == "/fails/{name}"


async def test_a_failure_that_a_handler_returns_is_logged_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A 503 that a handler returns is logged."""

    async def returned(request: web.Request) -> web.Response:
        """Return a 503."""
        return web.Response(status=503)

    async with framed(web.get("/", returned)) as frame, wire(frame.port) as line:
        await line.ask(get("/"))

    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_requests_are_counted_by_template_and_never_by_address() -> None:
    """Metrics have the route's template, never an id or an unknown path."""
    async with framed(failing(NotFound("Nothing."))) as frame, wire(frame.port) as line:
        await line.ask(get("/fails/secret-id"))
        await line.ask(get("/an/invented/path"))
        await line.ask(get("/fails/x", method="PROPFIND"))

        counted = [
            ("/fails/{name}", "GET", "404"),
            ("unmatched", "GET", "404"),
            ("unmatched", "other", "405"),
        ]
        for route, method, status in counted:
            labels = {"route": route, "method": method, "status": status}
            assert frame.count("paintonce_requests_total", **labels) == 1
        seconds = frame.count("paintonce_request_seconds_count", route="/fails/{name}")
        assert seconds == 1
        assert b"secret-id" not in frame.metrics.render()
        assert b"invented" not in frame.metrics.render()


@pytest.mark.parametrize("refuses", [False, True])
async def test_a_client_that_leaves_is_no_error(
    caplog: pytest.LogCaptureFixture, *, refuses: bool
) -> None:
    """A client that leaves counts as 499 and is not logged, even if it is refused."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def endless(request: web.Request) -> web.Response:
        """Wait for ever; without the client, end or refuse what it asked for."""
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if refuses:
                raise NotFound("There is no such entry.") from None
            raise
        finally:
            ended.set()
        raise AssertionError

    async with framed(web.get("/slow", endless)) as frame:
        async with wire(frame.port) as line:
            await line.send(get("/slow"))
            await began.wait()
        await ended.wait()
        await frame.lifecycle.finish()

        labels = {"route": "/slow", "method": "GET", "status": "499"}
        assert frame.count("paintonce_requests_total", **labels) == 1
    assert not caplog.records


@pytest.mark.parametrize("error", [NotFound("Nothing."), KeyError("x")])
async def test_errors_of_live_generation_vary_by_key(error: Exception) -> None:
    """Errors of live generation vary by key, others do not."""

    async def fail(request: web.Request) -> web.Response:
        """Raise the error of this test."""
        raise error

    async with framed(web.get(LIVE_PATH, fail)) as frame, wire(frame.port) as line:
        failed = await line.ask(get(LIVE_PATH))
        method = await line.ask(get(LIVE_PATH, method="DELETE"))
        elsewhere = await line.ask(get("/nowhere"))

        assert failed.headers["vary"] == method.headers["vary"] == LIVE_VARY
        assert "vary" not in elsewhere.headers


async def test_a_handler_chooses_the_headers_of_its_errors() -> None:
    """A handler may set the headers of its errors."""

    async def fail(request: web.Request) -> web.Response:
        """Set headers of the error, then raise."""
        request[ERROR_HEADERS] = {"X-Cache-Status": "MISS"}
        raise NotFound("Nothing.")

    async with framed(web.get(LIVE_PATH, fail)) as frame, wire(frame.port) as line:
        answer = await line.ask(get(LIVE_PATH))

        assert answer.headers["x-cache-status"] == "MISS"
        assert "vary" not in answer.headers


async def test_a_failure_in_the_middle_of_an_answer_cuts_it() -> None:
    """A failure in the middle of a body cuts the connection."""

    async def breaks(request: web.Request) -> web.StreamResponse:
        """Announce ten bytes, send five and fail."""
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"12345")
        raise ServiceError("Something broke.")

    async with framed(web.get("/", breaks)) as frame, wire(frame.port) as line:
        await line.send(get("/"))
        head = await line.reader.readuntil(b"\r\n\r\n")
        rest = b""
        with contextlib.suppress(ConnectionResetError):
            rest = await line.reader.read(-1)

        assert b" 200 " in head
        assert len(rest) <= 5
        assert frame.count("paintonce_cut_bodies_total", reason="short") == 1


async def test_answers_of_a_draining_replica_close_their_connection() -> None:
    """A draining replica closes each connection after its answer."""
    async with framed(web.post("/", echo_length)) as frame, wire(frame.port) as line:
        frame.lifecycle.drain()
        body = b"storm"
        answer = await line.ask(
            get("/", f"Content-Length: {len(body)}", method="POST") + body
        )

        assert answer.headers["connection"] == "close"
        assert answer.body == b"5"
        assert await line.is_closed()
