"""Inputs of models that name their own fields, as those at Replicate and fal do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from app.generation.capabilities import OPTIONS
from app.generation.providers.options import CapabilityOptions, PassedOn, Taken
from app.generation.providers.parameters import seed_for
from app.generation.shapes import plan_shape
from app.generation.transport.json_bodies import Inlined

if TYPE_CHECKING:
    from app.generation.capabilities import Capabilities, Endpoint
    from app.generation.provider import PaintRequest, Reference


class InputOptions(CapabilityOptions):
    """Options for a model's input, in addition to its capabilities.

    *input* is merged into it unchanged and last, after unknown options. Without
    *send_seed* the model never gets a seed.
    """

    input: dict[str, PassedOn] = Field(default_factory=dict)
    send_seed: bool = True

    prompt: Taken = None
    seed: Taken = None
    model: Taken = None
    n: Taken = None
    stream: Taken = None


def input_for(
    request: PaintRequest, options: InputOptions, capabilities: Capabilities
) -> dict[str, Any]:
    """Return the input that asks for *request*, which *capabilities* do not refuse."""
    endpoint = capabilities.endpoint(len(request.references))
    body = {**options.passed_on, "prompt": request.prompt}
    seed = seed_for(request, endpoint) if options.send_seed else None
    if seed is not None:
        body["seed"] = seed
    body |= shape_fields(request, endpoint)
    body |= option_fields(request, endpoint)
    if request.references:
        body |= reference_fields(request.references, endpoint)
    if request.mask is not None and endpoint.mask_field:
        body[endpoint.mask_field] = inlined(request.mask)
    return body | options.input


def shape_fields(request: PaintRequest, endpoint: Endpoint) -> dict[str, Any]:
    """Return the fields that tell *endpoint* the picture's shape."""
    plan = plan_shape(request, endpoint)
    fields: dict[str, Any] = {}
    if plan.ratio is not None:
        fields["aspect_ratio"] = plan.ratio
    if plan.resolution is not None:
        fields[endpoint.resolution_field] = plan.resolution
    if plan.size is None:
        return fields
    width, height = plan.size
    if endpoint.shape == "size":
        return {endpoint.size_field: f"{width}x{height}"}
    if endpoint.shape == "image_size":
        return {"image_size": {"width": width, "height": height}}
    custom = dict((endpoint.custom,)) if endpoint.custom else {}
    return {**custom, "width": width, "height": height}


def option_fields(request: PaintRequest, endpoint: Endpoint) -> dict[str, Any]:
    """Return the request's own options, under the vendor's names."""
    asked = {name: getattr(request, name) for name in OPTIONS}
    return {
        endpoint.options.get(name, name): value
        for name, value in asked.items()
        if value is not None
    }


def reference_fields(
    references: tuple[Reference, ...], endpoint: Endpoint
) -> dict[str, Any]:
    """Return the field for reference pictures: their addresses, or they themselves."""
    values = [inlined(reference) for reference in references]
    is_list = endpoint.reference_list
    return {endpoint.reference_field: values if is_list else values[0]}


def inlined(reference: Reference) -> str | Inlined:
    """Return where a vendor fetches *reference*, or the picture itself."""
    return reference.url or Inlined(reference.data, reference.media_type)
