"""Whether a picture has come whole, by its container alone. Pure.

A download that was cut still begins like a picture and has a readable header.
Nothing is inflated or decoded, whatever a picture's notes hold.
"""

from __future__ import annotations

import re
import struct
import zlib

# Real pictures have hundreds of chunks, segments and boxes. A hostile one of
# 16 MB could have millions, which would take seconds to walk through.
_MAX_PARTS = 65_536
# A GIF's pixels come in blocks of up to 255 bytes; encoders fill them.
_BYTES_A_BLOCK = 16

_HEAD = struct.Struct(">I4s")
_PNG_AROUND = 12
_PNG_SIGNATURE = 8

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
# ITU-T T.81, B.1.1.3: TEM and the restart markers stand alone.
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
# A marker within the pixels: FF and neither a stuffed zero, a restart, nor FF.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FILL = re.compile(rb"\xff*")

_GIF_IMAGE, _GIF_EXTENSION, _GIF_TRAILER = 0x2C, 0x21, 0x3B


class _Cut(ValueError):
    """The picture ends before its end, or is damaged."""


def is_whole(data: bytes, media_type: str) -> bool:
    """Return whether *data* has everything up to the container's own end.

    PNG: every chunk with its checksum, to IEND. JPEG: to EOI. GIF: to the
    trailer. WebP and AVIF: as long as their own lengths say. What comes behind
    the end does not matter.
    """
    try:
        _WALKS[media_type](data)
    except (_Cut, struct.error, IndexError):
        return False
    return True


def _walk_png(data: bytes) -> None:
    view = memoryview(data)
    at = _PNG_SIGNATURE
    for _ in range(_MAX_PARTS):
        length, name = _HEAD.unpack_from(data, at)
        end = at + _PNG_AROUND + length
        if end > len(data):
            raise _Cut
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(view[at + 4 : end - 4]) != checksum:
            raise _Cut
        if name == b"IEND":
            return
        at = end
    raise _Cut


def _walk_jpeg(data: bytes) -> None:
    at = 2
    for _ in range(_MAX_PARTS):
        if data[at] != 0xFF:  # noqa: PLR2004 - what every marker begins with
            raise _Cut
        at = _FILL.match(data, at).end()  # type: ignore[union-attr]
        marker = data[at]
        at += 1
        if marker == _EOI:
            return
        if marker in _ALONE or marker == _SOI:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        at += length
        if marker == _SOS:
            found = _MARKER.search(data, at)
            if found is None:
                raise _Cut
            at = found.start()
    raise _Cut


def _walk_gif(data: bytes) -> None:
    at = 13 + _colours(data[10])
    blocks = iter(range(_MAX_PARTS + len(data) // _BYTES_A_BLOCK))
    for _ in blocks:
        kind = data[at]
        if kind == _GIF_TRAILER:
            return
        if kind == _GIF_EXTENSION:
            at += 2
        elif kind == _GIF_IMAGE:
            at += 11 + _colours(data[at + 9])
        else:
            raise _Cut
        size = data[at]
        while size:
            next(blocks, None)
            at += 1 + size
            size = data[at]
        at += 1
    raise _Cut


def _colours(flags: int) -> int:
    """Return how many bytes the colour table has that *flags* speak of."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _walk_webp(data: bytes) -> None:
    (length,) = struct.unpack_from("<I", data, 4)
    if len(data) < 8 + length:
        raise _Cut


def _walk_avif(data: bytes) -> None:
    at, has_pixels = 0, False
    for _ in range(_MAX_PARTS):
        if len(data) - at < _HEAD.size:
            break
        length, name = _HEAD.unpack_from(data, at)
        if not name.isalnum():
            break  # no box, but what lies behind the last one
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
        elif length == 0:
            length = len(data) - at
        if length < _HEAD.size or at + length > len(data):
            raise _Cut
        # Pixels have a box of their own, or lie within that of the header.
        has_pixels |= name == b"mdat" or data.find(b"idat", at, at + length) >= 0
        at += length
    if not has_pixels:
        raise _Cut


_WALKS = {
    "image/png": _walk_png,
    "image/jpeg": _walk_jpeg,
    "image/gif": _walk_gif,
    "image/webp": _walk_webp,
    "image/avif": _walk_avif,
}
