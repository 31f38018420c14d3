"""The commands of docs/how-to/rotate-keys.md replace keys."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from app.client import Paintonce
from tests.documents.shell import blocks

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.documents.shell import Shell
    from tests.replica import Replica

PAGE = "how-to/rotate-keys.md"
ADMIN_KEY = "the-lighthouse-keeper-keeps-the-key"
STATISTICS = "/api/v1/live/stats"
REVOKED_WITHIN_SECONDS = 5.0


@pytest.mark.long
async def test_keys_are_replaced_without_a_gap(
    operator: Callable[..., AbstractAsyncContextManager[tuple[Replica, Shell]]],
    master_key: str,
    tmp_path: Path,
) -> None:
    """Old and new keys work until the old one is revoked, within five seconds."""
    create, revoke, create_signing, revoke_signing, admin = blocks(PAGE)
    async with (
        operator(SIGNING_MASTER_KEY=master_key, ADMIN_API_KEY=ADMIN_KEY) as opened,
        aiohttp.ClientSession(opened[0].url) as session,
    ):
        service, shell = opened
        old = await made(session, kind="api")
        old_signing = await made(session, kind="signing")
        old_url = Paintonce("http://a.example", project="acme/shop").sign(
            "a red fox",
            kid=old_signing["id"],
            secret=old_signing["key"],
            exp=int(time.time()) + 600,
        )
        old_url = old_url.removeprefix("http://a.example")
        shell.run(f"OLD={old['id']} OLD_SIGNING={old_signing['id']}")

        shell.run(create)
        new = json.loads((tmp_path / "new.json").read_text())
        for key in (old["key"], new["key"]):
            assert await status(session, STATISTICS, key) == 200
        assert f"{old['id']}  acme/shop" in shell.run(revoke)
        await becomes(401, session, STATISTICS, old["key"])
        assert await status(session, STATISTICS, new["key"]) == 200

        shell.run(create_signing)
        sign = "python -m app sign acme/shop --prompt 'a red fox'"
        new_url = shell.run(sign).strip().removeprefix(service.url)
        signing = json.loads((tmp_path / "signing.json").read_text())
        assert f"kid={signing['id']}" in new_url
        for url in (old_url, new_url):
            assert await status(session, url) == 200
        shell.run(revoke_signing)
        await becomes(403, session, old_url)
        assert await status(session, new_url) == 200

        admin_key = shell.run(admin).strip().splitlines()[-1]
        assert await status(session, "/api/v1/keys", admin_key) == 200


async def made(session: aiohttp.ClientSession, kind: str) -> Any:
    """Make the key that the page replaces."""
    async with session.post(
        "/api/v1/keys",
        json={"project": "acme/shop", "kind": kind},
        headers={"X-API-Key": ADMIN_KEY},
    ) as answer:
        return await answer.json()


async def status(session: aiohttp.ClientSession, url: str, key: str = "") -> int:
    """Return the status of a GET of *url*."""
    headers = {"X-API-Key": key} if key else None
    async with session.get(url, headers=headers) as answer:
        return answer.status


async def becomes(
    expected: int, session: aiohttp.ClientSession, url: str, key: str = ""
) -> None:
    """Return when a GET of *url* has the *expected* status."""
    async with asyncio.timeout(REVOKED_WITHIN_SECONDS):
        while True:
            if await status(session, url, key) == expected:
                return
            await asyncio.sleep(0.1)
