"""The warning that transient images could fill Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.errors import CacheUnavailable
from app.storage.redis.client.traffic import open_redis
from app.transient_images import memory, warn_unless_bounded

if TYPE_CHECKING:
    from tests.servers import RedisServer

EVENT = "transient images may fill redis"


@pytest.mark.parametrize(
    ("total_bytes", "most", "warns"),
    [
        (None, 1_000_000, True),
        (1_000_000, 1_000_000, True),
        (999_999, 1_000_000, False),
        (None, None, False),
    ],
    ids=["no bound", "not below", "below", "no maxmemory"],
)
async def test_a_bound_below_maxmemory_is_missed(
    caplog: pytest.LogCaptureFixture,
    total_bytes: int | None,
    most: int | None,
    *,
    warns: bool,
) -> None:
    """The warning is logged if all quotas may reach Redis's maxmemory."""

    async def max_memory() -> int | None:
        return most

    await warn_unless_bounded(max_memory, total_bytes)

    assert (EVENT in caplog.messages) is warns


async def test_it_is_said_when_redis_comes(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check is repeated until Redis answers."""
    monkeypatch.setattr(memory, "_ASK_AGAIN_SECONDS", 0)
    answers: list[int | None] = [None, None, 5]

    async def max_memory() -> int | None:
        answer = answers.pop(0)
        if answer is None:
            raise CacheUnavailable("away")
        return answer

    await warn_unless_bounded(max_memory, None)

    assert EVENT in caplog.messages


async def test_max_memory_is_that_of_info(redis_server: RedisServer) -> None:
    """`max_memory` is INFO's value, or None without a limit."""
    async with open_redis(redis_server.url) as redis:
        assert await redis.max_memory() is None
        await redis.leases.execute("CONFIG", "SET", "maxmemory", 1_000_000_000)
        try:
            assert await redis.max_memory() == 1_000_000_000
        finally:
            await redis.leases.execute("CONFIG", "SET", "maxmemory", 0)
