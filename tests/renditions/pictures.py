"""Pictures of every kind that renditions are made of."""

from __future__ import annotations

import io
from typing import Any

import PIL.Image
from PIL import ImageCms

SIZE = (80, 60)


def encoded(picture: PIL.Image.Image, image_format: str, **parameters: Any) -> bytes:
    """Return *picture* in *image_format*."""
    data = io.BytesIO()
    picture.save(data, image_format, **parameters)
    return data.getvalue()


def decoded(data: bytes) -> PIL.Image.Image:
    """Return the decoded picture of *data*."""
    picture = PIL.Image.open(io.BytesIO(data))
    picture.load()
    return picture


def halves(
    left: str = "red", right: str = "blue", size: tuple[int, int] = SIZE
) -> PIL.Image.Image:
    """Return a picture with two differently coloured halves."""
    picture = PIL.Image.new("RGB", size, right)
    picture.paste(left, (0, 0, size[0] // 2, size[1]))
    return picture


def half_transparent() -> PIL.Image.Image:
    """Return a picture whose left half is red and whose right is transparent."""
    picture = halves().convert("RGBA")
    picture.paste((0, 0, 255, 0), (SIZE[0] // 2, 0, *SIZE))
    return picture


def animation() -> bytes:
    """Return a GIF of two frames: two colours, then green."""
    return encoded(
        halves(), "GIF", save_all=True, append_images=[halves("green", "green")]
    )


def profile(space: str = "sRGB") -> bytes:
    """Return a colour profile."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile(space))  # type: ignore[arg-type]
    return made.tobytes()
