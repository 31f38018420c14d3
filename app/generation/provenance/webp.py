"""WebP: a C2PA manifest is a `C2PA` chunk, XMP an `XMP ` chunk named by `VP8X`.

RFC 9649, 2; C2PA Technical Specification 2.1, A.3.6.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from app.generation.provenance.container import MAX_PARTS, Contents, Unmarkable

_HEAD = struct.Struct("<4sI")
_FIRST_CHUNK = 12
_HAS_ALPHA, _HAS_XMP = 0x10, 0x04
_EXTENDED_BYTES = 10
_LONGEST = 2**32 - 10


class _Chunk(NamedTuple):
    name: bytes
    start: int
    length: int

    @property
    def body(self) -> int:
        return self.start + _HEAD.size

    @property
    def end(self) -> int:
        """Return where the next one begins: at an even offset."""
        return self.body + self.length + self.length % 2


def find(data: bytes) -> Contents:
    """Walk through the chunks of the file."""
    parts = chunks_of(data)
    c2pa = any(chunk.name == b"C2PA" for chunk in parts)
    for chunk in parts:
        if chunk.name == b"XMP ":
            packet = data[chunk.body : chunk.body + chunk.length]
            return Contents(c2pa, packet, chunk.start, chunk.end)
    end = parts[-1].end
    return Contents(c2pa, None, end, end)


def embed(data: bytes, contents: Contents, packet: bytes) -> bytes:
    """Return the picture with *packet* in the place of *contents*."""
    first, *others = chunks_of(data)
    if first.name == b"VP8X":
        extended, begin = _naming_xmp(data, first), first.end
    elif others:
        raise Unmarkable("a simple file has one chunk")
    else:
        extended, begin = _made_for(data, first), first.start
    part = _HEAD.pack(b"XMP ", len(packet)) + packet + bytes(len(packet) % 2)
    view = memoryview(data)
    before, behind = view[begin : contents.start], view[contents.end :]
    trailing = len(data) - [first, *others][-1].end
    size = len(b"WEBP" + extended + part) + len(before) + len(behind) - trailing
    if size > _LONGEST:
        raise Unmarkable("the file would be longer than it may be")
    head = _HEAD.pack(b"RIFF", size) + b"WEBP"
    return b"".join((head, extended, before, part, behind))


def chunks_of(data: bytes) -> list[_Chunk]:
    """Return the chunks as far as the file's own length says; never none."""
    try:
        file_end = _HEAD.size + _HEAD.unpack_from(data)[1]
        chunks: list[_Chunk] = []
        start = _FIRST_CHUNK
        while start < file_end and len(chunks) < MAX_PARTS:
            name, length = _HEAD.unpack_from(data, start)
            chunks.append(_Chunk(name, start, length))
            start = chunks[-1].end
    except struct.error as error:
        raise Unmarkable("the file is cut") from error
    if not chunks or start != file_end or file_end > len(data):
        raise Unmarkable("the file has another length than it says")
    return chunks


def _naming_xmp(data: bytes, chunk: _Chunk) -> bytes:
    """Return the `VP8X` chunk that is there, with its flag for XMP."""
    if chunk.length != _EXTENDED_BYTES:
        raise Unmarkable("the extended header is damaged")
    extended = bytearray(data[chunk.start : chunk.end])
    extended[_HEAD.size] |= _HAS_XMP
    return bytes(extended)


def _made_for(data: bytes, image: _Chunk) -> bytes:
    """Return the `VP8X` chunk that a simple file goes without."""
    body = data[image.body : image.body + _EXTENDED_BYTES]
    flags = _HAS_XMP
    if image.name == b"VP8L" and body[:1] == b"\x2f":  # RFC 9649, 3.4
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags |= _HAS_ALPHA * (bits >> 28 & 1)
    elif image.name == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":  # RFC 6386, 9.1
        width = int.from_bytes(body[6:8], "little") & 0x3FFF
        height = int.from_bytes(body[8:10], "little") & 0x3FFF
    else:
        raise Unmarkable("the picture's size can't be read")
    if not width or not height:
        raise Unmarkable("the picture has no pixels")
    return (
        _HEAD.pack(b"VP8X", _EXTENDED_BYTES)
        + bytes((flags, 0, 0, 0))
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )
