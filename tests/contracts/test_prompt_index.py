"""The contract of the prompt index, for Redis and the fake."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
import redis

from app.errors import CacheUnavailable
from app.storage.ports.prompt_index import (
    CountedRecord,
    FailedBefore,
    Following,
    Leading,
    Painted,
    SeenRecord,
)
from app.storage.redis import keys
from app.storage.redis.client.traffic import open_redis
from app.storage.redis.completion_events import open_completion_events
from app.storage.redis.prompts import RedisPromptIndex
from tests.fakes import InMemoryCompletionEvents, InMemoryPromptIndex
from tests.servers import redis_server as run_redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from app.storage.ports.prompt_index import Completion, CompletionEvents, PromptIndex

LIGHTHOUSE = sha256(b"a lighthouse in a storm").hexdigest()
FOX = sha256(b"a red fox").hexdigest()
NOTHING = sha256(b"nothing").hexdigest()
RECORD = b"\x00the first picture}\xff"
ANOTHER_RECORD = b"\x01the second picture, and more"
FAILURE = b'{"kind": "PromptRejected"}'
LEFT = b'{"acme/shop/generated/1.png": 16}'
TWENTY_SECONDS = timedelta(seconds=20)
TEN_MINUTES = timedelta(minutes=10)
SOON_SECONDS = 10.0
NOON_MS = 1_700_000_000_000


@dataclass
class Place:
    """An index, its events, and controls that only a test has."""

    index: PromptIndex
    completions: CompletionEvents
    expire_lease: Callable[[str], object]
    fill: Callable[[], object]
    cut_news: Callable[[], object]


@asynccontextmanager
async def in_memory() -> AsyncIterator[Place]:
    """Give the fake."""
    completions = InMemoryCompletionEvents()
    index = InMemoryPromptIndex(completions)

    def fill() -> None:
        """Make the fake refuse writes that need memory."""
        index.is_full = True

    yield Place(index, completions, index.expire_lease, fill, lambda: None)


@asynccontextmanager
async def in_redis(url: str) -> AsyncIterator[Place]:
    """Give the real one."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
        client.config_set("maxmemory", 0)
        async with (
            open_redis(url) as connections,
            open_completion_events(connections.subscriber) as completions,
        ):
            yield Place(
                RedisPromptIndex(
                    commands=connections.commands, leases=connections.leases
                ),
                completions,
                lambda prompt_hash: client.delete(keys.lease(prompt_hash)),
                lambda: client.config_set("maxmemory", 1),
                lambda: client.client_kill_filter(_type="pubsub"),
            )


@pytest.fixture(scope="module")
def private_redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a Redis whose memory a test may limit."""
    with run_redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture(params=["memory", "redis"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """Give each kind of index, empty."""
    if request.param == "memory":
        async with in_memory() as made:
            yield made
    else:
        async with in_redis(request.getfixturevalue("private_redis_url")) as made:
            yield made


@pytest.fixture
def index(place: Place) -> PromptIndex:
    """Give the index alone."""
    return place.index


async def painted(
    index: PromptIndex, record: bytes = RECORD, token: str = "leader"
) -> None:
    """Write an entry as a leader does."""
    assert await index.hold(LIGHTHOUSE, token, TWENTY_SECONDS) == Leading()
    assert await index.commit(LIGHTHOUSE, token, record)


async def leads_at_last(index: PromptIndex, token: str) -> None:
    """Ask until the lease is free, because an expiry sends no event."""
    async with asyncio.timeout(SOON_SECONDS):
        while not isinstance(  # noqa: ASYNC110 - an expiry sends no event
            await index.acquire(LIGHTHOUSE, token, TWENTY_SECONDS), Leading
        ):
            await asyncio.sleep(0.005)


async def heard(completion: Completion, within_seconds: float) -> bool:
    """Return whether an event arrived in time."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    await completion.wait(within_seconds)
    return loop.time() - started < within_seconds


async def listening(place: Place) -> None:
    """Return once events arrive, because the subscription is made in the background."""
    with place.completions.expect(NOTHING) as completion:
        async with asyncio.timeout(SOON_SECONDS):
            while True:
                await place.index.hold(NOTHING, "unused", TWENTY_SECONDS)
                await place.index.release(NOTHING, "unused")
                if await heard(completion, 0.1):
                    return


async def test_an_unknown_prompt_is_not_there(index: PromptIndex) -> None:
    """A look-up of an unknown prompt finds nothing and counts nothing."""
    assert await index.look_up(LIGHTHOUSE, NOON_MS) is None

    await painted(index)

    assert await index.look_up(LIGHTHOUSE, NOON_MS) == CountedRecord(RECORD, 1)


async def test_each_of_many_concurrent_look_ups_gets_its_own_count(
    index: PromptIndex,
) -> None:
    """A hundred concurrent look-ups get the counts 1 to 100, each once."""
    await painted(index)

    found = await asyncio.gather(
        *(index.look_up(LIGHTHOUSE, NOON_MS) for _ in range(100))
    )

    assert sorted(item.hits or 0 for item in found if item) == list(range(1, 101))
    (seen,) = await index.peek([LIGHTHOUSE])
    assert seen == SeenRecord(RECORD, 100, NOON_MS)


async def test_looking_without_counting_leaves_the_count_alone(
    index: PromptIndex,
) -> None:
    """A peek returns entries in the given order and counts nothing."""
    await painted(index)
    await index.look_up(LIGHTHOUSE, NOON_MS)

    assert await index.peek([FOX, LIGHTHOUSE, FOX]) == [
        None,
        SeenRecord(RECORD, 1, NOON_MS),
        None,
    ]
    assert await index.peek([]) == []


async def test_an_entry_that_was_never_hit_has_no_time_of_access(
    index: PromptIndex,
) -> None:
    """An entry without hits has no time of last access."""
    await painted(index)

    assert await index.peek([LIGHTHOUSE]) == [SeenRecord(RECORD, 0, None)]


async def test_one_of_many_leads_and_the_others_follow_it(index: PromptIndex) -> None:
    """One of ten replicas gets the lease; the others get the leader's token."""
    verdicts = await asyncio.gather(
        *(index.acquire(LIGHTHOUSE, f"r{n}", TWENTY_SECONDS) for n in range(10))
    )

    leaders = [n for n, verdict in enumerate(verdicts) if verdict == Leading()]
    assert len(leaders) == 1
    assert verdicts.count(Following(f"r{leaders[0]}")) == 9


async def test_a_leader_whose_reply_was_lost_still_leads(index: PromptIndex) -> None:
    """A leader that acquires again with the same token still leads."""
    assert await index.acquire(LIGHTHOUSE, "leader", TWENTY_SECONDS) == Leading()

    assert await index.acquire(LIGHTHOUSE, "leader", TWENTY_SECONDS) == Leading()
    assert await index.acquire(LIGHTHOUSE, "late", TWENTY_SECONDS) == Following(
        "leader"
    )


async def test_a_painted_prompt_has_no_leader(index: PromptIndex) -> None:
    """Acquiring the lease of a painted prompt returns `Painted`."""
    await painted(index)

    assert await index.acquire(LIGHTHOUSE, "late", TWENTY_SECONDS) == Painted()


async def failure_stands(index: PromptIndex) -> None:
    """Assert that the lighthouse is refused with its failure for ten minutes."""
    verdict = await index.acquire(LIGHTHOUSE, "late", TWENTY_SECONDS)
    remembered = await index.remembered(LIGHTHOUSE)

    assert isinstance(verdict, FailedBefore)
    assert verdict.failure == FAILURE
    assert timedelta(minutes=9) < verdict.remaining <= TEN_MINUTES
    assert remembered is not None
    assert remembered.failure == FAILURE


async def test_a_failed_prompt_has_no_leader(index: PromptIndex) -> None:
    """Acquiring the lease of a failed prompt returns the failure and its rest time."""
    await index.acquire(LIGHTHOUSE, "leader", TWENTY_SECONDS)
    assert await index.fail(LIGHTHOUSE, "leader", FAILURE, TEN_MINUTES)

    await failure_stands(index)

    assert await index.remembered(FOX) is None


async def test_a_hold_outlasts_a_purge(index: PromptIndex) -> None:
    """A purge leaves the hold after an ambiguous end in place."""
    await index.acquire(LIGHTHOUSE, "leader", TWENTY_SECONDS)
    assert await index.fail(LIGHTHOUSE, "leader", FAILURE, TEN_MINUTES, is_hold=True)
    await index.hold(LIGHTHOUSE, "purge", TWENTY_SECONDS)
    assert await index.forget(LIGHTHOUSE, "purge", LEFT)
    await index.release(LIGHTHOUSE, "purge")

    await failure_stands(index)


async def test_a_hold_ends_by_itself(index: PromptIndex) -> None:
    """After a hold has expired the prompt can be painted."""
    await index.acquire(LIGHTHOUSE, "leader", TWENTY_SECONDS)
    await index.fail(
        LIGHTHOUSE, "leader", FAILURE, timedelta(milliseconds=20), is_hold=True
    )

    await leads_at_last(index, "late")


async def test_a_failure_is_forgotten_after_its_time(index: PromptIndex) -> None:
    """After a failure has expired the prompt can be painted."""
    await index.acquire(LIGHTHOUSE, "leader", TWENTY_SECONDS)
    await index.fail(LIGHTHOUSE, "leader", FAILURE, timedelta(milliseconds=20))

    await leads_at_last(index, "late")

    assert await index.remembered(LIGHTHOUSE) is None


async def test_a_lease_runs_out_by_itself(index: PromptIndex) -> None:
    """The lease of a dead leader expires."""
    await index.acquire(LIGHTHOUSE, "dead", timedelta(milliseconds=20))

    await leads_at_last(index, "late")


async def test_holding_renews_what_is_ours_and_takes_what_is_vacant(
    place: Place,
) -> None:
    """`hold` renews the holder's lease, takes a free one, and names another holder."""
    index = place.index
    assert await index.hold(LIGHTHOUSE, "holder", TWENTY_SECONDS) == Leading()
    assert await index.hold(LIGHTHOUSE, "holder", TWENTY_SECONDS) == Leading()
    stranger = await index.hold(LIGHTHOUSE, "stranger", TWENTY_SECONDS)
    assert stranger == Following("holder")

    place.expire_lease(LIGHTHOUSE)

    assert await index.hold(LIGHTHOUSE, "stranger", TWENTY_SECONDS) == Leading()


async def test_an_entry_or_a_failure_does_not_keep_a_lease_from_being_held(
    index: PromptIndex,
) -> None:
    """`hold` gets the lease of a painted prompt and of a failed one."""
    await painted(index)
    assert await index.hold(LIGHTHOUSE, "refresh", TWENTY_SECONDS) == Leading()
    await index.fail(LIGHTHOUSE, "refresh", FAILURE, TEN_MINUTES)

    assert await index.hold(LIGHTHOUSE, "purge", TWENTY_SECONDS) == Leading()


async def test_only_the_holder_writes_an_entry(place: Place) -> None:
    """A commit, a failure or a removal under a lost lease changes nothing."""
    index = place.index
    await index.acquire(LIGHTHOUSE, "stalled", TWENTY_SECONDS)
    place.expire_lease(LIGHTHOUSE)

    assert not await index.commit(LIGHTHOUSE, "stalled", RECORD)
    assert not await index.fail(LIGHTHOUSE, "stalled", FAILURE, TEN_MINUTES)
    await index.acquire(LIGHTHOUSE, "next", TWENTY_SECONDS)
    assert not await index.commit(LIGHTHOUSE, "stalled", RECORD)
    assert not await index.fail(LIGHTHOUSE, "stalled", FAILURE, TEN_MINUTES)
    assert not await index.forget(LIGHTHOUSE, "stalled", LEFT)

    assert await index.peek([LIGHTHOUSE]) == [None]
    assert await index.remembered(LIGHTHOUSE) is None
    assert await index.commit(LIGHTHOUSE, "next", RECORD)


async def test_a_commit_releases_and_outranks_a_failure(index: PromptIndex) -> None:
    """A commit frees the lease and removes a remembered failure."""
    await index.hold(LIGHTHOUSE, "first", TWENTY_SECONDS)
    await index.fail(LIGHTHOUSE, "first", FAILURE, TEN_MINUTES)
    await painted(index, token="second")

    assert await index.remembered(LIGHTHOUSE) is None
    assert await index.hold(LIGHTHOUSE, "third", TWENTY_SECONDS) == Leading()


async def test_a_refresh_keeps_the_hits(index: PromptIndex) -> None:
    """A new record of a prompt keeps its hit count."""
    await painted(index)
    await index.look_up(LIGHTHOUSE, NOON_MS)
    await painted(index, ANOTHER_RECORD, token="refresh")

    assert await index.peek([LIGHTHOUSE]) == [SeenRecord(ANOTHER_RECORD, 1, NOON_MS)]
    found = await index.look_up(LIGHTHOUSE, NOON_MS + 1)
    assert found == CountedRecord(ANOTHER_RECORD, 2)


async def test_only_the_holder_releases(index: PromptIndex) -> None:
    """A release with another token changes nothing."""
    await index.acquire(LIGHTHOUSE, "holder", TWENTY_SECONDS)

    await index.release(LIGHTHOUSE, "stranger")
    late = await index.acquire(LIGHTHOUSE, "late", TWENTY_SECONDS)
    assert late == Following("holder")

    await index.release(LIGHTHOUSE, "holder")
    assert await index.acquire(LIGHTHOUSE, "late", TWENTY_SECONDS) == Leading()


async def test_forgetting_removes_entry_hits_and_failure(index: PromptIndex) -> None:
    """A purge removes the entry, its hits and its failure."""
    await painted(index)
    await index.look_up(LIGHTHOUSE, NOON_MS)
    await index.hold(LIGHTHOUSE, "refresh", TWENTY_SECONDS)
    await index.fail(LIGHTHOUSE, "refresh", FAILURE, TEN_MINUTES)
    await index.hold(LIGHTHOUSE, "purge", TWENTY_SECONDS)

    assert await index.forget(LIGHTHOUSE, "purge", LEFT)

    assert await index.peek([LIGHTHOUSE]) == [None]
    assert await index.remembered(LIGHTHOUSE) is None
    await painted(index, token="purge")
    assert await index.look_up(LIGHTHOUSE, NOON_MS) == CountedRecord(RECORD, 1)


async def test_a_purge_keeps_what_it_has_left_until_it_is_finished(
    index: PromptIndex,
) -> None:
    """An interrupted purge leaves a list of what is still to be removed."""
    await painted(index)
    await index.hold(LIGHTHOUSE, "purge", TWENTY_SECONDS)
    assert await index.left(LIGHTHOUSE) is None
    await index.forget(LIGHTHOUSE, "purge", LEFT)

    await index.finish(LIGHTHOUSE, "stranger")
    assert await index.left(LIGHTHOUSE) == LEFT
    await index.finish(LIGHTHOUSE, "purge")
    assert await index.left(LIGHTHOUSE) is None


@pytest.mark.parametrize("end", ["commit", "fail", "forget"])
async def test_a_job_lasts_as_long_as_its_painting(
    index: PromptIndex, end: str
) -> None:
    """A job is stored under the lease and removed when the painting ends."""
    await index.hold(LIGHTHOUSE, "leader", TWENTY_SECONDS)
    assert await index.job(LIGHTHOUSE) is None
    assert await index.keep_job(LIGHTHOUSE, "leader", b"a job", TEN_MINUTES)
    assert not await index.keep_job(LIGHTHOUSE, "stranger", b"another", TEN_MINUTES)
    await index.release(LIGHTHOUSE, "leader")
    assert await index.job(LIGHTHOUSE) == b"a job"

    await index.hold(LIGHTHOUSE, "next", TWENTY_SECONDS)
    if end == "commit":
        await index.commit(LIGHTHOUSE, "next", RECORD)
    elif end == "fail":
        await index.fail(LIGHTHOUSE, "next", FAILURE, TEN_MINUTES)
    else:
        await index.forget(LIGHTHOUSE, "next", LEFT)

    assert await index.job(LIGHTHOUSE) is None


async def test_the_last_refresh_is_marked_for_a_while(place: Place) -> None:
    """The mark of the last refresh is readable until it expires."""
    index = place.index
    assert await index.refresh_mark(LIGHTHOUSE) is None

    await index.mark_refresh(LIGHTHOUSE, b"begun", TEN_MINUTES)
    await index.mark_refresh(LIGHTHOUSE, b"answered", TEN_MINUTES)
    assert await index.refresh_mark(LIGHTHOUSE) == b"answered"

    await index.mark_refresh(LIGHTHOUSE, b"over", timedelta(milliseconds=1))
    await asyncio.sleep(0.01)
    assert await index.refresh_mark(LIGHTHOUSE) is None


async def test_a_leader_may_note_a_failure_and_go_on(place: Place) -> None:
    """A noted failure reaches followers, keeps the lease, and ends with the commit."""
    index = place.index
    await index.hold(LIGHTHOUSE, "leader", TWENTY_SECONDS)

    assert await index.note(LIGHTHOUSE, "leader", FAILURE, TEN_MINUTES)
    assert not await index.note(LIGHTHOUSE, "stranger", FAILURE, TEN_MINUTES)

    verdict = await index.acquire(LIGHTHOUSE, "follower", TWENTY_SECONDS)
    assert isinstance(verdict, FailedBefore)
    assert await index.holder(LIGHTHOUSE) == "leader"
    assert await index.commit(LIGHTHOUSE, "leader", RECORD)
    assert await index.remembered(LIGHTHOUSE) is None


async def test_a_failure_may_leave_the_job_to_the_next_leader(place: Place) -> None:
    """A failure may keep the job, which only the next leader can remove."""
    index = place.index
    await index.hold(LIGHTHOUSE, "leader", TWENTY_SECONDS)
    await index.keep_job(LIGHTHOUSE, "leader", b"a job", TEN_MINUTES)

    assert await index.fail(LIGHTHOUSE, "leader", FAILURE, TEN_MINUTES, keeps_job=True)
    assert await index.remembered(LIGHTHOUSE) is not None
    assert await index.job(LIGHTHOUSE) == b"a job"

    await index.hold(LIGHTHOUSE, "next", TWENTY_SECONDS)
    await index.drop_job(LIGHTHOUSE, "leader")
    assert await index.job(LIGHTHOUSE) == b"a job"
    await index.drop_job(LIGHTHOUSE, "next")
    assert await index.job(LIGHTHOUSE) is None


async def test_only_the_holder_withdraws_an_entry(place: Place) -> None:
    """Only the lease holder withdraws an entry, and its hits stay."""
    index = place.index
    await painted(index)
    await index.look_up(LIGHTHOUSE, NOON_MS)
    await index.hold(LIGHTHOUSE, "refresh", TWENTY_SECONDS)

    assert not await index.withdraw(LIGHTHOUSE, "stranger")
    assert await index.peek([LIGHTHOUSE]) == [SeenRecord(RECORD, 1, NOON_MS)]
    assert await index.withdraw(LIGHTHOUSE, "refresh")
    assert await index.withdraw(LIGHTHOUSE, "refresh")
    assert await index.peek([LIGHTHOUSE]) == [None]

    assert await index.commit(LIGHTHOUSE, "refresh", ANOTHER_RECORD)
    assert await index.peek([LIGHTHOUSE]) == [SeenRecord(ANOTHER_RECORD, 1, NOON_MS)]


async def test_a_renewal_takes_no_lease_that_has_run_out(place: Place) -> None:
    """A renewal of an expired lease fails and does not take it again."""
    index = place.index
    await index.hold(LIGHTHOUSE, "purge", TWENTY_SECONDS)
    assert await index.renew(LIGHTHOUSE, "purge", TWENTY_SECONDS)
    assert await index.holder(LIGHTHOUSE) == "purge"
    assert not await index.renew(LIGHTHOUSE, "stranger", TWENTY_SECONDS)
    place.expire_lease(LIGHTHOUSE)

    assert not await index.renew(LIGHTHOUSE, "purge", TWENTY_SECONDS)
    assert await index.holder(LIGHTHOUSE) is None


async def test_dropping_compares(index: PromptIndex) -> None:
    """A drop removes an entry only if its record is still the given one."""
    await painted(index)
    await index.look_up(LIGHTHOUSE, NOON_MS)

    assert not await index.drop(LIGHTHOUSE, ANOTHER_RECORD)
    assert await index.drop(LIGHTHOUSE, RECORD)
    assert not await index.drop(LIGHTHOUSE, RECORD)
    assert await index.peek([LIGHTHOUSE]) == [None]
    assert await index.look_up(LIGHTHOUSE, NOON_MS + 1) is None


async def test_a_drop_with_hits_leaves_nothing(index: PromptIndex) -> None:
    """A prompt that is painted again after its hits were dropped begins at one."""
    await painted(index)
    await index.look_up(LIGHTHOUSE, NOON_MS)
    assert not await index.drop_with_hits(LIGHTHOUSE, ANOTHER_RECORD)
    assert await index.drop_with_hits(LIGHTHOUSE, RECORD)

    await painted(index)
    assert await index.peek([LIGHTHOUSE]) == [SeenRecord(RECORD, 0, None)]
    assert await index.look_up(LIGHTHOUSE, NOON_MS) == CountedRecord(RECORD, 1)


async def test_hits_and_last_access_outlive_a_record(index: PromptIndex) -> None:
    """A prompt that is painted again keeps its hits and last access."""
    await painted(index)
    await index.look_up(LIGHTHOUSE, NOON_MS)
    await index.drop(LIGHTHOUSE, RECORD)

    verdict = await index.acquire(LIGHTHOUSE, "leader", TWENTY_SECONDS)
    assert verdict == Leading()
    await painted(index, ANOTHER_RECORD)

    assert await index.peek([LIGHTHOUSE]) == [SeenRecord(ANOTHER_RECORD, 1, NOON_MS)]
    found = await index.look_up(LIGHTHOUSE, NOON_MS + 1)
    assert found == CountedRecord(ANOTHER_RECORD, 2)


@pytest.mark.parametrize("how", ["commit", "fail", "release"])
async def test_a_follower_gets_the_end_of_its_prompt(place: Place, how: str) -> None:
    """A follower gets an event when its prompt is painted, fails or is given up."""
    index = place.index
    await listening(place)
    with (
        place.completions.expect(LIGHTHOUSE) as completion,
        place.completions.expect(FOX) as other,
    ):
        await index.hold(LIGHTHOUSE, "leader", TWENTY_SECONDS)
        match how:
            case "commit":
                await index.commit(LIGHTHOUSE, "leader", RECORD)
            case "fail":
                await index.fail(LIGHTHOUSE, "leader", FAILURE, TEN_MINUTES)
            case _:
                await index.release(LIGHTHOUSE, "leader")

        assert await heard(completion, SOON_SECONDS)
        assert not await heard(other, 0.0)


async def test_news_from_before_the_wait_is_not_lost(place: Place) -> None:
    """An event between the subscription and the wait is not lost."""
    await listening(place)
    with (
        place.completions.expect(LIGHTHOUSE) as completion,
        place.completions.expect(LIGHTHOUSE) as other,
    ):
        await place.index.hold(LIGHTHOUSE, "leader", TWENTY_SECONDS)
        await place.index.release(LIGHTHOUSE, "leader")

        assert await heard(completion, SOON_SECONDS)
        assert await heard(other, SOON_SECONDS)
        assert not await heard(completion, 0.0)


async def test_news_comes_again_after_the_connection_was_cut(place: Place) -> None:
    """Events arrive again after the subscription's connection was cut."""
    await listening(place)
    place.cut_news()

    await listening(place)


async def test_a_hit_is_served_uncounted_where_there_is_no_memory(
    place: Place,
) -> None:
    """A look-up in a full Redis returns the entry without counting."""
    await painted(place.index)
    await place.index.look_up(LIGHTHOUSE, NOON_MS)
    place.fill()

    found = await place.index.look_up(LIGHTHOUSE, NOON_MS + 1)

    assert found == CountedRecord(RECORD, None)
    assert await place.index.look_up(FOX, NOON_MS) is None
    assert await place.index.peek([LIGHTHOUSE]) == [SeenRecord(RECORD, 1, NOON_MS)]


async def test_no_lease_is_given_without_memory(place: Place) -> None:
    """A full Redis gives no lease and raises `CacheUnavailable`."""
    await place.index.acquire(LIGHTHOUSE, "leader", TWENTY_SECONDS)
    place.fill()

    with pytest.raises(CacheUnavailable):
        await place.index.acquire(FOX, "leader", TWENTY_SECONDS)
    with pytest.raises(CacheUnavailable):
        await place.index.hold(FOX, "leader", TWENTY_SECONDS)
    with pytest.raises(CacheUnavailable):
        await place.index.commit(LIGHTHOUSE, "leader", RECORD)
    with pytest.raises(CacheUnavailable):
        await place.index.fail(LIGHTHOUSE, "leader", FAILURE, TEN_MINUTES)


async def test_what_frees_memory_works_where_there_is_none(place: Place) -> None:
    """A full Redis still releases leases and removes entries."""
    index = place.index
    await painted(index)
    await index.hold(LIGHTHOUSE, "purge", TWENTY_SECONDS)
    await index.hold(FOX, "leader", TWENTY_SECONDS)
    place.fill()

    assert not await index.drop(LIGHTHOUSE, ANOTHER_RECORD)
    assert await index.forget(LIGHTHOUSE, "purge", LEFT)
    await index.release(FOX, "leader")
    assert await index.remembered(FOX) is None


async def test_a_redis_that_is_away_is_unavailable(tmp_path: Path) -> None:
    """Every call to a Redis that is gone raises `CacheUnavailable`."""
    with run_redis_server(tmp_path) as server:
        async with in_redis(server.url) as place:
            index = place.index
            await painted(index)
            server.kill()
            asked: list[Callable[[], Awaitable[object]]] = [
                lambda: index.look_up(LIGHTHOUSE, NOON_MS),
                lambda: index.peek([LIGHTHOUSE]),
                lambda: index.acquire(LIGHTHOUSE, "leader", TWENTY_SECONDS),
                lambda: index.hold(LIGHTHOUSE, "leader", TWENTY_SECONDS),
                lambda: index.commit(LIGHTHOUSE, "leader", RECORD),
                lambda: index.fail(LIGHTHOUSE, "leader", FAILURE, TEN_MINUTES),
                lambda: index.release(LIGHTHOUSE, "leader"),
                lambda: index.remembered(LIGHTHOUSE),
                lambda: index.forget(LIGHTHOUSE, "leader", LEFT),
                lambda: index.left(LIGHTHOUSE),
                lambda: index.keep_job(LIGHTHOUSE, "leader", b"a job", TEN_MINUTES),
                lambda: index.job(LIGHTHOUSE),
                lambda: index.drop_job(LIGHTHOUSE, "leader"),
                lambda: index.mark_refresh(LIGHTHOUSE, b"begun", TEN_MINUTES),
                lambda: index.refresh_mark(LIGHTHOUSE),
                lambda: index.note(LIGHTHOUSE, "leader", FAILURE, TEN_MINUTES),
                lambda: index.finish(LIGHTHOUSE, "leader"),
                lambda: index.withdraw(LIGHTHOUSE, "leader"),
                lambda: index.renew(LIGHTHOUSE, "leader", TWENTY_SECONDS),
                lambda: index.holder(LIGHTHOUSE),
                lambda: index.drop(LIGHTHOUSE, RECORD),
                lambda: index.drop_with_hits(LIGHTHOUSE, RECORD),
            ]
            for ask in asked:
                with pytest.raises(CacheUnavailable):
                    await ask()
