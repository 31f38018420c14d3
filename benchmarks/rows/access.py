"""Row 11: the cost of authentication for a HIT."""

from __future__ import annotations

import base64
import secrets
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

from app.signing import sign_url
from benchmarks.figures import OURS, rates, ratios
from benchmarks.load import Load
from benchmarks.stage import HEADERS, PROJECT

if TYPE_CHECKING:
    from benchmarks.figures import Line
    from benchmarks.stage import Stage
    from tests.replica import Replica

PROMPT = "a lighthouse in a storm"
OFF, KEYED = "AUTH=off", "a key of the ledger"
GOAL = 0.95


async def authentication(stage: Stage) -> list[Line]:
    """Row 11: a HIT with a key and with a signature, against one with AUTH=off."""
    source = stage.sources[0]
    master = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    async with AsyncExitStack() as stack:
        off = await stack.enter_async_context(
            stage.service(source, settings={"AUTH": "off"})
        )
        on = await stack.enter_async_context(
            stage.service(source, settings={"SIGNING_MASTER_KEY": master})
        )
        picture = await stage.paint(on, PROMPT)
        await stage.paint(off, PROMPT)
        key = (await _made(on, "api"))["key"]
        signing = await _made(on, "signing")
        signed = sign_url(
            on.url,
            PROMPT,
            project=PROJECT,
            kid=signing["id"],
            secret=signing["key"],
            exp=int(time.time()) + 86_400,
        )
        split = urlsplit(signed)
        loads = {
            KEYED: Load(on.url, (picture.target,), {"X-API-Key": key}),
            "a signed URL": Load(on.url, (f"{split.path}?{split.query}",)),
            OFF: Load(off.url, (picture.target,), {"X-Project": PROJECT}),
        }
        figures = await rates(stage, loads)
    keyed = {OURS: figures[KEYED], OFF: figures[OFF]}
    by_signature = {OURS: figures["a signed URL"], KEYED: figures[KEYED]}
    return [
        *ratios("11", "HIT with a key", keyed, goals={OFF: GOAL}),
        *ratios("11", "HIT by a signed URL", by_signature, goals={KEYED: GOAL}),
    ]


async def _made(service: Replica, kind: str) -> dict[str, str]:
    """Make a key of the project."""
    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        session.post(
            f"{service.url}/api/v1/keys", json={"project": PROJECT, "kind": kind}
        ) as answer,
    ):
        answer.raise_for_status()
        made: dict[str, str] = await answer.json()
        return made
