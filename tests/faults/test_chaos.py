"""A short run of `make chaos`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.faults.chaos import DEADLINE_SECONDS, MODELS, chaos, look_around, settle
from tests.faults.clients import RudeClient
from tests.faults.history import COSTLY, Asked, History, Kind, Op
from tests.faults.installation import installation
from tests.faults.promises import violations
from tests.faults.report import report
from tests.faults.turmoil import ENTRIES, Turmoil, hash_of, model_of
from tests.other_stores import store_server
from tests.servers import STORE_SERVERS
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import S3Server

SEED = 20
SECONDS = 15.0
# A client that left before it had its picture.
GONE = Asked(op=Op.RESET, prompt="metal", replica=1, began=0.0, ended=0.0, status=None)


@pytest.mark.parametrize("name", STORE_SERVERS)
async def test_every_promise_is_kept_in_a_short_chaos(
    name: str, tmp_path: Path
) -> None:
    """Under random faults each prompt has one whole picture, paid for once a fault."""
    # Its own object store: a run freezes it.
    with store_server(name, tmp_path / "store") as store:
        history = await chaos(
            tmp_path, store, seed=SEED, seconds=SECONDS, replicas=2, clients=6
        )

    text = report(history, seed=SEED, seconds=SECONDS)
    assert violations(history) == [], text
    # It was a run, not a rest.
    assert {fault.kind for fault in history.faults} >= {
        Kind.REPLICA_KILLED,
        Kind.REPLICA_PAUSED,
    }
    assert len({fault.kind for fault in history.faults} & COSTLY) > 2, text
    assert sum(one.status == 200 for one in history.asked) > 50, text


async def test_a_purged_entry_of_an_older_redis_is_no_broken_promise(
    s3_server: S3Server, tmp_path: Path
) -> None:
    """A run requests even what no client has a picture of, so that ghosts are found."""
    history, prompt = History(deadline_seconds=DEADLINE_SECONDS), GONE.prompt
    async with installation(
        tmp_path, s3_server, models=MODELS, REPLICATE_API_TOKEN="r8_token"
    ) as place:
        turmoil = Turmoil(place, history)
        for replica in place.replicas:
            turmoil.welcome(replica)
        await place.provider.hold()
        client = await RudeClient.ask(prompt, place.replicas[0], model=model_of(prompt))
        await place.provider.until_held()
        client.reset()
        await place.provider.release()
        history.asked.append(GONE)
        await until(partial(place.has_entries, 1))
        await place.seen_redis.save()
        path = f"{ENTRIES}/{hash_of(prompt)}"
        await turmoil.ask(Op.PURGE, prompt, 1, method="DELETE", path=path)
        place.redis.kill()
        await asyncio.to_thread(place.redis.start)
        assert await place.has_entries(1)

        await settle(turmoil)
        await look_around(turmoil)

    assert violations(history) == []
