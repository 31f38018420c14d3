"""Inputs of models that name their own fields, as those at Replicate and fal do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field

from app.errors import InvalidParameter
from app.generation.providers.options import PassedOn, Taken, VendorOptions
from app.generation.providers.parameters import ratio_for, seed_for, size_for
from app.generation.transport.base64_pictures import data_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.generation.provider import PaintRequest, Reference

Shape = Literal["as_asked", "aspect_ratio", "width_height", "image_size", "omit"]

FLUX_RATIOS = (
    *("1:1", "16:9", "21:9", "3:2", "2:3", "4:5", "5:4", "3:4", "4:3"),
    *("9:16", "9:21"),
)
GEMINI_RATIOS = (
    *("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"),
)
IMAGEN_RATIOS = ("1:1", "9:16", "16:9", "3:4", "4:3")

# Every model that paints in latent space takes multiples of it.
_STEP = 8


class InputOptions(VendorOptions):
    """What a model's input is made of; None is what is known of the model.

    *input* is put into it as it is, last, beside what is passed on. *shape*
    says in which fields the model wants its picture's shape: those of the
    request (`as_asked`), `aspect_ratio`, `width` and `height`, `image_size`
    (a table of both), or none.
    """

    input: dict[str, PassedOn] = Field(default_factory=dict)
    reference_field: str | None = None
    reference_list: bool | None = None
    send_seed: bool = True
    shape: Shape | None = None

    prompt: Taken = None
    seed: Taken = None
    model: Taken = None
    n: Taken = None
    stream: Taken = None


class Fields(NamedTuple):
    """The fields of a model: a name that ends in `[]` takes a list of references."""

    references: str
    shape: Shape
    ratios: tuple[str, ...] = ()


def fields_of(model: str, known: Mapping[str, Fields], default: Fields) -> Fields:
    """Return the fields of the first entry of *known* that begins the id of *model*."""
    return next(
        (fields for start, fields in known.items() if model.startswith(start)), default
    )


def input_for(
    request: PaintRequest, options: InputOptions, fields: Fields
) -> dict[str, Any]:
    """Return the input that asks for *request*.

    Raises `InvalidParameter` for more references than the model takes.
    """
    body = {**options.passed_on, "prompt": request.prompt}
    seed = seed_for(request) if options.send_seed else None
    if seed is not None:
        body["seed"] = seed
    body |= _shape(request, options.shape or fields.shape, fields.ratios)
    if request.references:
        body |= _references(request.references, options, fields)
    return body | options.input


def _shape(
    request: PaintRequest, shape: Shape, ratios: tuple[str, ...]
) -> dict[str, Any]:
    if shape == "as_asked":
        shape = "aspect_ratio" if request.aspect_ratio else "width_height"
    if shape == "aspect_ratio":
        asked = (request.aspect_ratio,) if request.aspect_ratio else GEMINI_RATIOS
        ratio = ratio_for(request, ratios or asked)
        return {"aspect_ratio": ratio} if ratio else {}
    size = size_for(request)
    if size is None or shape == "omit":
        return {}
    width, height = (math.ceil(edge / _STEP) * _STEP for edge in size)
    edges = {"width": width, "height": height}
    return {"image_size": edges} if shape == "image_size" else edges


def _references(
    references: tuple[Reference, ...], options: InputOptions, fields: Fields
) -> dict[str, Any]:
    name = options.reference_field or fields.references.removesuffix("[]")
    takes_list = options.reference_list
    if takes_list is None:
        takes_list = fields.references.endswith("[]") and not options.reference_field
    values = [
        reference.url or data_uri(reference.data, reference.media_type)
        for reference in references
    ]
    if takes_list:
        return {name: values}
    if len(values) > 1:
        raise InvalidParameter("references", "The model takes one reference picture.")
    return {name: values[0]}
