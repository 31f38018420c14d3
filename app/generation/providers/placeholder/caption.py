"""Caption: a text written legibly into the lower part of a picture."""

from __future__ import annotations

import math
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Callable

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_ELLIPSIS = "…"
_WHITE = (255, 255, 255)
_SHADE = (10, 12, 24)

# Pillow's bundled font knows ASCII and little more, so typographic marks and
# ligatures are written as their plain relatives and accents are left out;
# what has no relative is drawn as the font's empty box.
_RELATIVES = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "þ": "th", "Þ": "Th"}
) | str.maketrans(
    "–—‘’“”«»øØłŁđĐðı",  # noqa: RUF001 - ambiguous on purpose: these get replaced
    '--\'\'""""oOlLdDdi',
)


def write_caption(picture: Image.Image, text: str) -> None:
    """Write *text* over the lower half of *picture*, cut where it is full."""
    width, height = picture.size
    type_size = _type_size(picture)
    font = ImageFont.load_default(size=type_size)
    margin, leading = type_size, round(type_size * 1.3)
    most = max(1, (height // 2 - 2 * margin) // leading)
    lines = _wrap(drawable(text), font, width - 2 * margin, most)
    top = height - margin - leading * len(lines)
    _shade(picture, max(0, top - 4 * margin))
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        pen.text((margin, top + number * leading), line, _WHITE, font)


def write_mark(picture: Image.Image, text: str) -> None:
    """Write *text* small into the upper right corner."""
    size = max(7, round(_type_size(picture) * 0.5))
    font = ImageFont.load_default(size=size)
    long = round(font.getlength(text))
    right, top = picture.width - size, size
    box = (right - long - size * 1.4, top, right, top + size * 1.9)
    layer = Image.new("L", picture.size)
    ImageDraw.Draw(layer).rounded_rectangle(box, radius=size * 0.95, fill=90)
    picture.paste(_SHADE, mask=layer)
    pen = ImageDraw.Draw(picture)
    pen.text((right - size * 0.7, top + size * 0.95), text, _WHITE, font, anchor="rm")


def drawable(text: str) -> str:
    """Return *text* as the bundled font can come closest to it.

    Lines stay; controls, format characters and lone surrogates become blanks
    or go, so that no Unicode text can trouble the typesetter.
    """
    plain = []
    for character in unicodedata.normalize("NFKD", text.translate(_RELATIVES)):
        category = unicodedata.category(character)
        if character == "\n" or character.isprintable():
            plain.append("" if category.startswith("M") else character)
        elif category != "Cf":
            plain.append(" ")
    return "".join(plain)


def _type_size(picture: Image.Image) -> int:
    """Return the size of the type: 39 pixels for a picture of 1024x1024."""
    width, height = picture.size
    return max(8, round(min(math.sqrt(width * height) * 0.038, width / 11, height / 5)))


def _shade(picture: Image.Image, top: int) -> None:
    """Darken *picture* from *top* downwards, so that white can be read on it."""
    width, height = picture.size
    # Slow at both ends (3t² - 2t³), because the eye finds any line.
    depths = [(y / 255) ** 2 * (3 - 2 * y / 255) for y in range(256)]
    fade = Image.linear_gradient("L").point([round(215 * depth) for depth in depths])
    fade = fade.resize((width, height - top), Image.Resampling.BILINEAR)
    picture.paste(_SHADE, (0, top, width, height), fade)


def _wrap(text: str, font: Font, width: float, most: int) -> list[str]:
    """Break *text* into at most *most* lines; an ellipsis ends what was cut."""
    # Measuring character by character leaves the kerning out, which the
    # margin forgives, and takes a fraction of the time.
    advance = cache(font.getlength)
    lines: list[str] = []
    for paragraph in text.splitlines():
        rest = " ".join(paragraph.split())
        while rest:
            if len(lines) == most:
                fits = _fitting(lines[-1], advance, width - advance(_ELLIPSIS))
                lines[-1] = lines[-1][:fits].rstrip() + _ELLIPSIS
                return lines
            fits = _fitting(rest, advance, width)
            lines.append(rest[:fits])
            rest = rest[fits:].lstrip()
    return lines


def _fitting(text: str, advance: Callable[[str], float], width: float) -> int:
    """Return how many characters fit into *width*, whole words where possible."""
    used = 0.0
    for at, character in enumerate(text):
        used += advance(character)
        if used > width and at:
            blank = text.rfind(" ", 0, at + 1)
            return blank if blank > 0 else at
    return len(text)
