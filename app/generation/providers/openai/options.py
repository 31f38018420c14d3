"""Options of an OpenAI-dialect model: the adapter's own and those passed on."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NoReturn

from pydantic import BeforeValidator, Field

from app.generation.providers.options import Taken, VendorOptions

Policy = Literal["snap", "exact", "omit"]


class Body(VendorOptions):
    """Fields of the request; those named here it says itself.

    Some of them would change the form of the answer.
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
    """Refuse a field that has an option of the adapter's own in its place."""

    def refuse(_value: object) -> NoReturn:
        raise ValueError(f"use {name}")

    return BeforeValidator(refuse)


class OpenAIOptions(Body):
    """How one server speaks the dialect.

    What is passed on, and *extra_body*, go into the body as they are; the
    latter is for names that the adapter would take for its own, and has the
    last word.
    """

    edits: bool = True
    extra_body: Body = Body()
    image_field: Literal["image[]", "image"] = "image[]"
    send_response_format: Literal["b64_json"] | None = None
    send_seed: bool = False
    size_policy: Policy = "snap"

    response_format: Annotated[Any, _use("send_response_format")] = None
    seed: Annotated[Any, _use("send_seed")] = None
