"""A provider's picture is checked, resized and marked before it is stored."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import PIL.Image
import pytest

from app.errors import BadImage
from app.generation.finishing import RESIZED_AT_ONCE, Finishing
from app.generation.provenance import BY_A_MODEL, Provenance
from app.generation.provider import Origin, PaintRequest, ProviderPicture
from tests.generation.provenance.samples import SAMPLES, SIGNED, encoded, gradient

OPENAI = Origin("openai", "gpt-image-2", request_id="req_1")
AS_IT_COMES = PaintRequest("a lighthouse in a storm")
SIZED = replace(AS_IT_COMES, width=20, height=20)


def finishing(*, marks: bool = True) -> Finishing:
    """Return the finishing of a replica with these limits."""
    return Finishing(max_image_bytes=100_000, marks=marks, keeps_metadata=not marks)


async def test_a_picture_is_checked_and_marked() -> None:
    """A finished picture names its model, and neither prompt nor request id."""
    came = SAMPLES["plain.png"]()

    image, provenance = await finishing().finish(
        ProviderPicture(came, OPENAI), AS_IT_COMES
    )

    assert provenance == Provenance(digital_source_type=BY_A_MODEL, marked=True)
    assert b"openai gpt-image-2" in image.data
    assert b"lighthouse" not in image.data
    assert b"req_1" not in image.data


@pytest.mark.parametrize("name", SAMPLES)
async def test_without_marks_the_bytes_are_the_providers(name: str) -> None:
    """With marking off the provider's bytes are stored."""
    came = SAMPLES[name]()

    image, provenance = await finishing(marks=False).finish(
        ProviderPicture(came, OPENAI), AS_IT_COMES
    )

    assert image.data is came
    assert provenance == Provenance()


async def test_a_resized_picture_says_what_it_lost() -> None:
    """A resized picture records that it lost its Content Credentials."""
    signed = (SIGNED / "embedded.png").read_bytes()

    image, provenance = await finishing().finish(ProviderPicture(signed, OPENAI), SIZED)

    assert (image.width, image.height) == (20, 20)
    assert provenance == Provenance(
        c2pa_lost=True, digital_source_type=BY_A_MODEL, marked=True
    )


async def test_a_signed_picture_of_the_right_size_is_left_alone() -> None:
    """A signed picture of the right size keeps its bytes."""
    signed = (SIGNED / "embedded.png").read_bytes()
    as_large = replace(AS_IT_COMES, width=24, height=16)

    image, provenance = await finishing().finish(
        ProviderPicture(signed, OPENAI), as_large
    )

    assert image.data is signed
    assert provenance == Provenance(c2pa=True)


@pytest.mark.parametrize(
    "data",
    [
        b"<html>Bad gateway</html>",
        encoded(gradient(), "PNG")[:60],
        encoded(PIL.Image.effect_noise((400, 400), 90), "PNG"),
    ],
    ids=["page", "cut", "large"],
)
async def test_what_is_no_picture_is_never_stored(data: bytes) -> None:
    """An unreadable or too large picture is a `BadImage`."""
    with pytest.raises(BadImage):
        await finishing().finish(ProviderPicture(data, OPENAI), AS_IT_COMES)


async def test_few_pictures_are_resized_at_once() -> None:
    """Only a few pictures are resized at once; others that need none do not wait."""
    work, gate = finishing(), threading.Event()
    plain = ProviderPicture(SAMPLES["plain.png"](), OPENAI)
    busy = [work._sizing.submit(gate.wait, 30) for _ in range(RESIZED_AT_ONCE)]

    waiting = asyncio.create_task(work.finish(plain, SIZED))
    image, _ = await work.finish(plain, AS_IT_COMES)

    assert (image.width, image.height) == (61, 37)
    assert not waiting.done()
    gate.set()
    image, _ = await waiting
    assert (image.width, image.height) == (20, 20)
    assert all(occupied.result() for occupied in busy)
