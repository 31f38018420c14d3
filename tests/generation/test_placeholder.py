"""The placeholder's pictures, its speed, and its rehearsed failures."""

from __future__ import annotations

import asyncio
import csv
import io
import logging
import time
from dataclasses import replace
from pathlib import Path

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.errors import (
    PromptRejected,
    ProviderFailed,
    ProviderRateLimited,
    UnsupportedImage,
)
from app.generation.provider import ImageProvider, PaintRequest, Reference
from app.generation.providers.placeholder.caption import drawable
from app.generation.providers.placeholder.options import PlaceholderOptions
from app.generation.providers.placeholder.placeholder import Placeholder
from app.image import Image, sniff
from tests.generation.handles import picture_by

PROMPTS = Path(__file__).parents[1] / "data" / "prompts.tsv"
LIGHTHOUSE = PaintRequest("a lighthouse in a storm")


def prompts() -> list[str]:
    """Return real prompts; their source is named in the file."""
    with PROMPTS.open(encoding="utf-8", newline="") as file:
        rows = [line for line in file if not line.startswith("#")]
    return [row["Prompt"] for row in csv.DictReader(rows, delimiter="\t")]


def small(prompt: str) -> PaintRequest:
    """Return a request for a small picture."""
    return PaintRequest(prompt, width=96, height=64)


def reference() -> Reference:
    """Return a picture that a request can refer to."""
    data = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), "teal").save(data, "PNG")
    return Reference.of(Image.inspect(data.getvalue()))


def test_it_is_an_image_provider() -> None:
    """The placeholder is an `ImageProvider` that takes no addresses."""
    provider: ImageProvider = Placeholder()

    assert provider.vendor == "placeholder"
    assert not provider.takes_addresses


async def test_a_request_has_one_picture() -> None:
    """The same request always gives the same bytes."""
    first = await picture_by(Placeholder(), LIGHTHOUSE)
    second = await picture_by(Placeholder(), replace(LIGHTHOUSE))

    assert first == second


async def test_every_parameter_changes_the_picture() -> None:
    """Requests that differ in any parameter give different pictures."""
    fox = PaintRequest("a red fox")
    requests = [
        fox,
        PaintRequest("a red fix"),
        replace(fox, seed=0),
        replace(fox, seed=1),
        replace(fox, variant=1),
        replace(fox, aspect_ratio="1:1"),
        replace(fox, aspect_ratio="16:9"),
        replace(fox, width=1024, height=1024),
        replace(fox, width=1024, height=1023),
        replace(fox, references=(reference(),)),
    ]

    pictures = {await picture_by(Placeholder(), request) for request in requests}

    assert len(pictures) == len(requests)


@pytest.mark.parametrize(
    ("width", "height"),
    [(64, 64), (64, 4096), (4096, 64), (1023, 769), (4096, 3900)],
)
async def test_any_size_is_met_exactly(width: int, height: int) -> None:
    """The picture has the requested width and height."""
    data = await picture_by(
        Placeholder(), replace(LIGHTHOUSE, width=width, height=height)
    )

    image = Image.inspect(data)
    assert (image.width, image.height) == (width, height)


@pytest.mark.parametrize(
    "ratio",
    [
        "1:1",
        "1:2",
        "2:1",
        "2:3",
        "3:2",
        "3:4",
        "4:3",
        "4:5",
        "5:4",
        "9:16",
        "16:9",
        "9:21",
        "21:9",
        "1:4",
        "4:1",
        "1:8",
        "8:1",
    ],
)
async def test_a_ratio_is_met_around_a_megapixel(ratio: str) -> None:
    """The picture has exactly the requested ratio and about a megapixel."""
    image = Image.inspect(
        await picture_by(Placeholder(), replace(LIGHTHOUSE, aspect_ratio=ratio))
    )

    across, down = map(int, ratio.split(":"))
    assert image.width * down == image.height * across
    assert 0.95 < image.width * image.height / 1024**2 < 1.05


@pytest.mark.parametrize(
    ("image_format", "media_type"),
    [("png", "image/png"), ("jpeg", "image/jpeg"), ("webp", "image/webp")],
)
async def test_the_format_is_that_of_the_options(
    image_format: str, media_type: str
) -> None:
    """The picture has the configured format and fewer than 200 KB."""
    data = await picture_by(Placeholder({"format": image_format}), LIGHTHOUSE)

    with PIL.Image.open(io.BytesIO(data)) as picture:
        picture.load()
        assert picture.size == (1024, 1024)
    assert sniff(data) == media_type
    assert 16_000 < len(data) < 200_000


async def test_a_megapixel_takes_a_fraction_of_a_second() -> None:
    """A megapixel is painted within a quarter of a second."""
    provider = Placeholder()
    await picture_by(provider, LIGHTHOUSE)

    seconds = []
    for variant in range(5):
        started = time.process_time()
        await picture_by(provider, replace(LIGHTHOUSE, variant=variant))
        seconds.append(time.process_time() - started)

    # About 0.05 s; the bound leaves room for a busy machine.
    assert min(seconds) < 0.25


async def test_the_event_loop_goes_on_while_it_paints() -> None:
    """Painting a large picture does not block the event loop."""
    painting = asyncio.create_task(
        picture_by(Placeholder(), replace(LIGHTHOUSE, width=2048, height=2048))
    )

    turns = 0
    while not painting.done():
        await asyncio.sleep(0.001)
        turns += 1

    assert await painting
    assert turns > 5


@pytest.mark.parametrize("prompt", prompts())
async def test_real_prompts_are_painted(prompt: str) -> None:
    """Real prompts are painted."""
    image = Image.inspect(await picture_by(Placeholder(), small(prompt)))

    assert (image.width, image.height) == (96, 64)


@given(st.text(st.characters(), max_size=120))
def test_any_unicode_is_painted(prompt: str) -> None:
    """Any Unicode text is painted, lone surrogates included."""
    assert asyncio.run(picture_by(Placeholder(), small(prompt)))


@pytest.mark.parametrize(
    "prompt",
    [
        "שלום עולם, a harbour at dawn",
        "مدينة تحت المطر",
        "\u202ereversed\u202c and \u2066isolated\u2069",
        "👩‍🚀🏳️‍🌈 on the moon 🌕",
        "雪の中の灯台",
        "Z\u0351\u036b\u0343algo",
        "\ufdfa" * 500,
        "\n\n\n\t",
        "w" * 4000,
        "a lighthouse in a storm, " * 160,
        "\n".join("a line of a poem" for _ in range(200)),
    ],
)
async def test_awkward_prompts_are_painted(prompt: str) -> None:
    """Right-to-left scripts, emoji, an endless word and 4000 characters are painted."""
    image = Image.inspect(await picture_by(Placeholder(), PaintRequest(prompt[:4000])))

    assert (image.width, image.height) == (1024, 1024)


def test_a_prompt_is_written_in_letters_that_the_font_has() -> None:
    """Letters that the font lacks are replaced by plain ones."""
    assert drawable("Zürich \u2013 “grüße” œuvre…") == 'Zurich - "grusse" oeuvre...'


async def test_a_long_prompt_leaves_the_sky_free() -> None:
    """A caption of any length stays in the lower half."""
    short = await picture_by(Placeholder(), PaintRequest("x"))
    long = await picture_by(Placeholder(), PaintRequest("x " * 2000))

    def white_above(data: bytes) -> int:
        with PIL.Image.open(io.BytesIO(data)) as picture:
            row = picture.convert("RGB").crop((0, 400, 300, 500))
        colours = row.getcolors(maxcolors=30_000) or []
        return sum(count for count, colour in colours if colour == (255, 255, 255))

    assert white_above(short) == white_above(long) == 0


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        ("rejected", PromptRejected),
        ("failed", ProviderFailed),
        ("rate_limited", ProviderRateLimited),
    ],
)
async def test_it_fails_as_set(failure: str, error: type[Exception]) -> None:
    """Each `failure` raises its error."""
    with pytest.raises(error):
        await picture_by(Placeholder({"failure": failure}), LIGHTHOUSE)


async def test_a_time_out_never_answers() -> None:
    """The failure `timeout` never ends, and can be cancelled."""
    painting = asyncio.create_task(
        picture_by(Placeholder({"failure": "timeout"}), LIGHTHOUSE)
    )

    done, _ = await asyncio.wait({painting}, timeout=0.05)
    assert not done
    painting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await painting


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
async def test_a_broken_image_has_the_right_magic_number(image_format: str) -> None:
    """The failure `broken_image` has a right magic number and is undecodable."""
    options = {"failure": "broken_image", "format": image_format}
    data = await picture_by(Placeholder(options), LIGHTHOUSE)

    assert sniff(data) == f"image/{image_format}"
    with pytest.raises(UnsupportedImage):
        Image.inspect(data)


async def test_the_delay_passes_before_the_failure() -> None:
    """`delay_seconds` pass before the failure."""
    loop = asyncio.get_running_loop()
    started = loop.time()

    with pytest.raises(ProviderFailed):
        await picture_by(
            Placeholder({"delay_seconds": 0.05, "failure": "failed"}), LIGHTHOUSE
        )

    assert loop.time() - started >= 0.05


async def test_it_logs_that_a_placeholder_painted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log warns of the placeholder and contains no prompt."""
    caplog.set_level(logging.INFO)
    await picture_by(Placeholder(), LIGHTHOUSE)

    said = [(record.levelname, record.message) for record in caplog.records]
    assert said == [
        ("WARNING", "placeholder in use"),
        ("INFO", "placeholder painted"),
    ]
    assert not any("lighthouse" in str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"delay_seconds": 0},
        {"delay_seconds": 600.0, "failure": "timeout", "format": "webp"},
    ],
)
def test_good_options_pass(options: dict[str, object]) -> None:
    """Options within their bounds are accepted."""
    checked = PlaceholderOptions.model_validate(options)

    assert checked.model_dump(exclude_unset=True) == options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("delay_seconds", -0.1),
        ("delay_seconds", 600.1),
        ("delay_seconds", float("nan")),
        ("delay_seconds", float("inf")),
        ("delay_seconds", "2"),
        ("delay_seconds", True),
        ("delay_seconds", 10**400),
        ("failure", "explode"),
        ("failure", []),
        ("failure", None),
        ("format", "gif"),
        ("format", {"png": True}),
        ("dlay_seconds", 1),
    ],
)
def test_a_bad_option_is_named(name: str, value: object) -> None:
    """A wrong option is refused by its name."""
    with pytest.raises(ValidationError) as caught:
        PlaceholderOptions.model_validate({name: value})

    assert [error["loc"] for error in caught.value.errors()] == [(name,)]
