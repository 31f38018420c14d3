"""Node/Express with ioredis and the MinIO client, serving a HIT."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from yarl import URL

from benchmarks.stage import ADMIN_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.stage import Picture, Stage

FOLDER = Path(__file__).with_name("node")


@asynccontextmanager
async def express(
    stage: Stage, picture: Picture, *, in_memory: bool
) -> AsyncIterator[str | None]:
    """Run the peer with *picture* stored; yield None without Node or npm."""
    if not await _installed():
        yield None
        return
    seed = {
        "prompt": URL(picture.target).query["prompt"],
        "entry": {
            "key": picture.key,
            "size": str(len(picture.data)),
            "headers": json.dumps(picture.headers),
        },
    }
    running = stage.program(
        ["node", str(FOLDER / "server.js")],
        ADMIN_API_KEY=ADMIN_KEY,
        BYTES="memory" if in_memory else "store",
        NODE_ENV="production",
        SEED=json.dumps(seed),
    )
    async with running as origin:
        yield origin


async def _installed() -> bool:
    """Return whether the peer can run; install its lock file's packages once."""
    if (FOLDER / "node_modules" / "express").is_dir():
        return shutil.which("node") is not None
    if shutil.which("node") is None or shutil.which("npm") is None:
        return False
    process = await asyncio.create_subprocess_exec(
        "npm", "ci", "--ignore-scripts", cwd=FOLDER, stdout=asyncio.subprocess.DEVNULL
    )
    return await process.wait() == 0
