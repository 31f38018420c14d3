"""Debian's packages as the base image, and whether this machine can use them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.container.engine import EngineFailed, NotHere

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.container.engine import Engine

CONFINED = (
    *("--pull=never", "--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp"),
    *("--cap-drop=ALL", "--security-opt=no-new-privileges"),
)

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PACKAGES = ("python3-venv", "ca-certificates", "passwd")
# The wheel that venv installs is a whole pip; Debian's own package is five times that.
_PIP = """
ln -s /usr/bin/python3 "$1/usr/local/bin/python"
cd "$1/usr/share/python-wheels"
python3 -m zipfile -e pip-*.whl "$1/usr/lib/python3/dist-packages"
printf '#!/bin/sh\\nexec python3 -m pip "$@"\\n' >"$1/usr/local/bin/pip"
chmod 755 "$1/usr/local/bin/pip"
"""
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_PROBE = "FROM {base}\nRUN pip download --no-cache-dir --no-deps --dest /tmp idna\n"
# Slower than this, the network is none to build images over.
_PATIENCE_SECONDS = 240.0


def mirror() -> str:
    """Return the address of this machine's Debian mirror."""
    printed = subprocess.run(
        [
            *("apt-get", "indextargets", "--format", "$(REPO_URI)"),
            *("Created-By: Packages", "Origin: Debian", "Label: Debian"),
        ],
        capture_output=True,
        check=False,
        text=True,
    )
    places = printed.stdout.split()
    if not places:
        raise NotHere("apt-get knows no mirror of Debian")
    return places[0]


def from_packages(
    engine: Engine,
    name: str,
    suite: str,
    *,
    packages: Sequence[str],
    hook: str = "true",
    changes: Sequence[str] = (),
) -> None:
    """Make the image *name* from Debian packages; raise `NotHere` if that fails.

    *hook* is for the shell, with the image's root as `$1`; *changes* are instructions
    of a Dockerfile.
    """
    archive = engine.folder / "tmp" / "base.tar"
    try:
        engine.run(
            *("mmdebstrap", "--quiet", "--variant=essential"),
            f"--include={','.join(packages)}",
            *('--aptopt=Acquire::Retries "3"', "--dpkgopt=force-unsafe-io"),
            # A suite that is still being tested is signed for a week only.
            '--aptopt=Acquire::Check-Valid-Until "false"',
            f"--customize-hook={hook}",
            *(suite, str(archive), mirror()),
            seconds=_PATIENCE_SECONDS,
        )
        options = (f"--change={change}" for change in (f"ENV {_PATH}", *changes))
        engine.podman("import", "--quiet", *options, str(archive), name)
    except EngineFailed as failure:
        raise NotHere(f"no image of Debian packages: {_end_of(failure)}") from failure
    finally:
        archive.unlink(missing_ok=True)


def python_base(engine: Engine, name: str) -> None:
    """Make the stand-in for *name*, `python:3.11-slim-bookworm` for example.

    It is tried first whether this machine can run and build images at all; `NotHere`
    has the reason if it can't.
    """
    wanted, _, suite = name.removeprefix("python:").partition("-slim-")
    from_packages(engine, name, suite, packages=_PACKAGES, hook=_PIP)
    try:
        version = engine.podman(
            *("run", "--rm", "--network=host", *CONFINED, name, "python", "--version")
        )
        context = engine.folder / "tmp" / "probe"
        context.mkdir()
        (context / "Dockerfile").write_text(_PROBE.format(base=name))
        build(engine, context, "probe")
    except EngineFailed as failure:
        raise NotHere(f"containers do not run here: {_end_of(failure)}") from failure
    if not version.startswith(f"Python {wanted}."):
        raise NotHere(f"Debian's {suite} has {version}, {name} has another one")


def build(engine: Engine, context: Path, name: str) -> str:
    """Build the Dockerfile in *context*; return the output of the build.

    Without the format of Docker, HEALTHCHECK is dropped silently.
    """
    trusted = f"--volume={_CERTIFICATES}:{_CERTIFICATES}:ro"
    return engine.run(
        *("sh", "-c", 'exec "$@" 2>&1', "sh", "buildah", "bud"),
        *("--pull-never", "--layers", "--format=docker", "--isolation=chroot"),
        *("--network=host", *((trusted,) if _CERTIFICATES.exists() else ())),
        *(f"--tag={name}", str(context)),
    )


def _end_of(failure: EngineFailed) -> str:
    return " / ".join(str(failure).splitlines()[-3:])
