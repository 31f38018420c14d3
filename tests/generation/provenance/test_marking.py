"""The provenance mark: how it is written into a picture and read from it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from app.generation.provenance import Mark, Provenance, attest
from app.generation.provider import Origin
from app.generation.sizing import fit
from app.image import EXTENSIONS, Image
from tests.generation.provenance.samples import (
    COMPOSITE,
    MARK,
    PACKET,
    SAMPLES,
    SIGNED,
    TRAINED,
    chunk,
    encoded,
    gradient,
    jpeg_with,
    png_with,
    sample,
    shown,
    webp_with,
    with_chunk,
    with_segment,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MARKED = Provenance(digital_source_type=TRAINED, marked=True)
SAYS_COMPOSITE = PACKET.replace(
    b"<dc:creator>",
    b'<i:DigitalSourceType xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    + COMPOSITE.encode()
    + b"</i:DigitalSourceType><dc:creator>",
)
UNREADABLE = [
    b"\0",
    b"not XML at all",
    PACKET[:-120],
    PACKET.replace(b"<x:xmpmeta", b"<!DOCTYPE x [<!ENTITY a 'b'>]><x:xmpmeta"),
    PACKET.replace(b"Ada", b"&unknown;"),
    b"<without-rdf/>",
    b"<" * 60_000,
]
WITH_PACKET: dict[str, Callable[[bytes], bytes]] = {
    "png": png_with,
    "jpeg": jpeg_with,
    "webp": webp_with,
}


def marked(image: Image, mark: Mark | None = MARK) -> tuple[Image, Provenance]:
    """Return *image* as it is stored."""
    return attest(image, mark, painted=image)


def exiftool(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the tags that exiftool reads in the files of *folder*, by name."""
    command = ["exiftool", "-json", "-validate", "-warning", "-error", "-xmp:all"]
    # Status 1: there are files with warnings, which the caller looks at.
    read = subprocess.run(
        [*command, str(folder)], capture_output=True, check=False, timeout=60
    )
    files = json.loads(read.stdout)
    return {file["SourceFile"].rpartition("/")[2]: file for file in files}


def read_by_exiftool(image: Image, folder: Path) -> dict[str, Any]:
    """Return the tags that exiftool reads in *image*."""
    name = f"picture.{EXTENSIONS[image.media_type]}"
    (folder / name).write_bytes(image.data)
    return exiftool(folder)[name]


@pytest.fixture(scope="module")
def by_exiftool(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return the tags that exiftool reads in samples and marked samples, by name."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in SAMPLES:
        came = sample(name)
        (folder / name).write_bytes(came.data)
        (folder / f"marked-{name}").write_bytes(marked(came)[0].data)
    return exiftool(folder)


@pytest.mark.parametrize("name", SAMPLES)
def test_exiftool_reads_the_mark(
    name: str, by_exiftool: dict[str, dict[str, Any]]
) -> None:
    """Exiftool reads the model's name and source type from a marked picture."""
    said = by_exiftool[f"marked-{name}"]

    assert said["DigitalSourceType"] == TRAINED
    assert said["AISystemUsed"] == "openai gpt-image-2"
    assert said["Validate"] == by_exiftool[name]["Validate"]
    assert said.get("Creator") == ("Ada & Søn" if "xmp" in name else None)


@pytest.mark.parametrize("name", SAMPLES)
def test_pixels_and_other_notes_are_never_touched(name: str) -> None:
    """Marking keeps every frame, the colour profile and the Exif data."""
    came = sample(name)

    stored, provenance = marked(came)

    assert provenance == MARKED
    assert shown(stored.data) == shown(came.data)
    assert len(stored.data) < len(came.data) + 1000


@pytest.mark.parametrize("name", SAMPLES)
def test_the_digest_is_that_of_the_marked_bytes(name: str) -> None:
    """The digest of a marked picture is that of its new bytes."""
    stored, _ = marked(sample(name))

    assert stored == Image.inspect(stored.data)
    assert stored.digest == hashlib.sha256(stored.data).hexdigest()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_marked_picture_is_not_marked_again(name: str) -> None:
    """A picture that is already marked keeps its bytes."""
    once, _ = marked(sample(name))

    twice, provenance = marked(once)

    assert twice is once
    assert provenance == Provenance(digital_source_type=TRAINED)


@pytest.mark.parametrize("name", SAMPLES)
def test_without_a_mark_the_bytes_stay(name: str) -> None:
    """With marking off the provider's bytes are stored."""
    came = sample(name)

    assert marked(came, None) == (came, Provenance())


@pytest.mark.parametrize("extension", ["png", "jpeg", "webp", "gif", "avif"])
def test_content_credentials_are_never_broken(extension: str) -> None:
    """A picture with a C2PA manifest keeps its bytes."""
    came = Image.inspect((SIGNED / f"embedded.{extension}").read_bytes())

    assert marked(came) == (came, Provenance(c2pa=True))


@pytest.mark.parametrize("extension", ["png", "jpeg", "webp"])
def test_credentials_that_lie_elsewhere_are_not_broken(extension: str) -> None:
    """A picture whose XMP names a remote C2PA manifest keeps its bytes."""
    came = Image.inspect((SIGNED / f"remote.{extension}").read_bytes())

    assert marked(came) == (came, Provenance(c2pa=True))


def test_credentials_behind_the_pixels_are_found() -> None:
    """A C2PA manifest behind a PNG's pixels is found."""
    came = with_chunk(
        encoded(gradient(), "PNG"), chunk(b"caBX", b"jumbf"), before=b"IEND"
    )

    assert marked(Image.inspect(came))[1] == Provenance(c2pa=True)


def test_other_jumbf_is_no_credential() -> None:
    """A JPEG with other JUMBF boxes than a C2PA manifest is marked."""
    box = b"JP\0\1\0\0\0\1\0\0\0\x20jumb\0\0\0\x18jumd" + b"exif" + bytes(12) + b"\2a\0"
    came = Image.inspect(with_segment(encoded(gradient(), "JPEG"), 0xEB, box))

    assert marked(came)[1] == MARKED


@pytest.mark.parametrize("extension", ["png", "jpeg", "webp", "gif", "avif"])
def test_lost_credentials_are_said(extension: str) -> None:
    """A resized picture loses its C2PA manifest, is marked, and records the loss."""
    painted = Image.inspect((SIGNED / f"embedded.{extension}").read_bytes())

    stored, provenance = attest(fit(painted, 16, 16), MARK, painted=painted)

    assert provenance == MARKED._replace(c2pa_lost=True)
    assert marked(stored)[1] == Provenance(digital_source_type=TRAINED)


@pytest.mark.parametrize("extension", ["png", "jpeg", "webp"])
def test_lost_credentials_are_said_without_a_mark(extension: str) -> None:
    """With marking off, a lost C2PA manifest is recorded as well."""
    painted = Image.inspect((SIGNED / f"remote.{extension}").read_bytes())
    sized = fit(painted, 16, 16)

    assert attest(sized, None, painted=painted) == (sized, Provenance(c2pa_lost=True))


@pytest.mark.parametrize("make", WITH_PACKET.values(), ids=WITH_PACKET)
def test_a_resized_picture_keeps_its_xmp(
    make: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """A resized picture keeps the provider's XMP beside the mark."""
    painted = Image.inspect(make(PACKET))

    stored, provenance = attest(fit(painted, 20, 20), MARK, painted=painted)

    said = read_by_exiftool(stored, tmp_path)
    assert provenance == MARKED
    assert (said["Creator"], said["DigitalSourceType"]) == ("Ada & Søn", TRAINED)


@pytest.mark.parametrize("make", WITH_PACKET.values(), ids=WITH_PACKET)
def test_a_source_type_that_is_there_stays(
    make: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """The provider's own source type stays, and the system's name is added."""
    stored, provenance = marked(Image.inspect(make(SAYS_COMPOSITE)))

    said = read_by_exiftool(stored, tmp_path)
    assert provenance == Provenance(digital_source_type=COMPOSITE, marked=True)
    assert said["DigitalSourceType"] == COMPOSITE
    assert said["AISystemUsed"] == "openai gpt-image-2"
    assert said["Validate"] == "OK"


@pytest.mark.parametrize("make", WITH_PACKET.values(), ids=WITH_PACKET)
def test_an_unreadable_packet_is_replaced(
    make: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """An unreadable XMP packet is replaced by the mark."""
    for number, packet in enumerate(UNREADABLE):
        came = Image.inspect(make(packet))
        stored, provenance = marked(came)
        extension = EXTENSIONS[came.media_type]
        (tmp_path / f"{number}.{extension}").write_bytes(stored.data)
        assert provenance == MARKED
        assert shown(stored.data) == shown(came.data)

    said = exiftool(tmp_path).values()
    assert len(said) == len(UNREADABLE)
    for file in said:
        assert file["DigitalSourceType"] == TRAINED
        assert file["Validate"] == "OK"


@pytest.mark.parametrize("image_format", ["GIF", "AVIF"])
def test_gif_and_avif_are_stored_as_they_came(image_format: str) -> None:
    """GIF and AVIF are not marked, because that would re-encode their pixels."""
    came = Image.inspect(encoded(gradient(), image_format))

    assert marked(came) == (came, Provenance())


def test_the_source_type_of_gif_and_avif_is_read() -> None:
    """A source type in a GIF or an AVIF is read."""
    avif = Image.inspect(encoded(gradient(), "AVIF", xmp=SAYS_COMPOSITE))
    gif = encoded(gradient("L"), "GIF")
    # XMP Specification Part 3, 1.1.2: as it is, without sub-blocks, and a trailer
    # in which a parser that counts sub-blocks reaches the end.
    trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    gif = gif[:-1] + b"\x21\xff\x0bXMP DataXMP" + SAYS_COMPOSITE + trailer + b";"

    found = Provenance(digital_source_type=COMPOSITE)
    assert marked(avif) == (avif, found)
    assert marked(Image.inspect(gif))[1] == found


def test_a_packet_that_fills_its_segment_stays_alone() -> None:
    """A JPEG whose XMP packet has no room for the mark is stored unmarked."""
    came = Image.inspect(jpeg_with(PACKET.replace(b"Ada", b"A" * 64_800)))

    assert marked(came) == (came, Provenance())


def test_further_pictures_of_a_jpeg_are_still_found() -> None:
    """The further pictures of a marked JPEG are still found by their offsets."""
    came = Image.inspect(
        encoded(gradient(), "MPO", save_all=True, append_images=[gradient().rotate(90)])
    )

    stored, provenance = marked(came)

    assert provenance == MARKED
    assert len(shown(came.data)) > len(shown(encoded(gradient(), "JPEG")))
    assert shown(stored.data) == shown(came.data)


def test_a_packet_behind_such_offsets_is_left_alone() -> None:
    """A packet behind such offsets is not changed, since they would break."""
    mpo = encoded(gradient(), "MPO", save_all=True, append_images=[gradient()])
    body = b"http://ns.adobe.com/xap/1.0/\0" + PACKET
    came = Image.inspect(with_segment(mpo, 0xE1, body, at=mpo.index(b"\xff\xdb")))

    assert marked(came) == (came, Provenance())


@pytest.mark.parametrize("name", ["plain.png", "baseline.jpg", "lossy.webp"])
def test_trailing_bytes_stay(name: str) -> None:
    """Bytes behind a picture's end stay there when it is marked."""
    came = Image.inspect(SAMPLES[name]() + b"trailing bytes")

    stored, provenance = marked(came)

    assert provenance == MARKED
    assert stored.data.endswith(b"trailing bytes")
    assert shown(stored.data) == shown(came.data)


def test_the_placeholder_is_no_trained_model() -> None:
    """The placeholder's mark has the source type of an algorithm."""
    mark = Mark.of(Origin("placeholder", "", is_placeholder=True))

    _, provenance = marked(sample("plain.png"), mark)

    assert mark.system == "placeholder"
    assert provenance.digital_source_type == (
        "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia"
    )


def test_a_large_picture_is_copied_once() -> None:
    """Marking needs the memory of the marked picture, and no more."""
    png = encoded(gradient(), "PNG")
    large = with_chunk(png, chunk(b"stUf", bytes(8_000_000)), before=b"IDAT")
    came = Image.inspect(large)
    tracemalloc.start()
    try:
        stored, _ = marked(came)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < len(stored.data) + 100_000


@pytest.mark.parametrize(
    "provenance",
    [Provenance(), Provenance(c2pa=True), MARKED._replace(c2pa_lost=True)],
)
def test_a_provenance_survives_json(provenance: Provenance) -> None:
    """A provenance is the same after a round trip through JSON."""
    fields = json.loads(json.dumps(provenance.as_json()))

    assert list(fields) == ["c2pa", "c2pa_lost", "digital_source_type", "marked"]
    assert Provenance.from_json(fields) == provenance


def test_what_was_stored_before_has_no_provenance() -> None:
    """A manifest without a provenance is read as an empty one."""
    assert Provenance.from_json(None) == Provenance()


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {**MARKED.as_json(), "c2pa": 1},
        {**MARKED.as_json(), "digital_source_type": 5},
        {**MARKED.as_json(), "more": True},
    ],
)
def test_a_damaged_provenance_is_an_error(wrong: dict[str, Any]) -> None:
    """A provenance with wrong fields or types raises."""
    with pytest.raises((TypeError, KeyError)):
        Provenance.from_json(wrong)


def test_reading_takes_no_time_for_many_parts() -> None:
    """A container of a hundred thousand parts is not read to its end."""
    png = encoded(gradient(), "PNG")
    crowded = with_chunk(png, chunk(b"stUf", b"") * 100_000, before=b"IEND")
    came = Image(crowded, "image/png", "", 61, 37)

    assert marked(came) == (came, Provenance())
