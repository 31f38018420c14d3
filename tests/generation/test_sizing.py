"""A picture is brought to exactly the requested size."""

from __future__ import annotations

import io
import time
from typing import Any

import PIL.Image
import pytest
from PIL import ImageCms, ImageDraw
from PIL.PngImagePlugin import PngInfo

from app.errors import BadImage, CallEnd
from app.generation.sizing import fit
from app.image import Image

RED, GREEN, BLUE = (200, 30, 30), (30, 160, 60), (30, 60, 200)
FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "AVIF"]
ORIENTATION = PIL.Image.Exif()
ORIENTATION[0x0112] = 6
# As bytes: the encoder of AVIF takes it out of an object.
SIDEWAYS = ORIENTATION.tobytes()


def encoded(picture: PIL.Image.Image, image_format: str, **parameters: Any) -> Image:
    """Return *picture* as a provider would send it."""
    data = io.BytesIO()
    picture.save(data, image_format, **parameters)
    return Image.inspect(data.getvalue())


def flag(width: int = 300, height: int = 100) -> PIL.Image.Image:
    """Return three upright stripes: red, green, blue."""
    picture = PIL.Image.new("RGB", (width, height), GREEN)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, width // 3 - 1, height), RED)
    pen.rectangle((width - width // 3, 0, width, height), BLUE)
    return picture


def opened(image: Image) -> PIL.Image.Image:
    """Return *image* decoded."""
    with PIL.Image.open(io.BytesIO(image.data)) as picture:
        picture.load()
        return picture


def colour_at(image: Image, x: int, y: int) -> tuple[int, int, int]:
    """Return the flag's colour nearest to that pixel."""
    there: Any = opened(image).convert("RGB").getpixel((x, y))
    return min(
        (RED, GREEN, BLUE),
        key=lambda colour: sum(abs(a - b) for a, b in zip(colour, there, strict=True)),
    )


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("size", [(100, 100), (64, 512), (512, 64), (301, 99), (7, 5)])
def test_the_size_is_met_to_the_pixel(image_format: str, size: tuple[int, int]) -> None:
    """Any picture is fitted to exactly the requested size."""
    sized = fit(encoded(flag(), image_format), *size)

    assert (sized.width, sized.height) == opened(sized).size == size


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_the_format_stays(image_format: str) -> None:
    """PNG, JPEG and WebP keep their format."""
    image = encoded(flag(), image_format)

    assert fit(image, 90, 90).media_type == image.media_type


@pytest.mark.parametrize("image_format", ["GIF", "AVIF"])
def test_gif_and_avif_become_png(image_format: str) -> None:
    """A resized GIF or AVIF becomes a PNG."""
    assert fit(encoded(flag(), image_format), 90, 90).media_type == "image/png"


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_right_size_is_left_untouched(image_format: str) -> None:
    """A picture of the right size keeps its bytes."""
    image = encoded(flag(), image_format)

    assert fit(image, 300, 100) is image


def test_the_middle_is_kept() -> None:
    """A picture of another ratio is cropped evenly on both sides."""
    sized = fit(encoded(flag(), "PNG"), 200, 100)

    assert [colour_at(sized, x, 50) for x in (10, 100, 190)] == [RED, GREEN, BLUE]
    square = fit(encoded(flag(), "PNG"), 50, 50)
    assert [colour_at(square, x, 25) for x in (3, 25, 46)] == [GREEN, GREEN, GREEN]


def test_a_small_picture_is_enlarged() -> None:
    """A smaller picture is enlarged."""
    sized = fit(encoded(flag(30, 10), "PNG"), 1200, 400)

    assert [colour_at(sized, x, 200) for x in (60, 600, 1140)] == [RED, GREEN, BLUE]


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP", "PNG"])
def test_a_picture_on_its_side_is_set_upright(image_format: str) -> None:
    """A resized picture is rotated by its Exif orientation, which is removed."""
    stored = encoded(flag(), image_format, exif=SIDEWAYS)

    # Orientation 6: the stored left side is shown at the top.
    sized = fit(stored, 50, 150)

    assert [colour_at(sized, 25, y) for y in (10, 75, 140)] == [RED, GREEN, BLUE]
    assert opened(sized).getexif().get(0x0112) is None


def test_a_picture_on_its_side_has_not_the_size_that_it_is_stored_in() -> None:
    """The requested size is compared with the size after orientation."""
    sized = fit(encoded(flag(), "JPEG", exif=SIDEWAYS, quality=95), 300, 100)

    assert (sized.width, sized.height) == (300, 100)
    assert {colour_at(sized, x, 50) for x in (10, 150, 290)} == {GREEN}


def test_a_square_on_its_side_is_left_untouched() -> None:
    """A square with an orientation keeps its bytes."""
    image = encoded(flag(90, 90), "JPEG", exif=SIDEWAYS)

    assert fit(image, 90, 90) is image


# Pillow warns of it, once, and goes on.
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_cost_the_picture() -> None:
    """A picture with unreadable Exif data is kept and resized."""
    image = encoded(flag(), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\xff\xff junk")

    assert fit(image, 300, 100) is image
    assert colour_at(fit(image, 150, 50), 75, 25) == GREEN


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_kept(mode: str) -> None:
    """A resized picture keeps its alpha channel."""
    picture = PIL.Image.new("RGBA", (80, 40), (*RED, 0))
    ImageDraw.Draw(picture).rectangle((0, 0, 39, 40), (*RED, 255))
    sized = fit(encoded(picture.convert(mode), "PNG"), 40, 20)

    alpha = opened(sized).convert("RGBA").getchannel("A")
    assert (alpha.getpixel((5, 10)), alpha.getpixel((35, 10))) == (255, 0)


def test_a_transparent_colour_is_kept() -> None:
    """A resized PNG keeps its single transparent colour."""
    image = encoded(flag(), "PNG", transparency=GREEN)

    alpha = opened(fit(image, 150, 50)).convert("RGBA").getchannel("A")
    assert (alpha.getpixel((10, 25)), alpha.getpixel((75, 25))) == (255, 0)


def test_sixteen_bits_of_grey_keep_their_brightness() -> None:
    """Sixteen-bit grey is converted to eight bits with the same brightness."""
    picture = PIL.Image.new("I;16", (20, 20), 0x4000)

    assert opened(fit(encoded(picture, "PNG"), 10, 10)).getpixel((5, 5)) == 0x40


@pytest.mark.parametrize("mode", ["1", "L", "CMYK"])
def test_other_colour_modes_are_taken(mode: str) -> None:
    """Pictures in black and white, grey or CMYK are resized."""
    image_format = "JPEG" if mode == "CMYK" else "PNG"
    sized = fit(encoded(flag().convert(mode), image_format), 60, 60)

    assert (sized.width, sized.height) == (60, 60)


def test_the_colour_profile_stays_where_it_fits() -> None:
    """The colour profile is kept if it fits the new colours, else dropped."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    coloured = fit(encoded(flag(), "PNG", icc_profile=srgb), 60, 60)
    printed = encoded(
        flag().convert("CMYK"), "JPEG", icc_profile=srgb[:16] + b"CMYK" + srgb[20:]
    )

    assert opened(coloured).info["icc_profile"] == srgb
    assert "icc_profile" not in opened(fit(printed, 60, 60)).info


def test_an_animation_becomes_its_first_frame() -> None:
    """A resized animation becomes its first frame."""
    frames = [PIL.Image.new("RGB", (40, 40), colour) for colour in (RED, BLUE)]
    image = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])

    sized = fit(image, 20, 20)

    assert colour_at(sized, 10, 10) == RED
    assert getattr(opened(sized), "n_frames", 1) == 1


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "GIF"])
def test_an_undecodable_picture_is_a_bad_image(image_format: str) -> None:
    """A picture that breaks off in its pixels is a `BadImage` and billed."""
    whole = encoded(flag(), image_format)
    cut = Image(whole.data[: len(whole.data) * 2 // 3], whole.media_type, "", 300, 100)

    with pytest.raises(BadImage) as caught:
        fit(cut, 60, 60)

    assert caught.value.end is CallEnd.BILLED


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_what_the_provider_says_of_its_picture_is_kept(image_format: str) -> None:
    """A resized picture keeps its XMP packet without the orientation."""
    packet = b'<r xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" />'
    if image_format == "PNG":
        notes = PngInfo()
        notes.add_itxt("XML:com.adobe.xmp", packet.decode())
        image = encoded(flag(), "PNG", pnginfo=notes, exif=SIDEWAYS)
    else:
        image = encoded(flag(), image_format, xmp=packet, exif=SIDEWAYS)

    sized = fit(image, 60, 60)

    assert opened(sized).info["xmp"] == packet.replace(b'tiff:Orientation="6"', b"")


def test_a_packet_that_no_jpeg_holds_is_not_kept() -> None:
    """An XMP packet too large for a JPEG segment is dropped."""
    image = encoded(flag(), "JPEG", xmp=b"x" * 65_504)

    assert opened(fit(image, 60, 60)).info["xmp"] == b"x" * 65_504


def test_a_jpeg_that_is_decoded_in_a_part_of_its_size_keeps_its_middle() -> None:
    """A very large JPEG is decoded at a smaller scale and cropped evenly."""
    sized = fit(encoded(flag(900, 300), "JPEG"), 30, 10)

    assert [colour_at(sized, x, 5) for x in (3, 15, 26)] == [RED, GREEN, BLUE]


def test_a_jpeg_of_endless_scans_is_not_decoded() -> None:
    """A JPEG with too many scans is a `BadImage` in bounded time."""
    whole = encoded(flag(3000, 3000), "JPEG", progressive=True)
    scan = whole.data[whole.data.rindex(b"\xff\xc4") : -2]
    data = whole.data[:-2] + scan * 1000 + whole.data[-2:]
    endless = Image.inspect(data)
    started = time.process_time()

    with pytest.raises(BadImage):
        fit(endless, 60, 60)

    assert time.process_time() - started < 1
