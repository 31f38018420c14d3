"""Landscape: hills under a sun, the same for the same digest on any replica.

What the placeholder paints on. Everything follows from the digest and the
size; nothing is random.
"""

from __future__ import annotations

import math
import random
from dataclasses import KW_ONLY, dataclass

from PIL import Image, ImageColor, ImageDraw

Colour = tuple[int, int, int]

# Ridges nearer than this share of the way have trees of their own.
_PINES_FROM = 0.6

# Larger pictures are painted this big and scaled up: everything in them is
# soft, and the time and memory of painting stay those of two megapixels.
_MAX_PAINTED_PIXELS = 2_000_000


@dataclass(frozen=True, slots=True)
class _Palette:
    """A time of day: the sky from above to the horizon, its light, its land."""

    zenith: str
    sky: str
    horizon: str
    light: str
    far: str
    near: str
    _: KW_ONLY
    has_stars: bool = False


_PALETTES = (
    _Palette("#2b3a67", "#b8688f", "#ffc78f", "#fff1d0", "#c78a8f", "#2a1f3d"),
    _Palette("#4f86c6", "#9cc9e3", "#f6ead2", "#fffdf2", "#a9c4bf", "#27524f"),
    _Palette(
        "#0c1433", "#243b6b", "#7a86b8", "#f4f1e2", "#5f6f9f", "#0a1226", has_stars=True
    ),
    _Palette("#f08a5d", "#f9b384", "#fde2b8", "#fff6df", "#d99a7c", "#5b2a3c"),
    _Palette("#3f7d80", "#8fc1a9", "#f3ecc8", "#fffbe6", "#9dbf9e", "#1f4037"),
    _Palette("#6a4c93", "#c08bc4", "#f7d1dc", "#fff5f7", "#b795c4", "#34224f"),
    _Palette(
        "#16304f", "#2f6f7e", "#c7d59f", "#fbf7d4", "#6d9c95", "#10252e", has_stars=True
    ),
    _Palette("#7a9cc6", "#bcd0e6", "#f5f1ee", "#ffffff", "#b4c3d6", "#3b4a68"),
)


def paint_landscape(width: int, height: int, dice: random.Random) -> Image.Image:
    """Return an RGB picture of that size; *dice* decides what is to be seen."""
    shrink = max(1.0, math.sqrt(width * height / _MAX_PAINTED_PIXELS))
    size = max(1, round(width / shrink)), max(1, round(height / shrink))
    palette = dice.choice(_PALETTES)
    picture = _sky(size, palette)
    _stars(picture, palette, dice)
    _sun(picture, palette, dice)
    _hills(picture, palette, dice)
    if picture.size != (width, height):
        return picture.resize((width, height), Image.Resampling.BICUBIC)
    return picture


def _colour(name: str) -> Colour:
    red, green, blue = ImageColor.getrgb(name)[:3]
    return red, green, blue


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (
        round(a + (b - a) * share) for a, b in zip(one, other, strict=True)
    )
    return red, green, blue


def _gradient(size: tuple[int, int], stops: list[Colour]) -> Image.Image:
    """Return *stops* evenly spaced from the top to the bottom."""
    width, height = size
    column = Image.new("RGB", (1, height))
    for y in range(height):
        place = y / max(1, height - 1) * (len(stops) - 1)
        stop = min(int(place), len(stops) - 2)
        column.putpixel((0, y), _mix(stops[stop], stops[stop + 1], place - stop))
    return column.resize((width, height), Image.Resampling.NEAREST)


def _sky(size: tuple[int, int], palette: _Palette) -> Image.Image:
    stops = [palette.zenith, palette.sky, palette.horizon, palette.horizon]
    return _gradient(size, [_colour(stop) for stop in stops])


def _stars(picture: Image.Image, palette: _Palette, dice: random.Random) -> None:
    if not palette.has_stars:
        return
    width, height = picture.size
    pen = ImageDraw.Draw(picture)
    for _ in range(90):
        x, y = dice.random() * width, dice.random() ** 1.5 * height * 0.5
        radius = dice.choice((0.4, 0.6, 0.6, 1.2)) * min(width, height) / 900
        brightness = _mix(_colour(palette.sky), (255, 255, 255), dice.uniform(0.3, 1))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), brightness)


def _sun(picture: Image.Image, palette: _Palette, dice: random.Random) -> None:
    width, height = picture.size
    x = round(width * dice.uniform(0.2, 0.8))
    y = round(height * dice.uniform(0.2, 0.42))
    radius = max(2, round(min(width, height) * dice.uniform(0.05, 0.11)))
    _glow(picture, (x, y), radius * 7, _colour(palette.light), 0.5)
    disc = Image.new("L", (radius * 8, radius * 8))
    ImageDraw.Draw(disc).ellipse((2, 2, radius * 8 - 3, radius * 8 - 3), 255)
    picture.paste(_colour(palette.light), (x - radius, y - radius), disc.reduce(4))


def _glow(
    picture: Image.Image,
    centre: tuple[int, int],
    radius: int,
    colour: Colour,
    strength: float,
) -> None:
    """Lighten *picture* around *centre*, fading to nothing at *radius*."""
    fade = [
        round(255 * strength * (1 - min(distance, 181) / 181) ** 2)
        for distance in range(256)
    ]
    light = Image.radial_gradient("L").point(fade)
    light = light.resize((radius * 2, radius * 2), Image.Resampling.BILINEAR)
    picture.paste(colour, (centre[0] - radius, centre[1] - radius), light)


def _hills(picture: Image.Image, palette: _Palette, dice: random.Random) -> None:
    """Lay ridges over each other, the nearest last, mist between them."""
    width, height = picture.size
    layers = dice.randint(4, 6)
    mist = _colour(palette.horizon)
    for layer in range(layers):
        nearness = layer / (layers - 1)
        land = _mix(_colour(palette.far), _colour(palette.near), nearness**1.2)
        ridge = _ridge(
            width,
            level=height * (0.46 + 0.4 * nearness**1.1),
            swing=min(width, height) * dice.uniform(0.03, 0.075),
            dice=dice,
        )
        top = max(0, math.floor(min(ridge)))
        ground = _gradient(
            (width, height - top), [land, _mix(land, mist, 0.45 * (1 - nearness) + 0.1)]
        )
        picture.paste(ground, (0, top), _below(ridge, top, picture.size))
        if nearness >= _PINES_FROM:
            _pines(picture, ridge, _mix(land, (0, 0, 0), 0.12), dice)


def _ridge(
    width: int, *, level: float, swing: float, dice: random.Random
) -> list[float]:
    """Return the height of the ridge at every column, in pixels from above."""
    waves = [
        (swing / octave, octave * dice.uniform(0.7, 1.4), dice.uniform(0, math.tau))
        for octave in (1, 2, 4.5, 9)
    ]
    return [
        level
        + sum(
            size * math.sin(turns * math.tau * x / width + phase)
            for size, turns, phase in waves
        )
        for x in range(width)
    ]


def _below(ridge: list[float], top: int, size: tuple[int, int]) -> Image.Image:
    """Return the mask of what is under *ridge*, with a soft edge."""
    width, height = size
    finer = 2
    mask = Image.new("L", (width * finer, (height - top) * finer))
    outline = [(x * finer, (y - top) * finer) for x, y in enumerate(ridge)]
    corners = [(width * finer, outline[-1][1]), mask.size, (0, mask.height)]
    ImageDraw.Draw(mask).polygon([*outline, *corners], 255)
    return mask.reduce(finer)


def _pines(
    picture: Image.Image, ridge: list[float], colour: Colour, dice: random.Random
) -> None:
    pen = ImageDraw.Draw(picture)
    tallest = min(picture.size) * 0.05
    x = 0.0
    while x < len(ridge):
        foot = ridge[int(x)] + tallest * 0.12
        tall = tallest * dice.uniform(0.45, 1)
        for storey in range(3):
            tip = foot - tall * (0.45 + 0.275 * storey)
            half = tall * (0.2 - 0.05 * storey)
            eaves = tip + tall * 0.45
            pen.polygon([(x, tip), (x - half, eaves), (x + half, eaves)], colour)
        x += tallest * dice.choice((0.25, 0.3, 0.4, 0.5, 0.9, 2.2))
