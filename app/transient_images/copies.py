"""Copies: pictures that came with requests, kept while paintings may need them.

They lie outside the caller's quota and list. Requests of one replica that
bring the same pictures share one set of copies; the last of them removes it.
Where a request ends while its painting goes on, the copies' own time ends them.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from app.background import ended
from app.errors import (
    CacheUnavailable,
    QuotaFull,
    ShuttingDown,
    StillGenerating,
)
from app.storage.ports.transient_store import QuotaReached

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import timedelta

    from app.image import Image
    from app.storage.ports.transient_store import Quota, TransientStore
    from app.storage.storage_key import Project

logger = logging.getLogger(__name__)

_PAINTING_GOES_ON = (asyncio.CancelledError, StillGenerating, ShuttingDown)


def account_of(project: Project) -> str:
    """Return the account of a project's copies; no project has a name like it."""
    return f"_copies/{project}"


@dataclass(slots=True)
class _Set:
    """Copies of the same pictures, and how many requests use them."""

    ids: tuple[str, ...]
    stored: asyncio.Task[None]
    users: int = 0


class Copies:
    """The copies of this replica's requests, within *quota* for each project."""

    def __init__(self, store: TransientStore, *, quota: Quota) -> None:
        self._store = store
        self._quota = quota
        self._sets: dict[tuple[Project, tuple[str, ...]], _Set] = {}

    @asynccontextmanager
    async def kept(
        self, project: Project, images: Sequence[Image], *, lasts: timedelta
    ) -> AsyncIterator[tuple[str, ...]]:
        """Yield the id of a copy of each of *images*, in order.

        They live until the context closes, and at most for *lasts*. Raises
        `QuotaFull` and `CacheUnavailable`.
        """
        key = (project, tuple([image.digest for image in images]))
        shared = self._sets.get(key)
        if shared is None:
            ids = tuple([str(uuid4()) for _ in images])
            storing = self._put(project, ids, tuple(images), lasts)
            task = asyncio.create_task(storing, name="copies")
            shared = self._sets[key] = _Set(ids, task)
        shared.users += 1
        try:
            await asyncio.shield(shared.stored)
        except BaseException:
            # No painting has begun that could go on.
            await self._leave_and_remove(key, shared)
            raise
        try:
            yield shared.ids
        except _PAINTING_GOES_ON:
            self._leave(key, shared)
            raise
        except BaseException:
            await self._leave_and_remove(key, shared)
            raise
        await self._leave_and_remove(key, shared)

    async def _put(
        self,
        project: Project,
        ids: Sequence[str],
        images: Sequence[Image],
        lasts: timedelta,
    ) -> None:
        account = account_of(project)
        for image_id, image in zip(ids, images, strict=True):
            stored = await self._store.put(
                image_id,
                image.data,
                project=account,
                media_type=image.media_type,
                ttl=lasts,
                quota=self._quota,
            )
            if isinstance(stored, QuotaReached):
                raise QuotaFull("There is no room for the request's pictures.")

    def _leave(self, key: tuple[Project, tuple[str, ...]], shared: _Set) -> bool:
        """Return whether *shared* has no user any more."""
        shared.users -= 1
        if shared.users == 0 and self._sets.get(key) is shared:
            del self._sets[key]
        return shared.users == 0

    async def _leave_and_remove(
        self, key: tuple[Project, tuple[str, ...]], shared: _Set
    ) -> None:
        if not self._leave(key, shared):
            return
        await ended(shared.stored)
        if not shared.stored.cancelled():
            # Retrieved: its caller has it, or has gone.
            shared.stored.exception()
        try:
            await self._store.forget(account_of(key[0]), shared.ids)
        except CacheUnavailable:
            logger.warning("copies left to expire")
