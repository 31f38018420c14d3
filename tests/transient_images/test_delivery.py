"""`upload_image_for_url` and its threshold, against a real service."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from app.errors import UnsupportedImage
from app.transient_images import (
    LentImage,
    UploadFailed,
    should_use_image_url,
    upload_image_for_url,
)
from tests.servers import free_port
from tests.transient_images.service import KEY, Paintonce, running
from tests.transient_images.stores import picture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEFAULT = 262_144


def data_url(data: bytes) -> str:
    """Return *data* as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


@pytest.fixture(autouse=True)
def no_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the threshold from the environment."""
    monkeypatch.delenv("IMAGE_URL_THRESHOLD_BYTES", raising=False)


@pytest.fixture
async def paintonce(redis_url: str) -> AsyncIterator[Paintonce]:
    """Run the service with keys."""
    async with running(
        redis_url, max_image_bytes=4_000_000, quota_bytes=10_000_000
    ) as service:
        yield service


def lend(paintonce: Paintonce, image: bytes | str, **options: Any) -> Any:
    """Upload a picture for the shop."""
    options = {
        "service": paintonce.url,
        "api_key": KEY,
        "project": "acme/shop",
    } | options
    return upload_image_for_url(image, **options)


@pytest.mark.parametrize(
    ("image", "threshold", "expected"),
    [
        (b"x" * DEFAULT, None, False),
        (b"x" * (DEFAULT + 1), None, True),
        (data_url(b"x" * DEFAULT), None, False),
        (data_url(b"x" * (DEFAULT + 1)), None, True),
        (b"", None, False),
        (b"x" * 10, 10, False),
        (b"x" * 11, 10, True),
        (data_url(b"x" * 10), 10, False),
        (data_url(b"x" * 11), 10, True),
        ("data:,%00%00", 1, True),
        ("data:,%00%00", 2, False),
        (b"x", 0, True),
        (b"", 0, False),
        ("https://pictures.example.com/a.png", 0, False),
        ("HTTP://pictures.example.com/a.png", 0, False),
    ],
)
def test_only_what_is_larger_than_the_threshold_needs_a_url(
    image: bytes | str, threshold: int | None, *, expected: bool
) -> None:
    """A picture needs a URL if it has more bytes than the threshold."""
    assert should_use_image_url(image, threshold) is expected


@pytest.mark.parametrize(
    "image",
    [
        "",
        "a lighthouse",
        "ftp://pictures.example.com/a.png",
        "https://",
        "https://[::1",
        "data:image/png;base64,not base64!",
        "data:image/png",
        None,
        5,
        ["data:,a"],
    ],
)
def test_what_is_no_image_is_an_error(image: Any) -> None:
    """Input that is no image raises at once."""
    with pytest.raises(ValueError, match=r".+"):
        should_use_image_url(image)
    with pytest.raises(ValueError, match=r".+"):
        upload_image_for_url(image, service="http://127.0.0.1:1")


def test_the_threshold_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threshold is an environment variable, and an argument overrides it."""
    monkeypatch.setenv("IMAGE_URL_THRESHOLD_BYTES", "10")
    assert should_use_image_url(b"x" * 11)
    assert not should_use_image_url(b"x" * 11, 11)
    monkeypatch.setenv("IMAGE_URL_THRESHOLD_BYTES", "")
    assert not should_use_image_url(b"x" * DEFAULT)
    monkeypatch.setenv("IMAGE_URL_THRESHOLD_BYTES", "ten")
    with pytest.raises(ValueError, match="IMAGE_URL_THRESHOLD_BYTES"):
        should_use_image_url(b"x")


@pytest.mark.parametrize("as_url", [False, True])
async def test_a_picture_is_lent_until_it_is_deleted(
    paintonce: Paintonce, *, as_url: bool
) -> None:
    """An awaited upload returns an address that serves the bytes."""
    data = picture(3_000_000)
    lent = await lend(paintonce, data_url(data) if as_url else data)

    assert isinstance(lent, LentImage)
    assert lent.reachable is True
    assert lent.url == f"https://paintonce.example/api/images/{lent.id}.png"
    async with paintonce.client.get(f"{paintonce.url}{URL(lent.url).path}") as answer:
        assert await answer.read() == data
    assert (await paintonce.listing())["images"][0]["expires_at"] is None


async def test_the_context_deletes_on_exit(paintonce: Paintonce) -> None:
    """As a context the upload is deleted at its end."""
    async with lend(paintonce, picture(), service=URL(paintonce.url)) as lent:
        (listed,) = (await paintonce.listing())["images"]
        assert listed["id"] == lent.id

    assert (await paintonce.listing())["images"] == []


async def test_the_context_deletes_after_an_error(paintonce: Paintonce) -> None:
    """The context deletes the upload after an error, which is raised."""
    with pytest.raises(RuntimeError, match="no painter"):
        async with lend(paintonce, picture()):
            raise RuntimeError("no painter")

    assert (await paintonce.listing())["images"] == []


async def test_the_context_deletes_after_a_cancellation(paintonce: Paintonce) -> None:
    """The context deletes the upload even if it is cancelled twice."""
    inside = asyncio.Event()

    async def paint() -> None:
        async with lend(paintonce, picture()):
            inside.set()
            await asyncio.Event().wait()

    painting = asyncio.create_task(paint())
    await inside.wait()
    painting.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    painting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await painting

    assert (await paintonce.listing())["images"] == []


@pytest.mark.parametrize("ttl", [3600, 3600.0, timedelta(hours=1)])
async def test_a_ttl_is_a_backstop(
    paintonce: Paintonce, ttl: float | timedelta
) -> None:
    """A ttl is passed on, so that a dead caller's picture expires."""
    await lend(paintonce, picture(), ttl=ttl)

    assert (await paintonce.listing())["images"][0]["expires_at"] is not None


@pytest.mark.parametrize("ttl", [0, -1, 0.5, 1.5, timedelta(milliseconds=1500)])
def test_a_ttl_is_whole_seconds(ttl: float | timedelta) -> None:
    """A ttl with fractions of a second raises."""
    with pytest.raises(ValueError, match="ttl"):
        upload_image_for_url(picture(), service="http://127.0.0.1:1", ttl=ttl)


def test_what_has_an_address_is_not_uploaded() -> None:
    """An http(s) URL raises, because it needs no upload."""
    with pytest.raises(ValueError, match="needs no upload"):
        upload_image_for_url("https://a.example/b.png", service="http://127.0.0.1:1")


def test_what_is_no_picture_is_not_uploaded() -> None:
    """Bytes that are no picture raise without a request."""
    with pytest.raises(UnsupportedImage):
        upload_image_for_url(b"a storm", service="http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"api_key": "wrong"}, 401, "unauthenticated"),
        ({"api_key": None}, 401, "unauthenticated"),
        ({"project": None}, 400, "invalid_parameter"),
        ({"ttl": 99_999_999}, 400, "invalid_parameter"),
    ],
)
async def test_a_refusal_carries_the_problems_code(
    paintonce: Paintonce, options: dict[str, Any], status: int, code: str
) -> None:
    """A refusal raises with the problem's status and code."""
    with pytest.raises(UploadFailed) as refusal:
        await lend(paintonce, picture(), **options)

    assert (refusal.value.status, refusal.value.code) == (status, code)
    assert refusal.value.detail


async def test_a_picture_that_is_too_large_is_refused(paintonce: Paintonce) -> None:
    """A too large picture raises with 413 and its code."""
    with pytest.raises(UploadFailed) as refusal:
        await lend(paintonce, picture(4_000_001))

    assert (refusal.value.status, refusal.value.code) == (413, "payload_too_large")


async def test_an_unreachable_service_has_no_status() -> None:
    """An unreachable service raises without a status."""
    service = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UploadFailed) as failure:
        async with upload_image_for_url(picture(), service=service):
            raise AssertionError

    assert (failure.value.status, failure.value.code) == (0, "unreachable")


async def test_an_answer_of_a_proxy_is_an_error(paintonce: Paintonce) -> None:
    """An answer that is no document of the service raises."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(status=502, text="<h1>Bad gateway</h1>")

    app = web.Application()
    app.router.add_post("/api/images", page)
    async with TestServer(app) as server:
        with pytest.raises(UploadFailed) as failure:
            await lend(paintonce, picture(), service=server.make_url("/"))

    assert (failure.value.status, failure.value.code) == (502, "unknown")


async def test_a_deletion_that_fails_does_not_lose_the_work(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A failed deletion is repeated, then logged and not raised."""
    deletions = []

    async def keep(request: web.Request) -> web.Response:
        return web.json_response(
            {"id": "1", "url": "https://a.example/1.png", "reachable": True}, status=201
        )

    async def fail(request: web.Request) -> web.Response:
        deletions.append(request.match_info["id"])
        return web.Response(status=503)

    app = web.Application()
    app.router.add_post("/api/images", keep)
    app.router.add_delete("/api/images/{id}", fail)
    async with (
        TestServer(app) as server,
        upload_image_for_url(picture(), service=server.make_url("/")) as lent,
    ):
        assert lent.id == "1"

    assert deletions == ["1", "1", "1"]
    assert "transient image left" in caplog.messages


async def test_an_upload_that_is_given_up_is_deleted() -> None:
    """A cancelled upload is deleted, in case the service stored it."""
    has_it, may_answer = asyncio.Event(), asyncio.Event()
    deletions = []

    async def keep(request: web.Request) -> web.Response:
        await request.read()
        has_it.set()
        await may_answer.wait()
        return web.json_response(
            {"id": "1", "url": "https://a.example/1.png", "reachable": True}, status=201
        )

    async def forget(request: web.Request) -> web.Response:
        deletions.append(request.match_info["id"])
        return web.json_response({"deleted": True})

    async def lend_it(service: URL) -> None:
        async with upload_image_for_url(picture(), service=service):
            raise AssertionError

    app = web.Application()
    app.router.add_post("/api/images", keep)
    app.router.add_delete("/api/images/{id}", forget)
    async with TestServer(app) as server:
        lending = asyncio.create_task(lend_it(server.make_url("/")))
        await has_it.wait()
        lending.cancel()
        may_answer.set()
        with pytest.raises(asyncio.CancelledError):
            await lending

    assert deletions == ["1"]
