"""Options of an OpenAI-dialect model: the adapter's own and those passed on."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BeforeValidator, Field

from app.generation.capabilities import ALL_SEEDS, Capabilities, Endpoint
from app.generation.providers.known import capabilities_of
from app.generation.providers.openai.known_models import KNOWN, UNKNOWN
from app.generation.providers.options import (
    CapabilityOptions,
    Taken,
    VendorOptions,
)

Policy = Literal["snap", "exact", "omit"]


class Body(VendorOptions):
    """Further fields of a request's body.

    Those named here are refused: the adapter fills them itself, and some would
    change the form of the answer.
    """

    model: Taken = None
    prompt: Taken = None
    n: Taken = None
    image: Taken = None
    image_list: Taken = Field(None, alias="image[]")
    images: Taken = None
    mask: Taken = None
    stream: Taken = None
    partial_images: Taken = None


def _use(name: str) -> BeforeValidator:
    """Refuse a field that the adapter has an option of its own for."""

    def refuse(_value: object) -> NoReturn:
        raise ValueError(f"use {name}")

    return BeforeValidator(refuse)


class OpenAIOptions(Body, CapabilityOptions):
    """Options of one server's dialect, in addition to the model's capabilities.

    What is passed on, and *extra_body*, go into the body as they are; the
    latter is for names that the adapter would take for its own, and has the
    last word. *edits* says whether the server has an edit endpoint.
    """

    edits: bool | None = None
    extra_body: Body = Body()
    image_field: Literal["image[]", "image"] = "image[]"
    send_response_format: Literal["b64_json"] | None = None
    send_seed: bool = False
    size_policy: Policy = "snap"

    response_format: Annotated[Any, _use("send_response_format")] = None
    seed: Annotated[Any, _use("send_seed")] = None


def capabilities_for(model: str, options: OpenAIOptions) -> Capabilities:
    """Return the capabilities of *model* behind a server with these *options*."""
    known = capabilities_of(model, options, known=KNOWN, unknown=UNKNOWN)
    return Capabilities(
        known.model,
        _adjusted(known.text, options),
        None if known.edit is None else _adjusted(known.edit, options),
    )


def _adjusted(endpoint: Endpoint, options: OpenAIOptions) -> Endpoint:
    changes: dict[str, Any] = {}
    if options.edits is False:
        changes["references"] = "none"
    elif options.edits and options.references is None and not endpoint.reference_limit:
        changes["references"] = "many"
    if options.size_policy == "exact":
        changes |= {"shape": "size", "bounds": None, "sizes": ()}
    elif options.size_policy == "omit":
        changes["shape"] = "omit"
    if options.send_seed and endpoint.max_seed is None:
        changes["max_seed"] = ALL_SEEDS
    return replace(endpoint, **changes)
