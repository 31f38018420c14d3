"""Journeys that must work over any Redis."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from tests.fake_provider.pictures import paint
from tests.until import until

if TYPE_CHECKING:
    from tests.faults.place import Place
    from tests.replica import Replica

ENTRIES = "/api/v1/live/entries"


async def prompts_are_shared(place: Place, prompts: list[str]) -> None:
    """Paint, hit, list, refresh and purge over two replicas."""
    one, other = place.replicas

    for prompt in prompts:
        assert (await place.get(prompt, one)).cache == "MISS"
        hits = [await place.get(prompt, at) for at in (other, one, other)]
        assert [(hit.cache, hit.hits) for hit in hits] == [
            ("HIT", 1),
            ("HIT", 2),
            ("HIT", 3),
        ]
        assert await place.provider.calls(prompt) == 1

    await until(lambda: _sums_are(place, other, prompts))
    await _one_is_refreshed_and_purged(place, prompts[0])


async def _sums_are(place: Place, at: Replica, prompts: list[str]) -> bool:
    """Return whether statistics and lists of both replicas are complete."""
    sums = json.loads(
        (await place.clients.call("GET", f"{at.url}/api/v1/live/stats")).body
    )
    totals = [sums[name] for name in ("entries", "misses", "hits")]
    for order in ("recent", "hits"):
        listed = await place.clients.call("GET", f"{at.url}{ENTRIES}?sort={order}")
        found = {
            entry["prompt"]: entry["hits"]
            for entry in json.loads(listed.body)["entries"]
        }
        if found != dict.fromkeys(prompts, 3):
            return False
    return totals == [len(prompts), len(prompts), 3 * len(prompts)]


async def _one_is_refreshed_and_purged(place: Place, prompt: str) -> None:
    """Replace a picture on one replica and remove it on the other."""
    one, other = place.replicas
    old = await place.get(prompt, one)
    entry = f"{ENTRIES}/{old.headers['X-Prompt-Hash']}"

    refreshed = await place.clients.call("POST", f"{one.url}{entry}/refresh")
    new = await place.get(prompt, other)
    purged = await place.clients.call("DELETE", other.url + entry)
    gone = await place.clients.call("GET", one.url + entry)

    assert (refreshed.status, new.hits) == (200, 5)
    assert new.body != old.body
    assert (purged.status, gone.status) == (200, 404)
    assert await place.provider.calls(prompt) == 2


async def transient_images_are_shared(place: Place) -> None:
    """Upload a picture at one replica; fetch and delete it at the other."""
    one, other = place.replicas
    pictures = [paint(number=n, prompt="a paper lantern") for n in range(6)]

    async def lend(data: bytes) -> str:
        async with place.clients.session.post(
            f"{one.url}/api/images", data=data, headers={"Content-Type": "image/png"}
        ) as answer:
            assert answer.status == 201
            path: str = answer.headers["Location"]
            return path

    paths = [await lend(data) for data in pictures]
    fetched = [await place.clients.call("GET", other.url + path) for path in paths]
    listed = await place.clients.call("GET", f"{other.url}/api/images")
    deleted = [await place.clients.call("DELETE", other.url + path) for path in paths]
    emptied = await place.clients.call("GET", f"{one.url}/api/images")

    assert [got.body for got in fetched] == pictures
    assert json.loads(listed.body)["quota_used_bytes"] == sum(map(len, pictures))
    assert [json.loads(got.body) for got in deleted] == [{"deleted": True}] * 6
    assert json.loads(emptied.body)["images"] == []
    assert json.loads(emptied.body)["quota_used_bytes"] == 0


async def herds_are_painted_once(place: Place, prompts: list[str]) -> None:
    """Request the same prompts at both replicas while they are painted."""
    await place.provider.hold()
    herds = [
        asyncio.create_task(place.clients.herd(prompt, *place.replicas, count=6))
        for prompt in prompts
    ]
    await place.provider.until_held(len(prompts))
    await place.provider.release()

    for herd in await asyncio.gather(*herds):
        assert sorted(got.cache for got in herd) == ["HIT"] * 5 + ["MISS"]
    for prompt in prompts:
        assert await place.provider.calls(prompt) == 1
        assert place.clients.answers_to(prompt) == 1
