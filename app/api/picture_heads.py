"""The headers that every live answer with one picture shares, rendered once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from app import urls
from app.http.picture_headers import Part, identity

if TYPE_CHECKING:
    from datetime import datetime

    from app.prompt_cache.entry.entry import PromptEntry


class PictureHead(NamedTuple):
    """The headers that every live answer with one picture shares.

    *own* is in a 304 as well (RFC 9110, 15.4.5), *of_body* in a 200 alone.
    """

    etag: str
    last_modified: datetime
    of_body: Part
    own: Part


def picture_head(entry: PromptEntry) -> PictureHead:
    """Return the head of answers with the picture of *entry*, rendered once."""
    head = _heads.get(entry.image_id)
    if head is None:
        if len(_heads) >= HEADS_KEPT:
            _heads.clear()
        head = _heads[entry.image_id] = _picture_head(entry)
    return head


# By image id, some 2 KB each. Emptied when full: to keep the order of use would
# take longer than to render one again.
HEADS_KEPT = 32_768
_heads: dict[str, PictureHead] = {}


def _picture_head(entry: PromptEntry) -> PictureHead:
    of_body = {"Content-Type": entry.media_type, "Content-Length": str(entry.size)}
    own = {
        **identity(
            digest=entry.digest, created_at=entry.created_at, image_id=entry.image_id
        ),
        "X-Prompt-Hash": entry.prompt_hash,
        "X-Model": entry.model,
        "Content-Location": urls.permalink(entry.storage_key),
    }
    if entry.is_placeholder:
        own["X-Placeholder"] = "true"
    return PictureHead(own["ETag"], entry.created_at, Part.of(of_body), Part.of(own))
