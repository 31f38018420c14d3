"""The loading process: the result of a request in every situation."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from app.errors import (
    CacheUnavailable,
    CallEnd,
    GenerationTimedOut,
    NotFound,
    PromptRejected,
    ProviderFailed,
    ProviderRateLimited,
    QueueFull,
    ShuttingDown,
    StillGenerating,
    StorageUnavailable,
)
from app.prompt_cache.cache import Answer, LookupOutcome
from app.prompt_cache.entry.prompt_key import Parameters, PromptKey
from app.prompt_cache.painting.pictures import PictureGone
from tests.fakes import (
    LIGHTHOUSE,
    SHOP,
    SOON_SECONDS,
    UNLIMITED_PERMIT,
    a_picture,
    a_prompt_cache,
    leases_of,
)
from tests.prompt_cache.cache_requests import FOX, ask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.errors import GenerationError, ServiceError
    from tests.fakes import Replica, World


def asking(
    replica: Replica, key: PromptKey = LIGHTHOUSE, times: int = 1
) -> list[asyncio.Task[Answer]]:
    """Request a prompt in the background."""
    return [asyncio.create_task(ask(replica, key)) for _ in range(times)]


async def bytes_of(replica: Replica, answer: Answer) -> bytes:
    """Read an answer's picture as the API does."""
    data = await replica.cache.read(answer)
    assert data is not None
    assert sha256(data).hexdigest() == answer.entry.digest
    return data


def outcomes(answers: Sequence[Answer]) -> list[LookupOutcome]:
    """Return the outcomes of the look-ups, sorted by name."""
    return sorted(answer.outcome for answer in answers)


def shut_down_the_hot_tier(*replicas: Replica) -> None:
    """Make every read of a picture go to the store."""
    for replica in replicas:
        replica.parts.hot_tier._pictures.clear()


async def expired_unrenewed(world: World) -> None:
    """Return when the lighthouse's lease has expired without a renewal."""
    renewals = world.index.calls["hold"]
    async with asyncio.timeout(SOON_SECONDS):
        while world.index.holder_now(LIGHTHOUSE.hash):  # noqa: ASYNC110 - it expires
            await asyncio.sleep(0.001)
    assert world.index.calls["hold"] == renewals


async def test_a_prompt_is_painted_once_and_then_hit(
    world: World, replica: Replica
) -> None:
    """The first request is a MISS, later ones are counted HITs."""
    first, second, third = [await ask(replica) for _ in range(3)]

    assert [first.outcome, second.outcome, third.outcome] == ["miss", "hit", "hit"]
    assert [first.hits, second.hits, third.hits] == [None, 1, 2]
    assert first.generation_id is not None
    assert second.generation_id is None
    pictures = {await bytes_of(replica, answer) for answer in (first, second, third)}
    assert pictures == {a_picture(1)}
    assert first.entry.image_id == second.entry.image_id
    assert world.provider.count == 1
    assert replica.looked_up("miss") == 1
    assert replica.looked_up("hit") == 2


async def test_everything_is_in_the_ledger_before_anyone_is_answered(
    world: World, replica: Replica
) -> None:
    """The picture is stored before its manifest, and the manifest before the entry."""
    image, manifest = world.store.before("put"), world.store.before("create")
    entry = world.index.before("commit")
    (asked,) = asking(replica)

    await image.reached()
    assert (world.images, world.manifests) == ([], [])
    image.open()
    await manifest.reached()
    assert (len(world.images), len(world.manifests)) == (1, 0)
    manifest.open()
    await entry.reached()
    assert (len(world.manifests), len(world.index.entries)) == (1, 0)
    assert not asked.done()
    entry.open()

    assert (await asked).outcome == LookupOutcome.MISS


async def test_a_hundred_callers_are_one_painting(
    world: World, replica: Replica
) -> None:
    """Of a hundred concurrent requests one is the MISS, the others counted hits."""
    gate = world.provider.before("paint")
    asked = asking(replica, times=100)
    await gate.reached()
    await replica.waits_for(LIGHTHOUSE, 100)
    gate.open()

    answers = await asyncio.gather(*asked)

    assert world.provider.count == 1
    assert outcomes(answers) == [LookupOutcome.COALESCED] * 99 + [LookupOutcome.MISS]
    hits = sorted(answer.hits for answer in answers if answer.hits is not None)
    assert hits == list(range(1, 100))
    assert {await bytes_of(replica, answer) for answer in answers} == {a_picture(1)}
    statistics = await replica.statistics.read("acme/shop")
    assert (statistics["hits"], statistics["misses"]) == (99, 1)
    assert statistics["coalesced"] == 99


async def test_callers_of_two_replicas_are_one_painting(
    world: World, replica: Replica, another: Replica
) -> None:
    """Concurrent requests on two replicas are one painting."""
    gate = world.provider.before("paint")
    asked = asking(replica, times=10)
    await gate.reached()
    asked += asking(another, times=10)
    await replica.waits_for(LIGHTHOUSE, 10)
    await another.waits_for(LIGHTHOUSE, 10)
    gate.open()

    answers = await asyncio.gather(*asked)

    assert world.provider.count == 1
    assert outcomes(answers) == [LookupOutcome.COALESCED] * 19 + [LookupOutcome.MISS]
    assert len({answer.entry.image_id for answer in answers}) == 1


async def test_followers_find_the_picture_without_the_news(
    world: World, replica: Replica, another: Replica
) -> None:
    """A follower that misses the event finds the picture by looking again."""
    world.completions.is_deaf = True
    gate = world.provider.before("paint")
    asked = asking(replica)
    await gate.reached()
    asked += asking(another)
    await another.waits_for(LIGHTHOUSE)
    gate.open()

    answers = await asyncio.gather(*asked)

    assert outcomes(answers) == [LookupOutcome.COALESCED, LookupOutcome.MISS]
    assert world.provider.count == 1


async def test_prompts_and_projects_do_not_meet(world: World, replica: Replica) -> None:
    """Another prompt, variant or project is another picture."""
    keys = [
        LIGHTHOUSE,
        FOX,
        PromptKey(SHOP, Parameters("a red fox", variant=1)),
        PromptKey(type(SHOP)("acme", "zoo"), FOX.parameters),
    ]

    answers = [await ask(replica, key) for key in keys]

    assert {answer.outcome for answer in answers} == {LookupOutcome.MISS}
    assert len({answer.entry.image_id for answer in answers}) == 4
    assert world.provider.count == 4


async def test_a_client_that_goes_away_costs_nothing(
    world: World, replica: Replica
) -> None:
    """A painting whose caller left is finished, and the next request is a HIT."""
    gate = world.provider.before("paint")
    (asked,) = asking(replica)
    await gate.reached()
    asked.cancel()
    await asyncio.wait([asked])
    gate.open()
    await replica.cache.flights.drain()

    answer = await ask(replica)

    assert (answer.outcome, answer.hits) == (LookupOutcome.HIT, 1)
    assert world.provider.count == 1


async def test_the_first_waiter_that_is_still_there_has_the_miss(
    world: World, replica: Replica
) -> None:
    """If the first caller has left, the next waiter has the MISS."""
    gate = world.provider.before("paint")
    first, second, third = asking(replica, times=3)
    await gate.reached()
    await replica.waits_for(LIGHTHOUSE, 3)
    first.cancel()
    await asyncio.wait([first])
    gate.open()

    answers = [await second, await third]

    assert outcomes(answers) == [LookupOutcome.COALESCED, LookupOutcome.MISS]


async def test_a_wait_that_ends_gives_the_leaders_generation(
    world: World, replica: Replica, another: Replica
) -> None:
    """A wait that ends gives the leader's generation id and pays nothing more."""
    gate = world.provider.before("paint")
    (asked,) = asking(replica)
    await gate.reached()

    ids = []
    for patient in (replica, another):
        with pytest.raises(StillGenerating) as still:
            await patient.cache.get_or_generate(
                LIGHTHOUSE, permit=UNLIMITED_PERMIT, wait_seconds=0, wants_id=True
            )
        ids.append(still.value.generation_id)
    gate.open()
    answer = await asked

    assert ids == [answer.generation_id] * 2
    assert world.provider.count == 1


async def test_a_request_that_does_not_wait_starts_a_painting(
    world: World, replica: Replica
) -> None:
    """A request with no wait starts a painting and gets its id."""
    with pytest.raises(StillGenerating) as still:
        await replica.cache.get_or_generate(
            LIGHTHOUSE, permit=UNLIMITED_PERMIT, wait_seconds=0, wants_id=True
        )
    await replica.cache.flights.drain()

    assert still.value.generation_id is not None
    assert (await ask(replica)).outcome == LookupOutcome.HIT
    assert world.provider.count == 1


async def test_late_pictures_are_refused(
    world: World, replica: Replica, another: Replica
) -> None:
    """A late leader's picture is refused after another leader has committed.

    The interleaving of `Contest`: A leads and stalls, B leads and commits. All callers
    see B's picture, and A's own object is removed.
    """
    stalled = world.provider.before("paint")
    late = asking(replica, times=3)
    await stalled.reached()
    await replica.waits_for(LIGHTHOUSE, 3)
    world.index.expire_lease(LIGHTHOUSE.hash)
    winner = await ask(another)
    stalled.open()

    answers = await asyncio.gather(*late)

    assert winner.outcome == LookupOutcome.MISS
    assert outcomes(answers) == [LookupOutcome.COALESCED] * 3
    assert {answer.entry.image_id for answer in answers} == {winner.entry.image_id}
    assert world.images == [str(winner.entry.storage_key)]
    assert world.index.holder_now(LIGHTHOUSE.hash) is None
    assert world.provider.count == 2


async def test_a_late_leader_waits_for_its_turn(
    world: World, replica: Replica, another: Replica
) -> None:
    """A leader that lost its lease writes nothing while another one paints."""
    stalled, painting = world.provider.before("paint"), world.provider.before("paint")
    (late,) = asking(replica)
    await stalled.reached()
    world.index.expire_lease(LIGHTHOUSE.hash)
    (winner,) = asking(another)
    await painting.reached()
    refused = world.index.after("hold")
    stalled.open()
    await refused.reached()
    assert world.manifests == []
    refused.open()
    painting.open()

    assert (await winner).outcome == LookupOutcome.MISS
    assert (await late).entry.image_id == (await winner).entry.image_id
    assert len(world.images) == 1


async def test_a_leader_takes_a_vacant_lease_again(
    world: World, replica: Replica
) -> None:
    """A leader whose lease expired takes it again if it is vacant."""
    gate = world.provider.before("paint")
    (asked,) = asking(replica)
    await gate.reached()
    world.index.expire_lease(LIGHTHOUSE.hash)
    gate.open()

    assert (await asked).outcome == LookupOutcome.MISS
    assert (await ask(replica)).outcome == LookupOutcome.HIT
    assert world.provider.count == 1


async def test_a_lost_reply_to_the_manifest_is_a_win(
    world: World, replica: Replica
) -> None:
    """A manifest of our own generation wins, although its create returned 412."""
    world.store.lose_reply("create")

    answer = await ask(replica)

    assert answer.outcome == LookupOutcome.MISS
    assert world.images == [str(answer.entry.storage_key)]
    assert (await ask(replica)).entry.image_id == answer.entry.image_id
    assert world.provider.count == 1


async def test_a_lost_reply_to_the_entry_is_made_good(
    world: World, replica: Replica
) -> None:
    """A commit whose reply was lost is served."""
    world.index.lose_reply("commit")

    assert (await ask(replica)).outcome == LookupOutcome.MISS
    assert (await ask(replica)).hits == 1


async def test_redis_away_at_the_commit_loses_no_picture(
    world: World, replica: Replica, another: Replica
) -> None:
    """A picture committed without Redis is stored and served."""
    gate = world.provider.before("paint")
    asked = asking(replica, times=2)
    await gate.reached()
    await replica.waits_for(LIGHTHOUSE, 2)
    world.index.is_away = True
    gate.open()

    answers = await asyncio.gather(*asked)
    elsewhere = await ask(another)

    assert outcomes(answers) == [LookupOutcome.HIT, LookupOutcome.MISS]
    assert (elsewhere.outcome, elsewhere.hits) == (LookupOutcome.HIT, None)
    assert len({answer.entry.image_id for answer in [*answers, elsewhere]}) == 1
    world.index.is_away = False
    world.index.lose_everything()
    assert (await ask(replica)).hits == 1
    assert world.provider.count == 1


async def test_a_painted_prompt_is_served_uncounted_while_redis_is_away(
    world: World, replica: Replica
) -> None:
    """Without Redis a HIT comes from the manifest, without a count."""
    painted = await ask(replica)
    world.index.is_away = True

    answer = await ask(replica)
    found = await replica.cache.find(LIGHTHOUSE, UNLIMITED_PERMIT)

    assert (answer.outcome, answer.hits) == (LookupOutcome.HIT, None)
    assert await bytes_of(replica, answer) == await bytes_of(replica, painted)
    assert found is not None
    assert replica.uncounted == 2


async def test_a_herd_reads_the_manifest_together_while_redis_is_away(
    world: World, replica: Replica
) -> None:
    """Without Redis a herd shares at most two reads of the manifest."""
    await ask(replica)
    world.index.is_away = True
    reads = world.store.calls["get"]
    gates = [world.store.before("get") for _ in range(2)]

    asked = asking(replica, times=20)
    for gate in gates:
        await gate.reached()
        gate.open()
    answers = await asyncio.gather(*asked)

    assert {answer.outcome for answer in answers} == {LookupOutcome.HIT}
    assert world.store.calls["get"] - reads == 2


async def test_nothing_is_paid_without_redis(world: World, replica: Replica) -> None:
    """Without Redis an unpainted prompt is an outage and calls no provider."""
    world.index.is_away = True

    with pytest.raises(CacheUnavailable):
        await ask(replica)
    with pytest.raises(CacheUnavailable):
        await replica.cache.find(LIGHTHOUSE, UNLIMITED_PERMIT)

    assert world.provider.count == 0


async def test_both_away_is_an_outage_of_the_cache(
    world: World, replica: Replica
) -> None:
    """Without Redis and store a request is an outage of the cache."""
    await ask(replica)
    world.index.is_away = world.store.is_away = True

    with pytest.raises(CacheUnavailable):
        await ask(replica)

    assert world.provider.count == 1


async def test_redis_that_goes_away_before_the_lease_is_asked_for(
    world: World, replica: Replica
) -> None:
    """If Redis fails after the look-up, only a painted prompt is served."""
    await ask(replica)
    world.index.lose_everything()
    world.index.fail_next("acquire", 2)

    answer = await ask(replica)
    with pytest.raises(CacheUnavailable):
        await ask(replica, FOX)

    assert (answer.outcome, answer.hits) == (LookupOutcome.HIT, None)
    assert world.provider.count == 1


async def test_a_full_redis_serves_what_is_painted(
    world: World, replica: Replica
) -> None:
    """A full Redis serves hits uncounted, and nothing is painted."""
    await ask(replica)
    world.index.is_full = True
    known = await ask(replica)
    world.index.lose_everything()
    unknown = await ask(replica)
    with pytest.raises(CacheUnavailable):
        await ask(replica, FOX)

    assert [known.outcome, unknown.outcome] == [LookupOutcome.HIT, LookupOutcome.HIT]
    assert [known.hits, unknown.hits] == [None, None]
    assert replica.uncounted == 2
    assert world.provider.count == 1


async def test_an_emptied_redis_costs_no_second_payment(
    world: World, replica: Replica, another: Replica
) -> None:
    """After Redis is emptied a painted prompt is restored and counted anew."""
    painted = await ask(replica)
    world.index.lose_everything()

    answers = await asyncio.gather(*asking(replica, times=5), *asking(another, times=5))

    assert {answer.entry.image_id for answer in answers} == {painted.entry.image_id}
    assert sorted(answer.hits or 0 for answer in answers) == list(range(1, 11))
    assert LookupOutcome.MISS not in outcomes(answers)
    assert replica.looked_up("restored") + another.looked_up("restored") >= 1
    assert world.provider.count == 1


async def test_a_store_that_is_away_before_the_payment_is_an_outage(
    world: World, replica: Replica, another: Replica
) -> None:
    """If the store is unavailable, nothing is painted, and all waiters get the outage.

    Followers get their leader's outage for a moment, instead of running into the same
    timeout one after another. Then the store is tried again.
    """
    gate = world.store.before("get")
    asked = asking(replica, times=3)
    await gate.reached()
    asked += asking(another, times=3)
    await another.waits_for(LIGHTHOUSE, 3)
    world.store.is_away = True
    gate.open()

    ended = await asyncio.gather(*asked, return_exceptions=True)

    assert {type(error) for error in ended} == {StorageUnavailable}
    assert world.store.calls["get"] == 1
    assert world.provider.count == 0
    remembered = await world.index.remembered(LIGHTHOUSE.hash)
    assert remembered is not None
    assert remembered.remaining <= timedelta(seconds=1)
    world.store.is_away = False
    world.index.expire_failure(LIGHTHOUSE.hash)
    assert (await ask(replica)).outcome == LookupOutcome.MISS


@pytest.mark.parametrize("method", ["put", "create"])
async def test_a_store_that_is_away_after_the_payment_is_asked_again(
    world: World, replica: Replica, method: str
) -> None:
    """A paid picture is offered again until the store accepts it."""
    world.store.fail_next(method, 2)

    answer = await ask(replica)

    assert answer.outcome == LookupOutcome.MISS
    assert world.images == [str(answer.entry.storage_key)]
    assert world.provider.count == 1


async def test_a_picture_that_is_gone_is_painted_once_more(
    world: World, replica: Replica, another: Replica
) -> None:
    """A lost picture is painted once again, and its manifest is replaced."""
    lost = await ask(replica)
    shut_down_the_hot_tier(replica, another)
    del world.store.objects[str(lost.entry.storage_key)]

    answers = [await ask(replica), await ask(another)]
    for reader, answer in zip((replica, another), answers, strict=True):
        with pytest.raises(PictureGone):
            await reader.cache.read(answer)
    again = await asyncio.gather(*asking(replica, times=3), *asking(another, times=3))

    assert outcomes(again).count(LookupOutcome.MISS) == 1
    (image_id,) = {answer.entry.image_id for answer in again}
    assert image_id != lost.entry.image_id
    assert world.provider.count == 2
    assert world.images == [str(again[0].entry.storage_key)]
    manifest = await replica.parts.ledger.read(SHOP, LIGHTHOUSE.hash)
    assert manifest is not None
    assert manifest.entry is not None
    assert manifest.entry.image_id == image_id
    # The counts of hits that came to nothing stand.
    assert max(answer.hits or 0 for answer in again) == 7


async def test_a_reader_that_lags_drops_no_newer_entry(
    world: World, replica: Replica, another: Replica
) -> None:
    """A reader of a removed picture does not drop the refreshed entry."""
    old = await ask(replica)
    lagging = await ask(another)
    await replica.entries.refresh(
        SHOP, LIGHTHOUSE.hash, permit=UNLIMITED_PERMIT, wait_seconds=30
    )

    with pytest.raises(PictureGone):
        await another.cache.read(lagging)
    answer = await ask(another)

    assert answer.outcome == LookupOutcome.HIT
    assert answer.entry.image_id != old.entry.image_id
    assert world.provider.count == 2


async def test_a_manifest_that_cannot_be_read_is_replaced(
    world: World, replica: Replica
) -> None:
    """An unreadable manifest is replaced by the next picture."""
    await ask(replica)
    (manifest,) = world.manifests
    world.store.objects[manifest].data = b'{"version": 1'
    world.index.lose_everything()

    answer = await ask(replica)
    world.index.lose_everything()
    restored = await ask(replica)

    assert answer.outcome == LookupOutcome.MISS
    assert restored.entry.image_id == answer.entry.image_id
    assert world.provider.count == 2


REMEMBERED = [
    PromptRejected("Not in this shop."),
    ProviderFailed("It broke down."),
    ProviderRateLimited("Slow down.", retry_after=timedelta(seconds=30)),
    GenerationTimedOut("It took too long."),
]


@pytest.mark.parametrize("failure", REMEMBERED, ids=lambda error: type(error).__name__)
async def test_a_failure_is_one_call_for_all_who_wait(
    world: World, replica: Replica, another: Replica, failure: ServiceError
) -> None:
    """A failure is raised for all waiters on all replicas, and remembered."""
    gate = world.provider.before("paint")
    world.provider.script.append(failure)
    asked = asking(replica, times=5)
    await gate.reached()
    asked += asking(another, times=5)
    await another.waits_for(LIGHTHOUSE, 5)
    gate.open()

    ended = await asyncio.gather(*asked, return_exceptions=True)
    with pytest.raises(type(failure), match=str(failure)) as later:
        await ask(another)

    assert {type(error) for error in ended} == {type(failure)}
    assert later.value.retry_after is not None
    assert world.provider.count == 1
    assert world.images == []
    statistics = await replica.statistics.read("acme/shop")
    assert (statistics["failures"], statistics["misses"]) == (1, 0)
    # Every look-up is one: nothing was there.
    assert (replica.looked_up("miss"), another.looked_up("miss")) == (5, 6)


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        (PromptRejected("Not in this shop."), 600),
        (ProviderFailed("It broke down."), 3),
        (ProviderFailed("It rests.", retry_after=timedelta(seconds=9)), 9),
        (ProviderRateLimited("Slow down.", retry_after=timedelta(hours=2)), 120),
        (GenerationTimedOut("It took too long."), 120),
        (ProviderFailed("It was cut.", end=CallEnd.AMBIGUOUS), 120),
    ],
)
async def test_the_first_answer_says_when_to_come_back(
    world: World, replica: Replica, failure: GenerationError, seconds: int
) -> None:
    """The first failure and the remembered one have the same Retry-After."""
    world.provider.script.append(failure)

    with pytest.raises(type(failure)) as first:
        await ask(replica)
    with pytest.raises(type(failure)) as second:
        await ask(replica)

    assert first.value.retry_after == timedelta(seconds=seconds)
    assert second.value.retry_after is not None
    lost = first.value.retry_after - second.value.retry_after
    assert timedelta(0) <= lost < timedelta(seconds=2)


async def test_a_purge_leaves_a_hold(world: World, replica: Replica) -> None:
    """A purge does not end the hold after an ambiguous end."""
    world.provider.script.append(GenerationTimedOut("It took too long."))
    with pytest.raises(GenerationTimedOut):
        await ask(replica)

    with pytest.raises(NotFound):
        await replica.purge(SHOP, LIGHTHOUSE.hash)
    with pytest.raises(GenerationTimedOut) as later:
        await ask(replica)

    assert later.value.end is CallEnd.AMBIGUOUS
    assert later.value.retry_after == timedelta(seconds=120)
    assert world.provider.count == 1


async def test_a_refresh_keeps_to_a_hold(world: World, replica: Replica) -> None:
    """A refresh obeys the hold after an ambiguous end."""
    await ask(replica)
    world.provider.script.append(GenerationTimedOut("It took too long."))
    for _ in range(3):
        with pytest.raises(GenerationTimedOut):
            await replica.entries.refresh(
                SHOP, LIGHTHOUSE.hash, permit=UNLIMITED_PERMIT, wait_seconds=30
            )

    assert (await ask(replica)).outcome == LookupOutcome.HIT
    assert world.provider.count == 2


async def test_a_call_that_a_shutdown_cuts_holds_its_prompt(
    world: World, replica: Replica, another: Replica
) -> None:
    """A call cut by a shutdown holds its prompt on all replicas."""
    gate = world.provider.before("paint")
    asked = asking(replica)
    await gate.reached()

    await replica.give_up()
    await asyncio.gather(*asked, return_exceptions=True)

    with pytest.raises(ProviderFailed) as later:
        await ask(another)
    assert later.value.end is CallEnd.AMBIGUOUS
    assert world.provider.calls["paint"] == 1


async def test_a_failure_that_can_not_be_remembered_is_still_raised(
    world: World, replica: Replica
) -> None:
    """A failure that Redis can't store is raised all the same."""
    gate = world.provider.before("paint")
    world.provider.script.append(PromptRejected("Not in this shop."))
    (asked,) = asking(replica)
    await gate.reached()
    world.index.is_away = True
    gate.open()

    with pytest.raises(PromptRejected):
        await asked


async def test_a_hold_is_remembered_once_redis_is_back(
    world: World, replica: Replica
) -> None:
    """A hold that Redis could not store is stored when Redis is back."""
    gate = world.provider.before("paint")
    world.provider.script.append(GenerationTimedOut("It took too long."))
    (asked,) = asking(replica)
    await gate.reached()
    world.index.is_away = True
    tried = world.index.calls["fail"]
    gate.open()
    async with asyncio.timeout(SOON_SECONDS):
        while world.index.calls["fail"] == tried:  # noqa: ASYNC110 - a fake has no event
            await asyncio.sleep(0)
    world.index.is_away = False

    with pytest.raises(GenerationTimedOut):
        await asked
    with pytest.raises(GenerationTimedOut):
        await ask(replica)
    assert world.provider.count == 1


async def test_a_full_queue_is_not_remembered(world: World) -> None:
    """A full queue is not remembered, and the next request is painted."""
    replica = a_prompt_cache(world, concurrency=1, queue=0)
    gate = world.provider.before("paint")
    (asked,) = asking(replica)
    await gate.reached()
    with pytest.raises(QueueFull):
        await ask(replica, FOX)
    gate.open()
    await asked

    assert (await ask(replica, FOX)).outcome == LookupOutcome.MISS
    assert world.index.holder_now(FOX.hash) is None


async def test_a_picture_outranks_a_remembered_failure(
    world: World, replica: Replica
) -> None:
    """A failed refresh does not hide the picture, even after a loss of Redis."""
    painted = await ask(replica)
    world.provider.script.append(PromptRejected("Not any more."))
    with pytest.raises(PromptRejected):
        await replica.entries.refresh(
            SHOP, LIGHTHOUSE.hash, permit=UNLIMITED_PERMIT, wait_seconds=30
        )
    known = await ask(replica)
    world.index.entries.clear()

    restored = await ask(replica)

    assert known.outcome == LookupOutcome.HIT
    assert restored.entry.image_id == painted.entry.image_id
    assert await world.index.remembered(LIGHTHOUSE.hash) is None
    assert world.provider.count == 2


async def test_a_picture_that_is_gone_does_not_outrank_a_failure(
    world: World, replica: Replica
) -> None:
    """If repainting a lost picture fails, the failure is remembered."""
    lost = await ask(replica)
    shut_down_the_hot_tier(replica)
    del world.store.objects[str(lost.entry.storage_key)]
    world.index.entries.clear()
    world.provider.script.append(PromptRejected("Not any more."))

    for _ in range(3):
        with pytest.raises(PromptRejected):
            await ask(replica)

    assert world.provider.count == 2


async def test_a_record_that_cannot_be_read_is_restored(
    world: World, replica: Replica
) -> None:
    """An unreadable entry is restored once from its manifest."""
    painted = await ask(replica)
    await ask(replica)
    world.index.entries[LIGHTHOUSE.hash] = b"another version's"

    restored, hit = await ask(replica), await ask(replica)
    world.index.entries[LIGHTHOUSE.hash] = b""
    found = await replica.cache.find(LIGHTHOUSE, UNLIMITED_PERMIT)

    assert (restored.outcome, hit.outcome) == (
        LookupOutcome.RESTORED,
        LookupOutcome.HIT,
    )
    assert restored.entry.image_id == painted.entry.image_id
    assert found is not None
    assert found.entry == hit.entry
    assert world.provider.count == 1


async def test_looking_never_pays(world: World, replica: Replica) -> None:
    """`find` returns or restores a painted prompt, and never paints."""
    assert await replica.cache.find(LIGHTHOUSE, UNLIMITED_PERMIT) is None
    assert world.provider.count == 0
    painted = await ask(replica)
    world.index.lose_everything()

    found = await replica.cache.find(LIGHTHOUSE, UNLIMITED_PERMIT)

    assert found is not None
    assert (found.entry.image_id, found.hits) == (painted.entry.image_id, 1)
    assert world.provider.count == 1


async def test_looking_finds_nothing_where_the_picture_is_gone(
    world: World, replica: Replica
) -> None:
    """`find` returns nothing if the manifest's picture is lost."""
    painted = await ask(replica)
    del world.store.objects[str(painted.entry.storage_key)]
    world.index.lose_everything()

    assert await replica.cache.find(LIGHTHOUSE, UNLIMITED_PERMIT) is None
    assert world.provider.count == 1


async def test_looking_waits_for_a_restoration(
    world: World, replica: Replica, another: Replica
) -> None:
    """Two concurrent `find` calls both get the restored entry."""
    await ask(replica)
    world.index.lose_everything()
    gate = world.index.before("commit")
    first = asyncio.create_task(replica.cache.find(LIGHTHOUSE, UNLIMITED_PERMIT))
    await gate.reached()
    second = asyncio.create_task(another.cache.find(LIGHTHOUSE, UNLIMITED_PERMIT))
    gate.open()

    found = await asyncio.gather(first, second)

    assert [answer.hits for answer in found if answer] in ([1, 2], [2, 1])


async def test_a_reader_that_read_the_manifest_before_a_purge_writes_nothing_after(
    world: World, replica: Replica, another: Replica
) -> None:
    """Law 9: a reader that lost its lease does not restore a purged entry.

    1. A reader reads the manifest under its lease and stalls past it. 2. A purge takes
    the lease and removes everything. 3. The reader goes on.
    """
    await ask(replica)
    world.index.lose_everything()
    stalled = world.store.after("exists")
    reading = asyncio.create_task(replica.cache.find(LIGHTHOUSE, UNLIMITED_PERMIT))
    await stalled.reached()
    world.index.expire_lease(LIGHTHOUSE.hash)
    await another.purge(SHOP, LIGHTHOUSE.hash)
    stalled.open()

    assert await reading is None
    assert world.index.entries == {}
    assert world.store.objects == {}


async def test_a_leader_that_restores_does_not_take_its_lease_back_unawares(
    world: World, another: Replica
) -> None:
    """Law 9: a leader that lost its lease to a purge does not restore the entry."""
    stalling = a_prompt_cache(world, lease_for=timedelta(milliseconds=3))
    await ask(stalling)
    world.index.lose_everything()
    stalled = world.store.after("exists")
    (reading,) = asking(stalling)
    await stalled.reached()
    await expired_unrenewed(world)
    await another.purge(SHOP, LIGHTHOUSE.hash)
    painting = world.provider.before("paint")
    stalled.open()
    # It looks again, and finds that it has to be painted.
    await painting.reached()

    assert world.index.entries == {}
    assert world.images == []
    painting.open()
    assert (await reading).outcome == LookupOutcome.MISS


async def test_an_entry_of_what_was_purged_meanwhile_is_refused(
    world: World, another: Replica
) -> None:
    """An entry whose manifest was purged before it was written is refused."""
    stalling = a_prompt_cache(world, lease_for=timedelta(milliseconds=3))
    stalled = world.index.before("commit")
    (asked,) = asking(stalling)
    await stalled.reached()
    await expired_unrenewed(world)
    await another.purge(SHOP, LIGHTHOUSE.hash)
    stalled.open()
    await asked

    assert world.index.entries == {}
    assert world.store.objects == {}
    statistics = await stalling.statistics.read("acme/shop")
    assert statistics["misses"] == 1


async def test_waiters_get_an_error_when_the_replica_gives_up(
    world: World, replica: Replica
) -> None:
    """At the end of the grace waiters get `ShuttingDown`, and the lease is free."""
    gate = world.provider.before("paint")
    asked = asking(replica, times=3)
    await gate.reached()
    await replica.waits_for(LIGHTHOUSE, 3)

    await replica.give_up()

    ended = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(error) for error in ended} == {ShuttingDown}
    assert world.index.holder_now(LIGHTHOUSE.hash) is None
    with pytest.raises(ShuttingDown):
        await ask(replica)


async def test_a_picture_that_keeps_going_away_ends_in_an_error(
    world: World, replica: Replica
) -> None:
    """A reader whose picture keeps disappearing ends with `StillGenerating`."""
    await ask(replica)
    world.index.lose_everything()
    # Every entry that is restored is gone again before it can be looked up.
    original = world.index.commit

    async def commit(prompt_hash: str, token: str, record: bytes) -> bool:
        committed = await original(prompt_hash, token, record)
        world.index.entries.clear()
        return committed

    world.index.commit = commit  # type: ignore[method-assign]

    with pytest.raises(StillGenerating):
        await ask(replica)
    assert world.provider.count == 1


async def test_an_overtaken_writer_is_no_leader(world: World, replica: Replica) -> None:
    """A request that meets a purge gets no generation id."""
    lease = leases_of(world).of_flight(LIGHTHOUSE.hash, "w-purge")
    await lease.hold()

    with pytest.raises(StillGenerating) as still:
        await replica.cache.get_or_generate(
            LIGHTHOUSE, permit=UNLIMITED_PERMIT, wait_seconds=0
        )

    assert still.value.generation_id is None
    await lease.release()
    assert (await ask(replica)).outcome == LookupOutcome.MISS
