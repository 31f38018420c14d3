"""compose.yaml brought up with stand-ins for images that only registries have."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.container.engine import Engine, EngineFailed, NotHere
from tests.container.stand_in import build, from_packages, python_base
from tests.deploy.shipped_files import ROOT, compose, instructions
from tests.servers import minio_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The first Debian whose nginx looks names up again.
_NGINX_SUITE = "forky"
_STORE = "stand-in/object-store:1"
_GATEWAY = "10.213.77.1"

_HEALTHY_WITHIN_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 0.5


@dataclass(frozen=True)
class Composed:
    """A running compose.yaml; *url* is its nginx, as this machine reaches it."""

    engine: Engine
    folder: Path
    url: str
    admin_key: str

    def compose(self, *arguments: str) -> str:
        """Run podman-compose with the file."""
        return self.engine.run(
            *("env", f"PYTHONPATH={self.folder / 'tools'}", sys.executable),
            *("-m", "podman_compose", "--in-pod=false"),
            *(f"--file={self.folder / 'compose.yaml'}", *arguments),
        )

    def address(self, service: str) -> str:
        """Return a service's address in the network of nginx."""
        (found,) = json.loads(self.engine.podman("inspect", f"paintonce_{service}_1"))
        networks = found["NetworkSettings"]["Networks"]
        return str(networks["paintonce_front"]["IPAddress"])

    def until_healthy(self, service: str) -> None:
        """Return when a service's own health command succeeds."""
        give_up_at = time.monotonic() + _HEALTHY_WITHIN_SECONDS
        while True:
            try:
                self.engine.podman("healthcheck", "run", f"paintonce_{service}_1")
            except EngineFailed as failure:
                if time.monotonic() > give_up_at:
                    raise EngineFailed(f"{failure}\n{self.logs(service)}") from failure
                time.sleep(_LOOK_EVERY_SECONDS)
            else:
                return

    def replace(self, service: str) -> None:
        """Recreate a service's container; return when it is healthy."""
        self.compose("up", "--detach", "--no-build", "--force-recreate", service)
        self.until_healthy(service)

    def logs(self, service: str) -> str:
        """Return the output of a service."""
        return self.engine.logs(f"paintonce_{service}_1")


def make_images(engine: Engine) -> Iterator[str]:
    """Make every image that compose.yaml names; print each name before."""
    services = compose()["services"]
    base = dict(instructions())["ARG"].removeprefix("PYTHON=")
    yield f"{base} (its stand-in is made of Debian packages)"
    python_base(engine, base)
    yield "paintonce, from the Dockerfile"
    build(engine, ROOT, "paintonce")
    yield services["redis"]["image"]
    from_packages(
        engine,
        services["redis"]["image"],
        "bookworm",
        packages=["redis-server"],
        hook='mkdir "$1/data"; chroot "$1" chown redis:redis /data',
        changes=["WORKDIR /data"],
    )
    yield services["nginx"]["image"]
    from_packages(
        engine,
        services["nginx"]["image"],
        _NGINX_SUITE,
        packages=["nginx", "wget"],
        changes=["USER 101", 'CMD ["nginx", "-g", "daemon off;"]'],
    )
    yield f"{_STORE}, with MinIO and its client"
    programs = [minio_command(), minio_command("mc")]
    if not all(programs):
        raise NotHere("neither MinIO nor its client is installed")
    copies = (
        f'cp "{program}" "$1/usr/local/bin/"; mkdir -p "$1/data"'
        for program in programs
    )
    from_packages(
        engine,
        _STORE,
        "bookworm",
        packages=["curl"],
        hook="; ".join(copies),
        changes=['ENTRYPOINT ["minio"]'],
    )


def project(folder: Path) -> str:
    """Write the project to *folder* with fresh secrets; return the admin's key.

    It differs from what is shipped in four points. An image built here can't have a
    registry's digest. Without cgroups nothing bounds memory. Debian's podman does not
    know `service_healthy`, so `_start` keeps the order instead. The name server is the
    network's gateway.
    """
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    text = (ROOT / "compose.yaml").read_text()
    text = _changed(text, r"image: pgsty/silo:\S+", f"image: {_STORE}")
    text = _changed(text, r"^ +mem_limit: .*\n", "")
    text = _changed(text, r"^( +)depends_on:\n(?:\1 +.*\n)+", "")
    (folder / "compose.yaml").write_text(text)
    nginx = folder / "deploy" / "nginx.conf"
    nginx.write_text(_changed(nginx.read_text(), r"127\.0\.0\.11 ", f"{_GATEWAY} "))
    values = {
        name: secrets.token_hex(32)
        for name in (
            *("ADMIN_API_KEY", "REDIS_PASSWORD"),
            *("OBJECT_STORE_PASSWORD", "OBJECT_STORE_ROOT_PASSWORD"),
        )
    }
    lines = [f"{name}={value}\n" for name, value in values.items()]
    (folder / ".env").write_text("".join(lines))
    return values["ADMIN_API_KEY"]


def _changed(text: str, pattern: str, replacement: str) -> str:
    changed, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
    assert count, pattern
    return changed


@contextmanager
def composed(engine: Engine, *, port: int = 0) -> Iterator[Composed]:
    """Bring compose.yaml up in a network of its own; take it down with the context.

    The images must exist. *port* of this machine's 127.0.0.1 leads to nginx; 0 takes a
    free one.
    """
    folder = engine.folder / "project"
    folder.mkdir()
    key = project(folder)
    _install_podman_compose(folder / "tools")
    apart = engine.apart()
    apart.run("ip", "link", "set", "lo", "up")
    with _way_in(engine, port) as url:
        running = Composed(apart, folder, url, key)
        try:
            _start(running)
            yield running
        finally:
            running.compose("down", "--volumes", "--timeout=1")


def _start(running: Composed) -> None:
    """Start the services in the order that compose.yaml asks for."""
    up = ("up", "--detach", "--no-build")
    running.compose(*up, "redis", "object-store")
    for service in ("redis", "object-store"):
        running.until_healthy(service)
    running.compose(*up, "object-store-account")
    account = "paintonce_object-store-account_1"
    status = running.engine.podman("wait", account)
    if status != "0":
        raise EngineFailed(f"object-store-account: {running.engine.logs(account)}")
    for services in (("paintonce-1", "paintonce-2"), ("nginx",)):
        running.compose(*up, *services)
        for service in services:
            running.until_healthy(service)


def _install_podman_compose(folder: Path) -> None:
    """Install podman-compose; Debian's is too old for networks with a subnet."""
    command = [sys.executable, "-m", "pip", "install", "--quiet"]
    command += ["--disable-pip-version-check", f"--target={folder}"]
    done = subprocess.run(
        [*command, "podman-compose==1.6.0"], capture_output=True, check=False, text=True
    )
    if done.returncode:
        raise NotHere(f"podman-compose can't be installed: {done.stderr.strip()}")


@contextmanager
def _way_in(engine: Engine, port: int) -> Iterator[str]:
    """Listen on this machine for the published port of the other network."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "--"),
                *("nsenter", f"--net={engine.network}", "--", sys.executable),
                *("-m", "tests.container.relay", str(listener.fileno()), "8080"),
            ],
            cwd=ROOT,
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            process.terminate()
            process.wait()
