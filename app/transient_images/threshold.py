"""When a picture is too large to be sent inline. Does no I/O.

This runs in the caller's process, where no composition root hands settings
on: so the threshold is read from the environment, and from `.env` as there.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from app.environment import DEFAULT_THRESHOLD_BYTES, environment
from app.transient_images.data_url import is_data_url, read_data_url

THRESHOLD_SETTING = "IMAGE_URL_THRESHOLD_BYTES"


def should_use_image_url(image: bytes | str, threshold: int | None = None) -> bool:
    """Return whether *image* is too large to be sent inline.

    *image* is bytes, a data URL or an http(s) URL; decoded bytes count, and
    strictly more than *threshold* are too many. Without one it is the setting
    `IMAGE_URL_THRESHOLD_BYTES`, else 262144. An http(s) URL needs no upload.
    Raises `ValueError` for anything else.
    """
    limit = _threshold() if threshold is None else threshold
    if limit < 0:
        raise ValueError("threshold must not be negative")
    if isinstance(image, str) and is_http_url(image):
        return False
    return len(bytes_of(image)) > limit


def bytes_of(image: object) -> bytes:
    """Return the bytes of an image; raises `ValueError` for what is none."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str) and is_data_url(image):
        return read_data_url(image)
    raise ValueError("an image is bytes, a data URL or an http(s) URL")


def is_http_url(text: str) -> bool:
    """Return whether *text* is an address that a provider could fetch."""
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False


def _threshold() -> int:
    # At every call: nothing is configured by importing a module.
    text = environment().get(THRESHOLD_SETTING, str(DEFAULT_THRESHOLD_BYTES))
    if not text.isascii() or not text.isdecimal():
        raise ValueError(f"{THRESHOLD_SETTING} must be a whole number of bytes")
    return int(text)
