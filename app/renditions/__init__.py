"""Renditions: one paid picture, in other widths and formats.

A caller names the picture and a `Rendition`. It is made once, kept
beside the picture in the object store, and made again where it is lost: it
costs time and no money. `rendition` says what is asked for and where it lies,
`drawing` makes one out of bytes, `workshop` makes one after the other, and
`Renditions` looks where one is before it has it made.
"""

from app.renditions.assemble import Limits, Ports, RenditionParts, assemble
from app.renditions.rendition import (
    LOSSY,
    MEDIA_TYPE_OF_FORMAT,
    Original,
    Rendition,
    StoredRendition,
    can_be,
)
from app.renditions.renditions import OriginalGone, Renditions

__all__ = [
    "LOSSY",
    "MEDIA_TYPE_OF_FORMAT",
    "Limits",
    "Original",
    "OriginalGone",
    "Ports",
    "Rendition",
    "RenditionParts",
    "Renditions",
    "StoredRendition",
    "assemble",
    "can_be",
]
