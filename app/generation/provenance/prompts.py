"""Prompts: texts in which painters leave prompts and workflows are taken out.

A1111 and Forge write `parameters` into PNG and Exif's user comment into JPEG
and WebP, ComfyUI `prompt` and `workflow`, NovelAI `Comment` and `Description`,
Draw Things XMP. A permalink would hand them to everybody. No pixel is touched,
and what says nothing of a prompt (profiles, resolution, orientation) stays.
"""

from __future__ import annotations

import re
import struct
import zlib

from app.generation.provenance import jpeg, png, webp
from app.generation.provenance.container import MAX_PARTS, Unmarkable
from app.generation.provenance.exif import blanked

# Of PNG's texts these are kept: none of them ever held a prompt. XMP is as well.
_KEPT_TEXTS = frozenset({b"Software", b"Author", b"Copyright", b"Creation Time"})
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_PNG_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})

# Properties of XMP that describe a picture in words, as elements or attributes.
_WORDS = (
    rb"(?:UserComment|ImageDescription|description|parameters|prompt|workflow"
    rb"|negativePrompt|AIPromptInformation|AIPromptWriterName)"
)
_ELEMENT = re.compile(
    rb"<([\w.-]+:" + _WORDS + rb")(?:\s[^<>]*)?(?:/>|(?<!/)>.*?</\1\s*>)", re.DOTALL
)
_ATTRIBUTE = re.compile(rb"\s[\w.-]+:" + _WORDS + rb"\s*=\s*(?:\"[^\"<]*\"|'[^'<]*')")

_APP1, _COM, _SOS = 0xE1, 0xFE, 0xDA
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"


def taken_out(data: bytes, media_type: str) -> bytes:
    """Return the picture without its prompts; the same object where it has none.

    GIF, AVIF, and what can't be walked through, are returned as they are.
    """
    try:
        match media_type:
            case "image/png":
                return _from_png(data)
            case "image/jpeg":
                return _from_jpeg(data)
            case "image/webp":
                return _from_webp(data)
    except Unmarkable:
        pass
    return data


def _from_packet(packet: bytes) -> bytes:
    return _ATTRIBUTE.sub(b"", _ELEMENT.sub(b"", packet))


def _from_png(data: bytes) -> bytes:
    view, parts, kept, at = memoryview(data), list[bytes | memoryview](), 0, 8
    for _ in range(MAX_PARTS):
        length, name = png.head(data, at)
        end = at + 12 + length
        body = data[at + 8 : end - 4] if name in _PNG_TEXTS or name == b"eXIf" else b""
        left = _left_of(name, body)
        if left is not body:
            parts.append(view[kept:at])
            if left:
                parts.append(_png_chunk(name, left))
            kept = end
        if name == b"IEND":
            break
        at = end
    return b"".join([*parts, view[kept:]]) if parts else data


def _left_of(name: bytes, body: bytes) -> bytes:
    """Return a PNG chunk's data without prompts; the same object if it has none."""
    if name == b"eXIf":
        return blanked(body)
    if name not in _PNG_TEXTS:
        return body
    keyword, _, rest = body.partition(b"\0")
    if name == b"iTXt" and keyword == _XMP_KEYWORD:
        if rest[:1] != b"\0":
            packet = png.packet_in(body)
            left = _from_packet(packet or b"")
            head = keyword + b"\0\0\0\0\0"
            return body if left == packet else head + left
        left = _from_packet(body)
        return body if left == body else left
    return body if keyword in _KEPT_TEXTS else b""


def _png_chunk(name: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(name))
    return struct.pack(">I4s", len(body), name) + body + struct.pack(">I", checksum)


def _from_jpeg(data: bytes) -> bytes:
    # Offsets to further pictures would be wrong if anything moved.
    may_move = not jpeg.has_index(data)
    parts, kept, at = list[bytes](), 0, 2
    for _ in range(MAX_PARTS):
        marker, body, end = jpeg.segment(data, at)
        if marker == _SOS:
            break
        left = _jpeg_left(marker, data[body:end])
        if left is not None:
            parts.append(data[kept:at])
            if not may_move:
                left = left.ljust(end - body, b" ")[: end - body]
            if left:
                head = b"\xff" + bytes((marker,)) + struct.pack(">H", len(left) + 2)
                parts.append(head + left)
            kept = end
        at = end
    return b"".join([*parts, data[kept:]]) if parts else data


def _jpeg_left(marker: int, body: bytes) -> bytes | None:
    """Return a segment without prompts, None where it has none."""
    if marker == _COM:
        return b""
    if marker == _APP1 and body.startswith(_EXIF):
        tiff = body[len(_EXIF) :]
        left = blanked(tiff)
        return None if left is tiff else _EXIF + left if left else b""
    if marker == _APP1 and body.startswith(_XMP):
        left = _from_packet(body)
        return None if left == body else left
    return None


def _from_webp(data: bytes) -> bytes:
    parts, changed = list[bytes](), False
    for chunk in webp.chunks_of(data):
        body = data[chunk.body : chunk.body + chunk.length]
        left = body
        if chunk.name == b"XMP ":
            left = _from_packet(body)
        elif chunk.name == b"EXIF":
            prefix = _EXIF if body.startswith(_EXIF) else b""
            # Named by the header's flags, so that it stays, if empty.
            left = prefix + blanked(body[len(prefix) :])
        changed = changed or left != body
        head = struct.pack("<4sI", chunk.name, len(left))
        parts.append(head + left + bytes(len(left) % 2))
    if not changed:
        return data
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body
