"""Shapes of Gemini's pictures: a ratio out of a list, and a size out of a few. Pure.

`imageConfig` is what google-genai 3.6.1 sends to the Gemini API; it sends
`responseFormat` to Google's Enterprise platform alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.generation.shapes import plan_shape

if TYPE_CHECKING:
    from app.generation.capabilities import Endpoint
    from app.generation.provider import PaintRequest

# The shape that every model paints by default.
_DEFAULT_SIZE = "1K"


def image_config(
    endpoint: Endpoint, size: str, request: PaintRequest
) -> dict[str, str]:
    """Return the `imageConfig` to ask for; what *endpoint* can't choose is left out.

    *size* is the option `image_size`.
    """
    config = {}
    plan = plan_shape(request, endpoint)
    if plan.ratio:
        config["aspectRatio"] = plan.ratio
    if size == "auto":
        size = plan.resolution or _DEFAULT_SIZE
        size = "omit" if size == _DEFAULT_SIZE else size
    if size != "omit":
        config["imageSize"] = size
    return config
