"""The headers of pictures, rendered once for every answer.

A description is a mapping of fields. aiohttp renders it for ordinary answers,
`lines` for those whose head is bytes already (`server/raw_answers.py`); a
`Part` is what many answers say alike, in both renderings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from app.http.conditional import format_date

A_YEAR = "public, max-age=31536000"

# Which request headers decide about a live answer to a key.
LIVE_VARY = "X-API-Key, Authorization, X-Project"

# What would end a field, and let another one begin (RFC 9110, 5.5).
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def lines(fields: Mapping[str, str]) -> bytes:
    """Return header *fields* as lines; `ValueError` for a control character."""
    if _UNSAFE.search("".join(fields.values())):
        wrong = [name for name, value in fields.items() if _UNSAFE.search(value)]
        raise ValueError(f"{', '.join(wrong)} has a control character.")
    return "".join([f"{name}: {value}\r\n" for name, value in fields.items()]).encode()


class Part(NamedTuple):
    """Some fields of many answers; *lines* are the same as bytes."""

    fields: Mapping[str, str]
    lines: bytes

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Part:
        """Render *fields* once; `ValueError` for a control character."""
        return cls(MappingProxyType(dict(fields)), lines(fields))


# A picture is embedded by pages of any origin and never is a page itself:
# whatever its bytes claim to be, they run no script and load nothing.
EMBEDDING = Part.of(
    {
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
)
RANGES = Part.of({"Accept-Ranges": "bytes"})

# Which caches may keep an answer, and for how long.
KEPT_BY_ALL = Part.of({"Cache-Control": A_YEAR, "Vary": LIVE_VARY})
KEPT_BY_KEYS = Part.of(
    {"Cache-Control": A_YEAR, "CDN-Cache-Control": "no-store", "Vary": LIVE_VARY}
)
KEPT_BY_BROWSERS = Part.of(
    {
        "Cache-Control": "private, max-age=31536000",
        "CDN-Cache-Control": "no-store",
        "Vary": LIVE_VARY,
    }
)
KEPT_BY_VISITORS = Part.of({"Cache-Control": A_YEAR})
KEPT_FOR_EVER = Part.of({"Cache-Control": f"{A_YEAR}, immutable"})
KEPT_BY_ITS_OWNER = Part.of({"Cache-Control": "private, max-age=31536000"})
NOT_CACHED = Part.of({"Cache-Control": "no-store"})


def identity(*, digest: str, created_at: datetime, image_id: str) -> dict[str, str]:
    """Return the fields that identify a picture, the same in every answer with it.

    *digest* is the SHA-256 of its bytes, in hexadecimal.
    """
    return {
        "ETag": f'"{digest}"',
        "Last-Modified": format_date(created_at),
        "X-Image-Id": image_id,
    }


def merged(*parts: Part | Mapping[str, str]) -> dict[str, str]:
    """Return the fields of *parts*, for an answer that aiohttp renders."""
    fields: dict[str, str] = {}
    for part in parts:
        fields |= part.fields if isinstance(part, Part) else part
    return fields
