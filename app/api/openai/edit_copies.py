"""Copies of an edit's pictures, made where its prompt was not painted yet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.prompt_cache.entry.prompt_key import PromptKey

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from app.api.openai.edit_pictures import EditPictures
    from app.api.services import Services
    from app.storage.storage_key import Project

# A request that joins late may have the prompt painted once more.
_PAINTINGS = 3


class EditCopies:
    """The copies of one request; *stack* bounds how long they are kept."""

    def __init__(
        self,
        services: Services,
        project: Project,
        pictures: EditPictures,
        stack: AsyncExitStack,
    ) -> None:
        self._copies = services.transient_images.copies
        self._lasts = _PAINTINGS * services.prompts.painter.generation_timeout
        self._project = project
        self._pictures = pictures
        self._stack = stack
        self._making = asyncio.Lock()
        self._ids: tuple[str, ...] | None = None

    async def readable(self, key: PromptKey) -> PromptKey:
        """Return *key* with pictures that can be read; its hash is the same.

        The bytes that came with the request are released: it waits without them.
        """
        async with self._making:
            if self._ids is None:
                sent = self._pictures.sent
                kept = self._copies.kept(self._project, sent, lasts=self._lasts)
                self._ids = await self._stack.enter_async_context(kept)
                sent.clear()
        named = self._pictures.named(key.parameters, self._ids)
        return PromptKey(key.project, named)
