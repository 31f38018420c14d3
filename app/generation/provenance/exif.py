"""Exif: texts in which painters leave prompts are blanked, all else stays in place.

Exif 2.32, 4.6. Offsets count from the start of the data, so that nothing may
move: a text is overwritten with zeros.
"""

from __future__ import annotations

import struct

# ImageDescription, DocumentName; XPTitle, XPComment, XPKeywords, XPSubject;
# UserComment.
_TEXTS = frozenset({0x010E, 0x010D, 0x9C9B, 0x9C9C, 0x9C9E, 0x9C9F, 0x9286})
# ComfyUI puts its graphs into whatever tag is free, camera and maker among them.
_BEGINNINGS = (b"prompt:", b"workflow:", b"parameters:", b"{", b"[")
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TEXT_TYPES = frozenset({1, 2, 7})
_EXIF_POINTER = 0x8769
_MAX_DIRECTORIES, _MAX_ENTRIES = 8, 1000
_INLINE_BYTES = 4


def blanked(tiff: bytes) -> bytes:
    """Return Exif data without its prompts; the same object where it has none.

    Empty where it can't be read: then no viewer reads an orientation from it either.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(tiff[:4]))
    if order is None:
        return b""
    data = bytearray(tiff)
    try:
        (first,) = struct.unpack_from(f"{order}I", data, 4)
        _blank(data, first, order)
    except struct.error:
        return b""
    return tiff if data == tiff else bytes(data)


def _blank(data: bytearray, first: int, order: str) -> None:
    waiting, seen = [first], set[int]()
    while waiting and len(seen) < _MAX_DIRECTORIES:
        at = waiting.pop()
        if at == 0 or at in seen:
            continue
        seen.add(at)
        (count,) = struct.unpack_from(f"{order}H", data, at)
        for number in range(min(count, _MAX_ENTRIES)):
            entry = at + 2 + 12 * number
            tag, kind, values = struct.unpack_from(f"{order}HHI", data, entry)
            (value,) = struct.unpack_from(f"{order}I", data, entry + 8)
            if tag == _EXIF_POINTER:
                waiting.append(value)
            size = _SIZES.get(kind, 1) * values
            start = entry + 8 if size <= _INLINE_BYTES else value
            end = min(start + size, len(data))
            is_text = kind in _TEXT_TYPES and data[start:end].startswith(_BEGINNINGS)
            if tag in _TEXTS or is_text:
                data[start:end] = bytes(max(0, end - start))
        (behind,) = struct.unpack_from(f"{order}I", data, at + 2 + 12 * count)
        waiting.append(behind)
