from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image

from tests.replica import ROOT
from tests.web.picture import FILE, PIXELS_PER_POINT, SIZE, take_picture

if TYPE_CHECKING:
    from tests.web.browser import Browser

MAX_BYTES = 150_000
FIRST_SCREEN_LINES = 20


def test_the_readme_shows_the_page(browser: Browser, service: str) -> None:
    """The README's screenshot has its size and is small."""
    readme = (ROOT / "README.md").read_text().splitlines()[:FIRST_SCREEN_LINES]

    assert any(line.startswith("![") and "(docs/page.webp)" in line for line in readme)
    for picture in (FILE.read_bytes(), take_picture(browser, service)):
        assert len(picture) < MAX_BYTES
        with Image.open(io.BytesIO(picture)) as image:
            assert image.size == tuple(PIXELS_PER_POINT * side for side in SIZE)
