"""The caches of docs/how-to/behind-a-cdn.md, run in front of a real service."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.deploy import reverse_proxy
from tests.dev_service import served
from tests.documents.shell import Shell, blocks
from tests.servers.child_process import ChildProcess, on_a_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PAGE = "how-to/behind-a-cdn.md"
LIVE = "/api/v1/live/generate"


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(url: str, method: str = "GET", **headers: str) -> Answer:
    """Send a request; return the response, whatever its status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urlopen(Request(url, method=method, headers=named), timeout=20) as answer:
            return Answer(answer.status, dict(answer.headers), answer.read())
    except HTTPError as error:
        return Answer(error.code, dict(error.headers), error.read())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one service for both caches."""
    with served(tmp_path_factory.mktemp("service")) as address:
        yield address


@pytest.fixture(scope="module", params=["nginx", "varnish"])
def cache(request: pytest.FixtureRequest, service: str) -> Iterator[str]:
    """Run a cache of the page in front of the service."""
    start = nginx if request.param == "nginx" else varnish
    behind = urlsplit(service).port or 0
    # Not pytest's own folder: a server that drops to another user may not
    # enter that one.
    with tempfile.TemporaryDirectory(prefix="cdn-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        address, process = on_a_port(partial(start, folder, behind), None)
        yield address
        process.stop()


def nginx(folder: Path, behind: int, port: int) -> tuple[str, ChildProcess]:
    """Run the shipped nginx.conf with the page's two additions."""
    zone, location = blocks(PAGE, "nginx")
    zone = zone.replace("/var/cache/nginx", str(folder))
    text = reverse_proxy.configuration(folder, port, behind, behind)
    text = text.replace("  server {\n", f"{zone}  server {{\n{location}", 1)
    assert zone in text
    (folder / "nginx.conf").write_text(text)
    (folder / "stdout").touch()
    program, file = reverse_proxy.nginx().program, folder / "nginx.conf"
    options = "daemon off;" + ("user root;" if os.geteuid() == 0 else "")
    return listening(
        [
            *(program, "-p", str(folder), "-c", str(file)),
            *("-e", str(folder / "log"), "-g", options),
        ],
        folder,
        port,
    )


def varnish(folder: Path, behind: int, port: int) -> tuple[str, ChildProcess]:
    """Run Varnish with the page's program and parameters."""
    binary = shutil.which("varnishd", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        pytest.skip("varnish is not installed (Debian: apt-get install varnish)")
    (program,) = blocks(PAGE, "vcl")
    (folder / "paintonce.vcl").write_text(program.replace("8080", str(behind)))
    _, parameters = blocks(PAGE, "console")[0].split("-f paintonce.vcl ")
    return listening(
        [
            *(binary, "-F", "-n", str(folder / "work"), "-s", "malloc,16m"),
            *("-a", f"127.0.0.1:{port}", "-f", str(folder / "paintonce.vcl")),
            *parameters.split(),
        ],
        folder,
        port,
    )


def listening(command: list[str], folder: Path, port: int) -> tuple[str, ChildProcess]:
    """Start *command*; return its address when it answers, and the process."""
    address = f"http://127.0.0.1:{port}"
    process = ChildProcess(command, log=folder / "log")
    process.wait_until(partial(answers, address))
    return address, process


def answers(address: str) -> bool:
    """Return whether a server listens at the address."""
    try:
        return ask(f"{address}/healthz").status == 200
    except OSError:
        return False


def test_permalinks_are_kept_and_live_answers_are_not(
    cache: str, service: str, tmp_path: Path
) -> None:
    """The cache keeps permalinks, and passes every live hit on to be counted."""
    prompt = quote(f"a fox of {urlsplit(cache).port}")
    first = ask(f"{cache}{LIVE}?prompt={prompt}")
    again = ask(f"{cache}{LIVE}?prompt={prompt}")
    path = first.headers["Content-Location"]
    link = ask(f"{cache}{path}")
    kept = ask(f"{cache}{path}?utm=1", X_API_Key="unknown", Cookie="a=b")
    part = ask(f"{cache}{path}", Range="bytes=0-7")

    assert first.headers["X-Cache-Status"] == "MISS"
    assert again.headers["X-Cache-Hit-Count"] == "1"
    assert (link.headers["X-Cache"], kept.headers["X-Cache"]) == ("MISS", "HIT")
    assert link.body == kept.body == first.body
    assert (part.status, part.body) == (206, first.body[:8])
    # It is the service's own permalink, which Varnish has not rewritten.
    assert ask(f"{service}{path}").body == first.body


def test_renditions_are_kept_apart(cache: str) -> None:
    """The cache keeps renditions apart by width, format and Accept."""
    prompt = quote(f"a heron of {urlsplit(cache).port}")
    link = cache + ask(f"{cache}{LIVE}?prompt={prompt}").headers["Content-Location"]
    small, other = f"{link}?w=64&format=webp", f"{link}?w=128&format=webp"
    first, again, wider = ask(small), ask(small), ask(other)
    assert (first.headers["X-Cache"], again.headers["X-Cache"]) == ("MISS", "HIT")
    assert wider.headers["X-Cache"] == "MISS"
    assert again.body == first.body != wider.body

    auto = f"{link}?w=64&format=auto"
    seen = []
    for accept in (
        "image/avif,image/webp,*/*;q=0.8",
        "image/webp,image/avif,image/apng,*/*",
        "image/webp,*/*",
        "image/avif;q=0, image/webp",
        "image/png,*/*",
    ):
        answer = ask(auto, Accept=accept)
        seen.append((answer.headers["Content-Type"], answer.headers["X-Cache"]))
    assert seen == [
        ("image/avif", "MISS"),
        ("image/avif", "HIT"),
        ("image/webp", "MISS"),
        ("image/webp", "HIT"),
        ("image/png", "MISS"),
    ]


def test_errors_and_long_prompts_pass_through(cache: str) -> None:
    """A 404 is not cached, and a prompt of 4,000 characters passes."""
    gone = (
        f"{cache}/api/v1/images/a/b/generated/{'0' * 8}-0000-4000-8000-{'0' * 12}.png"
    )
    long = ask(f"{cache}{LIVE}?prompt={quote('雪' * 4000)}")

    for _ in range(2):
        absent = ask(gone)
        assert (absent.status, absent.headers["X-Cache"]) == (404, "MISS")
    assert long.status == 200, long.body


def test_the_page_finds_a_permalink(service: str, tmp_path: Path) -> None:
    """The page's curl command prints the permalink of a picture."""
    (command,) = blocks(PAGE, "sh")

    with Shell(tmp_path) as shell:
        path = shell.run(command.replace("http://127.0.0.1:8080", service)).strip()

    assert ask(f"{service}{path}").headers["Content-Type"] == "image/png"
