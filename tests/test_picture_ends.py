"""A picture that was cut is refused, whatever its header claims."""

from __future__ import annotations

import io
import os
import time
import zlib

import PIL.Image
import pytest
from PIL import ImageCms

from app.errors import UnsupportedImage
from app.image import Image
from app.picture_ends import is_whole
from tests.test_image import ENCODERS, chunk, encoded


@pytest.mark.parametrize("media_type", ENCODERS)
def test_a_cut_picture_is_refused_wherever_it_was_cut(media_type: str) -> None:
    """A picture of any format is refused if its end is missing."""
    data = encoded(media_type, (96, 64))

    assert is_whole(data, media_type)
    assert is_whole(data + b"\0" * 4, media_type)
    for length in range(len(data) // 2, len(data) - 1, 7):
        assert not is_whole(data[:length], media_type)
        with pytest.raises(UnsupportedImage):
            Image.inspect(data[:length])


def test_an_end_in_a_thumbnail_is_not_the_pictures() -> None:
    """The end of a thumbnail in Exif data is not the picture's end."""
    thumbnail = encoded("image/jpeg")
    exif = PIL.Image.Exif()
    exif[0x010E] = "small"
    data = io.BytesIO()
    picture = PIL.Image.effect_noise((200, 200), 90).convert("RGB")
    picture.save(data, "JPEG", exif=exif.tobytes() + thumbnail)
    whole = data.getvalue()

    assert is_whole(whole, "image/jpeg")
    assert not is_whole(whole[:-2000], "image/jpeg")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_of_several_scans_is_walked_to_its_end(*, progressive: bool) -> None:
    """A JPEG of several scans is read to its end."""
    data = io.BytesIO()
    picture = PIL.Image.effect_noise((300, 200), 90).convert("RGB")
    picture.save(data, "JPEG", progressive=progressive, restart_marker_rows=1)

    assert is_whole(data.getvalue(), "image/jpeg")


def heavy(kind: bytes, body: bytes) -> bytes:
    """Return a PNG with a large text chunk of *kind* before its pixels."""
    data = encoded("image/png")
    at = data.index(b"IDAT") - 4
    return data[:at] + chunk(kind, body) + data[at:]


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MEGABYTES = zlib.compress(os.urandom(1 << 20) + bytes(3 << 20))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"iCCP", b"ICC Profile\0\0" + MEGABYTES),
        (b"zTXt", b"parameters\0\0" + MEGABYTES),
        (b"iTXt", b"workflow\0\1\0\0\0" + MEGABYTES),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + MEGABYTES),
        (b"tEXt", b"Comment\0" + b"x" * (3 << 20)),
        (b"iCCP", b"ICC Profile\0\0not deflated"),
    ],
)
def test_notes_of_any_size_are_skipped(kind: bytes, body: bytes) -> None:
    """Text chunks of any size are skipped."""
    image = Image.inspect(heavy(kind, body))

    assert (image.width, image.height) == (48, 32)


def test_a_hostile_gif_is_given_up_in_time() -> None:
    """A GIF of one-byte blocks is refused in bounded time."""
    data = encoded("image/gif")[:-1] + b"\x21\xfe" + b"\x01x" * 4_000_000

    # The time of this thread: others may have the core meanwhile.
    began = time.thread_time()
    assert not is_whole(data, "image/gif")
    assert time.thread_time() - began < 2
