"""Uploads without memory, with wrong lengths, and in races; the quota stays exact."""

from __future__ import annotations

import asyncio
import gzip
import random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.fakes import a_picture
from tests.until import until

if TYPE_CHECKING:
    from tests.faults.clients import Got
    from tests.faults.place import Place
    from tests.replica import Replica

IMAGES = "/api/images"
PNG = {"Content-Type": "image/png"}
PICTURE = a_picture(1)
# More than an encoded picture of this size can be confused with.
LARGE = a_picture(2, side=256)
UNCOUNTED = "paintonce_uncounted_hits_total"


async def _upload(place: Place, at: Replica, data: bytes = PICTURE, **more: Any) -> Got:
    return await place.clients.call(
        "POST", f"{at.url}{IMAGES}", data=data, headers=PNG, **more
    )


async def _forget(place: Place, at: Replica, image_id: str) -> bool:
    gone = await place.clients.call("DELETE", f"{at.url}{IMAGES}/{image_id}")
    assert gone.status == 200
    return bool(gone.json()["deleted"])


async def _books(place: Place, at: Replica) -> tuple[int, int]:
    """Return the used bytes of the quota, and the sum over the list."""
    listing = (await place.clients.call("GET", f"{at.url}{IMAGES}")).json()
    listed = sum(image["size"] for image in listing["images"])
    return listing["quota_used_bytes"], listed


async def test_row_09_a_redis_without_memory(place: Place) -> None:
    """A full Redis refuses uploads and paintings, and still serves and deletes."""
    one, other = place.replicas
    kept = [(await _upload(place, one)).json()["id"] for _ in range(3)]
    prompt = "a lighthouse in a storm"
    await place.get(prompt, one)

    await place.seen_redis.config_set("maxmemory", 1)
    refused = await _upload(place, other)
    missed = await place.get("this is not painted yet", one)
    hit = await place.get(prompt, other)
    read = await place.clients.call("GET", f"{other.url}{IMAGES}/{kept[0]}")
    first, again = [await _forget(place, at, kept[0]) for at in (one, other)]
    used, listed = await _books(place, other)
    await place.seen_redis.config_set("maxmemory", 0)

    assert (refused.status, refused.code) == (507, "quota_full")
    assert (missed.status, missed.code) == (503, "cache_unavailable")
    assert (hit.status, hit.cache, hit.hits) == (200, "HIT", None)
    assert await place.metric(other, UNCOUNTED) == 1
    assert (read.status, read.body) == (200, PICTURE)
    assert (first, again) == (True, False)
    assert used == listed == 2 * len(PICTURE)
    assert (await _upload(place, one)).status == 201
    assert (await place.get(prompt, one)).hits == 1
    assert await place.provider.calls("this is not painted yet") == 0


def _head(at: Replica, *fields: str) -> bytes:
    lines = [f"POST {IMAGES} HTTP/1.1", f"Host: {urlsplit(at.url).netloc}", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


async def _sent(
    at: Replica, *fields: str, body: bytes = b"", hangs_up: bool = False
) -> int | None:
    """Send an upload on a bare socket; return the status, None for a cut."""
    address = urlsplit(at.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(_head(at, *fields) + body)
        if hangs_up:
            writer.write_eof()
        line = await reader.readline()
        return int(line.split()[1]) if line else None
    except ConnectionError:
        return None
    finally:
        writer.close()


async def test_row_25_uploads_that_lie(place: Place) -> None:
    """Uploads with no, wrong or too large lengths are refused and not counted."""
    at = place.replicas[0]
    zipped = gzip.compress(bytes(8 * 1024**2))
    kind, length = "Content-Type: image/png", "Content-Length: "
    size = f"{length}{len(PICTURE)}"

    assert await _sent(at, kind) == 411
    too_few = await _sent(at, kind, size, body=PICTURE[:-9], hangs_up=True)
    assert too_few in {None, 400}
    # The bytes that are announced are all of the body, and no picture.
    too_many = await _sent(at, kind, f"{length}4", "Connection: close", body=PICTURE)
    assert too_many in {400, 415}
    encoded = "Content-Encoding: gzip"
    assert await _sent(at, kind, encoded, f"{length}{len(zipped)}", body=zipped) == 415
    assert await _sent(at, kind, f"{length}{30 * 1024**2}") == 413
    text = await _upload(place, at, b"<svg/>")
    assert (text.status, text.code) == (415, "unsupported_media_type")

    assert await _books(place, at) == (0, 0)
    assert (await _upload(place, at)).status == 201


@pytest.mark.long
async def test_row_25_an_upload_that_drips_is_refused_in_time(place: Place) -> None:
    """An upload that is not complete after 15 s is 408 and gives its room back."""
    at = place.replicas[0]
    address = urlsplit(at.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        _head(at, "Content-Type: image/png", f"Content-Length: {len(PICTURE)}")
    )

    async def drip() -> None:
        for number in range(len(PICTURE)):
            writer.write(PICTURE[number : number + 1])
            await asyncio.sleep(1)

    dripping = asyncio.create_task(drip())
    began = asyncio.get_running_loop().time()
    line = await reader.readline()
    took = asyncio.get_running_loop().time() - began
    dripping.cancel()
    writer.close()

    assert line.split()[1] == b"408"
    assert 14 < took < 20
    assert await _books(place, at) == (0, 0)


async def test_row_26_uploads_deletions_and_expiry_race(place: Place) -> None:
    """Racing uploads, deletions and expiries keep the list and the sum exact."""
    chance = random.Random(26)
    sizes = {PICTURE: len(PICTURE), LARGE: len(LARGE)}
    alive: dict[str, int] = {}

    async def live_and_die() -> None:
        """Upload and read; delete some twice at once, on either replica."""
        data = chance.choice(list(sizes))
        at, elsewhere = chance.sample(place.replicas, 2)
        image_id = (await _upload(place, at, data)).json()["id"]
        read = await place.clients.call("GET", f"{elsewhere.url}{IMAGES}/{image_id}")
        assert (read.status, read.body) == (200, data)
        if chance.random() < 0.4:
            alive[image_id] = sizes[data]
            return
        first, second, raced = await asyncio.gather(
            _forget(place, at, image_id),
            _forget(place, elsewhere, image_id),
            place.clients.call("GET", f"{at.url}{IMAGES}/{image_id}"),
        )
        assert first is not second
        assert raced.status == 404 or (raced.status, raced.body) == (200, data)
        after = await place.clients.call("GET", f"{at.url}{IMAGES}/{image_id}")
        assert after.status == 404

    async def expire() -> None:
        """Upload a picture that expires by itself."""
        at = chance.choice(place.replicas)
        assert (await _upload(place, at, params={"ttl": "1"})).status == 201

    await asyncio.gather(
        *(live_and_die() for _ in range(60)), *(expire() for _ in range(20))
    )

    async def is_exact() -> bool:
        books = {await _books(place, at) for at in place.replicas}
        return books == {(sum(alive.values()), sum(alive.values()))}

    await until(is_exact)
    for image_id in alive:
        assert await _forget(place, place.replicas[0], image_id)
    assert await _books(place, place.replicas[1]) == (0, 0)
