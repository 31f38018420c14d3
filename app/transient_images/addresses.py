"""The addresses that pictures are lent, and whether they lead anywhere. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from app import urls
from app.image import EXTENSIONS
from app.transient_images.reachability import is_reachable


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses under one base URL; *are_reachable* says if a provider gets there."""

    base_url: str
    are_reachable: bool

    @classmethod
    def under(cls, base_url: str) -> Self:
        """Judge *base_url* by its spelling."""
        return cls(base_url.rstrip("/"), is_reachable(base_url))

    def of(self, image_id: str, media_type: str) -> str:
        """Return the address of a picture, which ends in its type's extension."""
        path = urls.transient(f"{image_id}.{EXTENSIONS[media_type]}")
        return f"{self.base_url}{path}"
