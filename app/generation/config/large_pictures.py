"""Options that ask for pictures which MAX_IMAGE_BYTES may not let in. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_NAMED = re.compile(r"([1-9])[kK]")
_SIZED = re.compile(r"([1-9][0-9]{2,4})[x*]([1-9][0-9]{2,4})")
# A painted PNG takes about this much of a pixel's three bytes.
_BYTES_A_PIXEL = 1.8


def warning_for(options: Mapping[str, object], max_image_bytes: int) -> str | None:
    """Return a sentence where the sizes in *options* may be refused; else None.

    Such a picture would be paid for, and refused when it comes.
    """
    pixels = max((_pixels(text) for text in _texts(options)), default=0)
    wanted = round(pixels * _BYTES_A_PIXEL)
    if wanted <= max_image_bytes:
        return None
    return (
        f"pictures of this size have up to {wanted} bytes as PNG, and "
        f"MAX_IMAGE_BYTES is {max_image_bytes}"
    )


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)


def _pixels(text: str) -> int:
    if named := _NAMED.fullmatch(text):
        return (int(named[1]) * 1024) ** 2
    if sized := _SIZED.fullmatch(text):
        return int(sized[1]) * int(sized[2])
    return 0
