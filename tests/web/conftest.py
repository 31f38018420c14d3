"""A browser, and services with and without keys."""

from __future__ import annotations

import io
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from PIL import Image

from tests.models_of_replicas import models_file
from tests.replica import ROOT, environment_of
from tests.servers import ChildProcess, redis_server
from tests.web.browser import open_browser
from tests.web.scripted_service import ScriptedService, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import S3Server
    from tests.web.browser import Browser

ADMIN_KEY = "the admin key of a lighthouse keeper"
SIGNING_MASTER_KEY = "bGlnaHRob3VzZS1rZWVwZXJzLW1hc3Rlci1rZXktMzI"
MODELS = """
[models.default]
provider = "placeholder"
price = 0.25
[models.slow]
provider = "placeholder"
[models.slow.options]
delay_seconds = 1.5
[models.refusing]
provider = "placeholder"
[models.refusing.options]
failure = "rejected"
"""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Run one Chromium for all tests of a worker."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """Give a new tab; fail if the console has messages or other hosts were called."""
    chromium.new_tab()
    yield chromium
    complaints, hosts = chromium.complaints(), chromium.hosts()
    own = urlsplit(chromium.driver.current_url).netloc
    assert complaints == []
    assert hosts <= {own}


@contextmanager
def served(folder: Path, *arguments: str, **environment: str) -> Iterator[str]:
    """Run `python -m app` with *arguments* on a free port; yield its address."""
    log = folder / "log"
    process = ChildProcess(
        [sys.executable, "-m", "app", *arguments],
        log=log,
        environment={
            "PYTHONPATH": str(ROOT),
            "PROVIDERS_FILE": models_file(folder, MODELS),
            "SHUTDOWN_GRACE_SECONDS": "1",
            **environment,
        },
    )
    try:
        process.wait_until(lambda: port_in(log) is not None)
        yield f"http://127.0.0.1:{port_in(log)}"
    finally:
        process.stop()


def port_in(log: Path) -> str | None:
    """Return the port in the service's log, in either log format."""
    for line in log.read_text().splitlines():
        if "listening" in line and (found := re.search(r'port(?:=|": ?)(\d+)', line)):
            return found[1]
    return None


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the service as a developer does, without keys; give its address."""
    folder = tmp_path_factory.mktemp("dev")
    data = str(folder / "var")
    with served(folder, "dev", "--port", "0", "--data", data) as address:
        yield address


@pytest.fixture(scope="session")
def keyed_service(
    tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server
) -> Iterator[str]:
    """Run a replica that asks for keys, over a Redis of its own; give its address."""
    folder = tmp_path_factory.mktemp("keyed")
    with redis_server(folder / "redis") as redis:
        environment = environment_of(
            redis_url=redis.url,
            bucket=f"page-{uuid4().hex}",
            object_store=s3_server.environment(),
            AUTH="required",
            ADMIN_API_KEY=ADMIN_KEY,
            SIGNING_MASTER_KEY=SIGNING_MASTER_KEY,
        )
        with served(folder, "serve", **environment) as address:
            yield address


@pytest.fixture
def project() -> str:
    """Give the name of an unused project."""
    return f"acme/{uuid4().hex[:12]}"


@pytest.fixture
def page(browser: Browser, service: str, project: str) -> Browser:
    """Open the page on a project of its own."""
    browser.open(f"{service}/healthz")
    remember = "sessionStorage.setItem('paintonce.project', arguments[0])"
    browser.run(remember, project)
    browser.open(service)
    return browser


@pytest.fixture
def scripted() -> Iterator[ScriptedService]:
    """Run a service that follows a test's script."""
    picture = io.BytesIO()
    Image.new("RGB", (96, 64), "teal").save(picture, "PNG")
    with running(ScriptedService(picture.getvalue())) as service:
        yield service
