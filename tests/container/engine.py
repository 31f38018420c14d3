"""A container engine for one test: podman in namespaces, with temporary folders."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TOOLS = ("apt-get", "buildah", "crun", "mmdebstrap", "nsenter", "podman", "setpriv")

_START_SECONDS = 10.0
_COMMAND_SECONDS = 300.0

# crun refuses hybrid cgroups; without any it needs no manager of them either. Some
# state is kept where no configuration leads, and goes with the mounts.
_PREPARE = """
set -e
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
for folder in /run/containers /run/crun /run/libpod /run/netns /var/lib/containers; do
  mkdir -p $folder
  mount -t tmpfs tmpfs $folder
done
echo ready
exec sleep infinity
"""

_REMOVE = """
cat >/dev/null
for attempt in 1 2 3 4 5; do
  rm -rf "$1" && exit
  sleep 1
done
"""

_CONTAINERS = """
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""

_STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""


class NotHere(Exception):
    """Containers can't be run on this machine; the message says why."""


class EngineFailed(Exception):
    """A command of the engine failed; the message is its output."""


@dataclass(frozen=True)
class Engine:
    """A running engine; *inside* is the command prefix that enters its namespaces.

    Its containers share this machine's network, unless it is made by `apart`.
    """

    folder: Path
    inside: Sequence[str]
    network: str

    def apart(self) -> Engine:
        """Return the same engine in a network of its own."""
        into = [*self.inside[:-1], f"--net={self.network}", "--"]
        return replace(self, inside=into)

    def podman(self, *arguments: str, seconds: float = _COMMAND_SECONDS) -> str:
        """Run podman; return its stripped output."""
        return self.run("podman", *arguments, seconds=seconds)

    def logs(self, container: str) -> str:
        """Return everything that a container has written."""
        return self.run("sh", "-c", 'podman logs "$1" 2>&1', "sh", container)

    def run(self, *command: str, seconds: float = _COMMAND_SECONDS) -> str:
        """Run a command in the namespaces; raise `EngineFailed` if it fails."""
        try:
            done = subprocess.run(
                [*self.inside, *command],
                capture_output=True,
                check=True,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                text=True,
                timeout=seconds,
            )
        except subprocess.CalledProcessError as error:
            said = f"{error.stdout}{error.stderr}".strip()
            raise EngineFailed(f"{' '.join(command)}:\n{said}") from error
        except subprocess.TimeoutExpired as error:
            raise EngineFailed(
                f"{' '.join(command)}: longer than {seconds} s"
            ) from error
        return done.stdout.strip()

    def environment(self) -> dict[str, str]:
        """Return the variables that lead podman and buildah to this engine."""
        return {
            **os.environ,
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "REGISTRY_AUTH_FILE": str(self.folder / "auth.json"),
            "TMPDIR": str(self.folder / "tmp"),
        }


def obstacle() -> str | None:
    """Return the reason why no engine can start here, if a quick look finds one."""
    if os.geteuid() != 0:
        return "only root may make namespaces and mounts"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return None


@contextmanager
def engine() -> Iterator[Engine]:
    """Run an engine while the context is open; raise `NotHere` if it can't run.

    It is a namespace of processes, which end with it, and it ends with this process in
    any case. Its folder is removed with everything that was built.
    """
    if reason := obstacle():
        raise NotHere(reason)
    with _folder() as folder:
        for directory in ("tmp", "networks", "storage", "run"):
            (folder / directory).mkdir()
        (folder / "containers.conf").write_text(_CONTAINERS.format(folder=folder))
        (folder / "storage.conf").write_text(_STORAGE.format(folder=folder))
        (folder / "auth.json").write_text("{}")
        with _namespaces() as of:
            inside = ["nsenter", f"--mount={of}/mnt", f"--pid={of}/pid_for_children"]
            yield Engine(folder, [*inside, "--"], f"{of}/net")


@contextmanager
def _folder() -> Iterator[Path]:
    """Make a folder that is removed even if this process is killed.

    The process that removes it reads from a pipe of this one, and so notices its end.
    """
    folder = Path(tempfile.mkdtemp(prefix="paintonce-container-"))
    cleaner = subprocess.Popen(
        ["sh", "-c", _REMOVE, "sh", str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield folder
    finally:
        cleaner.communicate()


@contextmanager
def _namespaces() -> Iterator[str]:
    """Hold namespaces open; yield the folder of their files."""
    holder = subprocess.Popen(
        [
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *("unshare", "--mount", "--propagation", "private"),
            *("--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("sh", "-c", _PREPARE),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )
    assert holder.stdout
    try:
        said = holder.stdout.readline()
        if said != "ready\n":
            raise NotHere(f"no namespaces: {said.strip() or holder.wait()}")
        yield f"/proc/{holder.pid}/ns"
    finally:
        holder.kill()
        holder.communicate()
