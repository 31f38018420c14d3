"""The image of the Dockerfile, built and run as an operator would."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiohttp
import pytest

from tests.container.engine import Engine, NotHere, engine
from tests.container.stand_in import CONFINED, build, python_base
from tests.deploy.shipped_files import ROOT, instructions
from tests.fake_provider import FakeProvider, serve
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import S3Server

pytestmark = [pytest.mark.container, pytest.mark.timeout(600)]

MB = 1_000_000
# The packages and code that this project adds to its base image.
MAX_OWN_BYTES = 150 * MB

_IMAGE = "paintonce"
_STARTS_WITHIN_SECONDS = 30.0
_GRACE_SECONDS = 20

MODELS = """
[models.default]
provider = "placeholder"

[models.gated]
provider = "openai"
model = "fake"
base_url = "{origin}/v1"
api_key_env = ""
"""

# The rights of a process in the container, as the kernel sees them.
_LOOK = """
import json, os, pathlib
status = dict(
    line.split(":\\t", 1)
    for line in pathlib.Path("/proc/self/status").read_text().splitlines()
    if ":\\t" in line
)
root = next(
    line.split()[3]
    for line in pathlib.Path("/proc/mounts").read_text().splitlines()
    if line.split()[1] == "/"
)
print(json.dumps({
    "user": os.getuid(), "group": os.getgid(), "root": root.split(",")[0],
    "capabilities": [status[name] for name in ("CapEff", "CapPrm", "CapBnd")],
    "no_new_privileges": status["NoNewPrivs"],
}))
"""


@dataclass(frozen=True)
class Built:
    """The image: its engine, the build's output, and the sizes of it and its base."""

    engine: Engine
    said: str
    size: int
    base_size: int


@dataclass(frozen=True)
class Container:
    """A running service in a container."""

    engine: Engine
    name: str
    url: str
    key: str

    async def podman(self, *arguments: str) -> str:
        """Run podman without blocking the event loop."""
        return await asyncio.to_thread(self.engine.podman, *arguments)

    def client(self) -> aiohttp.ClientSession:
        """Open a client that has the key."""
        headers = {"X-API-Key": self.key, "X-Project": "acme/shop"}
        return aiohttp.ClientSession(self.url, headers=headers)


@pytest.fixture(scope="module")
def built() -> Iterator[Built]:
    """Build the image once; skip if containers can't run here."""
    base = dict(instructions())["ARG"].removeprefix("PYTHON=")
    try:
        with engine() as running:
            python_base(running, base)
            said = build(running, ROOT, _IMAGE)
            yield Built(running, said, _size(running, _IMAGE), _size(running, base))
    except NotHere as reason:
        pytest.skip(f"no containers here: {reason}")


def _size(running: Engine, image: str) -> int:
    return int(running.podman("image", "inspect", "--format={{.Size}}", image))


@pytest.fixture
def settings(redis_url: str, s3_server: S3Server, tmp_path: Path) -> dict[str, str]:
    """Give the settings that an operator must set."""
    return {
        "ADMIN_API_KEY": secrets.token_urlsafe(32),
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "PROVIDERS_FILE": "/etc/paintonce/models.toml",
        # Empty: one that remembers another ledger refuses this bucket.
        "REDIS_URL": redis_url,
        "S3_BUCKET": f"container-{uuid4().hex}",
        "SHUTDOWN_GRACE_SECONDS": str(_GRACE_SECONDS),
        **s3_server.environment(),
    }


@contextmanager
def _running(
    built: Built, settings: dict[str, str], models: str, folder: Path
) -> Iterator[Container]:
    """Run the image as compose.yaml does; stop it with the context."""
    file = folder / "models.toml"
    file.write_text(models)
    file.chmod(0o644)
    name = f"paintonce-{uuid4().hex[:8]}"
    built.engine.podman(
        *("run", "--detach", f"--name={name}", "--network=host", *CONFINED),
        *(f"--env={name}={value}" for name, value in settings.items()),
        f"--volume={file}:{settings['PROVIDERS_FILE']}:ro",
        _IMAGE,
    )
    try:
        url = f"http://127.0.0.1:{settings['PORT']}"
        yield Container(built.engine, name, url, settings["ADMIN_API_KEY"])
    finally:
        built.engine.podman("rm", "--force", "--time=0", name)


async def _until_ready(container: Container, client: aiohttp.ClientSession) -> None:
    try:
        async with asyncio.timeout(_STARTS_WITHIN_SECONDS):
            while True:
                try:
                    async with client.get("/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.1)
    except TimeoutError:
        logs = await asyncio.to_thread(container.engine.logs, container.name)
        pytest.fail(f"the container is not ready: {logs}")


def test_the_build_has_nothing_to_complain_about(built: Built) -> None:
    """The build of the Dockerfile prints no warning."""
    warnings = [line for line in built.said.splitlines() if "warn" in line.lower()]

    assert warnings == []


def test_the_image_stays_small(
    built: Built, capsys: pytest.CaptureFixture[str]
) -> None:
    """This project adds a bounded number of bytes to its base image."""
    own = built.size - built.base_size
    with capsys.disabled():
        sys.stdout.write(
            f"\nimage: {built.size / MB:.0f} MB, {own / MB:.0f} MB of them ours\n"
        )

    assert own < MAX_OWN_BYTES


async def test_the_service_runs_confined_and_keeps_what_it_painted(
    built: Built, settings: dict[str, str], tmp_path: Path
) -> None:
    """The service works without rights and on a read-only root."""
    with _running(
        built, settings, MODELS.format(origin="http://127.0.0.1:1"), tmp_path
    ) as container:
        async with container.client() as client:
            await _until_ready(container, client)
            first = await _paint(client, "a lighthouse in a storm")
            again = await _paint(client, "a lighthouse in a storm")
        looked = await container.podman("exec", container.name, "python", "-c", _LOOK)
        health = await container.podman("healthcheck", "run", container.name)

    assert (first["cache"], again["cache"]) == ("MISS", "HIT")
    assert first["picture"] == again["picture"]
    assert json.loads(looked) == {
        "user": 10001,
        "group": 10001,
        "root": "ro",
        "capabilities": ["0" * 16] * 3,
        "no_new_privileges": "1",
    }
    assert health == ""


async def test_a_stopped_container_finishes_what_it_paints(
    built: Built, settings: dict[str, str], tmp_path: Path
) -> None:
    """After SIGTERM the caller gets its picture and the container exits with 0."""
    provider = FakeProvider()
    provider.behave("hold")
    async with serve(provider) as origin:
        models = MODELS.format(origin=origin)
        with _running(built, settings, models, tmp_path) as container:
            async with container.client() as client:
                await _until_ready(container, client)
                asked = asyncio.create_task(_paint(client, "a fox", model="gated"))
                await provider.until_held()
                began = time.monotonic()
                stopped = asyncio.create_task(
                    container.podman(
                        "stop", f"--time={_GRACE_SECONDS + 5}", container.name
                    )
                )
                await _until_draining(client)
                provider.release()
                picture = await asked
                await stopped
            seconds = time.monotonic() - began
            status = await container.podman(
                "inspect", "--format={{.State.ExitCode}}", container.name
            )

    assert picture["cache"] == "MISS"
    assert status == "0"
    assert seconds < _GRACE_SECONDS + 1


async def _paint(
    client: aiohttp.ClientSession, prompt: str, **more: str
) -> dict[str, Any]:
    query = {"prompt": prompt, **more}
    async with client.get("/api/v1/live/generate", params=query) as answer:
        body = await answer.read()
        assert answer.status == 200, body
        return {"cache": answer.headers["X-Cache-Status"], "picture": body}


async def _until_draining(client: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(10):
        while True:
            async with client.get("/readyz") as answer:
                if answer.status == 503:
                    return
            await asyncio.sleep(0.02)
