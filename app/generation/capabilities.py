"""Capabilities: what a model takes, so that nothing it can't do is ever asked of it.

Each vendor has a table of known models (`providers/<vendor>/known_models.py`).
A model that is in none, and whose options say nothing, takes no references, no
mask and no options: it might drop them silently, and a wrong picture would be
paid for and cached.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from app.errors import InvalidParameter

References = Literal["none", "one", "many"]
Shape = Literal[
    "as_asked", "aspect_ratio", "width_height", "image_size", "size", "omit"
]
# How the OpenAI dialect carries references: as files of a form, as addresses in
# a field of the JSON, or as objects around addresses.
ReferenceForm = Literal["files", "uris", "objects"]

# More than any vendor takes, and what a request may have.
MAX_REFERENCES = 16
# What every vendor takes that takes pictures at all.
COMMON_TYPES = frozenset({"image/png", "image/jpeg", "image/webp"})
# Every vendor that takes seeds takes an int32 that is not negative; a request's
# own have 32 bits.
INT32_SEEDS = 2**31 - 1
ALL_SEEDS = 2**32 - 1

# The parameters of a request that only some models know.
OPTIONS = ("quality", "background", "moderation", "style", "negative_prompt")


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeBounds:
    """The sizes that a model paints; both edges are multiples of *step*.

    *max_ratio* is the long edge by the short one. A picture with fewer than
    *min_pixels* is painted with *usual_pixels* and reduced.
    """

    min_width: int = 64
    min_height: int = 64
    max_width: int = 4096
    max_height: int = 4096
    step: int = 8
    min_pixels: int = 0
    usual_pixels: int = 0
    max_pixels: int = 2**24
    max_ratio: float = math.inf

    def allows(self, width: int, height: int) -> bool:
        """Return whether a picture of that size can be asked for."""
        return (
            self.min_width <= width <= self.max_width
            and self.min_height <= height <= self.max_height
            and self.min_pixels <= width * height <= self.max_pixels
            and width % self.step == height % self.step == 0
            and max(width, height) <= self.max_ratio * min(width, height)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The capabilities of one of a vendor's ids: a row of its table.

    *source* is the page that says so, with its date. *shape* names the fields
    that carry the picture's shape; *ratios* are those it paints,
    *sizes* its only sizes (`"1024x1024"`), *bounds* those of all others.
    *custom* is a field and its value that make *bounds* count where *ratios*
    lack the wish. *resolutions* are values of *resolution_field* and about how
    many pixels each paints. *options* are fields by the request's own names.
    *mask_is_alpha*: transparent pixels are painted anew, not white ones.
    *response_format* makes an OpenAI dialect answer with the picture itself.
    """

    source: str
    references: References = "none"
    max_references: int = MAX_REFERENCES
    needs_reference: bool = False
    reference_field: str = "image"
    reference_list: bool = False
    reference_types: frozenset[str] = COMMON_TYPES
    reference_form: ReferenceForm = "files"
    edit_model: str | None = None
    mask_field: str | None = None
    mask_is_alpha: bool = False
    shape: Shape = "omit"
    ratios: tuple[str, ...] = ()
    size_field: str = "size"
    sizes: tuple[str, ...] = ()
    bounds: SizeBounds | None = None
    custom: tuple[str, str] | None = None
    resolution_field: str = "resolution"
    resolutions: tuple[tuple[str, int], ...] = ()
    max_seed: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    response_format: str | None = None

    @property
    def reference_limit(self) -> int:
        """Return how many reference pictures it takes."""
        match self.references:
            case "none":
                return 0
            case "one":
                return 1
        return self.max_references


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The capabilities of an alias: its *model*, and its *edit* model, if any.

    The edit model is asked where a request has references.
    """

    model: str
    text: Endpoint
    edit: Endpoint | None = None

    def endpoint(self, references: int) -> Endpoint:
        """Return the endpoint for a request with that many references."""
        return self.edit if references and self.edit is not None else self.text

    def model_for(self, references: int) -> str:
        """Return the vendor's id to ask for a request with that many references."""
        is_edit = references and self.edit is not None
        return (self.text.edit_model or self.model) if is_edit else self.model

    @property
    def reference_limit(self) -> int:
        """Return how many reference pictures a request may have."""
        return self.endpoint(1).reference_limit

    def refusal(
        self, *, references: int = 0, has_mask: bool = False, options: Any = ()
    ) -> InvalidParameter | None:
        """Return why such a request can't be painted; None where it can."""
        endpoint = self.endpoint(references)
        if references > endpoint.reference_limit:
            return InvalidParameter("references", _too_many(endpoint))
        if endpoint.needs_reference and not references:
            return InvalidParameter(
                "references", "The model paints only with a reference picture."
            )
        if has_mask and (endpoint.mask_field is None or not references):
            return InvalidParameter("mask", "The model takes no mask.")
        for name in options:
            if name not in endpoint.options:
                return InvalidParameter(name, f"The model does not know {name}.")
        return None

    def as_json(self) -> dict[str, Any]:
        """Return the fields of the model in `GET /api/v1/models`."""
        edit = self.endpoint(1)
        return {
            "references": edit.references,
            "max_references": edit.reference_limit,
            "needs_reference": self.text.needs_reference,
            "mask": edit.mask_field is not None,
            "ratios": list(self.text.ratios),
            "seed": self.text.max_seed is not None,
            "options": [name for name in OPTIONS if name in self.text.options],
            "known_from": self.text.source,
        }

    def in_a_line(self) -> str:
        """Return the same for people, as `check` prints it."""
        edit = self.endpoint(1)
        count = edit.reference_limit
        can = [
            {0: "no references", 1: "one reference"}.get(count, f"{count} references"),
            "a mask" if edit.mask_field else "no mask",
            _shapes(self.text),
            "seeds" if self.text.max_seed is not None else "no seeds",
            *(name for name in OPTIONS if name in self.text.options),
        ]
        return f"{', '.join(can)} ({self.text.source})"


def _too_many(endpoint: Endpoint) -> str:
    match endpoint.reference_limit:
        case 0:
            return "The model takes no reference pictures."
        case 1:
            return "The model takes one reference picture."
        case most:
            return f"The model takes at most {most} reference pictures."


def _shapes(endpoint: Endpoint) -> str:
    if endpoint.ratios and endpoint.bounds is None:
        return f"{len(endpoint.ratios)} ratios"
    if endpoint.sizes:
        return f"{len(endpoint.sizes)} sizes"
    if endpoint.shape == "omit":
        return "shapes by cropping"
    if endpoint.bounds is None:
        return "any size"
    bounds = endpoint.bounds
    return (
        f"sizes from {bounds.min_width}x{bounds.min_height} "
        f"to {bounds.max_width}x{bounds.max_height}"
    )
