"""What the Dockerfile says is what the code does; no container engine is needed."""

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
    """Return what the last *instruction* of the Dockerfile says."""
    return [rest for name, rest in instructions() if name == instruction][-1]


def test_the_image_runs_what_the_command_line_knows() -> None:
    """The container starts `python -m app serve`, and takes other commands instead."""
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
    """`make setup` refuses exactly what `requires-python` refuses."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    found = re.search(
        r"^PYTHON_MINOR := (\d+)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )

    assert found
    assert project["requires-python"] == f">=3.{found[1]}"


def test_the_image_has_the_locked_packages_only() -> None:
    """Packages come by hash from the production lock, and nothing is compiled."""
    installs = [rest for name, rest in instructions() if name == "RUN"]
    (install,) = [rest for rest in installs if " install " in rest]

    assert "--require-hashes" in install
    assert "--only-binary :all:" in install
    assert "-r /build/requirements.lock" in install
    assert ("COPY", "requirements.lock /build/") in instructions()
    assert not any("apt-get" in rest for rest in installs)


def test_the_build_context_has_what_the_image_copies_and_no_more() -> None:
    """Everything copied exists and is let through; `.env` and `var/` never are."""
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
    """The user is a fixed number, so that a cluster can check that it is not root."""
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", _last("USER"))


def test_the_image_listens_where_the_settings_say() -> None:
    """The exposed port, the one in the environment and the default are one number."""
    assert _last("EXPOSE") == str(default("port"))
    assert f"PORT={default('port')}" in _last("ENV").split()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
async def test_the_health_check_asks_the_port_that_is_set(
    status: int,
    healthy: bool,  # noqa: FBT001 - pytest passes parameters by name
) -> None:
    """The image's own check passes for a living service on $PORT, and for no other."""

    async def healthz(request: web.Request) -> web.Response:
        """Answer as told."""
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
