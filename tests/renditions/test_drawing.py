"""Renditions show what their picture shows, and carry its provenance."""

from __future__ import annotations

import PIL.Image
import pytest

from app.generation.provenance import BY_A_MODEL, Mark
from app.image import EXTENSIONS
from app.renditions.drawing import Undecodable, draw
from app.renditions.rendition import (
    AVIF,
    JPEG,
    MEDIA_TYPE_OF_FORMAT,
    PNG,
    WEBP,
    RenditionPlan,
)
from tests.generation.provenance.samples import SIGNED
from tests.renditions.pictures import (
    SIZE,
    animation,
    decoded,
    encoded,
    half_transparent,
    halves,
    profile,
)

MARK = Mark(BY_A_MODEL, "openai gpt-image-2")
TYPES = sorted(MEDIA_TYPE_OF_FORMAT.values())
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def drawn(
    data: bytes, media_type: str = PNG, *, to: str, width: int = 40
) -> PIL.Image.Image:
    """Return the rendition of *data*, decoded."""
    return decoded(draw(data, media_type, RenditionPlan(width, to, None), MARK).data)


def looks_like(
    picture: PIL.Image.Image, at: tuple[float, float], colour: tuple[int, ...]
) -> bool:
    """Return whether *picture* has about that colour at a relative position."""
    point = int(at[0] * picture.width), int(at[1] * picture.height)
    seen = picture.convert("RGBA").getpixel(point)
    assert isinstance(seen, tuple)
    return all(abs(a - b) <= 24 for a, b in zip(seen, colour, strict=False))


@pytest.mark.parametrize("to", TYPES)
def test_the_shape_is_kept_and_the_type_is_the_one_asked_for(to: str) -> None:
    """A rendition has the requested width and type, and the picture's shape."""
    data = draw(encoded(halves(), "PNG"), PNG, RenditionPlan(40, to, None), MARK).data
    picture = decoded(data)
    assert picture.size == (40, 30)
    assert PIL.Image.MIME[picture.format or ""] == to
    assert looks_like(picture, (0.2, 0.5), RED)
    assert looks_like(picture, (0.8, 0.5), BLUE)


@pytest.mark.parametrize("to", TYPES)
def test_nothing_is_enlarged(to: str) -> None:
    """A width above the picture's own is cut to it."""
    assert drawn(encoded(halves(), "PNG"), to=to, width=400).size == SIZE


def test_a_flat_picture_keeps_a_pixel_of_height() -> None:
    """A rendition of a flat picture is at least one pixel high."""
    flat = encoded(halves(size=(1000, 3)), "PNG")
    assert drawn(flat, to=PNG, width=16).size == (16, 1)


@pytest.mark.parametrize("to", TYPES)
@pytest.mark.parametrize("own", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_rendition_stands_upright(own: str, to: str) -> None:
    """A rendition is rotated by the Exif orientation before it is scaled."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    lying = encoded(halves(), own, exif=exif)
    picture = drawn(lying, PIL.Image.MIME[own], to=to, width=30)
    assert picture.size == (30, 40)
    assert looks_like(picture, (0.5, 0.2), RED)
    assert looks_like(picture, (0.5, 0.8), BLUE)
    assert dict(picture.getexif()).get(0x0112, 1) == 1


@pytest.mark.parametrize("own", ["PNG", "WEBP", "AVIF", "GIF"])
def test_transparency_stays_where_the_format_has_it(own: str) -> None:
    """Transparency stays in PNG, WebP and AVIF, and becomes white in JPEG."""
    data = encoded(half_transparent(), own)
    for to in (PNG, WEBP, AVIF):
        clear = drawn(data, PIL.Image.MIME[own], to=to)
        assert looks_like(clear.getchannel("A"), (0.8, 0.5), (0, 0, 0)), to
        assert looks_like(clear, (0.2, 0.5), (*RED, 255)), to
    white = drawn(data, PIL.Image.MIME[own], to=JPEG)
    assert looks_like(white, (0.8, 0.5), WHITE)
    assert looks_like(white, (0.2, 0.5), RED)


@pytest.mark.parametrize("to", TYPES)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "RGBA"])
def test_every_mode_of_png_is_drawn(mode: str, to: str) -> None:
    """PNGs of every colour mode keep their brightness."""
    grey = halves("black", "#c0c0c0").convert("L")
    light = 192
    if mode == "I;16":
        picture = grey.convert("I").point(lambda value: value * 257).convert(mode)
    elif mode == "1":
        picture, light = halves("black", "white").convert("1"), 255
    else:
        picture = grey.convert(mode)
    made = drawn(encoded(picture, "PNG"), to=to)
    assert looks_like(made, (0.2, 0.5), (0, 0, 0))
    assert looks_like(made, (0.8, 0.5), (light, light, light))


@pytest.mark.parametrize("to", TYPES)
def test_cmyk_becomes_rgb(to: str) -> None:
    """A CMYK JPEG becomes RGB with the same colours."""
    made = drawn(encoded(halves().convert("CMYK"), "JPEG"), JPEG, to=to)
    assert made.mode == "RGB"
    assert looks_like(made, (0.2, 0.5), RED)
    assert looks_like(made, (0.8, 0.5), BLUE)


@pytest.mark.parametrize("to", TYPES)
def test_an_animation_gives_its_first_frame(to: str) -> None:
    """A rendition of an animation is its first frame."""
    made = drawn(animation(), "image/gif", to=to)
    assert getattr(made, "n_frames", 1) == 1
    assert looks_like(made, (0.2, 0.5), RED)


@pytest.mark.parametrize("to", TYPES)
def test_a_profile_of_its_colours_goes_along(to: str) -> None:
    """An RGB colour profile is kept."""
    own = profile()
    made = drawn(encoded(halves(), "PNG", icc_profile=own), to=to)
    assert made.info.get("icc_profile") == own


@pytest.mark.parametrize("to", TYPES)
def test_a_broken_profile_costs_no_picture(to: str) -> None:
    """A damaged colour profile is dropped."""
    broken = b"\0" * 16 + b"CMYK" + b"\0" * 200
    data = encoded(halves().convert("CMYK"), "JPEG", icc_profile=broken)
    made = drawn(data, JPEG, to=to)
    assert looks_like(made, (0.2, 0.5), RED)
    assert "icc_profile" not in made.info


@pytest.mark.parametrize("to", TYPES)
@pytest.mark.parametrize("own", ["PNG", "JPEG", "WEBP", "GIF", "AVIF"])
def test_each_rendition_is_marked(own: str, to: str) -> None:
    """Every rendition has the provenance mark."""
    data = encoded(halves(), own)
    made = draw(data, PIL.Image.MIME[own], RenditionPlan(40, to, None), MARK)
    assert BY_A_MODEL.encode() in made.data
    assert b"openai gpt-image-2" in made.data
    assert not made.c2pa


def test_what_a_picture_says_of_its_origin_stays() -> None:
    """A source type in the picture is kept, and its comments are not copied."""
    once = draw(
        encoded(halves(), "PNG", comment=b"a secret prompt"),
        PNG,
        RenditionPlan(60, JPEG, None),
        Mark("http://example.com/another", "another"),
    ).data
    twice = draw(once, JPEG, RenditionPlan(40, WEBP, None), MARK).data
    assert b"http://example.com/another" in twice
    assert BY_A_MODEL.encode() not in twice
    assert b"secret" not in twice


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "gif", "avif"])
def test_a_lost_manifest_is_noticed(name: str) -> None:
    """A rendition of a picture with a C2PA manifest records that loss."""
    data = (SIGNED / f"embedded.{name}").read_bytes()
    made = draw(data, f"image/{name}", RenditionPlan(16, PNG, None), MARK)
    assert made.c2pa
    assert BY_A_MODEL.encode() in made.data


@pytest.mark.parametrize("own", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_what_can_not_be_decoded_is_said(own: str) -> None:
    """A picture that can't be decoded raises `Undecodable`."""
    data = encoded(halves(size=(400, 300)), own)
    broken = data[: len(data) // 2] + b"\0" * (len(data) // 2)
    with pytest.raises(Undecodable):
        draw(
            broken[: len(broken) * 2 // 3],
            PIL.Image.MIME[own],
            RenditionPlan(40, PNG, None),
            MARK,
        )


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    """A JPEG with too many scans raises `Undecodable` without decoding."""
    data = encoded(halves(), "JPEG")
    with pytest.raises(Undecodable, match="too long"):
        draw(data + b"\xff\xda" * 100, JPEG, RenditionPlan(40, PNG, None), MARK)


def test_quality_decides_about_the_size() -> None:
    """A higher `q` gives more bytes, from 0 to 100."""
    noise = encoded(PIL.Image.effect_noise((120, 120), 60).convert("RGB"), "PNG")
    for to in (JPEG, WEBP, AVIF):
        sizes = [
            len(draw(noise, PNG, RenditionPlan(100, to, q), None).data)
            for q in (0, 50, 100)
        ]
        assert sizes == sorted(sizes), EXTENSIONS[to]
        assert len(set(sizes)) == 3, EXTENSIONS[to]
