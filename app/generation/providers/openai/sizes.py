"""Sizes in the OpenAI images dialect. Pure: what a model takes, nearest to a wish."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from app.generation.providers.parameters import size_for

if TYPE_CHECKING:
    from app.generation.provider import PaintRequest
    from app.generation.providers.openai.options import Policy

# GPT image 2 and later, as OpenAI's image generation guide has it.
_STEP = 16
_MAX_RATIO = 3
_MAX_EDGE = 3840
_MIN_PIXELS = 655_360
_MAX_PIXELS = 8_294_400

# GPT image 1, 1.5 and their mini take nothing else.
_FIXED = ((1024, 1024), (1536, 1024), (1024, 1536))

_GPT_IMAGE = re.compile(r"gpt-image-([0-9]+)")

# Lets a bound that was reached by multiplication count as reached.
_ROUNDING = 1e-9


def choose_size(model: str, policy: Policy, request: PaintRequest) -> str | None:
    """Return `WIDTHxHEIGHT` to ask *model* for; None to leave it to the model.

    Policy `snap` asks a GPT image model for the nearest size that it takes,
    large enough to be cropped and reduced to the wish where it has one so
    large, and any other model for exactly the wish; `exact` asks every model
    for exactly the wish; `omit` never asks. A ratio is asked for as about a
    megapixel in multiples of 16.
    """
    wish = size_for(request)
    if policy == "omit" or wish is None:
        return None
    width, height = wish if policy == "exact" else _snap(model, *wish)
    return f"{width}x{height}"


def _snap(model: str, width: int, height: int) -> tuple[int, int]:
    # A gateway's ids carry the vendor in front: `openai/gpt-image-2`.
    name = model.rpartition("/")[2]
    if name.startswith("chatgpt-image"):
        return _nearest_fixed(width, height)
    version = _GPT_IMAGE.match(name)
    if version is None:
        return width, height
    if int(version[1]) == 1:
        return _nearest_fixed(width, height)
    return _cover(width, height)


def _nearest_fixed(width: int, height: int) -> tuple[int, int]:
    wish = math.log(width / height)
    return min(_FIXED, key=lambda size: abs(math.log(size[0] / size[1]) - wish))


def _cover(width: int, height: int) -> tuple[int, int]:
    """Return the smallest size within the bounds that covers the wish."""
    long, short = float(max(width, height)), float(min(width, height))
    short = max(short, long / _MAX_RATIO)
    scale = max(1.0, math.sqrt(_MIN_PIXELS / (long * short)))
    scale = min(scale, _MAX_EDGE / long, math.sqrt(_MAX_PIXELS / (long * short)))
    steps = (long * scale / _STEP, short * scale / _STEP)
    edges = [math.ceil(step - _ROUNDING) * _STEP for step in steps]
    if math.prod(edges) > _MAX_PIXELS:
        edges = [math.floor(step + _ROUNDING) * _STEP for step in steps]
    return (edges[0], edges[1]) if width >= height else (edges[1], edges[0])
