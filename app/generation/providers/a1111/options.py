"""Options of an A1111 server."""

from __future__ import annotations

from pydantic import Field

from app.generation.providers.options import (
    CapabilityOptions,
    NotHere,
    PassedOn,
    Taken,
)


class A1111Options(CapabilityOptions):
    """Options of an A1111 model; unknown ones go into the request unchanged.

    *override_settings* are sent together with the checkpoint that the model names.
    """

    override_settings: dict[str, PassedOn] = Field(default_factory=dict)

    # The server has one interface, whatever the checkpoint.
    reference_field: NotHere = None
    reference_list: NotHere = None
    edit_model: NotHere = None
    shape: NotHere = None

    prompt: Taken = None
    seed: Taken = None
    width: Taken = None
    height: Taken = None
    batch_size: Taken = None
    n_iter: Taken = None
    init_images: Taken = None
    send_images: Taken = None
    save_images: Taken = None
