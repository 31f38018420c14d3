"""JPEG: a C2PA manifest is JUMBF in APP11 segments, XMP an APP1 segment.

ITU-T T.81, B.1; XMP Specification Part 3, 1.1.3; C2PA Technical Specification
2.1, A.3.1; ISO/IEC 19566-5, D.2.
"""

from __future__ import annotations

import re
import struct

from app.generation.provenance.container import (
    MAX_PARTS,
    Contents,
    Unmarkable,
    spliced,
)

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_SOI = b"\xff\xd8"
_APP0, _APP1, _APP11, _SOS = 0xE0, 0xE1, 0xEB, 0xDA
# Multi-Picture Format (CIPA DC-007), 5.2.2: from here offsets are counted.
_INDICES = (b"MPF\0II*\0", b"MPF\0MM\0*")
# TEM and RST0 to RST7 have no length; neither do SOI and EOI, which would
# mean that the picture ends before its pixels.
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_NEVER_HERE = frozenset({0x00, 0xD8, 0xD9})
_LENGTH = struct.Struct(">H")
# B.1.1.2: a marker may have any number of these in front of it.
_FILL = re.compile(rb"\xff*")
_LONGEST = 2**16 - 1 - _LENGTH.size


def find(data: bytes) -> Contents:
    """Walk through the segments in front of the pixels."""
    c2pa, packet = False, None
    place = (len(_SOI), len(_SOI))
    is_head = True
    start = len(_SOI)
    for _ in range(MAX_PARTS):
        marker, body, end = segment(data, start)
        if marker == _SOS:
            return Contents(c2pa, packet, *place)
        if marker == _APP11 and data[body : body + 2] == b"JP":
            c2pa = c2pa or data.find(b"c2pa", body, end) >= 0
        elif marker == _APP1 and packet is None and data.startswith(_XMP, body):
            packet = data[body + len(_XMP) : end]
            place = (start, end)
        # JFIF and Exif want to be the first.
        is_head = is_head and marker in {_APP0, _APP1}
        if is_head and packet is None:
            place = (end, end)
        start = end
    raise Unmarkable("there are too many segments")


def embed(data: bytes, contents: Contents, packet: bytes) -> bytes:
    """Return the picture with *packet* in the place of *contents*."""
    body = _XMP + packet
    if len(body) > _LONGEST:
        raise Unmarkable("the packet is longer than a segment may be")
    if has_index(data, contents.start):
        raise Unmarkable("the offsets to further pictures would be wrong")
    part = b"\xff\xe1" + _LENGTH.pack(len(body) + _LENGTH.size) + body
    return spliced(data, contents.start, contents.end, part)


def has_index(data: bytes, before: int | None = None) -> bool:
    """Return whether offsets to further pictures are counted from an offset here."""
    return any(data.find(index, 0, before) >= 0 for index in _INDICES)


def segment(data: bytes, start: int) -> tuple[int, int, int]:
    """Return the marker at *start*, where its data begins, and where it ends."""
    try:
        if data[start] != 0xFF:  # noqa: PLR2004 - what every marker begins with
            raise Unmarkable("there is no marker where one must be")
        start = _FILL.match(data, start).end()  # type: ignore[union-attr]
        marker = data[start]
        if marker in _WITHOUT_LENGTH:
            return marker, start + 1, start + 1
        (length,) = _LENGTH.unpack_from(data, start + 1)
    except (IndexError, struct.error) as error:
        raise Unmarkable("the picture ends in its header") from error
    end = start + 1 + length
    if marker in _NEVER_HERE or length < _LENGTH.size or end > len(data):
        raise Unmarkable("a segment is damaged")
    return marker, start + 1 + _LENGTH.size, end
