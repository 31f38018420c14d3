"""Options of the placeholder: how it rehearses what providers do."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_MAX_DELAY_SECONDS = 600


class PlaceholderOptions(BaseModel):
    """*delay_seconds* pass first; then it paints a *format*, or fails by *failure*."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False
    )

    delay_seconds: Annotated[float, Field(ge=0, le=_MAX_DELAY_SECONDS)] = 0.0
    failure: Literal[
        "none", "rejected", "failed", "rate_limited", "timeout", "broken_image"
    ] = "none"
    format: Literal["png", "jpeg", "webp"] = "png"
