"""A copy has its own environment, folder, output, session and end."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from tests.forks import start_forked
from tests.replica import environment_of

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_copy_ends_with_the_status_of_its_program(tmp_path: Path) -> None:
    """A program that ends gives its status, and its output to the end."""
    (tmp_path / ".env").write_text("S3_BUCKET=pictures\nPORT=x\n")
    environment = {"PATH": os.environ["PATH"], "AUTH": "off"}

    copy = await start_forked("app", "serve", environment=environment, folder=tmp_path)
    said = (await copy.stdout.read()).decode()

    assert await copy.wait() == copy.returncode == 2
    named = [line.split(":")[1].strip() for line in said.splitlines()]
    assert sorted(named) == ["PORT", "REDIS_URL"]


async def test_a_copy_gets_its_signals(tmp_path: Path) -> None:
    """A signal reaches one copy alone, and its status names it."""
    environment = environment_of(
        redis_url="redis://127.0.0.1:1",
        bucket="pictures",
        object_store={},
        SHUTDOWN_GRACE_SECONDS="0",
    )
    killed, stopped = [
        await start_forked("app", "serve", environment=environment, folder=tmp_path)
        for _ in range(2)
    ]

    killed.send_signal(signal.SIGKILL)
    assert await killed.wait() == -signal.SIGKILL
    assert stopped.returncode is None
    while b"listening" not in await stopped.stdout.readline():
        pass
    assert os.getsid(stopped.pid) == stopped.pid
    stopped.send_signal(signal.SIGTERM)

    assert await stopped.wait() == 0
    for one in (killed, stopped):
        await one.stdout.read()
