"""The vendors' own clients work with the fake provider."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fake_provider import FakeProvider, serve

HERE = Path(__file__).parent
UV = [sys.executable, "-m", "uv"]

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


async def _run(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, cwd=HERE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, command
    return said


async def test_the_vendors_own_clients_are_at_home(tmp_path: Path) -> None:
    """Each vendor's client gets pictures, refusals, limits, progress and ends of jobs.

    The clients are no dependency of the service: the environment is this test's own.
    """
    python = str(tmp_path / "bin" / "python")
    await _run(*UV, "venv", "--quiet", "--python", sys.executable, str(tmp_path))
    await _run(
        *(*UV, "pip", "install", "--quiet", "--python", python),
        *("--require-hashes", "-r", "requirements.lock"),
    )
    provider = FakeProvider()
    async with serve(provider) as origin:
        said: Any = json.loads(await _run(python, "talk.py", origin))

    pictures = [
        hashlib.sha256(call.picture).hexdigest()
        for call in provider.calls
        if call.picture and call.mode == "ok"
    ]
    jobs = [job.id for job in provider.jobs.values() if job.is_cancelled]
    assert said == {
        "gemini": {
            "v1beta": pictures[0],
            "v1": pictures[1],
            "refusal": "IMAGE_SAFETY",
            "rate_limit": [429, "RESOURCE_EXHAUSTED"],
            "model": "models/gemini-3.1",
        },
        "openai": {
            "generate": pictures[2],
            "edit": pictures[3],
            "refusal": "moderation_blocked",
            "quota": "insufficient_quota",
            "model": "gpt-image-2",
        },
        "replicate": {
            "run": pictures[4],
            "refusal": "NSFW content detected. Try running it again.",
            "progress": 0.5,
            "cancelled": jobs[0],
        },
        "fal": {
            "subscribe": pictures[5],
            "statuses": ["Completed", "Queued"],
            "refusal": [422, "content_policy_violation"],
            "cancelled": jobs[1],
        },
    }
    assert [len(call.files) for call in provider.calls if call.mode == "ok"] == [
        *(1, 1, 0, 2, 0, 0, 0, 0)
    ]
