"""The fake provider as a process, and its controls."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.forks import start_forked
from tests.replica import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

STARTS_WITHIN_SECONDS = 60.0
HELD_WITHIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Provider:
    """A running fake provider at *origin*, steered through *session*."""

    origin: str
    session: aiohttp.ClientSession

    async def behave(self, mode: str, **more: Any) -> None:
        """Answer in *mode* from now on; *more* are fields of `Behaviour`."""
        await self._order("_behaviour", {"mode": mode, **more})

    async def hold(self, **more: Any) -> None:
        """Hold every call at the barrier until `release`."""
        await self.behave("hold", **more)

    async def release(self, prompt: str | None = None) -> None:
        """Release the calls at the barrier, and hold no more.

        With *prompt*, only its calls.
        """
        if prompt is None:
            await self.behave("ok")
        await self._order("_release", {} if prompt is None else {"prompt": prompt})

    async def until_held(self, count: int = 1) -> None:
        """Return once *count* calls wait at the barrier."""
        await self._poll("_held", count)

    async def until_aborted(self, count: int = 1) -> None:
        """Return once the clients of *count* calls have disconnected."""
        await self._poll("_aborted", count)

    async def until_cancelled(self, count: int = 1) -> None:
        """Return once *count* jobs have been cancelled."""
        await self._poll("_cancelled", count)

    async def calls(self, prompt: str) -> int:
        """Return the number of calls for *prompt*."""
        counted: int = (await self.all_calls()).get(prompt, 0)
        return counted

    async def all_calls(self) -> dict[str, int]:
        """Return the number of calls for each prompt."""
        async with self.session.get(f"{self.origin}/_calls") as answer:
            prompts: dict[str, int] = (await answer.json())["prompts"]
            return prompts

    async def _order(self, path: str, body: dict[str, Any]) -> None:
        async with self.session.post(f"{self.origin}/{path}", json=body) as answer:
            answer.raise_for_status()

    async def _poll(self, path: str, count: int) -> None:
        query = {"n": str(count), "timeout": str(HELD_WITHIN_SECONDS)}
        async with self.session.get(f"{self.origin}/{path}", params=query) as answer:
            answer.raise_for_status()


@asynccontextmanager
async def provider_process(session: aiohttp.ClientSession) -> AsyncIterator[Provider]:
    """Run the fake provider in a process of its own while the context is open."""
    process = await start_forked(
        *("tests.fake_provider", "--port", "0"), environment=os.environ, folder=ROOT
    )
    try:
        async with asyncio.timeout(STARTS_WITHIN_SECONDS):
            port = json.loads(await process.stdout.readline())["port"]
        yield Provider(f"http://127.0.0.1:{port}", session)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
        # To its end, so that the pipe is closed.
        await process.stdout.read()
