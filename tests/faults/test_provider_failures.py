"""The provider refuses, breaks, stalls or sends garbage."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults.installation import installation

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.place import Place
    from tests.servers import S3Server

FAILURES = {
    "moderation": (422, "prompt_rejected"),
    "rate_limited": (429, "rate_limited"),
    "server_error": (502, "provider_failed"),
    "bad_gateway": (502, "provider_failed"),
    "quota": (502, "provider_failed"),
    "html": (502, "provider_failed"),
    "truncated_json": (502, "provider_failed"),
    "empty_data": (502, "provider_failed"),
    "base64_garbage": (502, "provider_failed"),
    "picture_html": (502, "provider_failed"),
    "picture_broken_png": (502, "provider_failed"),
    "picture_enormous_png": (502, "provider_failed"),
    "huge_length": (502, "provider_failed"),
    "never": (504, "generation_timed_out"),
    "drip": (504, "generation_timed_out"),
}
FAILURES_IN_A_ROW = 5
REMEMBERED_SECONDS = 3


async def test_row_22_a_failure_is_one_call_for_all_requests(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """A failure answers the whole herd, is remembered, and stores nothing."""
    async with installation(tmp_path, s3_server, deadline_seconds=1.5) as place:
        for mode in FAILURES:
            await place.provider.behave(mode, prompt=f"a painter in a mood: {mode}")
        herds = await asyncio.gather(
            *(
                place.clients.herd(
                    f"a painter in a mood: {mode}", *place.replicas, count=10
                )
                for mode in FAILURES
            )
        )

        for (mode, expected), herd in zip(FAILURES.items(), herds, strict=True):
            assert {(got.status, got.code) for got in herd} == {expected}, mode
            again = await place.get(f"a painter in a mood: {mode}", place.replicas[1])
            assert (again.status, again.code) == expected, mode
        assert set((await place.provider.all_calls()).values()) == {1}
        assert not await place.entries()
        assert not await place.objects()
        assert not await place.objects("prompts")
        await place.check(f"a painter in a mood: {mode}", calls=1, answers=0)


async def test_row_22_a_provider_that_recovers_paints_again(
    place: Place,
) -> None:
    """A breakdown is remembered for three seconds, then the prompt is painted."""
    prompt = "second time lucky"
    await place.provider.behave("server_error", times=1)
    failed = await place.get(prompt, place.replicas[0])
    await asyncio.sleep(REMEMBERED_SECONDS + 0.2)

    got = await place.get(prompt, place.replicas[1])

    assert (failed.status, got.status, got.cache) == (502, 200, "MISS")
    await place.check(prompt, calls=2)


async def test_row_22_a_provider_that_fails_again_and_again_is_given_a_rest(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """After repeated failures the breaker refuses misses and serves hits."""
    async with installation(tmp_path, s3_server, replicas=1) as place:
        (at,) = place.replicas
        await place.get("painted before", at)
        await place.provider.behave("server_error")
        for number in range(FAILURES_IN_A_ROW):
            await place.get(f"try {number}", at)

        got = await place.clients.herd("one more try", at, count=10)

        assert {(one.status, one.code) for one in got} == {(502, "provider_failed")}
        assert await place.provider.calls("one more try") == 0
        assert len(await place.provider.all_calls()) == FAILURES_IN_A_ROW + 1
        assert (await place.get("painted before", at)).cache == "HIT"


@pytest.mark.parametrize("mode", ["moderation", "server_error"])
async def test_row_22_a_purge_forgets_a_failure(place: Place, mode: str) -> None:
    """After a purge a failed prompt is painted at once."""
    prompt = "a difficult customer"
    await place.provider.behave(mode, times=1)
    at, other = place.replicas
    accepted = await place.get(prompt, at, prefer="respond-async")
    assert (await place.get(prompt, at)).status in {422, 502}
    prompt_hash = accepted.json()["prompt_hash"]

    purged = await place.clients.call(
        "DELETE", f"{other.url}/api/v1/live/entries/{prompt_hash}"
    )

    assert purged.status == 200
    assert (await place.get(prompt, at)).cache == "MISS"
    await place.check(prompt, calls=2)
