"""Replicas end, one after the other."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import aiohttp
import pytest

from app.refusal_hold import LONGEST_SECONDS as HELD_SECONDS
from tests.access.service import ADMIN, ADMIN_KEY
from tests.deploy.reverse_proxy import reverse_proxy
from tests.faults.clients import LIVE
from tests.faults.installation import installation
from tests.servers import free_port
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.clients import Got
    from tests.faults.place import Place
    from tests.replica import Replica
    from tests.servers import S3Server

PROMPT = "a lighthouse in a storm"
SLOW = """\
[models.default]
provider = "VENDOR"
model = "owner/fake"
base_url = "{origin}/v1"
api_key_env = ""
price = 0.04
concurrency = 6
deadline_seconds = {deadline_seconds}
"""


async def test_row_20_a_rolling_restart_behind_nginx_loses_no_request(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """A rolling restart under load loses no hit and no painting."""
    ports = (free_port(), free_port())
    async with (
        installation(
            tmp_path, s3_server, replicas=0, SHUTDOWN_GRACE_SECONDS="4"
        ) as place,
        reverse_proxy(*ports) as nginx,
    ):
        for port in ports:
            await place.start(PORT=str(port))
        await place.get(PROMPT, nginx.url)
        await place.provider.behave("ok", delay_seconds=0.3)
        done = asyncio.Event()
        load = [
            asyncio.create_task(_load(place, nginx.url, number, done))
            for number in range(8)
        ]

        for old, port in zip(list(place.replicas), ports, strict=True):
            assert await old.stop() == 0
            await place.start(PORT=str(port))
            # nginx gives a server that it could not reach a rest of a second.
            await asyncio.sleep(1.0)
        done.set()
        answers = list(itertools.chain.from_iterable(await asyncio.gather(*load)))

        assert {got.status for got in answers} == {200}
        assert len(answers) > 200
        calls = await place.provider.all_calls()
        assert set(calls.values()) == {1}
        assert len(calls) > 20
        await place.check(PROMPT, calls=1)


async def _load(place: Place, url: str, number: int, done: asyncio.Event) -> list[Got]:
    """Request old and new pictures in turn until *done*."""
    answers: list[Got] = []
    for turn in itertools.count():
        if done.is_set():
            return answers
        answers.append(await place.get(PROMPT, url))
        if turn % 4 == 0:
            answers.append(await place.get(f"new, {number}, {turn}", url))
    return answers


async def test_row_21_a_painting_within_the_grace_is_finished(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """A painting that ends within the grace after SIGTERM is stored and served."""
    async with installation(tmp_path, s3_server, SHUTDOWN_GRACE_SECONDS="8") as place:
        leader, other = place.replicas
        waiting = await place.held(PROMPT, leader)

        leader.signal(signal.SIGTERM)
        await until(lambda: _has_said(leader, "draining"))
        assert await place.readiness(leader) == (503, "draining")
        await until(lambda: _has_said(leader, "listener closed"))
        await place.provider.release()

        assert (await waiting).cache == "MISS"
        assert await leader.stop() == 0
        assert (await place.get(PROMPT, other)).cache == "HIT"
        await place.check(PROMPT, calls=1)


@pytest.mark.long
async def test_row_20_a_flood_of_wrong_keys_holds_no_drain_up(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """A drain amid held refusals ends when the last customer has its answer."""
    async with installation(
        tmp_path,
        s3_server,
        replicas=1,
        AUTH="required",
        ADMIN_API_KEY=ADMIN_KEY,
        SHUTDOWN_GRACE_SECONDS="8",
    ) as place:
        (replica,) = place.replicas
        await _painted(place, "old")
        floods = [asyncio.create_task(_flood(place, number)) for number in range(600)]
        await asyncio.sleep(2)
        # They connect in time, however busy this process is.
        customers = [
            await asyncio.open_connection("127.0.0.1", replica.port) for _ in range(20)
        ]
        await place.provider.hold()
        painting = asyncio.create_task(_painted(place, "new"))
        await place.provider.until_held()

        replica.signal(signal.SIGTERM)
        for _, customer in customers:
            customer.write(OLD)
        await until(lambda: _has_said(replica, "listener closed"))
        await place.provider.release()

        for reader, customer in customers:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert b"X-Cache-Status: HIT" in head
            customer.close()
        assert (await painting).cache == "MISS"
        assert await replica.process.wait() == 0
        # Refusals that were still held would take two seconds.
        assert _between(replica, "listener closed", "stopped") < HELD_SECONDS * 0.75
        assert not await _has_said(replica, "work given up")
        assert set().union(*await asyncio.gather(*floods)) == {401, 429}
        assert set((await place.provider.all_calls()).values()) == {1}


OLD = (
    f"GET {LIVE}?prompt=old HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    + "".join(f"{name}: {value}\r\n" for name, value in ADMIN.items())
    + "\r\n"
).encode()


async def _painted(place: Place, prompt: str) -> Got:
    """Request a prompt of the shop as the admin, who has its key."""
    url = f"{place.replicas[0].url}{LIVE}"
    got = await place.clients.call("GET", url, params={"prompt": prompt}, headers=ADMIN)
    assert got.status == 200, got.body
    return got


async def _flood(place: Place, number: int) -> set[int]:
    """Send wrong keys, each after the answer to the last; return all statuses."""
    url, statuses = f"{place.replicas[0].url}{LIVE}", set()
    # Until the listener is closed.
    with suppress(aiohttp.ClientConnectionError):
        for turn in itertools.count():
            wrong = {"X-API-Key": f"pk_{number:06}{turn:06}_{'A' * 43}"}
            statuses.add((await place.clients.call("GET", url, headers=wrong)).status)
    return statuses


@pytest.mark.long
@pytest.mark.parametrize(("grace_seconds", "is_cut"), [(3, False), (12, True)])
async def test_row_20_a_reader_that_stalls_holds_a_drain_within_the_grace(
    tmp_path: Path, s3_server: S3Server, grace_seconds: int, *, is_cut: bool
) -> None:
    """A client that reads nothing is cut after ten seconds, or with the grace."""
    grace = str(grace_seconds)
    async with installation(
        tmp_path, s3_server, replicas=1, SHUTDOWN_GRACE_SECONDS=grace
    ) as place:
        (replica,) = place.replicas
        await place.provider.behave("ok", picture_bytes=8_000_000)
        await place.get(PROMPT, replica)
        # Its buffers and the kernel's hold less than the picture.
        reading, stalled = await asyncio.open_connection(
            "127.0.0.1", replica.port, limit=1
        )
        target = f"{LIVE}?{urlencode({'prompt': PROMPT})}"
        stalled.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert await reading.readexactly(12) == b"HTTP/1.1 200"

        try:
            assert await replica.stop() == 0
        finally:
            stalled.transport.abort()

        assert _between(replica, "draining", "stopped") < grace_seconds + 1
        assert bool(replica.events("stalled reader cut")) is is_cut
        assert bool(replica.events("work given up")) is not is_cut


async def test_row_21_a_painting_whose_client_has_gone_is_finished_too(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """A painting without a client is stored before the process ends."""
    async with installation(tmp_path, s3_server, SHUTDOWN_GRACE_SECONDS="8") as place:
        leader, other = place.replicas
        await place.provider.hold()
        accepted = await place.get(PROMPT, leader, prefer="respond-async")
        assert accepted.status == 202
        await place.provider.until_held()

        leader.signal(signal.SIGTERM)
        await until(lambda: _has_said(leader, "listener closed"))
        await place.provider.release()

        assert await leader.stop() == 0
        assert (await place.get(PROMPT, other)).cache == "HIT"
        await place.check(PROMPT, calls=1)


async def test_row_21_a_painting_beyond_the_grace_is_not_paid_twice(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """A painting that outlasts the grace is given up, and its prompt is held."""
    async with installation(
        tmp_path, s3_server, LEASE_SECONDS="60", SHUTDOWN_GRACE_SECONDS="2"
    ) as place:
        leader, follower = place.replicas
        await place.provider.hold()
        refused = [place.asking(PROMPT, leader) for _ in range(3)]
        await place.provider.until_held()
        waiting = place.asking(PROMPT, follower)
        await place.until_following(PROMPT, follower)

        began = time.monotonic()
        assert await leader.stop() == 0
        ended_seconds = time.monotonic() - began
        await place.provider.until_aborted()
        held = await waiting
        followed_seconds = time.monotonic() - began
        await place.provider.release()

        got = await asyncio.gather(*refused)
        assert {(one.status, one.code) for one in got} == {(503, "shutting_down")}
        assert ended_seconds < 2 + 1
        assert followed_seconds < 2 + 1
        # A picture that may have been painted is not paid for again at once.
        assert (held.status, held.code) == (502, "provider_failed")
        assert int(held.headers["Retry-After"]) >= 120
        await place.check(PROMPT, calls=1, answers=0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("vendor", "takes"),
    [("openai", {"delay_seconds": 2.0}), ("replicate", {"polls": 5})],
)
async def test_row_20_a_deploy_loses_no_paid_call(
    tmp_path: Path, s3_server: S3Server, vendor: str, takes: dict[str, Any]
) -> None:
    """Replacing both replicas of a slow vendor loses no paid call.

    The vendor works with and without jobs. Times are divided by 30: a picture of 60 s,
    a deadline of 300 s.
    """
    ports = (free_port(), free_port())
    async with (
        installation(
            tmp_path,
            s3_server,
            replicas=0,
            models=SLOW.replace("VENDOR", vendor),
            deadline_seconds=10.0,
            LEASE_SECONDS="2",
            SHUTDOWN_GRACE_SECONDS="auto",
        ) as place,
        reverse_proxy(*ports) as nginx,
    ):
        for port in ports:
            await place.start(PORT=str(port))
        await place.provider.behave("ok", **takes)
        done = asyncio.Event()
        load = [
            asyncio.create_task(_new(place, nginx.url, number, done))
            for number in range(12)
        ]

        for old, port in zip(list(place.replicas), ports, strict=True):
            await asyncio.sleep(1.0)
            assert await old.stop() == 0
            assert not old.events("work given up")
            await place.start(PORT=str(port))
        done.set()
        answers = list(itertools.chain.from_iterable(await asyncio.gather(*load)))

        painted = {got.prompt for got in answers if got.status == 200}
        calls = await place.provider.all_calls()
        # Every call was paid once, and its picture was kept and served.
        assert set(calls.values()) == {1}
        assert calls.keys() <= painted
        assert len(calls) > 24


async def _new(
    place: Place, url: str, number: int, done: asyncio.Event
) -> list[_Asked]:
    """Request new pictures in turn until *done*."""
    answers: list[_Asked] = []
    for turn in itertools.count():
        if done.is_set():
            return answers
        prompt = f"new, {number}, {turn}"
        answers.append(_Asked(prompt, (await place.get(prompt, url)).status))
    return answers


class _Asked(NamedTuple):
    """A prompt, and the status of its response."""

    prompt: str
    status: int


def _between(replica: Replica, first: str, last: str) -> float:
    """Return the seconds between two events, by the replica's own log."""
    (begins,), (ends,) = replica.events(first), replica.events(last)
    took = datetime.fromisoformat(ends["time"]) - datetime.fromisoformat(begins["time"])
    return took.total_seconds()


async def _has_said(replica: Replica, event: str) -> bool:
    return bool(replica.events(event))
