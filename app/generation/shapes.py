"""Shapes: the size or ratio to ask a model for, nearest to what a request wants. Pure.

What the model does not paint is painted in the nearest shape that it does,
large enough where it has one so large, and cropped and reduced by us.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.generation.capabilities import Endpoint, SizeBounds
    from app.generation.provider import PaintRequest

# What a ratio without a size is worth: about a megapixel.
_RATIO_PIXELS = 1024 * 1024
# Lets a bound that was reached by multiplication count as reached.
_ROUNDING = 1e-9
# A tenth fewer pixels are not seen; the next resolution costs half as much again.
_NEARLY = 1.1

# Asked of models whose ratios are unknown, for a size: what most of them paint.
COMMON_RATIOS = (
    *("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"),
)


class ShapePlan(NamedTuple):
    """The shape to ask for: a *ratio*, *size* and *resolution*; None leaves it out.

    *is_exact*: the model paints the ratio that the request names.
    """

    ratio: str | None = None
    size: tuple[int, int] | None = None
    resolution: str | None = None
    is_exact: bool = True


def plan_shape(request: PaintRequest, endpoint: Endpoint) -> ShapePlan:
    """Return the shape to ask *endpoint* for."""
    if request.aspect_ratio is None and request.width is None:
        return ShapePlan()
    shape = endpoint.shape
    if shape == "omit":
        return ShapePlan(is_exact=False)
    if shape == "as_asked":
        shape = "aspect_ratio" if request.aspect_ratio else "width_height"
    if shape != "aspect_ratio":
        size = _size(request, endpoint)
        return ShapePlan(size=size, is_exact=_is_of_ratio(size, request.aspect_ratio))
    known = endpoint.ratios
    if endpoint.custom and not (request.aspect_ratio and request.aspect_ratio in known):
        size = _size(request, endpoint)
        return ShapePlan(size=size, is_exact=_is_of_ratio(size, request.aspect_ratio))
    asked = (request.aspect_ratio,) if request.aspect_ratio else COMMON_RATIOS
    ratio = nearest_ratio(request, known or asked)
    return ShapePlan(
        ratio=ratio,
        resolution=_resolution(request, ratio, endpoint),
        is_exact=ratio == request.aspect_ratio,
    )


def size_for(request: PaintRequest, *, step: int = 16) -> tuple[int, int] | None:
    """Return width and height that were asked for; None if neither was.

    A ratio is worth about a megapixel, in multiples of *step*.
    """
    if request.width is not None and request.height is not None:
        return request.width, request.height
    if request.aspect_ratio is None:
        return None
    across, down = _unit(request.aspect_ratio, step)
    times = max(1, round(math.sqrt(_RATIO_PIXELS / (across * down))))
    return across * times, down * times


def nearest_ratio(request: PaintRequest, ratios: Iterable[str]) -> str | None:
    """Return the one of *ratios* (`"16:9"`) that is nearest to what was asked for.

    None if nothing was.
    """
    wish = wanted_ratio(request)
    if wish is None:
        return None
    return min(ratios, key=lambda ratio: abs(math.log(value_of(ratio) / wish)))


def wanted_ratio(request: PaintRequest) -> float | None:
    """Return width by height of the picture that was asked for."""
    if request.width is not None and request.height is not None:
        return request.width / request.height
    return value_of(request.aspect_ratio) if request.aspect_ratio else None


def value_of(ratio: str) -> float:
    """Return width by height of a ratio; vendors have some like `19.5:9`."""
    across, down = ratio.split(":")
    return float(across) / float(down)


def reduced(ratio: str) -> tuple[int, int]:
    """Return the smallest whole numbers of a ratio."""
    across, down = (int(part) for part in ratio.split(":"))
    common = math.gcd(across, down)
    return across // common, down // common


def cover(bounds: SizeBounds, width: int, height: int) -> tuple[int, int]:
    """Return the smallest size within *bounds* that covers the wish."""
    across, down = float(width), float(height)
    across = max(across, down / bounds.max_ratio)
    down = max(down, across / bounds.max_ratio)
    pixels = across * down
    wanted = max(bounds.min_pixels, bounds.usual_pixels)
    least = max(
        *(1.0, bounds.min_width / across, bounds.min_height / down),
        math.sqrt(wanted / pixels) if pixels < bounds.min_pixels else 1.0,
    )
    most = min(
        *(bounds.max_width / across, bounds.max_height / down),
        math.sqrt(bounds.max_pixels / pixels),
    )
    scale = min(least, most)
    across = max(across * scale, bounds.min_width)
    down = max(down * scale, bounds.min_height)
    # A long picture at the largest edge has too few pixels unless it is wider.
    if across < down:
        across = max(across, bounds.min_pixels / down)
    else:
        down = max(down, bounds.min_pixels / across)
    edges = _stepped(bounds.step, across, down, up=True)
    too_large = edges[0] > bounds.max_width or edges[1] > bounds.max_height
    if too_large or math.prod(edges) > bounds.max_pixels:
        edges = _stepped(bounds.step, across, down, up=False)
    return edges


def _stepped(step: int, across: float, down: float, *, up: bool) -> tuple[int, int]:
    if up:
        return (
            math.ceil(across / step - _ROUNDING) * step,
            math.ceil(down / step - _ROUNDING) * step,
        )
    return (
        math.floor(across / step + _ROUNDING) * step,
        math.floor(down / step + _ROUNDING) * step,
    )


def _size(request: PaintRequest, endpoint: Endpoint) -> tuple[int, int]:
    """Return the size to ask for; the request wants one, or a ratio."""
    bounds = endpoint.bounds
    if endpoint.sizes:
        return _fixed(request, endpoint.sizes)
    wish = size_for(request, step=bounds.step if bounds else 16)
    width, height = wish or (1024, 1024)
    if bounds is None:
        return width, height
    if request.aspect_ratio and (size := _exact(request.aspect_ratio, bounds)):
        return size
    return cover(bounds, width, height)


def _exact(ratio: str, bounds: SizeBounds) -> tuple[int, int] | None:
    """Return the size of exactly *ratio* that is nearest to a megapixel, if any is."""
    across, down = _unit(ratio, bounds.step)
    wish = max(1, round(math.sqrt(_RATIO_PIXELS / (across * down))))
    most = min(bounds.max_width // across, bounds.max_height // down)
    allowed = (
        times
        for times in range(1, most + 1)
        if bounds.allows(across * times, down * times)
    )
    best = min(allowed, key=lambda times: abs(times - wish), default=None)
    return None if best is None else (across * best, down * best)


def _fixed(request: PaintRequest, sizes: tuple[str, ...]) -> tuple[int, int]:
    """Return the size of the nearest ratio; of several the smallest that covers."""
    wish = wanted_ratio(request) or 1.0
    wanted = (request.width or 0) * (request.height or 0)

    def rank(size: tuple[int, int]) -> tuple[float, bool, int]:
        width, height = size
        pixels = width * height
        is_small = pixels * _NEARLY < wanted
        distance = round(abs(math.log(width / height / wish)), 2)
        return distance, is_small, -pixels if is_small else pixels

    known = [tuple(map(int, size.split("x"))) for size in sizes]
    return min(((width, height) for width, height in known), key=rank)


def _resolution(
    request: PaintRequest, ratio: str | None, endpoint: Endpoint
) -> str | None:
    """Return the smallest resolution that covers the wish; None for the default.

    A picture of another ratio loses what is cropped, so it has to be larger.
    """
    if request.width is None or request.height is None or not endpoint.resolutions:
        return None
    pixels = float(request.width * request.height)
    if ratio is not None:
        part = value_of(ratio) / (request.width / request.height)
        pixels *= max(part, 1 / part)
    for name, painted in endpoint.resolutions:
        if pixels <= painted * _NEARLY:
            return name
    return endpoint.resolutions[-1][0]


def _is_of_ratio(size: tuple[int, int], ratio: str | None) -> bool:
    if ratio is None:
        return True
    across, down = reduced(ratio)
    return size[0] * down == size[1] * across


def _unit(ratio: str, step: int) -> tuple[int, int]:
    """Return the smallest size of that ratio in multiples of *step*."""
    across, down = reduced(ratio)
    return across * step, down * step
