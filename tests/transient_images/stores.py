"""The store of transient images on a real Redis, and helpers to inspect it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.storage.redis import keys
from app.storage.redis.transient import RedisTransientStore

if TYPE_CHECKING:
    from app.storage.redis.client.traffic import RedisConnections

PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def picture(size: int = 100, fill: bytes = b".") -> bytes:
    """Return *size* bytes that start like a PNG."""
    return (PNG_HEAD + fill * (size // len(fill) + 1))[:size]


def store_on(connections: RedisConnections, **options: Any) -> RedisTransientStore:
    """Return the adapter of a replica."""
    return RedisTransientStore(
        commands=connections.commands,
        slices=connections.slices,
        blobs=connections.blobs,
        **options,
    )


async def keys_left(connections: RedisConnections) -> list[bytes]:
    """Return every key in Redis but the one that every replica leaves."""
    found: list[bytes] = await connections.leases.execute("KEYS", "*")
    return [key for key in found if key != keys.BEGAN.encode()]


async def fill(connections: RedisConnections) -> None:
    """Fill Redis's memory."""
    await connections.leases.execute("CONFIG", "SET", "maxmemory", 1)
