"""The object store breaks off in the middle of a picture."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.faults.installation import gated_installation
from tests.faults.store_gate import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.place import Place
    from tests.faults.store_gate import StoreGate
    from tests.servers import S3Server

SMALL, LARGE = "a postage stamp", "a very large mural"
CUT = 'paintonce_cut_bodies_total{reason="short"}'
# Above the two seconds that a body may stand still.
CUT_WITHIN_SECONDS = 6.0


@pytest.fixture
async def gated(
    tmp_path: Path, s3_server: S3Server
) -> AsyncIterator[tuple[Place, StoreGate]]:
    """Run a replica without a hot tier behind a gate, with two pictures painted."""
    async with gated_installation(
        tmp_path, s3_server, replicas=1, HOT_TIER_BYTES="0"
    ) as (place, gate):
        await place.provider.behave("ok", prompt=LARGE, picture_bytes=2 * 1024**2)
        for prompt in (SMALL, LARGE):
            await place.get(prompt, place.replicas[0])
        yield place, gate


@pytest.mark.parametrize(
    ("row", "fault"), [(15, Fault.TRUNCATE), (15, Fault.RESET), (16, Fault.STALL)]
)
async def test_rows_15_and_16_a_body_that_breaks_off_is_cut(
    gated: tuple[Place, StoreGate], row: int, fault: Fault
) -> None:
    """A body that breaks off is cut, or is 503 before its head; nothing is painted."""
    place, gate = gated
    (at,) = place.replicas
    gate.on("GET", "/generated/", fault)

    async def fail() -> float:
        began = asyncio.get_running_loop().time()
        with pytest.raises(aiohttp.ClientPayloadError):
            await place.get(LARGE, at)
        return asyncio.get_running_loop().time() - began

    cut = await asyncio.gather(*(fail() for _ in range(5)))
    small = await place.get(SMALL, at)
    gate.heal()

    assert max(cut) < CUT_WITHIN_SECONDS
    assert (small.status, small.code) == (503, "storage_unavailable")
    assert await place.metric(at, CUT) == 5
    # Places and connections have been given back.
    for prompt in (SMALL, LARGE):
        herd = await place.clients.herd(prompt, at, count=10)
        assert {(got.status, got.cache) for got in herd} == {(200, "HIT")}
        await place.check(prompt, calls=1)


async def test_row_15_a_picture_that_was_damaged_is_never_a_whole_answer(
    gated: tuple[Place, StoreGate],
) -> None:
    """A picture with other bytes of the same length is cut or 503."""
    place, _ = gated
    (at,) = place.replicas
    for key in await place.objects():
        await place.damage(key)

    small = await place.get(SMALL, at)
    with pytest.raises(aiohttp.ClientPayloadError):
        await place.get(LARGE, at)

    assert (small.status, small.code) == (503, "storage_unavailable")
    assert await place.provider.all_calls() == {SMALL: 1, LARGE: 1}


async def test_row_15_permalinks_of_damaged_pictures_are_no_whole_answer_either(
    gated: tuple[Place, StoreGate],
) -> None:
    """A damaged picture is cut or 503 by permalink, by id and by range."""
    place, _ = gated
    (at,) = place.replicas
    wholes = {}
    for prompt in (SMALL, LARGE):
        wholes[prompt] = (await place.get(prompt, at)).headers
    for key in await place.objects():
        await place.damage(key)

    for headers in wholes.values():
        paths = (
            headers["Content-Location"],
            f"/api/v1/images/{headers['X-Image-Id']}",
        )
        for path in paths:
            with pytest.raises(aiohttp.ClientPayloadError):
                await place.clients.call("GET", at.url + path)
    ranged = await place.clients.call(
        "GET",
        at.url + wholes[SMALL]["Content-Location"],
        headers={"Range": "bytes=1-9"},
    )

    assert (ranged.status, ranged.code) == (503, "storage_unavailable")
    assert await place.metric(at, "paintonce_damaged_objects_total") == 5


async def test_row_14_a_picture_that_is_gone_is_gone_for_head_and_304_too(
    gated: tuple[Place, StoreGate],
) -> None:
    """A lost picture is 404 for HEAD, and painted again for a conditional GET."""
    place, _ = gated
    (at,) = place.replicas
    old = await place.get(SMALL, at)
    live = f"{at.url}/api/v1/live/generate"
    for key in await place.objects():
        await place.lose(key)

    looked = await place.clients.look(SMALL, at)
    asked = await place.clients.call(
        "GET",
        live,
        params={"prompt": SMALL},
        headers={"If-None-Match": old.headers["ETag"]},
    )

    assert (looked.status, looked.cache) == (404, "MISS")
    assert (asked.status, asked.cache) == (200, "MISS")
    assert asked.headers["ETag"] != old.headers["ETag"]
    await place.check(SMALL, calls=2)
