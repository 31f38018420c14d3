"""What a request's parameters are in vendors' terms. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.generation.provider import PaintRequest

# Spreads variants over all seeds; odd, so that no two variants meet (Knuth,
# The Art of Computer Programming 3, 6.4: the golden ratio of 2**32).
_SEED_STRIDE = 2_654_435_761

# What a wish for a ratio without a size is worth: about a megapixel.
_RATIO_PIXELS = 1024 * 1024


def seed_for(request: PaintRequest, *, bits: int = 32) -> int | None:
    """Return the seed to send, folded into *bits*; None leaves it to the vendor.

    Variant 0 is the caller's seed, every other variant a seed of its own.
    """
    if request.seed is None:
        return None
    return (request.seed + request.variant * _SEED_STRIDE) % (1 << bits)


def size_for(request: PaintRequest, *, step: int = 16) -> tuple[int, int] | None:
    """Return width and height that were asked for; None if neither was.

    A ratio is worth about a megapixel, in multiples of *step*.
    """
    if request.width is not None and request.height is not None:
        return request.width, request.height
    if request.aspect_ratio is None:
        return None
    across, down = _reduced(request.aspect_ratio)
    across, down = across * step, down * step
    times = max(1, round(math.sqrt(_RATIO_PIXELS / (across * down))))
    return across * times, down * times


def ratio_for(request: PaintRequest, ratios: Iterable[str]) -> str | None:
    """Return the one of *ratios* (`"16:9"`) that is nearest to what was asked for.

    None if nothing was. A picture that has to have a size is cut from it.
    """
    if request.width is not None and request.height is not None:
        wish = request.width / request.height
    elif request.aspect_ratio is not None:
        across, down = _reduced(request.aspect_ratio)
        wish = across / down
    else:
        return None

    def distance(ratio: str) -> float:
        across, down = _reduced(ratio)
        return abs(math.log(across / down / wish))

    return min(ratios, key=distance)


def _reduced(ratio: str) -> tuple[int, int]:
    across, down = (int(part) for part in ratio.split(":"))
    common = math.gcd(across, down)
    return across // common, down // common
