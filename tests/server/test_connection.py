from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from app.server import listener
from app.server.parser_refusals import MAX_FIELD_BYTES, MAX_FIELDS, MAX_TARGET_BYTES
from tests.server.frame import Answer, framed, get, wire

if TYPE_CHECKING:
    from tests.server.frame import Frame, Wire


async def hello(request: web.Request) -> web.Response:
    """Answer with the length of the target."""
    return web.json_response(len(request.raw_path))


async def upload(request: web.Request) -> web.Response:
    """Answer with the length of the body."""
    return web.json_response(len(await request.read()))


ROUTES = (web.get("/{name}", hello), web.post("/{name}", upload))

SECRET = "a-lighthouse-in-a-storm"

MALFORMED = {
    "no HTTP at all": f"{SECRET}\r\n\r\n".encode(),
    "an unknown method": f"PAINT /{SECRET} HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "a TLS greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a space in the target": f"GET /{SECRET} x HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "another version": f"GET /{SECRET} HTTP/9.9\r\nHost: a\r\n\r\n".encode(),
    "a header without a colon": get("/a", SECRET),
    "a space before the colon": get("/a", f"X-Y : {SECRET}"),
    "a control character": get("/a", f"X-Y: {SECRET}\x01"),
    "no host": b"GET /a HTTP/1.1\r\n\r\n",
    "two hosts": get("/a", "Host: b"),
    "two lengths": get("/a", "Content-Length: 1", "Content-Length: 2"),
    "a length that is no number": get("/a", "Content-Length: x", method="POST"),
    "length and chunks": get(
        "/a", "Content-Length: 5", "Transfer-Encoding: chunked", method="POST"
    ),
    "an unknown coding": get("/a", "Transfer-Encoding: storm", method="POST"),
    "many headers": get("/a", *[f"X-{n}: {n}" for n in range(MAX_FIELDS + 1)]),
    "a target of another scheme": f"GET {SECRET} HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
}


def assert_is_refusal(answer: Answer, status: int, code: str) -> None:
    """Check a refusal of the parser."""
    assert (answer.status, answer.problem["code"]) == (status, code)
    assert answer.problem["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["server"] == "paintonce"
    assert answer.headers["x-request-id"] == answer.problem["request_id"]
    assert answer.headers["connection"] == "close"
    assert SECRET.encode() not in answer.body


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_not_http_is_a_problem(
    request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A malformed request is a problem that quotes nothing, and is counted."""
    caplog.set_level("DEBUG")
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        assert_is_refusal(await line.ask(request_bytes), 400, "malformed_request")
        assert await line.is_closed()
        labels = {"route": "unmatched", "method": "other", "status": "400"}
        assert frame.count("paintonce_requests_total", **labels) == 1
    assert SECRET not in caplog.text


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
async def test_a_refusal_speaks_the_clients_http(version: str) -> None:
    """A refusal has the HTTP version of its request."""
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        await line.send(f"PAINT /a {version}\r\nHost: a\r\n\r\n".encode())
        first = await line.reader.readline()

    assert first == f"{version} 400 Bad Request\r\n".encode()


async def test_a_target_may_be_as_long_as_promised() -> None:
    """A target of 65,536 bytes is read, in one piece or in many."""
    target = "/" + "a" * (MAX_TARGET_BYTES - 1)
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        assert (await line.ask(get(target))).problem == MAX_TARGET_BYTES

        request = get(target)
        for at in range(0, len(request), 10_000):
            await line.send(request[at : at + 10_000])
        assert (await line.answer()).problem == MAX_TARGET_BYTES


@pytest.mark.parametrize("beyond", [1, 2_000_000])
async def test_a_longer_target_is_refused(beyond: int) -> None:
    """A longer target is 414, even while the client is still sending."""
    target = "/" + "a" * (MAX_TARGET_BYTES - 1 + beyond)
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        answer = await line.ask(get(target))

        assert_is_refusal(answer, 414, "uri_too_long")
        assert await line.is_closed()


@pytest.mark.parametrize("pieces", [1, 7])
async def test_a_field_may_be_as_large_as_all_cookies_of_a_host(pieces: int) -> None:
    """A field of 32 KiB is read, and a larger one is refused by its name."""
    fits = get("/a", f"Cookie: {'a' * (MAX_FIELD_BYTES - len('Cookie'))}")
    beyond = get("/a", "Accept: */*", f"Cookie: {SECRET}{'a' * MAX_FIELD_BYTES}")
    size = len(beyond) // pieces + 1
    async with framed(*ROUTES) as frame:
        async with wire(frame.port) as line:
            assert (await line.ask(fits)).status == 200
        async with wire(frame.port) as line:
            for at in range(0, len(beyond), size):
                await line.send(beyond[at : at + size])
                await asyncio.sleep(0)
            answer = await line.answer()

    assert_is_refusal(answer, 431, "headers_too_large")
    assert answer.problem["detail"] == "Cookie has more than 32768 bytes."


FRONT = "/v1/images/generations"
_LONG = "a" * (2 * MAX_FIELD_BYTES)
REFUSED_BELOW_V1 = {
    "a long target": (get(f"{FRONT}?{'a' * MAX_TARGET_BYTES}"), 414, "uri_too_long"),
    "a large field": (get(FRONT, f"Cookie: {_LONG}"), 431, "headers_too_large"),
    "no host": (f"GET {FRONT} HTTP/1.1\r\n\r\n".encode(), 400, "malformed_request"),
    "an unknown method": (get(FRONT, method="PAINT"), 400, "malformed_request"),
    "two lengths": (
        get("/v1", "Content-Length: 1", "Content-Length: 2", method="POST"),
        *(400, "malformed_request"),
    ),
    "empty lines before": (
        b"\r\n\r\n" + get(FRONT, f"X-Y : {SECRET}"),
        *(400, "malformed_request"),
    ),
    "a whole address": (
        get(f"http://a.example{FRONT}", f"Cookie: {_LONG}"),
        *(431, "headers_too_large"),
    ),
    "an expectation": (get(FRONT, "Expect: x"), 417, "expectation_failed"),
    "a method of others": (get(FRONT, method="PUT"), 405, "method_not_allowed"),
    "an unknown path": (get("/v1/audio"), 404, "not_found"),
}


@pytest.mark.parametrize("pieces", [1, 5])
@pytest.mark.parametrize("case", REFUSED_BELOW_V1)
async def test_refusals_below_v1_are_openais(case: str, pieces: int) -> None:
    """A malformed request below `/v1` gets OpenAI's envelope."""
    request, status, code = REFUSED_BELOW_V1[case]
    size = len(request) // pieces + 1
    async with (
        framed(web.get(FRONT, hello), web.post(FRONT, upload)) as frame,
        wire(frame.port) as line,
    ):
        for at in range(0, len(request), size):
            await line.send(request[at : at + size])
            await asyncio.sleep(0.001)
        answer = await line.answer()

    error = answer.problem["error"]
    assert (answer.status, error["code"]) == (status, code)
    assert (error["type"], error["param"]) == ("invalid_request_error", None)
    assert error["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert SECRET.encode() not in answer.body


@pytest.mark.parametrize("target", ["/v10/a", "/api/v1/live", "/?/v1/", "/a/v1/b"])
async def test_refusals_of_other_paths_are_problems(target: str) -> None:
    """A malformed request to any other path gets a problem."""
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        answer = await line.ask(get(target, f"X-Y : {SECRET}"))

    assert_is_refusal(answer, 400, "malformed_request")


async def answer_to_nonsense(frame: Frame, line: Wire, path: str) -> Answer:
    """Send a chunk of a body, and then no chunk; return the answer."""
    await line.send(get(path, "Transfer-Encoding: chunked", method="POST"))
    await line.send(b"5\r\nstorm\r\n")
    # The handler reads before the nonsense comes: a probe on another connection
    # has been answered by then.
    async with wire(frame.port) as other:
        await other.ask(get(path))
    await line.send(b"nonsense\r\n")
    async with asyncio.timeout(5):
        return await line.answer()


async def test_a_body_below_v1_that_breaks_off_in_nonsense_is_openais() -> None:
    """A malformed chunk below `/v1` gets OpenAI's envelope."""
    async with (
        framed(web.post(FRONT, upload)) as frame,
        wire(frame.port) as line,
    ):
        answer = await answer_to_nonsense(frame, line, FRONT)

    assert (answer.status, answer.problem["error"]["code"]) == (
        400,
        "malformed_request",
    )


async def test_a_head_that_does_not_end_is_refused() -> None:
    """A head of endless small fields is refused."""
    field = b"X-%d: " + b"a" * 30_000 + b"\r\n"
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        await line.send(b"GET /a HTTP/1.1\r\nHost: a\r\n")
        for number in range(10):
            await line.send(field % number)
        answer = await line.answer()

    assert_is_refusal(answer, 431, "headers_too_large")


@pytest.mark.parametrize(
    "target", ["/Zürich", "/a?prompt=雪", "/a?prompt=a red fox"], ids=ascii
)
async def test_a_target_that_is_not_encoded_is_explained(target: str) -> None:
    """A target with raw spaces gets an error that explains percent-encoding."""
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        answer = await line.ask(get(target))

    assert_is_refusal(answer, 400, "malformed_request")
    assert "percent-encode" in answer.problem["detail"]


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
async def test_what_follows_an_upgrade_is_answered(protocol: str) -> None:
    """Requests behind an Upgrade header are answered as HTTP."""
    upgrade = get("/ab", "Connection: Upgrade", f"Upgrade: {protocol}")
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        await line.send(upgrade + get("/abc") + upgrade)
        bodies = [(await line.answer()).body for _ in range(3)]
        bodies.append((await line.ask(get("/abcd"))).body)

    assert bodies == [b"3", b"4", b"3", b"5"]


@pytest.mark.parametrize("cut_at", [None, -1, 3, 120, 140])
@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
async def test_what_follows_an_upgrade_with_a_body_is_answered(
    protocol: str, cut_at: int | None
) -> None:
    """Requests behind a body with an Upgrade header are answered, however cut."""
    upgrade = "Connection: Upgrade", f"Upgrade: {protocol}"
    sized = get("/a", *upgrade, "Content-Length: 9", method="POST") + b"st\r\n\r\norm"
    chunked = get("/a", *upgrade, "Transfer-Encoding: chunked", method="POST")
    chunked += b"5\r\nstorm\r\n0\r\n\r\n"
    sent = sized + get("/abc") + chunked + get("/abcd")
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        await line.send(sent[:cut_at])
        if cut_at is not None:
            # Another connection's answer: what was sent here has been read by then.
            async with wire(frame.port) as other:
                await other.ask(get("/a"))
            await line.send(sent[cut_at:])
        async with asyncio.timeout(5):
            bodies = [(await line.answer()).body for _ in range(4)]
            bodies.append((await line.ask(get("/abcde"))).body)

    assert bodies == [b"9", b"4", b"5", b"5", b"6"]


@pytest.mark.parametrize("near", ["end of the head", "end of the body"])
async def test_a_body_that_ends_like_a_head_is_read_as_sent(near: str) -> None:
    """A body that ends like a head is read whole, wherever the reads cut it."""
    body = b"storm" * 40 + b"\r\n\r\n"
    head = get("/a", f"Content-Length: {len(body)}", method="POST")
    upgrade = get("/abc", "Connection: Upgrade", "Upgrade: h2c")
    sent = head + body + upgrade + get("/abcd")
    middle = len(head) + (len(body) if near == "end of the body" else 0)
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        for cut_at in range(middle - 5, middle + 6):
            await line.send(sent[:cut_at])
            # Another connection's answer: what was sent here has been read by then.
            async with wire(frame.port) as other:
                await other.ask(get("/a"))
            await line.send(sent[cut_at:])
            async with asyncio.timeout(5):
                bodies = [(await line.answer()).body for _ in range(3)]
            assert bodies == [b"%d" % len(body), b"4", b"5"], cut_at


async def test_an_unknown_expectation_is_refused() -> None:
    """An unknown expectation is 417, and 100-continue is answered."""
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        refused = await line.ask(get("/a", "Expect: nonsense"))
        await line.send(
            get("/a", "Expect: 100-continue", "Content-Length: 5", method="POST")
        )
        go_on = await line.reader.readuntil(b"\r\n\r\n")
        await line.send(b"storm")

        assert (refused.status, refused.problem["code"]) == (417, "expectation_failed")
        assert go_on == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await line.answer()).body == b"5"


async def test_a_body_that_breaks_off_in_nonsense_is_refused_at_once() -> None:
    """A malformed chunk is refused at once."""
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        answer = await answer_to_nonsense(frame, line, "/a")

        assert_is_refusal(answer, 400, "malformed_request")
        assert await line.is_closed()


async def test_a_connection_lives_on_after_ordinary_errors() -> None:
    """Pipelined requests are answered in order, errors included."""
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        await line.send(
            get("/a") + get("/no/where") + get("/bcd") + get("/e", method="PUT")
        )
        answers = [await line.answer() for _ in range(4)]

        assert [answer.status for answer in answers] == [200, 404, 200, 405]
        assert [answers[0].body, answers[2].body] == [b"2", b"4"]
        assert (await line.ask(get("/f"))).status == 200


async def test_nonsense_after_a_request_does_not_touch_its_answer() -> None:
    """A request before malformed bytes is answered."""
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        first = await line.ask(get("/a"))
        refused = await line.ask(b"storm\r\n\r\n")

        assert first.status == 200
        assert_is_refusal(refused, 400, "malformed_request")


async def test_a_compressed_body_is_not_inflated() -> None:
    """A compressed body is read without inflating it."""
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        request = get(
            "/a", "Content-Encoding: gzip", "Content-Length: 5", method="POST"
        )

        assert (await line.ask(request + b"storm")).body == b"5"


async def test_row_19_a_head_that_drips_is_cut_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A head that arrives byte by byte is cut at the deadline."""
    monkeypatch.setattr(listener, "KEEPALIVE_SECONDS", 0.5)
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        await line.send(b"GET /a HTTP/1.1\r\nX-Slow: ")

        async def drip() -> None:
            with suppress(ConnectionError):
                while True:
                    await line.send(b"a")
                    await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        try:
            async with asyncio.timeout(5):
                assert await line.reader.read(1) in {b"", b"H"}
        finally:
            dripping.cancel()
            await asyncio.wait([dripping])
