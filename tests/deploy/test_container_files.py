"""The Dockerfile agrees with the code; the tests need no container engine."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tomllib

import pytest
from aiohttp import web
from packaging.specifiers import SpecifierSet

from tests.deploy.shipped_files import ROOT, default, instructions


def _last(instruction: str) -> str:
    """Return the arguments of the last *instruction* of the Dockerfile."""
    return [rest for name, rest in instructions() if name == instruction][-1]


def test_the_image_runs_what_the_command_line_knows() -> None:
    """The container runs `python -m app serve` by default, and takes other commands."""
    assert json.loads(_last("ENTRYPOINT")) == ["python", "-m", "app"]
    assert json.loads(_last("CMD")) == ["serve"]
    assert _last("STOPSIGNAL") == "SIGTERM"


def test_the_image_runs_a_python_that_the_project_supports() -> None:
    """The base image is pinned to one Python, inside `requires-python`."""
    base = dict(instructions())["ARG"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    found = re.fullmatch(r"PYTHON=python:(\d+\.\d+)-slim-\w+", base)

    assert found
    assert found[1] in SpecifierSet(project["requires-python"])
    stages = [rest for name, rest in instructions() if name == "FROM"]
    assert stages == ["${PYTHON} AS builder", "${PYTHON}"]


def test_the_makefile_asks_for_the_python_of_the_project() -> None:
    """`make setup` needs the Python of `requires-python`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    found = re.search(
        r"^PYTHON_MINOR := (\d+)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )

    assert found
    assert project["requires-python"] == f">=3.{found[1]}"


def test_the_image_has_the_locked_packages_only() -> None:
    """The image installs only hashed packages of the production lock, as wheels."""
    installs = [rest for name, rest in instructions() if name == "RUN"]
    (install,) = [rest for rest in installs if " install " in rest]

    assert "--require-hashes" in install
    assert "--only-binary :all:" in install
    assert "-r /build/requirements.lock" in install
    assert ("COPY", "requirements.lock /build/") in instructions()
    assert not any("apt-get" in rest for rest in installs)


def test_the_build_context_has_what_the_image_copies_and_no_more() -> None:
    """The build context has exactly the files that the image copies."""
    copied = {
        rest.split()[0]
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
    }
    rules = (ROOT / ".dockerignore").read_text().splitlines()

    assert "*" in rules
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert all((ROOT / path).exists() for path in copied)


def test_the_image_does_not_run_as_root() -> None:
    """The image's user is a number other than root's."""
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", _last("USER"))


def test_the_image_listens_where_the_settings_say() -> None:
    """EXPOSE, PORT and the default of the setting are one port."""
    assert _last("EXPOSE") == str(default("port"))
    assert f"PORT={default('port')}" in _last("ENV").split()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
async def test_the_health_check_asks_the_port_that_is_set(
    status: int,
    healthy: bool,  # noqa: FBT001 - pytest passes parameters by name
) -> None:
    """The image's health check passes only for a live service on $PORT."""

    async def healthz(request: web.Request) -> web.Response:
        """Answer with the status of the case."""
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = str(runner.addresses[0][1])
        _, program, *arguments = json.loads(_last("HEALTHCHECK").partition("CMD ")[2])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, program, *arguments), env={**os.environ, "PORT": port}
        )

        assert (await process.wait() == 0) is healthy
    finally:
        await runner.cleanup()
