"""The keys that every object store keeps apart. Pure.

S3 servers differ on the rest: MinIO drops a leading slash, some fold `//` or
resolve `..`, and a folder on disk would be escaped by it.
"""

from __future__ import annotations

# S3's bound for a key, and that of a name in every common file system.
_MAX_KEY_BYTES = 1024
_MAX_SEGMENT_BYTES = 255


def require_plain_key(key: str) -> str:
    """Return *key*; raises `ValueError` where stores might take it for another.

    Plain are slash-separated segments, none of them empty, `.` or `..`, of
    printable characters other than the backslash.
    """
    segments = key.split("/")
    if any(segment in {"", ".", ".."} for segment in segments):
        raise ValueError("a key has no empty, `.` or `..` segments")
    if not key.isprintable() or "\\" in key:
        raise ValueError("a key has no control characters or backslashes")
    if len(key.encode()) > _MAX_KEY_BYTES or any(
        len(segment.encode()) > _MAX_SEGMENT_BYTES for segment in segments
    ):
        raise ValueError(
            f"a key has at most {_MAX_KEY_BYTES} bytes, "
            f"{_MAX_SEGMENT_BYTES} between slashes"
        )
    return key


def require_plain_prefix(prefix: str) -> str:
    """Return *prefix*; raises `ValueError` if no plain key starts with it."""
    folder, slash, _ = prefix.rpartition("/")
    if slash:
        require_plain_key(folder)
    return prefix
