"""The client repeats safe calls, and no others."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from app.client import Paintonce, PaintonceError, _seconds
from app.signing import LIVE_PATH
from tests.client.scripted_service import (
    BYTES,
    cut,
    cut_within,
    document,
    hang,
    other_bytes,
    picture,
    refusal,
    scripted,
)
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.client.scripted_service import Step

HASH = "3" * 64
LATER = refusal(503, "storage_unavailable", Retry_After="0")
LENT = document(
    {"id": "1", "url": "https://a.example/1.png", "reachable": True}, status=201
)


async def proxys_503(request: web.Request) -> web.StreamResponse:
    """Answer as a proxy that has lost the service."""
    return web.Response(status=503, headers={"Retry-After": "0"})


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the client's own pause between tries."""
    monkeypatch.setattr("app.client.FIRST_PAUSE_SECONDS", 0.001)


@pytest.mark.parametrize(
    "fault",
    [
        LATER,
        proxys_503,
        refusal(429, "queue_full", Retry_After="0"),
        refusal(503, "shutting_down"),
        cut,
        cut_within,
        other_bytes,
    ],
)
async def test_what_is_safe_is_asked_again(fault: Step) -> None:
    """A safe call is repeated after a short outage and returns the whole picture."""
    async with (
        scripted(fault, fault, picture) as service,
        Paintonce(service.url) as client,
    ):
        got = await client.generate("a storm")

    assert (got.data, got.hits) == (BYTES, 7)
    assert service.asked == [f"GET {LIVE_PATH}"] * 3


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (LATER, 503, "storage_unavailable"),
        (cut, None, "unreachable"),
        (cut_within, None, "unreachable"),
        (other_bytes, None, "damaged"),
    ],
)
async def test_tries_are_counted(fault: Step, status: int | None, code: str) -> None:
    """A lasting fault is raised after the allowed number of tries."""
    async with scripted(fault) as service, Paintonce(service.url, tries=3) as client:
        with pytest.raises(PaintonceError) as failed:
            await client.generate("a storm")

    assert (failed.value.status, failed.value.code) == (status, code)
    assert len(service.asked) == 3


async def test_a_pause_is_as_long_as_the_service_says() -> None:
    """The client waits for Retry-After before it tries again."""
    started = time.monotonic()
    async with (
        scripted(refusal(429, Retry_After="1"), picture) as service,
        Paintonce(service.url) as client,
    ):
        await client.generate("a storm")

    assert time.monotonic() - started >= 1


async def test_a_pause_beyond_the_bound_is_not_begun() -> None:
    """A Retry-After beyond the client's time is raised at once."""
    async with (
        scripted(refusal(429, "budget_exhausted", Retry_After="3600")) as service,
        Paintonce(service.url) as client,
    ):
        with pytest.raises(PaintonceError) as failed:
            await client.generate("a storm")

    assert (failed.value.code, failed.value.retry_after) == ("budget_exhausted", 3600)
    assert (failed.value.detail, failed.value.request_id) == (
        *("It was scripted.", "mine-1"),
    )
    assert len(service.asked) == 1


async def test_no_answer_is_waited_for_without_end() -> None:
    """A call to a service that hangs ends with the whole timeout."""
    async with (
        scripted(hang) as service,
        Paintonce(service.url, timeout_seconds=0.1) as client,
    ):
        with pytest.raises(PaintonceError) as failed:
            await client.generate("a storm")

    assert (failed.value.status, failed.value.code) == (None, "timed_out")
    assert failed.value.prompt == "a storm"


async def test_a_service_that_is_away_is_unreachable() -> None:
    """An unreachable service raises `unreachable` without a status."""
    async with Paintonce(f"http://127.0.0.1:{free_port()}", tries=2) as client:
        with pytest.raises(PaintonceError) as failed:
            await client.stats()

    assert (failed.value.status, failed.value.code) == (None, "unreachable")


def _refresh(client: Paintonce) -> Awaitable[Any]:
    return client.refresh(HASH)


def _purge(client: Paintonce) -> Awaitable[Any]:
    return client.purge(HASH)


def _upload(client: Paintonce) -> Awaitable[Any]:
    return client.upload(b"a storm")


def _post(client: Paintonce) -> Awaitable[Any]:
    return client.generate("a storm", references=["1"])


def _get(client: Paintonce) -> Awaitable[Any]:
    return client.generate("a storm")


@pytest.mark.parametrize(
    ("act", "fault"),
    [
        (_refresh, LATER),
        (_refresh, refusal(429, Retry_After="0")),
        (_refresh, cut),
        (_purge, cut),
        (_purge, proxys_503),
        (_upload, cut),
        (_upload, proxys_503),
        (_post, cut),
        *((_get, refusal(status)) for status in (400, 401, 404, 422, 500, 502, 504)),
    ],
)
async def test_what_is_not_safe_is_asked_once(
    act: Callable[[Paintonce], Awaitable[Any]], fault: Step
) -> None:
    """A call that may have taken effect is never repeated."""
    async with scripted(fault) as service, Paintonce(service.url) as client:
        with pytest.raises(PaintonceError):
            await act(client)

    assert len(service.asked) == 1


@pytest.mark.parametrize("act", [_purge, _upload])
async def test_what_was_put_off_is_asked_again(
    act: Callable[[Paintonce], Awaitable[Any]],
) -> None:
    """A call that got 503 is repeated, because nothing or not all was done."""
    done = document({"deleted": True, "id": "1", "url": "/1", "reachable": True})
    async with scripted(LATER, done) as service, Paintonce(service.url) as client:
        assert await act(client)

    assert len(service.asked) == 2


async def test_a_refresh_has_an_end() -> None:
    """A refresh ends with the whole timeout."""
    async with (
        scripted(hang) as service,
        Paintonce(service.url, timeout_seconds=0.1) as client,
    ):
        with pytest.raises(PaintonceError, match="timed_out"):
            await client.refresh(HASH)


async def test_the_key_goes_to_no_other_host() -> None:
    """A redirect is an error, and its target gets no request."""
    async with scripted(picture) as other:

        async def elsewhere(request: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(other.url)

        async with (
            scripted(elsewhere) as service,
            Paintonce(service.url, "a-key", "acme/shop") as client,
        ):
            with pytest.raises(PaintonceError) as failed:
                await client.generate("a storm")

    assert (failed.value.status, failed.value.code) == (302, "unknown")
    assert other.asked == []
    assert service.headers[0]["X-API-Key"] == "a-key"
    assert service.headers[0]["X-Project"] == "acme/shop"


async def test_an_answer_of_a_proxy_is_an_error() -> None:
    """A 200 that is neither a picture nor a document of the service is an error."""

    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<h1>Welcome</h1>", content_type="text/html")

    async with scripted(page) as service, Paintonce(service.url) as client:
        for act in (_get, _purge):
            with pytest.raises(PaintonceError) as failed:
                await act(client)
            assert (failed.value.status, failed.value.code) == (200, "unknown")
        assert await client.is_painted("a storm")


async def test_a_wrong_address_is_not_taken_for_unpainted() -> None:
    """`is_painted` is false only for a 404 of the service itself."""
    unpainted = refusal(404, "not_found", X_Cache_Status="MISS")
    async with (
        scripted(unpainted, refusal(404)) as service,
        Paintonce(service.url) as client,
    ):
        assert not await client.is_painted("a storm")
        with pytest.raises(PaintonceError) as failed:
            await client.is_painted("a storm")

    assert (failed.value.status, failed.value.prompt) == (404, "a storm")


async def test_what_was_lent_is_taken_back_in_spite_of_faults() -> None:
    """A deletion that was cut off is repeated."""
    async with (
        scripted(LENT, cut, LATER, document({"deleted": True})) as service,
        Paintonce(service.url) as client,
        client.lend(b"a storm") as lent,
    ):
        assert lent.id == "1"

    assert service.asked == ["POST /api/images", *["DELETE /api/images/1"] * 3]


async def test_a_deletion_that_fails_does_not_lose_the_work(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A failed deletion is logged and does not raise."""
    async with (
        scripted(LENT, refusal(500)) as service,
        Paintonce(service.url) as client,
        client.lend(b"a storm"),
    ):
        pass

    assert "transient image left" in caplog.messages


async def test_an_upload_that_is_given_up_is_deleted() -> None:
    """A cancelled upload is deleted, in case the service stored it."""
    has_it, may_answer = asyncio.Event(), asyncio.Event()

    async def keep(request: web.Request) -> web.StreamResponse:
        has_it.set()
        await may_answer.wait()
        return await LENT(request)

    async def lend(client: Paintonce) -> None:
        async with client.lend(b"a storm"):
            raise AssertionError

    async with (
        scripted(keep, document({"deleted": True})) as service,
        Paintonce(service.url) as client,
    ):
        lending = asyncio.create_task(lend(client))
        await has_it.wait()
        lending.cancel()
        may_answer.set()
        with pytest.raises(asyncio.CancelledError):
            await lending

    assert service.asked[-1] == "DELETE /api/images/1"


async def test_a_deletion_outlives_a_second_cancellation() -> None:
    """A second cancellation waits for the deletion to end."""
    deletes, may_answer = asyncio.Event(), asyncio.Event()
    inside = asyncio.Event()

    async def forget(request: web.Request) -> web.StreamResponse:
        deletes.set()
        await may_answer.wait()
        return web.json_response({"deleted": True})

    async def lend(client: Paintonce) -> None:
        async with client.lend(b"a storm"):
            inside.set()
            await asyncio.Event().wait()

    async with scripted(LENT, forget) as service, Paintonce(service.url) as client:
        lending = asyncio.create_task(lend(client))
        await inside.wait()
        lending.cancel()
        await deletes.wait()
        lending.cancel()
        may_answer.set()
        with pytest.raises(asyncio.CancelledError):
            await lending


def test_a_pause_is_a_number_or_a_date() -> None:
    """Retry-After is read as seconds or as a date; a past date is zero."""
    in_an_hour = datetime.now(UTC) + timedelta(hours=1)
    until_then = _seconds(format_datetime(in_an_hour, usegmt=True))

    assert _seconds("7") == 7
    assert _seconds("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert _seconds("Thu, 01 Jan 1970 00:00:00 -0000") == 0
    assert until_then is not None
    assert 3000 < until_then <= 3600


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "9" * 40])
def test_a_pause_that_can_not_be_read_is_none(text: str) -> None:
    """An unreadable Retry-After is ignored."""
    assert _seconds(text) is None


def test_a_try_is_the_least() -> None:
    """A client with no tries is refused."""
    with pytest.raises(ValueError, match="tries"):
        Paintonce("https://pictures.example", tries=0)
