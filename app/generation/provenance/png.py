"""PNG: a C2PA manifest is a `caBX` chunk, XMP an `iTXt` chunk of a set keyword.

PNG Specification, Third Edition, 5.3 and 11.3.3.4; XMP Specification Part 3,
1.1.5; C2PA Technical Specification 2.1, A.3.3.
"""

from __future__ import annotations

import struct
import zlib

from app.generation.provenance.container import (
    MAX_PARTS,
    Contents,
    Unmarkable,
    spliced,
)

_KEYWORD = b"XML:com.adobe.xmp\0"
_SIGNATURE_BYTES = 8
# Length and name in front of a chunk's data, the checksum behind it.
_HEAD = struct.Struct(">I4s")
_AROUND = _HEAD.size + 4
_LONGEST = 2**31 - 1
# As much as Pillow reads from a compressed text; a packet is a few KB.
_MAX_DECOMPRESSED = 1024 * 1024


def find(data: bytes) -> Contents:
    """Walk through the chunks, those behind the pixels as well."""
    c2pa, packet, place = False, None, None
    start, name = _SIGNATURE_BYTES, b""
    for _ in range(MAX_PARTS):
        length, name = head(data, start)
        end = start + _AROUND + length
        if end > len(data):
            raise Unmarkable("a chunk is cut")
        if name == b"caBX":
            c2pa = True
        elif name == b"iTXt" and packet is None:
            packet = packet_in(data[start + _HEAD.size : end - 4])
            place = (start, end) if packet is not None else place
        elif name == b"IHDR" and place is None:
            place = (end, end)
        elif name == b"IEND" and place is not None:
            return Contents(c2pa, packet, *place)
        start = end
    raise Unmarkable("there are too many chunks, or none of those there must be")


def embed(data: bytes, contents: Contents, packet: bytes) -> bytes:
    """Return the picture with *packet* in the place of *contents*."""
    body = _KEYWORD + b"\0\0\0\0" + packet
    if len(body) > _LONGEST:
        raise Unmarkable("the packet is longer than a chunk may be")
    head = _HEAD.pack(len(body), b"iTXt")
    checksum = struct.pack(">I", zlib.crc32(body, zlib.crc32(b"iTXt")))
    return spliced(data, contents.start, contents.end, head + body + checksum)


def head(data: bytes, start: int) -> tuple[int, bytes]:
    """Return length and name of the chunk at *start*."""
    try:
        return _HEAD.unpack_from(data, start)
    except struct.error as error:
        raise Unmarkable("the last chunk is missing") from error


def packet_in(body: bytes) -> bytes | None:
    """Return the XMP packet in an `iTXt` chunk; empty if it can't be read."""
    if not body.startswith(_KEYWORD):
        return None
    is_compressed = body[len(_KEYWORD) : len(_KEYWORD) + 1] != b"\0"
    # Behind the two bytes of compression: language tag and translated keyword.
    *_, text = body[len(_KEYWORD) + 2 :].split(b"\0", 2)
    if not is_compressed:
        return text
    try:
        return zlib.decompressobj().decompress(text, _MAX_DECOMPRESSED)
    except zlib.error:
        return b""
