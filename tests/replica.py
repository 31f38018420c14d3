"""A replica as an operator runs it: `serve` in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.forks import start_forked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.forks import ForkedProcess

ROOT = Path(__file__).parent.parent
STARTS_WITHIN_SECONDS = 60.0
ENDS_WITHIN_SECONDS = 45.0


@dataclass
class Replica:
    """One running process; *records* are its log, one object for each line."""

    process: asyncio.subprocess.Process | ForkedProcess
    url: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)
    _listening: asyncio.Event = field(default_factory=asyncio.Event)
    _reading: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2])

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log records of one event."""
        return [record for record in self.records if record.get("event") == name]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process, by its id, if it still runs."""
        if self.process.returncode is None:
            self.process.send_signal(number)

    def pause(self) -> None:
        """Stop it where it stands, as a long garbage collection would."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it."""
        self.signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it without a chance to clean up."""
        self.signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> int:
        """Ask it to end and return its exit status."""
        self.resume()
        self.signal(signal.SIGTERM)
        async with asyncio.timeout(ENDS_WITHIN_SECONDS):
            return await self.process.wait()

    async def until_ready(self) -> None:
        """Return when both dependencies have answered it; else say what it says."""
        said = "nothing"
        try:
            async with (
                asyncio.timeout(STARTS_WITHIN_SECONDS),
                aiohttp.ClientSession() as session,
            ):
                while True:
                    async with session.get(f"{self.url}/readyz") as answer:
                        if answer.status == 200:
                            return
                        said = await answer.text()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            last = self.records[-10:]
            raise RuntimeError(f"replica is not ready: {said} {last}") from None

    async def read(self) -> None:
        """Collect what it logs until it ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            try:
                record = json.loads(line)
            except ValueError:
                self.noise.append(line.decode(errors="replace"))
                continue
            self.records.append(record)
            if record.get("event") == "listening":
                self.url = f"http://127.0.0.1:{record['port']}"
                self._listening.set()

    async def until_listening(self) -> None:
        """Return when it listens; what it said instead is in the error."""
        self._reading = asyncio.create_task(self.read(), name="replica-log")
        listening = asyncio.create_task(self._listening.wait())
        try:
            await asyncio.wait(
                [self._reading, listening],
                timeout=STARTS_WITHIN_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            listening.cancel()
        if not self.url:
            raise RuntimeError(f"replica did not start: {self.noise} {self.records}")

    async def end(self) -> None:
        """End it if it still runs, and read the rest of its log."""
        self.resume()
        if self.process.returncode is None:
            await self.kill()
        if self._reading is not None:
            await self._reading


def environment_of(
    *,
    redis_url: str,
    bucket: str,
    object_store: Mapping[str, str],
    **settings: str,
) -> dict[str, str]:
    """Return the environment of a replica; *settings* are upper-case names.

    Nothing of this machine's own configuration leaks in.
    """
    inherited = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG")
        if name in os.environ
    }
    return {
        **inherited,
        "HOST": "127.0.0.1",
        "PORT": "0",
        "AUTH": "off",
        "REDIS_URL": redis_url,
        "S3_BUCKET": bucket,
        "PYTHONPATH": str(ROOT),
        **object_store,
        **settings,
    }


@asynccontextmanager
async def replica(
    environment: Mapping[str, str],
    *,
    folder: Path,
    ready: bool = True,
    forked: bool = True,
) -> AsyncIterator[Replica]:
    """Run a replica in *folder*, which has no `.env`, while the context is open.

    Unless *forked* it is started by `python -m app serve`, which takes a second more,
    and is of the tree in `PYTHONPATH`, on the cores of this process.
    """
    start = start_forked if forked else _start
    running = Replica(
        await start("app", "serve", environment=environment, folder=folder)
    )
    try:
        await running.until_listening()
        if ready:
            await running.until_ready()
        yield running
    finally:
        await running.end()


async def _start(
    program: str, *arguments: str, environment: Mapping[str, str], folder: Path
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", program, *arguments),
        cwd=folder,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        limit=1024 * 1024,
    )
