"""The service's answers match its OpenAPI document."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.replica import environment_of, replica

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import S3Server

ADMIN_KEY = "a-lighthouse-in-a-storm-0123456789"
EXAMPLES = 25

# What the document's schemas can't say: the picture's bounds of two parameters
# together, and ranges beyond a picture. 503 is for what is not there yet.
CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "400", "401", "403", "404", "409", "412",
  "415", "416", "422", "429", "503"]

[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "502", "503", "504"]
"""


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_generated_requests_are_answered_as_the_document_says(
    redis_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    """No generated request gets a 5xx or an answer that the document lacks."""
    environment = environment_of(
        redis_url=redis_url,
        bucket=f"schema-{uuid4().hex}",
        object_store=s3_server.environment(),
        AUTH="required",
        ADMIN_API_KEY=ADMIN_KEY,
    )
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    async with replica(environment, folder=tmp_path) as running:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"{running.url}/openapi.json",
            *("--phases", "examples,coverage,fuzzing"),
            *("--max-examples", str(EXAMPLES), "--generation-deterministic"),
            # How fast requests are made up is a matter of the machine.
            *("--suppress-health-check", "too_slow"),
            *("--header", f"X-API-Key: {ADMIN_KEY}"),
            *("--header", "X-Project: acme/shop"),
            *("--request-timeout", "30", "--no-color"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()

    output = said.decode()
    summary = output.rpartition("SUMMARY")[2]
    sys.stdout.write(summary)
    assert process.returncode == 0, output[-20_000:]
    assert "generated" in summary
