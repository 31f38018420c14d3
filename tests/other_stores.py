"""The object stores that are tested beside the one that all tests use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.servers import STORE_SERVERS, minio_command

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.servers import S3Server


def store_server(name: str, folder: Path) -> AbstractContextManager[S3Server]:
    """Return the server *name*, to be started in *folder*.

    Skips the test where its program is not installed; in CI that fails, but for
    SeaweedFS, which takes ten minutes to build.
    """
    command, run = STORE_SERVERS[name]
    if name != "minio" and minio_command(command) is None:
        if os.environ.get("CI") and minio_command() and name == "versitygw":
            pytest.fail(f"{command} is missing")
        pytest.skip(f"{command} is not built: docs/how-to/choose-a-store.md")
    return run(folder)
