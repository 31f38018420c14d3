"""From what a provider sent to what is stored: checked, resized, marked."""

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
    """Return what finishes the pictures of a replica."""
    return Finishing(max_image_bytes=100_000, marks=marks, keeps_metadata=not marks)


async def test_a_picture_is_checked_and_marked() -> None:
    """What is stored says who painted it, and not what was asked for."""
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
    """An operator who turns marking off stores exactly what was sent."""
    came = SAMPLES[name]()

    image, provenance = await finishing(marks=False).finish(
        ProviderPicture(came, OPENAI), AS_IT_COMES
    )

    assert image.data is came
    assert provenance == Provenance()


async def test_a_resized_picture_says_what_it_lost() -> None:
    """Content Credentials do not survive a resize, and the entry says so."""
    signed = (SIGNED / "embedded.png").read_bytes()

    image, provenance = await finishing().finish(ProviderPicture(signed, OPENAI), SIZED)

    assert (image.width, image.height) == (20, 20)
    assert provenance == Provenance(
        c2pa_lost=True, digital_source_type=BY_A_MODEL, marked=True
    )


async def test_a_signed_picture_of_the_right_size_is_left_alone() -> None:
    """One that has the size already keeps its Content Credentials."""
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
    """Input that can't be read or is beyond the limit is the provider's fault."""
    with pytest.raises(BadImage):
        await finishing().finish(ProviderPicture(data, OPENAI), AS_IT_COMES)


async def test_few_pictures_are_resized_at_once() -> None:
    """One that is resized takes memory: the next waits, all others do not."""
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
