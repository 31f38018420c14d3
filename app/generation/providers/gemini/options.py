"""Options of a Gemini model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from app.generation.providers.options import (
    CapabilityOptions,
    NotHere,
    PassedOn,
    Taken,
)


class GeminiOptions(CapabilityOptions):
    """Options of a Gemini model; unknown ones go into `generationConfig`.

    *image_size* `auto` asks for the smallest size that covers the wish, from
    models that have several. *imageConfig* has the last word about the shape;
    *safetySettings* is a list as Google documents it.
    """

    image_size: Literal["auto", "omit", "512", "1K", "2K", "4K"] = "auto"
    send_seed: bool = True
    image_config: dict[str, PassedOn] = Field(default_factory=dict, alias="imageConfig")
    safety_settings: list[dict[str, PassedOn]] = Field(
        default_factory=list, alias="safetySettings"
    )

    # Google's interface has one place for pictures, and none for masks or sizes.
    reference_field: NotHere = None
    reference_list: NotHere = None
    mask_field: NotHere = None
    size_range: NotHere = None
    shape: NotHere = None

    seed: Taken = None
    response_modalities: Taken = Field(None, alias="responseModalities")
    candidate_count: Taken = Field(None, alias="candidateCount")
    contents: Taken = None
    model: Taken = None
    prompt: Taken = None
    n: Taken = None
    stream: Taken = None
