"""Stored pictures by their key, as their renditions need to know them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from app.api.rendition_answers import original_of
from app.errors import ProviderFailed, UnsupportedImage
from app.image import Image
from app.renditions import Original

if TYPE_CHECKING:
    from app.prompt_cache.entry.ledger import Ledger
    from app.prompt_cache.painting.pictures import Pictures, StoredPicture
    from app.storage.storage_key import StorageKey

# Some 500 bytes each.
_MAX_KNOWN = 8_192


class Originals:
    """Cached facts about pictures that no entry names; they never change."""

    def __init__(self, ledger: Ledger, pictures: Pictures) -> None:
        self._ledger = ledger
        self._pictures = pictures
        self._known: dict[StorageKey, Original] = {}

    async def find(self, key: StorageKey) -> Original | None:
        """Return the picture under *key*; None where the store has none now.

        Raises `StorageUnavailable`, and `ProviderFailed` for bytes that are no
        picture.
        """
        known = self._known.get(key)
        if known is not None:
            return known if await self._ledger.has_image(key) else None
        async with self._pictures.open_stored(key) as stored:
            if stored is None:
                return None
            found = await self._named(key, stored) or await _inspected(key, stored)
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[key] = found
        return found

    async def _named(self, key: StorageKey, stored: StoredPicture) -> Original | None:
        """Return the picture as the manifest of its prompt describes it, or None."""
        if not stored.prompt_hash:
            return None
        manifest = await self._ledger.read(key.project, stored.prompt_hash)
        entry = manifest.entry if manifest else None
        # A refresh may have replaced it.
        return original_of(entry) if entry and entry.storage_key == key else None


ORIGINALS = web.AppKey("originals", Originals)


async def _inspected(key: StorageKey, stored: StoredPicture) -> Original:
    data = b"".join([chunk async for chunk in stored.chunks])
    try:
        image = await asyncio.to_thread(Image.inspect, data)
    except UnsupportedImage as error:
        raise ProviderFailed("The stored picture can't be decoded.") from error
    return Original(
        key.project,
        key.image_id or "",
        image.media_type,
        len(data),
        image.digest,
        image.width,
        image.height,
        stored.created_at,
    )
