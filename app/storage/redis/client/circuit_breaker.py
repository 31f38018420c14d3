"""Circuit breaker for Redis, one state per node."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from app.background import ended
from app.errors import CacheUnavailable
from app.storage.redis.client.clients import FAILURES, SLACK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.storage.redis.client.clients import Client

logger = logging.getLogger(__name__)

PROBE_EVERY_SECONDS = 0.1
PROBE_TIMEOUT_SECONDS = 1.0


class RedisBreaker:
    """The parts of Redis that are known to be unavailable.

    A server is one part, and so is each primary of a Cluster: the slots of the
    others go on. One lost reply says nothing; the second in a row opens the
    breaker for its part, so that no other command waits for a time-out. A probe on
    a client of its own closes it, and *on_change* is called.
    """

    def __init__(
        self, probe: Client, on_change: Callable[[bool], None] = lambda _: None
    ) -> None:
        self._probe = probe
        self._on_change = on_change
        self._probing: dict[str, asyncio.Task[None]] = {}
        # The parts whose last reply was lost.
        self._losing: set[str] = set()
        self.losses = 0

    @property
    def is_open(self) -> bool:
        """Return whether any part is known to be unavailable."""
        return bool(self._probing)

    @property
    def has_losses(self) -> bool:
        """Whether any part lost its last reply."""
        return bool(self._losing)

    def check(self, part: str) -> None:
        """Raise `CacheUnavailable` at once while *part* is unavailable."""
        if part in self._probing:
            raise CacheUnavailable("The cache is unavailable.")

    def answered(self, part: str) -> None:
        """Note a reply of *part*: what is lost next is the first in a row."""
        self._losing.discard(part)

    def lost(self, part: str, key: str, *, asked_at: int, was_silent: bool) -> None:
        """Note a lost reply; the second in a row makes *part* unavailable.

        *asked_at* is what `losses` was when the command was sent. A connection
        that is cut loses all that were sent over it, which counts once; each
        silence counts, because each has cost a caller a time-out.
        """
        is_second = part in self._losing and (was_silent or asked_at == self.losses)
        self._losing.add(part)
        self.losses += 1
        if is_second:
            self._trip(part, key)

    def _trip(self, part: str, key: str) -> None:
        """From now on `check` raises, until *key* can be read."""
        if part not in self._probing:
            logger.warning("redis is unavailable", extra={"node": part})
            self._probing[part] = asyncio.create_task(
                self._wait(part, key), name=f"redis-probe {part}"
            )
            self._on_change(self.is_open)

    async def _wait(self, part: str, key: str) -> None:
        while True:
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_SECONDS + SLACK_SECONDS):
                    # Not PING: a node may answer whose slots are not served.
                    await self._probe.execute_command("EXISTS", key)
                    break
            except FAILURES:
                await asyncio.sleep(PROBE_EVERY_SECONDS)
        del self._probing[part]
        self._losing.discard(part)
        self._on_change(self.is_open)
        logger.info("redis is back", extra={"node": part})

    async def aclose(self) -> None:
        """Stop probing."""
        await asyncio.gather(*map(ended, self._probing.values()))
