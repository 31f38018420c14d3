"""An object as one file: its bytes, then its metadata.

One file, so that one rename publishes both. The bytes come first, so that any
program opens a picture by its file name; a JSON trailer follows, and its
length and a magic number end the file.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from app.storage.ports.object_store import ByteRange

_END = struct.Struct(">I4s")
_MAGIC = b"PTO1"
_CHUNK_BYTES = 131_072


class DamagedFile(OSError):
    """A file that no object store wrote, or that was cut short since."""


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """Head and bytes of a file; *data* is the range, where one was asked for."""

    data: bytes
    media_type: str
    metadata: Mapping[str, str]
    etag: str

    @property
    def size(self) -> int:
        """Return the count of bytes that `chunks` yields."""
        return len(self.data)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes."""
        for at in range(0, len(self.data), _CHUNK_BYTES):
            yield self.data[at : at + _CHUNK_BYTES]


@dataclass(frozen=True, slots=True)
class NewObject:
    """Head and bytes of a file that is to be written."""

    data: bytes
    media_type: str
    metadata: Mapping[str, str]


def write(path: Path, new: NewObject) -> str:
    """Write *new* to a new file at *path*, and that to the disk; return its ETag."""
    # Of the bytes alone, as S3's: the same bytes have the same tag.
    etag = f'"{hashlib.sha256(new.data).hexdigest()}"'
    trailer = orjson.dumps(
        {"media_type": new.media_type, "metadata": dict(new.metadata), "etag": etag}
    )
    with path.open("xb") as file:
        file.write(new.data)
        file.write(trailer)
        file.write(_END.pack(len(trailer), _MAGIC))
        file.flush()
        os.fsync(file.fileno())
    return etag


def read(path: Path, byte_range: ByteRange | None = None) -> ObjectFile:
    """Read the file at *path* in one go, so that none is open while a client reads.

    Raises `ValueError` for a range beyond the end.
    """
    with path.open("rb") as file:
        size, trailer = _measure(file)
        first, length = 0, size
        if byte_range is not None:
            first, length = byte_range.first, byte_range.length
            if length < 1 or not 0 <= first <= byte_range.last < size:
                raise ValueError("the range is beyond the end")
        file.seek(first)
        data = file.read(length)
    fields = orjson.loads(trailer)
    return ObjectFile(data, fields["media_type"], fields["metadata"], fields["etag"])


def read_size(path: Path) -> int:
    """Return how many bytes the object has."""
    with path.open("rb") as file:
        return _measure(file)[0]


def read_etag(path: Path) -> str:
    """Return the tag that a conditional write compares."""
    with path.open("rb") as file:
        return str(orjson.loads(_measure(file)[1])["etag"])


def _measure(file: BinaryIO) -> tuple[int, bytes]:
    """Return how many bytes the object has, and its trailer."""
    total = file.seek(0, os.SEEK_END)
    file.seek(max(total - _END.size, 0))
    end = file.read()
    length, magic = _END.unpack(end) if len(end) == _END.size else (0, b"")
    size = total - _END.size - length
    if magic != _MAGIC or size < 0:
        raise DamagedFile("no object store wrote this file")
    file.seek(size)
    return size, file.read(length)
