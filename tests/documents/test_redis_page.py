"""The commands of docs/how-to/redis.md, with two Redis servers and a replica."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from app.client import Paintonce
from tests.documents.shell import Shell, blocks
from tests.replica import environment_of, replica
from tests.servers import redis_server as run_redis_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import RedisServer, S3Server

PAGE = "how-to/redis.md"


@pytest.mark.long
async def test_a_move_keeps_the_counts_and_a_loss_keeps_the_pictures(
    redis_server: RedisServer,
    redis_url: str,
    s3_server: S3Server,
    bucket: str,
    tmp_path: Path,
) -> None:
    """A move to another Redis keeps hit counts; a lost Redis paints nothing again."""
    restore, copy, promote, check = blocks(PAGE)
    store = s3_server.environment()
    old = environment_of(redis_url=redis_url, bucket=bucket, object_store=store)
    with redis.Redis.from_url(redis_url) as client:
        # It would wait five seconds for more copies to come.
        client.config_set("repl-diskless-sync-delay", 0)
    with run_redis_server(tmp_path / "new") as new_server:
        new = {**old, "REDIS_URL": new_server.url}
        moving = {
            **new,
            "NEW": new_server.url,
            "OLD_HOST": "127.0.0.1",
            "OLD_PORT": str(redis_server.port),
        }
        with Shell(tmp_path, **moving) as shell:
            async with (
                replica(old, folder=tmp_path) as one,
                Paintonce(one.url) as asked,
            ):
                painted = await asked.generate("a lighthouse in a storm")
                assert (await asked.generate("a lighthouse in a storm")).hits == 1
                shell.run(copy)
            shell.run(promote)
            async with (
                replica(new, folder=tmp_path) as two,
                Paintonce(two.url) as asked,
            ):
                assert (await asked.generate("a lighthouse in a storm")).hits == 2
                with redis.Redis.from_url(new_server.url) as client:
                    client.flushall()

                assert "1 restored, 0 were there" in shell.run(restore)
                assert [e["prompt"] async for e in asked.entries()] == [painted.prompt]
                again = await asked.generate("a lighthouse in a storm")
                assert (again.image_id, again.hits) == (painted.image_id, 1)
            assert "object_store   ok" in shell.run(check)
