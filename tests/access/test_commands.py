"""The commands `keys` and `sign` work on the ledger without a running service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from app.signing import canonical, is_signature
from tests.replica import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers import S3Server

    Run = Callable[..., subprocess.CompletedProcess[str]]

# Each command is a process; every day tests/test_key_commands.py runs them in its own.
pytestmark = pytest.mark.long

MASTER_KEY = "X2-n7Jq_5yZ3v0TnRk1cWbE9hUoLsPdA4gQxMzVtYi8"


@pytest.fixture
def run(s3_server: S3Server, tmp_path: Path) -> Run:
    """Return a function that runs `python -m app` on its own bucket, without Redis."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "REDIS_URL": "redis://127.0.0.1:1",
        "S3_BUCKET": f"keys-{uuid4().hex}",
        "SIGNING_MASTER_KEY": MASTER_KEY,
        "PUBLIC_BASE_URL": "https://images.example",
        **s3_server.environment(),
    }

    def run(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [sys.executable, "-m", "app", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == status, ended
        return ended

    return run


def test_keys_are_made_listed_and_revoked(run: Run) -> None:
    """`keys` prints a new key alone on the last line, never in a list, and JSON too."""
    key = run("keys", "create", "acme/shop").stdout.splitlines()[-1]
    made = json.loads(
        run("keys", "create", "acme/zoo", "--role", "admin", "--json").stdout
    )
    listed = run("keys", "list").stdout
    revoked = run("keys", "revoke", key.split("_")[1]).stdout
    own = run("keys", "list", "acme/shop").stdout

    assert key.startswith("pk_")
    assert made.keys() == {"id", "key", "project", "role", "kind", "created_at"}
    assert (made["project"], made["role"]) == ("acme/zoo", "admin")
    assert key.split("_")[1] in listed
    assert made["id"] in listed
    assert key not in listed
    assert made["key"] not in listed
    assert "revoked" in revoked
    assert "revoked 20" in own
    assert made["id"] not in own


def test_a_signed_url_is_alone_on_stdout(run: Run) -> None:
    """`sign` prints a URL that the newest signing key signs, with all options."""
    missing = run("sign", "acme/shop", "--prompt", "a fox", status=1)
    assert "keys create acme/shop --kind signing" in missing.stderr
    key = json.loads(
        run("keys", "create", "acme/shop", "--kind", "signing", "--json").stdout
    )

    printed = run(
        "sign", "acme/shop", "--prompt", "a fox", "--seed", "7", "--expires", "60"
    ).stdout
    wrong = run("sign", "acme/shop", "--prompt", "a", "--width", "64", status=1)
    nowhere = run("sign", "acme", "--prompt", "a fox", status=1)
    unknown = run("keys", "revoke", "z" * 12, status=1)

    url = urlsplit(printed.strip())
    assert (url.netloc, url.path) == ("images.example", "/api/v1/live/generate")
    query = {name: value for name, (value,) in parse_qs(url.query).items()}
    assert (query["prompt"], query["seed"], query["kid"]) == ("a fox", "7", key["id"])
    assert is_signature(query["sig"], key["key"], canonical("GET", url.path, query))
    assert "--height" in wrong.stderr
    assert "ORG/PROJECT: project must be" in nowhere.stderr
    assert unknown.stderr.strip() == "paintonce: There is no such key."
