"""Pictures as they are stored, of every kind that a rendition is made of."""

from __future__ import annotations

import io
from typing import Any

import PIL.Image
from PIL import ImageCms

SIZE = (80, 60)


def encoded(picture: PIL.Image.Image, image_format: str, **parameters: Any) -> bytes:
    """Return *picture* in that format."""
    data = io.BytesIO()
    picture.save(data, image_format, **parameters)
    return data.getvalue()


def decoded(data: bytes) -> PIL.Image.Image:
    """Return the picture in *data*, its pixels read."""
    picture = PIL.Image.open(io.BytesIO(data))
    picture.load()
    return picture


def halves(
    left: str = "red", right: str = "blue", size: tuple[int, int] = SIZE
) -> PIL.Image.Image:
    """Return a picture of two colours, which shows how it is turned."""
    picture = PIL.Image.new("RGB", size, right)
    picture.paste(left, (0, 0, size[0] // 2, size[1]))
    return picture


def half_transparent() -> PIL.Image.Image:
    """Return red on the left, and nothing on the right."""
    picture = halves().convert("RGBA")
    picture.paste((0, 0, 255, 0), (SIZE[0] // 2, 0, *SIZE))
    return picture


def animation() -> bytes:
    """Return a GIF whose first frame has two colours, and whose second is green."""
    return encoded(
        halves(), "GIF", save_all=True, append_images=[halves("green", "green")]
    )


def profile(space: str = "sRGB") -> bytes:
    """Return a colour profile."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile(space))  # type: ignore[arg-type]
    return made.tobytes()
