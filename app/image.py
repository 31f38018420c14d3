"""Image: the bytes of a picture, and what is read from them alone.

The type is read from the bytes, never believed from a header or a name.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace

import PIL.Image
from PIL.ExifTags import Base

from app.errors import UnsupportedImage
from app.picture_ends import is_whole

EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/avif": "avif",
}
MEDIA_TYPES = {extension: media_type for media_type, extension in EXTENSIONS.items()}

# A picture is decoded to four bytes a pixel, so this is 200 MB at the most.
MAX_PIXELS = 50_000_000

# PNG Specification, Third Edition, 5.3; what Pillow reads of a note (1 MiB).
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEAD = struct.Struct(">I4s")
_PNG_AROUND = _PNG_HEAD.size + 4
_NOTES = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_MAX_NOTE_BYTES = 1024 * 1024
# Exif 2.32, 4.6.4: from 5 on the picture lies on its side.
_FIRST_SIDEWAYS = 5

# ITU-T T.81, B.1.1.3.
_APP1, _SOS, _LENGTH_BYTES, _MAX_SEGMENTS = 0xE1, 0xDA, 2, 10_000

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF")
# Our own limit is checked; Pillow's would only print a warning beside it.
PIL.Image.MAX_IMAGE_PIXELS = None

# Of each chunk, segment or block Pillow reads a few times. Pictures of 16 MB
# have some thousands; millions of empty ones would hold the interpreter up
# for seconds.
_MAX_READS = 200_000


def sniff(data: bytes | memoryview) -> str | None:
    """Return the media type that the magic number tells, or None.

    The numbers are those of the WHATWG MIME Sniffing Standard, 6.1; AVIF is
    an ISO base media file with an `avif` or `avis` brand (AV1 Image File
    Format 1.1, 6).
    """
    head = bytes(data[:64])
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:14] == b"WEBPVP":
        return "image/webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[4:8] == b"ftyp":
        box = head[8 : min(len(head), int.from_bytes(head[:4], "big"))]
        brands = [box[:4], *(box[at : at + 4] for at in range(8, len(box), 4))]
        if b"avif" in brands or b"avis" in brands:
            return "image/avif"
    return None


class _BoundedFile(io.BytesIO):
    """A file in memory that can't be read in endlessly many pieces."""

    _reads_left = _MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads_left -= 1
        if self._reads_left < 0:
            raise ValueError("the picture has too many parts")
        return super().read(size)


def opened(data: bytes) -> PIL.Image.Image:
    """Return Pillow's picture of *data*, its header read, to be closed.

    Raises whatever Pillow's parsers meet (`struct.error`, `SyntaxError`,
    `IndexError`, ...): all of it means an unreadable header.
    """
    if data.startswith(_PNG_SIGNATURE):
        data = _without_notes(data)
    try:
        return PIL.Image.open(_BoundedFile(data), formats=_FORMATS)
    except Exception:
        # Exif that is damaged says nothing of the pixels.
        bare = _without_exif(data)
        if bare is data:
            raise
        return PIL.Image.open(_BoundedFile(bare), formats=_FORMATS)


def _without_exif(data: bytes) -> bytes:
    """Return a JPEG without the segments in which Exif lies."""
    parts, at = [data[:2]], 2
    while data[:2] == b"\xff\xd8" and data[at : at + 1] == b"\xff":
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SOS or length < _LENGTH_BYTES or len(parts) > _MAX_SEGMENTS:
            break
        end = at + 2 + length
        if not (marker == _APP1 and data.startswith(b"Exif", at + 4)):
            parts.append(data[at:end])
        at = end
    kept = b"".join([*parts, data[at:]])
    return data if len(kept) == len(data) else kept


def _without_notes(data: bytes) -> bytes:
    """Return a PNG without the notes that Pillow refuses, or has no use for.

    It gives up on a whole picture where a profile or a text has more than a
    megabyte inflated. XMP stays, and every profile of a usual size.
    """
    parts, kept, at = [], 0, len(_PNG_SIGNATURE)
    view = memoryview(data)
    while at + _PNG_AROUND <= len(data):
        length, name = _PNG_HEAD.unpack_from(data, at)
        end = at + _PNG_AROUND + length
        if name in _NOTES and _is_heavy(name, view[at + _PNG_HEAD.size : end - 4]):
            parts.append(view[kept:at])
            kept = end
        if name == b"IEND":
            break
        at = end
    return b"".join([*parts, view[kept:]]) if parts else data


def _is_heavy(name: bytes, body: memoryview) -> bool:
    if name in {b"tEXt", b"zTXt"}:
        return True
    keyword, _, rest = bytes(body).partition(b"\0")
    if name == b"iTXt" and keyword != _XMP_KEYWORD:
        return True
    if name == b"iTXt" and rest[:1] != b"\1":
        return len(rest) > _MAX_NOTE_BYTES
    # Behind a byte for the method; in front of an XMP packet are its languages.
    packed = rest[1:] if name == b"iCCP" else rest[2:].split(b"\0", 2)[-1]
    try:
        inflated = zlib.decompressobj().decompress(packed, _MAX_NOTE_BYTES + 1)
    except zlib.error:
        return True
    return len(inflated) > _MAX_NOTE_BYTES


def is_sideways(header: PIL.Image.Image) -> bool:
    """Return whether a picture is shown turned by a quarter.

    By the Exif data in front of the pixels, which stay as they are.
    """
    exif = PIL.Image.Exif()
    # A broken note must not cost a paid picture.
    with suppress(Exception):
        exif.load(header.info.get("exif", b""))
        return int(exif.get(Base.Orientation, 1)) >= _FIRST_SIDEWAYS
    return False


@dataclass(frozen=True, slots=True)
class Image:
    """A picture whose header has been read; *digest* is SHA-256 in hex.

    *width* and *height* are as it is shown.
    """

    data: bytes
    media_type: str
    digest: str
    width: int
    height: int

    @classmethod
    def inspect(cls, data: bytes) -> Image:
        """Vouch for *data* as far as its header, its checksums and its end go.

        Raises `UnsupportedImage` for no accepted magic number, an unreadable
        header, no pixels or more than `MAX_PIXELS`, a wrong PNG checksum, or
        an end that is missing. Pixels are not decoded; large pictures still
        take milliseconds, so call it off the event loop.
        """
        media_type = sniff(data)
        if media_type is None:
            raise UnsupportedImage("The bytes are no PNG, JPEG, WebP, GIF or AVIF.")
        try:
            with opened(data) as header:
                width, height = header.size
                if is_sideways(header):
                    width, height = height, width
                if 0 < width * height <= MAX_PIXELS:
                    header.verify()
        except Exception as error:
            raise UnsupportedImage("The picture's header is unreadable.") from error
        if not 0 < width * height <= MAX_PIXELS:
            raise UnsupportedImage(f"The picture must have 1 to {MAX_PIXELS} pixels.")
        if not is_whole(data, media_type):
            raise UnsupportedImage("The picture is damaged, or its end is missing.")
        return cls(data, media_type, hashlib.sha256(data).hexdigest(), width, height)

    def rewrapped(self, data: bytes) -> Image:
        """Return the same pixels in *data*, to which metadata was added."""
        return replace(self, data=data, digest=hashlib.sha256(data).hexdigest())
