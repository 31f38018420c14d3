"""`python -m tests.faults.chaos`: random faults and clients for a while.

Real replicas, Redis, a store and a fake provider run as processes. Clients request,
herd, refresh, purge and reset. Replicas are killed and paused; Redis is frozen,
flushed, restarted and restored from a snapshot; the store freezes; the provider fails
and is slow. Then the history is checked. The exit status is 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from tqdm import tqdm

from app.prompt_cache.entry.entry import PromptEntry
from app.storage.redis.prompts import ACCESS_BYTES
from app.urls import PROJECT as PROJECT_ROUTE
from app.urls import SPEND, STATISTICS
from tests.faults.breakages import Breakages
from tests.faults.history import Call, History, Kind, Money, Op
from tests.faults.installation import PRICE, installation
from tests.faults.place import PROJECT
from tests.faults.promises import violations
from tests.faults.report import report
from tests.faults.turmoil import PAINTING_SECONDS, Turmoil
from tests.servers import STORE_SERVERS
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.faults.place import Place
    from tests.servers import S3Server

LEASE_SECONDS = 1.5
WAIT_SECONDS = 8.0
# Beside the wait for a painting: a look-up, the ledger, the way of the bytes,
# and what two cores with all of this on them add.
OVERHEAD_SECONDS = 6.0


# The second model has jobs; prompts are shared out among the two.
MODELS = """\
[models.default]
provider = "openai"
model = "fake"
base_url = "{origin}/v1"
api_key_env = ""
price = 0.04
concurrency = 1000
queue = 1000
deadline_seconds = {deadline_seconds}
ambiguous_hold_seconds = 10

[models.jobs]
provider = "replicate"
model = "black-forest-labs/flux-schnell"
base_url = "{origin}/v1"
api_key_env = "REPLICATE_API_TOKEN"
price = 0.04
concurrency = 1000
queue = 1000
deadline_seconds = {deadline_seconds}
ambiguous_hold_seconds = 10
"""
DEADLINE_SECONDS = 10.0

# Modes of the fake provider that cost the price and bring no picture.
LOST_MODES = {"reset_before_headers", "never", "moderation", "lost"}


async def chaos(
    folder: Path,
    store: S3Server,
    *,
    seed: int,
    seconds: float,
    replicas: int = 3,
    clients: int = 8,
) -> History:
    """Run for *seconds*; return the history, to be checked."""
    history = History(deadline_seconds=WAIT_SECONDS + OVERHEAD_SECONDS)
    async with installation(
        folder,
        store,
        replicas=replicas,
        models=MODELS,
        deadline_seconds=DEADLINE_SECONDS,
        REPLICATE_API_TOKEN="r8_token",
        LEASE_SECONDS=str(LEASE_SECONDS),
        WAIT_TIMEOUT_SECONDS=str(WAIT_SECONDS),
    ) as place:
        turmoil = Turmoil(place, history)
        for replica in place.replicas:
            turmoil.welcome(replica)
        breakages = Breakages(turmoil, store, Random(seed), LEASE_SECONDS)
        await place.provider.behave("ok", delay_seconds=PAINTING_SECONDS)
        stops_at = time.monotonic() + seconds
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(clients):
                    random = Random(f"{seed} {number}")
                    tasks.create_task(turmoil.client(random, stops_at))
                tasks.create_task(breakages.replicas(stops_at))
                tasks.create_task(breakages.dependencies(stops_at))
        finally:
            store.thaw()
        await settle(turmoil)
        await look_around(turmoil)
        await _balance(turmoil)
    return history


async def settle(turmoil: Turmoil) -> None:
    """Wait until no painting runs, then request every prompt at every replica.

    Of a prompt that was purged, an older Redis may have the entry. Its picture is gone,
    which the service finds out at the next request, so prompts that no client has a
    picture of are requested as well.
    """
    place, history = turmoil.place, turmoil.history
    for replica in turmoil.alive.values():
        await replica.until_ready()

    async def nothing_is_held() -> bool:
        return not await place.leases()

    try:
        await until(nothing_is_held, within_seconds=DEADLINE_SECONDS + 20)
    except TimeoutError:
        history.left_behind.append(
            f"leases that were not released: {await place.leases()}"
        )
    for prompt in history.prompts():
        await asyncio.gather(
            *(turmoil.ask(Op.GET, prompt, number) for number in turmoil.alive)
        )


async def look_around(turmoil: Turmoil) -> None:
    """Record the provider's calls, and inconsistencies of Redis and the store."""
    place, history = turmoil.place, turmoil.history
    async with place.clients.session.get(f"{place.provider.origin}/_calls") as answer:
        calls = (await answer.json())["calls"]
    async with place.clients.session.get(f"{place.provider.origin}/_jobs") as answer:
        jobs = await answer.json()
    cancelled = {job["number"] for job in jobs if job["is_cancelled"]}
    # The vendor says of them that they never ran, so they cost nothing.
    never_ran = {
        job["number"] for job in jobs if job["is_cancelled"] and not job["polls"]
    }
    history.calls += [
        Call(
            prompt=call["prompt"],
            began=call["started_at"],
            ended=call["ended_at"] or time.time(),
            failed=call["mode"] not in {"ok", *LOST_MODES}
            or call["number"] in never_ran,
            lost=call["mode"] in LOST_MODES or call["number"] in cancelled,
        )
        for call in calls
    ]
    try:
        # A picture that can't be fetched is fetched again after half a minute.
        await until(_no_job_is_left(turmoil), within_seconds=45)
    except TimeoutError:
        left = await _jobs_left(turmoil)
        history.left_behind.append(f"jobs that were not finished: {left}")
    for key in await place.entries():
        kept: Any = await place.seen_redis.get(key)
        entry = PromptEntry.from_record("", kept[ACCESS_BYTES:])
        if entry is None:
            history.left_behind.append(f"an entry that can't be read: {key}")
        elif flaw := await _flaw_of(place, entry):
            prompt = entry.parameters.prompt
            history.left_behind.append(f"the entry of {prompt!r} has {flaw}")


def _no_job_is_left(turmoil: Turmoil) -> Callable[[], Awaitable[bool]]:
    async def no_job_is_left() -> bool:
        return not await _jobs_left(turmoil)

    return no_job_is_left


async def _jobs_left(turmoil: Turmoil) -> list[str]:
    """Return the keys of all jobs; of an older Redis those whose calls are open.

    It has jobs that had ended, which no replica goes on with.
    """
    place, left = turmoil.place, await turmoil.place.jobs()
    if all(one.kind is not Kind.REDIS_RESTORED for one in turmoil.history.faults):
        return left
    calls = (await _read(turmoil, SPEND))["calls"]
    opened = {call["generation_id"] for call in calls if call["outcome"] == "open"}
    notes = {key: await place.seen_redis.get(key) for key in left}
    return [
        key
        for key, note in notes.items()
        if note is not None and json.loads(note)["generation_id"] in opened
    ]


async def _read(turmoil: Turmoil, path: str) -> Any:
    """Return the JSON with which a living replica answers for *path*."""
    replica = next(iter(turmoil.alive.values()))
    async with turmoil.place.clients.session.get(
        f"{replica.url}{path}", headers={"X-Project": PROJECT}
    ) as answer:
        return await answer.json()


async def _balance(turmoil: Turmoil) -> None:
    """Record differences between the accounts and the provider's calls.

    Calls, journal, the day's spend and the statistics have the same sum. A call whose
    replica died before it was sent is in the journal as open.
    """
    history, read = turmoil.history, partial(_read, turmoil)

    async def agrees() -> bool:
        spend, project = await read(SPEND), await read(PROJECT_ROUTE)
        booked = project["spent_today"] + project["reserved"]
        return bool(round(booked / PRICE) == round(spend["total"] / PRICE))

    try:
        # Calls that could not be settled during an outage are settled a second later.
        # A reservation whose replica died before it wrote the call down is given back
        # after half a minute.
        await until(agrees, within_seconds=45)
    except TimeoutError:
        project, spend = await read(PROJECT_ROUTE), await read(SPEND)
        history.left_behind.append(
            f"the project has spent {project['spent_today']} and reserved "
            f"{project['reserved']}, its journal has {spend['total']}"
        )
    spend, statistics = await read(SPEND), await read(STATISTICS)
    paid = sum(not call.failed for call in history.calls)
    journaled = len(spend["calls"])
    opened = sum(call["outcome"] == "open" for call in spend["calls"])
    history.money = Money(
        calls=paid,
        journaled=journaled,
        opened=opened,
        total=spend["total"],
        statistics=statistics["spend"],
    )
    if not journaled - opened <= paid <= journaled:
        history.left_behind.append(
            f"{paid} calls cost money, {journaled} are in the journal, {opened} open"
        )
    if round(statistics["spend"] / PRICE) != journaled:
        history.left_behind.append(
            f"{journaled} calls are in the journal, {statistics['spend']} in statistics"
        )
    if round(spend["total"] / PRICE) != journaled:
        history.left_behind.append(f"{journaled} calls come to {spend['total']}")


async def _flaw_of(place: Place, entry: PromptEntry) -> str:
    """Return the defect of an entry's object, or "" if it has none."""
    try:
        found: Any = await place.seen_store.get_object(
            Bucket=place.bucket, Key=str(entry.storage_key)
        )
    except ClientError:
        return "no picture"
    async with found["Body"] as body:
        data = await body.read()
    is_right = (len(data), sha256(data).hexdigest()) == (entry.size, entry.digest)
    return "" if is_right else "another picture than it says"


async def _show_progress(seconds: float) -> None:
    """Move a bar while the run goes on."""
    with tqdm(total=round(seconds), unit="s", desc="chaos") as bar:
        for _ in range(round(seconds)):
            await asyncio.sleep(1)
            bar.update()


async def _main(options: argparse.Namespace) -> int:
    _, run = STORE_SERVERS[options.store]
    with (
        tempfile.TemporaryDirectory(prefix="paintonce-chaos-") as name,
        run(Path(name) / "store") as store,
    ):
        progress = asyncio.create_task(_show_progress(options.seconds))
        try:
            history = await chaos(
                Path(name),
                store,
                seed=options.seed,
                seconds=options.seconds,
                replicas=options.replicas,
                clients=options.clients,
            )
        finally:
            progress.cancel()
            await asyncio.wait([progress])
    text = report(history, seed=options.seed, seconds=options.seconds)
    sys.stdout.write(f"{text}\n")
    return 1 if violations(history) else 0


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--store", choices=STORE_SERVERS, default="minio")
    return asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
