"""An S3 server for one test: MinIO, or a stand-in."""

from __future__ import annotations

import http.client
import os
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.child_process import ChildProcess, free_port, on_a_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

_PROBE_TIMEOUT_SECONDS = 2.0


@dataclass
class S3Server:
    """An object store; *process* is None if `TEST_S3_ENDPOINT` names one."""

    kind: str
    endpoint: str
    access_key: str = "paintonce-tests"
    secret_key: str = "painted-once-paid-once"
    process: ChildProcess | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment variables for botocore, and no others."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def freeze(self) -> None:
        """Make it accept connections and answer nothing."""
        self._own_process().freeze()

    def thaw(self) -> None:
        """Make it answer again."""
        self._own_process().thaw()

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._own_process().kill()

    def _own_process(self) -> ChildProcess:
        if self.process is None:
            raise RuntimeError("TEST_S3_ENDPOINT names a server that is not ours")
        return self.process


@contextmanager
def object_store_server(
    directory: Path, *, port: int | None = None
) -> Iterator[S3Server]:
    """Run MinIO, else moto; or use the server of `TEST_S3_ENDPOINT`.

    That server's credentials are in the usual `AWS_` variables.
    """
    if endpoint := os.environ.get("TEST_S3_ENDPOINT"):
        yield S3Server(
            "TEST_S3_ENDPOINT",
            endpoint.rstrip("/"),
            os.environ["AWS_ACCESS_KEY_ID"],
            os.environ["AWS_SECRET_ACCESS_KEY"],
        )
        return
    with _running(_run_minio if minio_command() else _run_moto, directory, port) as own:
        yield own


def versitygw_server(directory: Path) -> AbstractContextManager[S3Server]:
    """Run versitygw over a folder: a second store with other semantics of writes."""
    return _running(_run_versitygw, directory)


def seaweedfs_server(directory: Path) -> AbstractContextManager[S3Server]:
    """Run SeaweedFS, master, volume, filer and S3 in one process."""
    return _running(_run_seaweedfs, directory)


@contextmanager
def _running(
    run: Callable[[Path, int], S3Server], directory: Path, port: int | None = None
) -> Iterator[S3Server]:
    directory.mkdir(parents=True, exist_ok=True)
    server = on_a_port(partial(run, directory), port)
    try:
        yield server
    finally:
        if server.process is not None:
            server.process.stop()


# The program of each store, and what runs it in a folder.
STORE_SERVERS: Mapping[
    str, tuple[str, Callable[[Path], AbstractContextManager[S3Server]]]
] = {
    "minio": ("minio", object_store_server),
    "versitygw": ("versitygw", versitygw_server),
    "seaweedfs": ("weed", seaweedfs_server),
}


def minio_command(name: str = "minio") -> str | None:
    """Return the MinIO program, from PATH or the folder of `go install`.

    Its client is called `mc`.
    """
    go = os.environ.get("GOPATH") or str(Path.home() / "go")
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), f"{go}/bin"])
    return shutil.which(name, path=places)


def _run_minio(directory: Path, port: int) -> S3Server:
    address = f"127.0.0.1:{port}"
    server = S3Server("minio", f"http://{address}")
    server.process = ChildProcess(
        [
            *(minio_command() or "minio", "server", str(directory / "data")),
            *("--address", address, "--certs-dir", str(directory / "certificates")),
        ],
        log=directory / "minio.log",
        environment={
            "MINIO_BROWSER": "off",
            "MINIO_ROOT_PASSWORD": server.secret_key,
            "MINIO_ROOT_USER": server.access_key,
            "MINIO_UPDATE": "off",
        },
    )
    server.process.wait_until(partial(_answers_http, address, "/minio/health/ready"))
    return server


def _run_versitygw(directory: Path, port: int) -> S3Server:
    (directory / "data").mkdir(exist_ok=True)
    address = f"127.0.0.1:{port}"
    server = S3Server("versitygw", f"http://{address}")
    server.process = ChildProcess(
        [
            *(minio_command("versitygw") or "versitygw", "--port", address),
            *("--health", "/health", "posix", str(directory / "data")),
        ],
        log=directory / "versitygw.log",
        environment={
            "ROOT_ACCESS_KEY": server.access_key,
            "ROOT_SECRET_KEY": server.secret_key,
        },
    )
    server.process.wait_until(partial(_answers_http, address, "/health"))
    return server


def _run_seaweedfs(directory: Path, port: int) -> S3Server:
    address = f"127.0.0.1:{port}"
    server = S3Server("seaweedfs", f"http://{address}")
    parts, log = ("master", "volume", "filer"), directory / "seaweedfs.log"
    # By itself it adds 10,000 for each port of gRPC, and there may be none.
    grpc = [f"-{part}.port.grpc={free_port()}" for part in (*parts, "s3")]
    server.process = ChildProcess(
        [
            *(minio_command("weed") or "weed", "server", "-s3", "-filer"),
            *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={directory}"),
            *(f"-{part}.port={free_port()}" for part in parts),
            *(f"-s3.port={port}", *grpc),
            # Each bucket takes several. A missing one is an outage, not to be made.
            *("-volume.max=1000", "-s3.autoCreateBucket=false"),
        ],
        log=log,
        environment={
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
        },
    )
    # Some seconds later than it is healthy it can lock, which each condition needs.
    server.process.wait_until(lambda: b"LockRing: applying" in log.read_bytes())
    return server


def _run_moto(directory: Path, port: int) -> S3Server:
    address = f"127.0.0.1:{port}"
    server = S3Server("moto", f"http://{address}")
    server.process = ChildProcess(
        [sys.executable, str(Path(__file__).with_name("serial_moto.py")), str(port)],
        log=directory / "moto.log",
    )
    server.process.wait_until(partial(_answers_http, address, "/moto-api/"))
    return server


def _answers_http(address: str, path: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=_PROBE_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
