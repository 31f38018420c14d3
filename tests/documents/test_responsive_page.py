"""The examples of docs/how-to/responsive-images.md, in Chromium and Next.js."""

from __future__ import annotations

import asyncio
import http.server
import json
import re
import shutil
import tempfile
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from tests.dev_service import served
from tests.documents.shell import blocks
from tests.sdks import environments
from tests.web.browser import open_browser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.web.browser import Browser

PAGE = "how-to/responsive-images.md"
LIVE = "/api/v1/live/generate"
# The width that is sharp in forty rems on a screen of that density.
WIDTH_AT_DENSITY = {1: "640", 2: "1920", 3: "1920"}

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a service; give its address."""
    with served(tmp_path_factory.mktemp("service")) as address:
        yield address


@pytest.fixture(scope="module")
def picture(service: str) -> str:
    """Paint a picture; give the address of its permalink."""
    with urlopen(f"{service}{LIVE}?prompt={quote('a red fox')}") as answer:
        return service + str(answer.headers["Content-Location"])


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Run one Chromium."""
    with open_browser() as browser:
        yield browser


@contextmanager
def site(folder: Path) -> Iterator[str]:
    """Serve the files in *folder* on an origin of their own."""
    handler = partial(_Silent, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Print nothing."""


def fetched(chromium: Browser, address: str, density: int) -> list[str]:
    """Open a page at a density; return the pictures that it fetched."""
    chromium.new_tab()
    chromium.resize(1280, 860, scale=density)
    chromium.open(address)
    shown = "const it = document.images[0]; return it.complete && it.naturalWidth"
    assert chromium.until(lambda: chromium.run(shown))
    events = [json.loads(entry["message"]) for entry in chromium._log("performance")]
    asked = [
        event["message"]["params"]["request"]["url"]
        for event in events
        if event["message"]["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in asked if "/api/v1/" in url]


@pytest.mark.parametrize("density", WIDTH_AT_DENSITY)
def test_plain_html_fetches_one_picture_and_the_right_one(
    chromium: Browser, picture: str, tmp_path: Path, density: int
) -> None:
    """At each pixel density the browser fetches exactly the right width."""
    (tag,) = blocks(PAGE, "html")
    page = f"<!doctype html><title>fox</title>{tag.replace('PICTURE', picture)}"
    (tmp_path / "index.html").write_text(page)
    with site(tmp_path) as address:
        asked = fetched(chromium, address, density)
    assert asked == [f"{picture}?w={WIDTH_AT_DENSITY[density]}&format=webp"]


def test_next_image_fetches_one_picture_and_the_right_one(
    chromium: Browser, picture: str, tmp_path: Path
) -> None:
    """A site built by Next.js with the page's loader fetches one right width."""
    app = asyncio.run(build(tmp_path, picture))
    html = (app / "index.html").read_text()
    widths = set(re.findall(r"w=(\d+)&amp;format=webp \d+w", html))
    assert widths == {"640", "750", "828", "1080", "1200", "1920", "2048", "3840"}
    for width in widths:
        with urlopen(f"{picture}?w={width}&format=webp") as answer:
            assert answer.headers["Content-Type"] == "image/webp"
    with site(app) as address:
        for density in (1, 2, 3):
            (asked,) = fetched(chromium, address, density)
            assert asked.startswith(f"{picture}?w=")
            # One of those that lie around the pixels of the whole screen.
            assert 0.7 < int(re.findall(r"w=(\d+)", asked)[0]) / (1280 * density) < 1.7


async def build(folder: Path, picture: str) -> Path:
    """Build a Next.js site with the page's three files; return its folder."""
    installed = await environments.node(environments.NEXT)
    # Below its packages: next follows no link out of its own folder.
    with tempfile.TemporaryDirectory(prefix="site-", dir=installed) as name:
        site_folder = Path(name)
        write_site(site_folder, picture)
        program = str(installed / "node_modules" / ".bin" / "next")
        await environments.run(
            *("env", "NEXT_TELEMETRY_DISABLED=1", program, "build"), cwd=site_folder
        )
        shutil.copytree(site_folder / "out", folder / "out")
    return folder / "out"


def write_site(folder: Path, picture: str) -> None:
    """Write the page's loader, its configuration and its component into *folder*."""
    loader, config = blocks(PAGE, "js")
    (component,) = blocks(PAGE, "jsx")
    address = re.findall(r'src="([^"]+)"', component)[0]
    app = folder / "app"
    app.mkdir()
    (folder / "loader.js").write_text(loader)
    # Files alone, which need no server of next.
    static = config.replace("images:", 'output: "export",\n  images:')
    (folder / "next.config.mjs").write_text(static)
    (app / "page.jsx").write_text(component.replace(address, picture))
    (app / "layout.jsx").write_text(
        "export default function Layout({ children }) {\n"
        "  const style = { margin: 0 };\n"
        '  return <html lang="en"><body style={style}>{children}</body></html>;\n'
        "}\n"
    )
