"""Transient images over HTTP: uploaded, fetched by anyone, and deleted."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock
from uuid import UUID, uuid4

import PIL.Image
import pytest

from tests.server.frame import wire
from tests.transient_images.service import KEY, SHOP, STUDIO, Paintonce, running
from tests.transient_images.stores import fill, keys_left, picture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

from tests.servers import redis_server

SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
HTML = b"<!doctype html><title>a lighthouse.png</title><script>alert(1)</script>"


@pytest.fixture
async def paintonce(redis_url: str) -> AsyncIterator[Paintonce]:
    """Run the service with keys, 100 kB pictures and a quota of 1 MB."""
    async with running(redis_url) as service:
        yield service


def painted(form: str) -> bytes:
    """Return a small decodable picture in *form*."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 6), (200, 80, 40)).save(buffer, form)
    return buffer.getvalue()


def data_url(data: bytes, media_type: str = "image/png") -> str:
    """Return *data* as a base64 data URL."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def form(*parts: tuple[str, bytes]) -> bytes:
    """Return a multipart body with the boundary `storm`."""
    body = b""
    for name, data in parts:
        head = f'Content-Disposition: form-data; name="{name}"; filename="a.png"'
        body += b"--storm\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n"
    return body + b"--storm--\r\n"


JSON = {"Content-Type": "application/json"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=storm"}
PNG = {"Content-Type": "image/png"}


def as_json(document: object) -> bytes:
    """Return *document* as a JSON body."""
    return json.dumps(document).encode()


async def post(
    service: Paintonce, headers: dict[str, str], body: Any, path: str = "/api/images"
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Send a POST; return status, document and headers of its answer."""
    async with service.client.post(
        f"{service.url}{path}", data=body, headers=headers
    ) as answer:
        return answer.status, await answer.json(content_type=None), dict(answer.headers)


@pytest.mark.parametrize(
    ("pillows_name", "media_type", "extension"),
    [
        ("PNG", "image/png", "png"),
        ("JPEG", "image/jpeg", "jpg"),
        ("WEBP", "image/webp", "webp"),
        ("GIF", "image/gif", "gif"),
        ("AVIF", "image/avif", "avif"),
    ],
)
async def test_a_picture_is_lent_an_address(
    paintonce: Paintonce, pillows_name: str, media_type: str, extension: str
) -> None:
    """An upload gets a public address; its type comes from its bytes."""
    data = painted(pillows_name)
    status, lent, headers = await post(
        paintonce, {**SHOP, "Content-Type": "image/x-whatever"}, data
    )

    assert status == 201
    assert UUID(lent["id"]).version == 4
    assert lent == {
        "id": lent["id"],
        "url": f"https://paintonce.example/api/images/{lent['id']}.{extension}",
        "content_type": media_type,
        "size": len(data),
        "expires_at": None,
        "reachable": True,
    }
    assert headers["Location"] == f"/api/images/{lent['id']}.{extension}"
    assert headers["Cache-Control"] == "no-store"

    for path in (headers["Location"], f"/api/images/{lent['id']}"):
        async with paintonce.client.get(f"{paintonce.url}{path}") as answer:
            assert answer.status == 200
            assert await answer.read() == data
            assert answer.headers["Content-Type"] == media_type
            assert answer.headers["Content-Length"] == str(len(data))
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Accept-Ranges"] == "bytes"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (PNG, picture(50_000)),
        ({"Content-Type": "IMAGE/PNG; charset=binary"}, picture(50_000)),
        (JSON, as_json({"data_url": data_url(picture(50_000))})),
        (JSON, as_json({"data_url": data_url(picture(50_000), "text/plain")})),
        (MULTIPART, form(("file", picture(50_000)))),
    ],
)
async def test_three_forms_of_an_upload(
    paintonce: Paintonce, headers: dict[str, str], body: bytes
) -> None:
    """Raw, data URL and form uploads store the same bytes."""
    status, lent, _ = await post(paintonce, {**SHOP, **headers}, body)

    assert (status, lent["size"]) == (201, 50_000)
    async with paintonce.client.get(
        f"{paintonce.url}/api/images/{lent['id']}"
    ) as answer:
        assert await answer.read() == picture(50_000)


LARGE = picture(100_001)
FITS = picture(100_000)

REFUSALS = [
    # The checks run in this order: the first one that fails is reported.
    ("no key", {"Content-Encoding": "gzip"}, SVG, 401, "unauthenticated"),
    ("encoded", {**SHOP, **PNG, "Content-Encoding": "gzip"}, LARGE, 415, None),
    ("identity", {**SHOP, **PNG, "Content-Encoding": "identity"}, FITS, 415, None),
    ("text", {**SHOP, "Content-Type": "text/plain"}, LARGE, 415, None),
    ("no type", {**SHOP, "Content-Type": ""}, picture(), 415, None),
    ("octets", {**SHOP, "Content-Type": "application/octet-stream"}, FITS, 415, None),
    ("svg", {**SHOP, "Content-Type": "image/svg+xml"}, LARGE, 415, None),
    ("svg as png", {**SHOP, **PNG}, SVG, 415, None),
    ("html as png", {**SHOP, **PNG}, HTML, 415, None),
    ("html in a form", {**SHOP, **MULTIPART}, form(("file", HTML)), 415, None),
    (
        "html in json",
        {**SHOP, **JSON},
        as_json({"data_url": data_url(HTML)}),
        415,
        None,
    ),
    ("nothing", {**SHOP, **PNG}, b"", 415, None),
    ("empty file", {**SHOP, **MULTIPART}, form(("file", b"")), 415, None),
    ("empty url", {**SHOP, **JSON}, as_json({"data_url": "data:,"}), 415, None),
    ("too large", {**SHOP, **PNG}, LARGE, 413, "payload_too_large"),
    ("large url", {**SHOP, **JSON}, as_json({"data_url": data_url(LARGE)}), 413, None),
    ("large file", {**SHOP, **MULTIPART}, form(("file", LARGE)), 413, None),
    ("huge json", {**SHOP, **JSON}, b" " * 300_000, 413, None),
    ("huge form", {**SHOP, **MULTIPART}, b" " * 200_000, 413, None),
    ("no project", {"X-API-Key": KEY, **PNG}, FITS, 400, "X-Project"),
    ("no json", {**SHOP, **JSON}, b"{", 400, "malformed_request"),
    ("no body", {**SHOP, **JSON}, b"", 400, "malformed_request"),
    ("no object", {**SHOP, **JSON}, b"[]", 400, "malformed_request"),
    ("deep json", {**SHOP, **JSON}, b"[" * 90_000, 400, "malformed_request"),
    ("no url", {**SHOP, **JSON}, b"{}", 400, "data_url"),
    ("null url", {**SHOP, **JSON}, as_json({"data_url": None}), 400, "data_url"),
    (
        "http url",
        {**SHOP, **JSON},
        as_json({"data_url": "http://a.b"}),
        400,
        "data_url",
    ),
    (
        "bad base64",
        {**SHOP, **JSON},
        as_json({"data_url": "data:image/png;base64,iVBOR"}),
        400,
        "data_url",
    ),
    (
        "more than a url",
        {**SHOP, **JSON},
        as_json({"data_url": data_url(picture()), "ttl": 5}),
        400,
        "ttl",
    ),
    (
        "a url twice",
        {**SHOP, **JSON},
        b'{"data_url": "data:,a", "data_url": "data:,b"}',
        400,
        "malformed_request",
    ),
    ("no file", {**SHOP, **MULTIPART}, form(), 400, "file"),
    ("other file", {**SHOP, **MULTIPART}, form(("picture", FITS)), 400, "file"),
    (
        "two files",
        {**SHOP, **MULTIPART},
        form(("file", picture()), ("file", picture())),
        400,
        "file",
    ),
    ("no parts", {**SHOP, **MULTIPART}, b"a storm", 400, "malformed_request"),
    (
        "no boundary",
        {**SHOP, "Content-Type": "multipart/form-data"},
        form(("file", picture())),
        400,
        "malformed_request",
    ),
    (
        "an open end",
        {**SHOP, **MULTIPART},
        form(("file", picture()))[:-20],
        400,
        "malformed_request",
    ),
]


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [refusal[1:] for refusal in REFUSALS],
    ids=[refusal[0] for refusal in REFUSALS],
)
async def test_refusals_of_an_upload(
    paintonce: Paintonce,
    headers: dict[str, str],
    body: bytes,
    status: int,
    code: str | None,
) -> None:
    """A refused upload gets the problem of its kind and stores nothing."""
    answered, problem, sent = await post(paintonce, headers, body)

    assert (answered, problem["status"]) == (status, status)
    assert sent["Content-Type"] == "application/problem+json"
    assert sent["Cache-Control"] == "no-store"
    if code is not None:
        assert code in {problem["code"], problem.get("parameter")}
    assert await keys_left(paintonce.redis) == []


@pytest.mark.parametrize(
    "ttl", ["0", "-1", "1.5", "", "31536001", "01", "ten", "%D9%A1", "5&ttl=5"]
)
async def test_a_ttl_out_of_bounds_is_refused(paintonce: Paintonce, ttl: str) -> None:
    """A ttl out of its bounds is 400."""
    status, problem, _ = await post(
        paintonce, {**SHOP, **PNG}, picture(), f"/api/images?ttl={ttl}"
    )

    assert (status, problem["parameter"]) == (400, "ttl")


async def test_a_ttl_is_counted_from_the_upload(paintonce: Paintonce) -> None:
    """`expires_at` is the time of the upload plus the ttl, in the list as well."""
    before = datetime.now(UTC)
    lent = await paintonce.upload(picture(), "?ttl=3600")
    (listed,) = (await paintonce.listing())["images"]
    expires_at = datetime.fromisoformat(lent["expires_at"])

    assert listed["expires_at"] == lent["expires_at"]
    assert expires_at - datetime.fromisoformat(listed["created_at"]) == timedelta(
        hours=1
    )
    assert abs(expires_at - before - timedelta(hours=1)) < timedelta(seconds=5)


async def test_an_expired_picture_is_gone_and_refunded(paintonce: Paintonce) -> None:
    """An expired picture is 404 and no longer counts against the quota."""
    lent = await paintonce.upload(picture(), "?ttl=1")
    address = f"{paintonce.url}/api/images/{lent['id']}"
    async with asyncio.timeout(10):
        while True:
            async with paintonce.client.get(address) as answer:
                if answer.status == 404:
                    break
            await asyncio.sleep(0.02)
    listing = await paintonce.listing()

    assert (listing["images"], listing["quota_used_bytes"]) == ([], 0)


async def test_the_list_is_the_projects_own(paintonce: Paintonce) -> None:
    """The list has only the project's own pictures, with correct sums."""
    lent = [await paintonce.upload(picture(size)) for size in (100, 200)]
    await paintonce.upload(picture(300), **STUDIO)
    listing = await paintonce.listing()

    assert [line["id"] for line in listing["images"]] == [one["id"] for one in lent]
    assert listing["images"][0].keys() == {
        "id",
        "size",
        "content_type",
        "created_at",
        "age_seconds",
        "expires_at",
    }
    assert 0 <= listing["images"][1]["age_seconds"] < 60
    assert listing["quota_used_bytes"] == 300
    assert listing["quota_bytes"] == 1_000_000


async def test_the_quota_is_a_507(redis_url: str) -> None:
    """An upload beyond the quota is 507, and expired pictures make room."""
    async with running(redis_url, quota_bytes=250) as service:
        first, _ = [await service.upload(picture()) for _ in range(2)]
        status, problem, _ = await post(service, {**SHOP, **PNG}, picture())
        assert (status, problem["code"]) == (507, "quota_full")
        assert len((await service.listing())["images"]) == 2
        async with service.client.delete(
            f"{service.url}/api/images/{first['id']}", headers=SHOP
        ) as answer:
            assert await answer.json() == {"deleted": True}
        await service.upload(picture())


async def test_a_full_redis_is_a_507_and_serves_on(tmp_path: Path) -> None:
    """Row 9: if Redis has no memory only uploads fail."""
    with redis_server(tmp_path) as server:
        async with running(server.url) as service:
            lent = await service.upload(picture())
            await fill(service.redis)
            address = f"{service.url}/api/images/{lent['id']}"
            status, problem, _ = await post(service, {**SHOP, **PNG}, picture())
            assert (status, problem["code"]) == (507, "quota_full")
            async with service.client.get(address) as answer:
                assert await answer.read() == picture()
            async with service.client.head(address) as answer:
                assert answer.status == 200
            assert (await service.listing())["quota_used_bytes"] == 100
            async with service.client.delete(address, headers=SHOP) as answer:
                assert await answer.json() == {"deleted": True}
            assert (await service.listing())["quota_used_bytes"] == 0


async def test_an_outage_is_a_503_with_a_hint(tmp_path: Path) -> None:
    """Without Redis every route is 503 with Retry-After, and none is 404."""
    with redis_server(tmp_path) as server:
        async with running(server.url) as service:
            server.stop()
            for method in ("GET", "DELETE"):
                async with service.client.request(
                    method, f"{service.url}/api/images/{uuid4()}", headers=SHOP
                ) as answer:
                    assert answer.status == 503
                    assert "Retry-After" in answer.headers
                    assert (await answer.json())["code"] == "cache_unavailable"


@pytest.mark.parametrize(
    "name",
    [
        "0b30893e-fcf4-4516-b5fa-a97faf0352b9",
        "{id}.jpg",
        "{id}.PNG",
        "{id}.",
        "{id}.png.png",
        "{ID}",
        "{ID}.png",
        "{id}%20",
        "a-lighthouse",
        "%00",
        "..%2f{id}",
        "%ff",
    ],
)
async def test_what_is_not_an_address_is_404(paintonce: Paintonce, name: str) -> None:
    """An unknown id, a malformed id and a wrong extension are all 404."""
    lent = await paintonce.upload(picture())
    name = name.replace("{id}", lent["id"]).replace("{ID}", lent["id"].upper())
    for method in ("GET", "HEAD", "DELETE"):
        async with paintonce.client.request(
            method,
            f"{paintonce.url}/api/images/{name}",
            headers=SHOP,
        ) as answer:
            if method == "DELETE":
                assert await answer.json() == {"deleted": False}
            else:
                assert answer.status == 404
            assert answer.headers["Cache-Control"] == "no-store"


async def test_only_the_uploader_deletes(paintonce: Paintonce) -> None:
    """Another project's DELETE answers as for an unknown id and deletes nothing."""
    lent = await paintonce.upload(picture())
    address = f"{paintonce.url}/api/images/{lent['id']}.png"
    deleted = []
    for headers in (STUDIO, SHOP, SHOP):
        async with paintonce.client.delete(address, headers=headers) as answer:
            deleted.append((await answer.json())["deleted"])
    async with paintonce.client.get(address) as answer:
        assert answer.status == 404
    async with paintonce.client.delete(address) as answer:
        assert answer.status == 401

    assert deleted == [False, True, False]
    assert await keys_left(paintonce.redis) == []


async def test_many_are_deleted_at_once(paintonce: Paintonce) -> None:
    """A bulk delete counts each own id once and ignores all others."""
    own = [(await paintonce.upload(picture()))["id"] for _ in range(3)]
    foreign = (await paintonce.upload(picture(), **STUDIO))["id"]
    ids = [*own, own[0], foreign, str(uuid4()), "a storm", "", *["x"] * 992]
    headers, path = {**SHOP, **JSON}, "/api/images/delete"
    status, document, _ = await post(paintonce, headers, as_json({"ids": ids}), path)

    assert (status, document) == (200, {"deleted": 3})
    _, document, _ = await post(paintonce, headers, as_json({"ids": own}), path)
    assert document == {"deleted": 0}
    assert (await paintonce.listing(**STUDIO))["quota_used_bytes"] == 100


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"ids": None},
        {"ids": "a"},
        {"ids": [1]},
        {"ids": ["a"] * 1001},
    ],
)
async def test_a_malformed_list_of_ids_deletes_nothing(
    paintonce: Paintonce, document: object
) -> None:
    """A malformed list of ids is 400 and deletes nothing."""
    status, problem, _ = await post(
        paintonce, {**SHOP, **JSON}, as_json(document), "/api/images/delete"
    )

    assert (status, problem["parameter"]) == (400, "ids")


@pytest.mark.parametrize(
    ("given", "status", "content_range", "part"),
    [
        ("bytes=0-9", 206, "bytes 0-9/3000", slice(0, 10)),
        ("bytes=2990-", 206, "bytes 2990-2999/3000", slice(2990, 3000)),
        ("bytes=-10", 206, "bytes 2990-2999/3000", slice(2990, 3000)),
        ("bytes=10-99999", 206, "bytes 10-2999/3000", slice(10, 3000)),
        ("bytes=3000-", 416, "bytes */3000", slice(0, 1)),
        ("bytes=0-1,5-6", 200, None, slice(0, 3000)),
        ("pages=1-2", 200, None, slice(0, 3000)),
        ("bytes=9-0", 200, None, slice(0, 3000)),
    ],
)
async def test_single_ranges(
    paintonce: Paintonce,
    given: str,
    status: int,
    content_range: str | None,
    part: slice,
) -> None:
    """A single range is 206, and a malformed one is ignored."""
    data = picture(3000, bytes(range(256)))
    lent = await paintonce.upload(data)
    address = f"{paintonce.url}/api/images/{lent['id']}"
    async with paintonce.client.get(address, headers={"Range": given}) as answer:
        body = await answer.read()

        assert answer.status == status
        assert answer.headers.get("Content-Range") == content_range
        assert answer.headers["Cache-Control"] == "no-store"
        if status != 416:
            assert body == data[part]
    headers = {"Range": given, "If-Range": '"anything"'}
    async with paintonce.client.get(address, headers=headers) as answer:
        assert (answer.status, await answer.read()) == (200, data)


async def test_a_head_is_a_get_without_its_body(paintonce: Paintonce) -> None:
    """HEAD has the headers of GET, and the connection stays usable."""
    lent = await paintonce.upload(picture(3000))
    path = f"/api/images/{lent['id']}.png"
    async with wire(paintonce.port) as line:
        request = "{} %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path  # noqa: UP031 - braces are taken
        await line.send((request.format("HEAD") + request.format("GET")).encode())
        head = await line.answer(to_head=True)
        got = await line.answer()

    different = {"date", "x-request-id"}
    assert head.headers.keys() == got.headers.keys()
    for name in head.headers.keys() - different:
        assert head.headers[name] == got.headers[name]
    assert got.body == picture(3000)


async def test_reading_changes_nothing(paintonce: Paintonce) -> None:
    """GET, HEAD and a GET that is broken off leave the picture unchanged."""
    data = picture(99_000)
    lent = await paintonce.upload(data)
    address = f"{paintonce.url}/api/images/{lent['id']}.png"
    for _ in range(3):
        async with wire(paintonce.port) as line:
            await line.send(
                f"GET /api/images/{lent['id']} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
            )
            await line.reader.readexactly(100)
        async with paintonce.client.head(address) as answer:
            assert answer.headers["Content-Length"] == "99000"
        async with paintonce.client.get(address) as answer:
            assert await answer.read() == data


async def test_a_picture_of_many_slices_is_whole(redis_url: str) -> None:
    """A picture stored in slices is read whole, and a range may cross slices."""
    data = picture(3 * 1024 * 1024 + 17, bytes(range(251)))
    async with running(
        redis_url, max_image_bytes=16 * 1024**2, quota_bytes=16 * 1024**2
    ) as service:
        lent = await service.upload(data)
        address = f"{service.url}/api/images/{lent['id']}"
        async with service.client.get(address) as answer:
            assert await answer.read() == data
        border = {"Range": f"bytes={1024**2 - 5}-{2 * 1024**2 + 5}"}
        async with service.client.get(address, headers=border) as answer:
            assert await answer.read() == data[1024**2 - 5 : 2 * 1024**2 + 6]


def raw_upload(*headers: str) -> bytes:
    """Return the head of an upload to the shop."""
    lines = ["POST /api/images HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"X-API-Key: {KEY}", "X-Project: acme/shop", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Content-Type: image/png"], 411),
        (["Content-Type: image/png", "Transfer-Encoding: chunked"], 411),
        (["Content-Type: text/html", "Transfer-Encoding: chunked"], 415),
        (["Content-Type: image/png", "Content-Length: 100001"], 413),
        (["Content-Type: image/png", "Content-Length: 99999999999999"], 413),
        (["Content-Type: image/png", "Content-Length: -1"], 400),
        (["Content-Type: image/png", "Content-Length: 1, 2"], 400),
    ],
)
async def test_the_head_alone_is_refused(
    paintonce: Paintonce, headers: list[str], status: int
) -> None:
    """A bad head is refused before the body arrives."""
    async with asyncio.timeout(5), wire(paintonce.port) as line:
        answer = await line.ask(raw_upload(*headers))

    assert answer.status == status


async def test_a_body_is_only_asked_for_when_it_is_wanted(
    paintonce: Paintonce,
) -> None:
    """A client that expects 100 is refused before it sends its body."""
    expecting = ["Content-Type: image/png", "Expect: 100-continue"]
    async with asyncio.timeout(5), wire(paintonce.port) as line:
        refused = await line.ask(raw_upload(*expecting, "Content-Length: 100001"))
        assert refused.status == 413
    async with asyncio.timeout(5), wire(paintonce.port) as line:
        await line.send(raw_upload(*expecting, "Content-Length: 100"))
        assert await line.reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert await line.reader.readline() == b"\r\n"
        assert (await line.ask(picture(100))).status == 201


async def test_a_body_that_does_not_come_is_408(redis_url: str) -> None:
    """Row 19: a body that stops or drips is 408 after the deadline."""
    head = raw_upload("Content-Type: image/png", "Content-Length: 100")
    async with running(redis_url, deadline_seconds=0.2) as service:
        async with asyncio.timeout(5), wire(service.port) as line:
            answer = await line.ask(head + picture(99))
            assert (answer.status, answer.problem["code"]) == (408, "request_timeout")
            assert await line.is_closed()
        async with asyncio.timeout(5), wire(service.port) as line:
            await line.send(head)
            dripping = asyncio.create_task(drip(line))
            assert (await line.answer()).status == 408
            dripping.cancel()
            await asyncio.wait([dripping])
        assert await keys_left(service.redis) == []


async def drip(line: Any) -> None:
    """Send a byte from time to time."""
    while True:
        await line.send(b".")
        await asyncio.sleep(0.05)


async def test_a_length_that_says_too_little_keeps_what_it_said(
    paintonce: Paintonce,
) -> None:
    """Row 25: a body is cut at its length, and the rest is a bad request."""
    head = raw_upload("Content-Type: image/png", "Content-Length: 100")
    async with asyncio.timeout(5), wire(paintonce.port) as line:
        answer = await line.ask(head + picture(100))
        assert (answer.status, answer.problem["size"]) == (201, 100)
        assert (await line.ask(b"a storm\r\n\r\n")).status == 400


async def test_a_client_that_leaves_leaves_nothing(paintonce: Paintonce) -> None:
    """An upload that is broken off stores nothing and uses no quota."""
    head = raw_upload("Content-Type: image/png", "Content-Length: 100")
    async with wire(paintonce.port) as line:
        await line.send(head + picture(50))
    await paintonce.upload(picture())

    assert (await paintonce.listing())["quota_used_bytes"] == 100


async def test_without_a_key_redis_is_not_asked(redis_url: str) -> None:
    """A request without a key is 401 without a call to the store."""
    store = AsyncMock()
    store.sweep.return_value = 0
    async with running(redis_url, store=store) as service:
        for method, path in (
            ("POST", "/api/images"),
            ("GET", "/api/images"),
            ("DELETE", f"/api/images/{uuid4()}"),
            ("POST", "/api/images/delete"),
        ):
            async with service.client.request(
                method, f"{service.url}{path}", headers=PNG
            ) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"

        assert {call[0] for call in store.method_calls} <= {"sweep"}


async def test_without_keys_the_project_is_named(redis_url: str) -> None:
    """With AUTH=off the query names the project beside the ttl."""
    async with running(redis_url, auth=False, base_url="http://127.0.0.1:1") as service:
        status, lent, _ = await post(
            service, PNG, picture(), "/api/images?project=acme/attic&ttl=60"
        )
        assert (status, lent["reachable"]) == (201, False)
        assert lent["url"].startswith("http://127.0.0.1:1/api/images/")
        address = f"{service.url}/api/images/{lent['id']}"
        async with service.client.delete(address) as answer:
            assert await answer.json() == {"deleted": False}
        async with service.client.delete(f"{address}?project=acme/attic") as answer:
            assert await answer.json() == {"deleted": True}


@pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionHeader")
@pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionParam")
async def test_no_broken_form_is_an_error_of_ours(paintonce: Paintonce) -> None:
    """A form cut or damaged anywhere is a 4xx, never a 5xx."""
    whole = form(("file", picture(60)))
    for at in range(0, len(whole), 4):
        for body in (
            whole[:at],
            whole[at:],
            whole[:at] + b"\x00\xff\r\n" + whole[at:],
            whole[:at] + whole[at + 1 :],
            whole[:at] + b"--storm\r\n" + whole[at:],
        ):
            status, _, _ = await post(paintonce, {**SHOP, **MULTIPART}, body)

            assert status in {201, 400, 415}


async def test_a_name_in_any_bytes_is_taken(paintonce: Paintonce) -> None:
    """A file name in any encoding is accepted, because it is not used."""
    data = painted("PNG")
    body = form(("file", data)).replace(b"a.png", "Zürich.png".encode("latin-1"))

    status, lent, _ = await post(paintonce, {**SHOP, **MULTIPART}, body)

    assert (status, lent["size"]) == (201, len(data))
