"""Faults while a rendition is made."""

from __future__ import annotations

import asyncio
import io
import itertools
import signal
import statistics
import time
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import aiohttp
import PIL.Image
import pytest

from app.server.bodies import AT_ONCE_BYTES
from app.server.connection import WRITE_DEADLINE_SECONDS
from tests.faults.clients import LIVE, RudeClient
from tests.faults.installation import LEASE_SECONDS, gated_installation, installation
from tests.faults.store_gate import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.clients import Got
    from tests.faults.place import Place
    from tests.faults.store_gate import StoreGate
    from tests.replica import Replica
    from tests.servers import S3Server

PROMPT = "a lighthouse in a storm"
WIDTHS = (16, 32, 48, 64)
FORMATS = ("png", "jpeg", "webp", "avif")
SLOW_READERS = 40


async def rendition(
    place: Place, at: Replica, *, width: int = 64, name: str = "webp"
) -> Got:
    """Request a rendition from a replica; check a 200."""
    query = urlencode({"prompt": PROMPT, "w": width, "format": name})
    got = await place.clients.call("GET", f"{at.url}{LIVE}?{query}")
    if got.status == 200:
        assert got.headers["ETag"] == f'"{sha256(got.body).hexdigest()}"'
        assert got.headers["Content-Type"] == f"image/{name}"
        assert PIL.Image.open(io.BytesIO(got.body)).width == width
    return got


async def test_all_widths_and_formats_are_one_payment(place: Place) -> None:
    """Sixteen renditions of a prompt, requested at two replicas, are one payment."""
    asked = [(width, name) for width in WIDTHS for name in FORMATS]
    got = await asyncio.gather(
        *(
            rendition(place, at, width=width, name=name)
            for width, name in asked
            for at in place.replicas
        )
    )

    assert {one.status for one in got} == {200}
    assert sum(one.cache == "MISS" for one in got) == 1
    for one, other in zip(got[::2], got[1::2], strict=True):
        assert one.body == other.body
    assert len(await place.objects()) == 1
    assert len(await place.objects("renditions")) == len(asked)
    made = [
        await place.metric(at, 'paintonce_renditions_total{result="made"}')
        for at in place.replicas
    ]
    assert sum(made) == len(asked)
    assert await place.provider.calls(PROMPT) == 1


@pytest.fixture
async def gated(
    tmp_path: Path, s3_server: S3Server
) -> AsyncIterator[tuple[Place, StoreGate]]:
    """Run two replicas behind a gate; the last one has painted the prompt."""
    async with gated_installation(tmp_path, s3_server) as (place, gate):
        assert (await place.get(PROMPT, place.replicas[1])).cache == "MISS"
        yield place, gate


@pytest.mark.long
async def test_row_61_a_replica_that_dies_over_a_rendition(
    gated: tuple[Place, StoreGate],
) -> None:
    """A rendition whose replica dies is made by another when the lease expires."""
    place, gate = gated
    dying, other = place.replicas
    gate.on("PUT", "/renditions/", Fault.HOLD, times=1)
    asking = asyncio.create_task(rendition(place, dying))
    await gate.until_met()
    following = asyncio.create_task(rendition(place, other))
    await dying.kill()
    with pytest.raises(aiohttp.ClientError):
        await asking
    got = await following
    gate.heal()

    assert got.status == 200
    assert got.seconds < 3 * LEASE_SECONDS + 5
    assert len(await place.objects("renditions")) == 1
    assert (await rendition(place, other)).body == got.body
    await place.check(PROMPT, calls=1)


@pytest.mark.long
async def test_row_62_a_redis_that_is_emptied_over_a_rendition(
    gated: tuple[Place, StoreGate],
) -> None:
    """After Redis is emptied two replicas make the same rendition and serve it."""
    place, gate = gated
    one, other = place.replicas
    gate.on("PUT", "/renditions/", Fault.HOLD, times=1)
    asking = asyncio.create_task(rendition(place, one))
    await gate.until_met()
    await place.seen_redis.flushall()
    # Restored from its manifest, and made anew.
    got = await rendition(place, other)
    gate.heal()

    assert got.status == 200
    assert (await asking).body == got.body
    assert len(await place.objects("renditions")) == 1
    await place.check(PROMPT, calls=1)


@pytest.mark.long
async def test_row_63_a_store_that_takes_no_renditions(
    gated: tuple[Place, StoreGate],
) -> None:
    """While the store takes no rendition it is 503, and the picture is served."""
    place, gate = gated
    _, at = place.replicas
    gate.on("PUT", "/renditions/", Fault.FULL)
    refused = await rendition(place, at)
    assert (refused.status, refused.code) == (503, "storage_unavailable")
    assert (await place.get(PROMPT, at)).cache == "HIT"
    gate.heal()

    assert (await rendition(place, at)).status == 200
    await place.check(PROMPT, calls=1)


@pytest.mark.long
async def test_many_new_renditions_hold_up_nothing_else(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """While 64 clients wait for renditions, half of /healthz answers within 0.1 s."""
    models = '[models.default]\nprovider = "placeholder"\n'
    async with installation(tmp_path, s3_server, replicas=1, models=models) as place:
        (at,) = place.replicas
        query = urlencode({"prompt": PROMPT})
        await place.clients.call("GET", f"{at.url}{LIVE}?{query}")
        asked = [
            (width, name) for width in (384, 640, 750, 828) for name in FORMATS
        ] * 4
        making = asyncio.gather(
            *(rendition(place, at, width=width, name=name) for width, name in asked)
        )
        seconds = []
        while not making.done():
            healthy = await place.clients.call("GET", f"{at.url}/healthz")
            assert healthy.status == 200
            seconds.append(healthy.seconds)
            await asyncio.sleep(0.01)
        assert {one.status for one in await making} == {200}
        made = await place.metric(at, 'paintonce_renditions_total{result="made"}')
    assert made == len(asked) / 4
    # On the event loop each would hold up every answer; single ones are late on a
    # busy machine.
    assert statistics.median(seconds) < 0.1


@pytest.mark.long
async def test_row_18_slow_readers_of_renditions_hold_up_neither_others_nor_a_drain(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """Forty clients that read 4 bytes a second are cut at the write deadline.

    Others are served meanwhile, and a drain ends when the last of them is cut.
    """
    models = '[models.default]\nprovider = "placeholder"\n'
    async with installation(
        tmp_path, s3_server, replicas=1, models=models, SHUTDOWN_GRACE_SECONDS="30"
    ) as place:
        (at,) = place.replicas
        large = {"width": "4096", "height": "3000", "w": "3840", "format": "png"}
        url = f"{at.url}{LIVE}?{urlencode({'prompt': PROMPT})}"
        whole = await place.clients.call("GET", f"{url}&{urlencode(large)}")
        assert len(whole.body) > AT_ONCE_BYTES
        assert (await place.clients.call("GET", url)).status == 200
        readers = [
            await RudeClient.ask(PROMPT, at, receives_bytes=4096, **large)
            for _ in range(SLOW_READERS)
        ]
        # The last one has been answered.
        await asyncio.gather(*(one.reader.readexactly(12) for one in readers))
        dripping = [asyncio.create_task(_drip(one)) for one in readers]
        began = time.monotonic()

        at.signal(signal.SIGTERM)
        others = [await place.clients.call("GET", url) for _ in range(40)]
        again = await place.clients.call("GET", f"{url}&{urlencode(large)}")

        assert {one.cache for one in others} == {"HIT"}
        assert max(one.seconds for one in others) < 1
        assert again.body == whole.body
        assert await at.process.wait() == 0
        assert time.monotonic() - began < 1.5 * WRITE_DEADLINE_SECONDS
        assert not at.events("work given up")
        assert len(at.events("stalled reader cut")) == SLOW_READERS
        for drip, reader in zip(dripping, readers, strict=True):
            drip.cancel()
            reader.reset()


async def _drip(client: RudeClient) -> None:
    """Read 4 bytes a second until cancelled."""
    for _ in itertools.count():
        await client.reader.read(4)
        await asyncio.sleep(1)
