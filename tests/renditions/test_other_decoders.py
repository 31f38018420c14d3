"""Other programs than Pillow read the renditions."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from app.generation.provenance import BY_A_MODEL, Mark
from app.image import EXTENSIONS
from app.renditions.drawing import draw
from app.renditions.rendition import AVIF, JPEG, PNG, WEBP, RenditionPlan
from tests.renditions.pictures import encoded, half_transparent, halves

if TYPE_CHECKING:
    from pathlib import Path

MARK = Mark(BY_A_MODEL, "openai gpt-image-2")
WIDTHS = (16, 40, 80)
QUALITIES = (None, 0, 50, 100)

# Each writes pixels: a file that it can't decode ends with a status of its own.
DECODERS = {
    PNG: ["pngtopnm", "{file}"],
    JPEG: ["djpeg", "-strict", "-ppm", "{file}"],
    WEBP: ["dwebp", "-quiet", "-ppm", "{file}", "-o", "-"],
    AVIF: ["avifdec", "{file}", "{folder}/out.png"],
}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not all(map(shutil.which, [it[0] for it in DECODERS.values()])),
        reason="needs the decoders that .ci/run installs",
    ),
]


@pytest.mark.parametrize("media_type", DECODERS)
def test_each_width_and_quality_is_decoded_by_another_program(
    media_type: str, tmp_path: Path
) -> None:
    """Debian's decoders read every rendition in the requested size."""
    originals = [encoded(halves(), "PNG"), encoded(half_transparent(), "PNG")]
    for number, original in enumerate(originals):
        for width in WIDTHS:
            for q in QUALITIES if media_type != PNG else (None,):
                plan = RenditionPlan(width, media_type, q)
                file = tmp_path / f"{number}-{plan.filename}"
                file.write_bytes(draw(original, PNG, plan, MARK).data)
                command = [
                    part.format(file=file, folder=tmp_path)
                    for part in DECODERS[media_type]
                ]
                done = subprocess.run(command, capture_output=True, check=False)
                assert done.returncode == 0, (plan, done.stderr)
                if done.stdout.startswith(b"P"):
                    size = done.stdout.split(maxsplit=3)[1:3]
                    assert size == [b"%d" % width, b"%d" % (width * 60 // 80)], plan


def test_exiftool_finds_the_mark_in_each(tmp_path: Path) -> None:
    """Exiftool reads source type and system in every format."""
    original = encoded(halves(), "PNG")
    for media_type in DECODERS:
        for width in WIDTHS:
            name = f"{width}.{EXTENSIONS[media_type]}"
            plan = RenditionPlan(width, media_type, None)
            made = draw(original, PNG, plan, MARK).data
            (tmp_path / name).write_bytes(made)
    said = subprocess.run(
        ["exiftool", "-json", "-XMP-iptcExt:all", str(tmp_path)],
        capture_output=True,
        check=True,
    )
    found = json.loads(said.stdout)
    assert len(found) == len(DECODERS) * len(WIDTHS)
    for each in found:
        assert each["DigitalSourceType"] == BY_A_MODEL, each
        assert each["AISystemUsed"] == "openai gpt-image-2", each
