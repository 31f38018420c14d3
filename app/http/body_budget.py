"""The bytes of bodies that a replica takes in at once, over all requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from aiohttp import web

from app.errors import QueueFull

BODIES_BYTES = 128 * 1024 * 1024

# Large bodies that come slowly must not keep small ones, of prompts, from coming.
SMALL_BODY_BYTES = 1024 * 1024
SMALL_BODIES_BYTES = 64 * 1024 * 1024
_RETRY_AFTER = timedelta(seconds=1)


class BodyBudget:
    """A bound on the announced bytes of bodies that are being read.

    At most *max_bytes*, or one body that is larger; bodies of up to 1 MiB have
    *small_bytes* besides.
    """

    def __init__(
        self,
        max_bytes: int = BODIES_BYTES,
        *,
        small_bytes: int = SMALL_BODIES_BYTES,
    ) -> None:
        self._max_bytes = max_bytes
        self._small_bytes = small_bytes
        self._held = 0

    @contextmanager
    def holding(self, announced_bytes: int) -> Iterator[None]:
        """Hold *announced_bytes* as long as the context is open.

        Raises `QueueFull` at once where the others leave no room for them.
        """
        max_bytes = self._max_bytes
        if announced_bytes <= SMALL_BODY_BYTES:
            max_bytes += self._small_bytes
        if self._held and self._held + announced_bytes > max_bytes:
            raise QueueFull(
                "This replica takes in as many bytes as it can.",
                retry_after=_RETRY_AFTER,
            )
        self._held += announced_bytes
        try:
            yield
        finally:
            self._held -= announced_bytes


BODY_BUDGET = web.AppKey("body_budget", BodyBudget)
