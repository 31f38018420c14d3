"""The screenshot on the README's first screen.

`python -m tests.web.picture` takes it anew and writes `docs/page.webp`.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tests.replica import ROOT
from tests.web.browser import open_browser
from tests.web.conftest import served
from tests.web.steps import choose, paint

if TYPE_CHECKING:
    from tests.web.browser import Browser

FILE = ROOT / "docs" / "page.webp"
SIZE = (1200, 830)
# Sharp on the screens of today, and still less than 150 KB.
PIXELS_PER_POINT = 2
QUALITY = 80


def take_picture(browser: Browser, address: str) -> bytes:
    """Paint twice, and return a screenshot of the page as WebP."""
    browser.resize(*SIZE, scale=PIXELS_PER_POINT)
    browser.open(address)
    choose(browser, "Shape", "3:2")
    paint(browser, "a red fox in fresh snow")
    browser.status(" s")
    browser.until(lambda: browser.all("img"))
    browser.get("button", "Paint").click()
    browser.status("HIT")
    browser.run("document.activeElement.blur()")
    seen = Image.open(io.BytesIO(browser.driver.get_screenshot_as_png()))
    picture = io.BytesIO()
    seen.convert("RGB").save(picture, "WEBP", quality=QUALITY, method=6)
    return picture.getvalue()


def main() -> None:
    """Take the screenshot at the README's own address."""
    with (
        tempfile.TemporaryDirectory() as name,
        served(Path(name), "dev", "--port", "8080", "--data", f"{name}/var") as address,
        open_browser() as browser,
    ):
        FILE.write_bytes(take_picture(browser, address))


if __name__ == "__main__":
    main()
