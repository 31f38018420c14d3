"""`CompletionEvents` over Redis Pub/Sub: one subscription for each replica.

A message may be lost while the connection is (re)made, so waiters poll as
well: the events only make them faster.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

from app.background import running
from app.errors import root_of
from app.storage.redis import keys
from app.storage.redis.client.clients import FAILURES, subscription
from app.storage.redis.client.rights import right_missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from app.storage.redis.client.clients import Client
    from app.storage.redis.client.rights import RightMissing

logger = logging.getLogger(__name__)

RECONNECT_EVERY_SECONDS = 0.2
LISTEN_SECONDS = 1.0
# A primary that hangs, or was replaced behind a cut, says nothing for ever.
MAX_SILENCES = 3


class RedisCompletionEvents:
    """Passes the messages of one channel to the waiters of each prompt."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._expected: dict[str, set[asyncio.Event]] = {}
        self._missing = ""

    @contextmanager
    def expect(self, prompt_hash: str) -> Iterator[RedisCompletion]:
        """Collect the events of a prompt as long as the context is open."""
        landed = asyncio.Event()
        expecting = self._expected.setdefault(prompt_hash, set())
        expecting.add(landed)
        try:
            yield RedisCompletion(landed)
        finally:
            expecting.discard(landed)
            if not expecting:
                self._expected.pop(prompt_hash, None)

    async def listen(self) -> None:
        """Pass the events on until cancelled; reconnect for ever."""
        while True:
            try:
                await self._listen_once()
            except FAILURES as error:
                self._name(right_missing(error, ("SUBSCRIBE",), None))
                logger.info(
                    "completions are not heard",
                    extra={"reason": type(root_of(error)).__name__},
                )
            await asyncio.sleep(RECONNECT_EVERY_SECONDS)

    def _name(self, missing: RightMissing | None) -> None:
        """Log *missing* once: it is met five times a second until it is given."""
        if missing is not None and str(missing) != self._missing:
            self._missing = str(missing)
            logger.error("redis refuses a command", extra={"command": self._missing})

    async def _listen_once(self) -> None:
        async with subscription(self._client) as heard:
            await heard.subscribe(keys.LANDED)
            silences = 0
            while silences < MAX_SILENCES:
                message = await heard.get_message(timeout=LISTEN_SECONDS)
                if message is None:
                    silences += 1
                    await heard.ping()
                    continue
                silences = 0
                if message["type"] == "message":
                    for landed in self._expected.get(message["data"].decode(), ()):
                        landed.set()


class RedisCompletion:
    """The completion events of one prompt."""

    def __init__(self, landed: asyncio.Event) -> None:
        self._landed = landed

    async def wait(self, max_seconds: float) -> None:
        """Return when there was an event since the last call, or the time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max_seconds):
                await self._landed.wait()
        self._landed.clear()


@asynccontextmanager
async def open_completion_events(
    client: Client,
) -> AsyncIterator[RedisCompletionEvents]:
    """Listen for completions as long as the context is open."""
    completions = RedisCompletionEvents(client)
    async with running(completions.listen(), name="completions"):
        yield completions
