"""The store of transient images on a real Redis, and how tests look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.storage.redis.transient import RedisTransientStore

if TYPE_CHECKING:
    from app.storage.redis.client.connection import RedisConnections

PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def picture(size: int = 100, fill: bytes = b".") -> bytes:
    """Return *size* bytes that start like a PNG."""
    return (PNG_HEAD + fill * (size // len(fill) + 1))[:size]


def store_on(connections: RedisConnections, **options: Any) -> RedisTransientStore:
    """Return the adapter, as a replica has it."""
    return RedisTransientStore(
        commands=connections.commands,
        slices=connections.slices,
        blobs=connections.blobs,
        **options,
    )


async def keys_left(connections: RedisConnections) -> list[bytes]:
    """Return every key that lies in Redis."""
    found: list[bytes] = await connections.leases.execute("KEYS", "*")
    return found


async def fill(connections: RedisConnections) -> None:
    """Leave Redis no memory for anything more."""
    await connections.leases.execute("CONFIG", "SET", "maxmemory", 1)
