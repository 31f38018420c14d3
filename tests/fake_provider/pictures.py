"""Small valid pictures, each with the number of its call and its prompt in it."""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import zlib

import PIL.Image

_MARK = re.compile(rb"call ([0-9]+) of ([0-9a-f]{64})")
_JPEG_SEGMENT_BYTES = 65_533


def paint(
    *,
    number: int,
    prompt: str,
    media_type: str = "image/png",
    size: tuple[int, int] = (96, 64),
    at_least_bytes: int = 0,
) -> bytes:
    """Return a picture in a colour of its own, padded to *at_least_bytes*."""
    digest = hashlib.sha256(prompt.encode()).hexdigest()
    mark = f"call {number} of {digest}".encode()
    colour = tuple(hashlib.sha256(mark).digest()[:3])
    buffer = io.BytesIO()
    form = "PNG" if media_type == "image/png" else "JPEG"
    PIL.Image.new("RGB", size, colour).save(buffer, form)
    data = buffer.getvalue()
    padding = os.urandom(max(0, at_least_bytes - len(data)))
    if form == "PNG":
        end = len(data) - 12
        chunks = _png_chunk(b"maRk", mark)
        chunks += _png_chunk(b"prVt", padding) if padding else b""
        return data[:end] + chunks + data[end:]
    comments = [mark] + [
        padding[at : at + _JPEG_SEGMENT_BYTES]
        for at in range(0, len(padding), _JPEG_SEGMENT_BYTES)
    ]
    return data[:2] + b"".join(map(_jpeg_segment, comments)) + data[2:]


def mark_of(picture: bytes) -> tuple[int, str]:
    """Return the call's number and the prompt's SHA-256 that *picture* carries."""
    mark = _MARK.search(picture)
    assert mark, "not painted by the fake provider"
    return int(mark[1]), mark[2].decode()


def broken_png() -> bytes:
    """Return a PNG's magic number followed by garbage."""
    return b"\x89PNG\r\n\x1a\n" + b"no chunk follows " * 8


def enormous_png(side: int = 30_000) -> bytes:
    """Return a small file whose header claims *side* squared pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _png_chunk(b"IHDR", header)
        + _png_chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + _png_chunk(b"IEND", b"")
    )


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def _jpeg_segment(text: bytes) -> bytes:
    return b"\xff\xe9" + struct.pack(">H", len(text) + 2) + text
