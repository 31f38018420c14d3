"""The loading process: what a request for a prompt comes to, whatever happens."""

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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.errors import GenerationError, ServiceError
    from tests.fakes import Replica, World

FOX = PromptKey(SHOP, Parameters("a red fox"))


async def ask(replica: Replica, key: PromptKey = LIGHTHOUSE) -> Answer:
    """Ask for a prompt as a patient client does."""
    return await replica.cache.get_or_generate(
        key, permit=UNLIMITED_PERMIT, wait_seconds=30
    )


def asking(
    replica: Replica, key: PromptKey = LIGHTHOUSE, times: int = 1
) -> list[asyncio.Task[Answer]]:
    """Ask at the same time, in the background."""
    return [asyncio.create_task(ask(replica, key)) for _ in range(times)]


async def bytes_of(replica: Replica, answer: Answer) -> bytes:
    """Read an answer's picture as the API does."""
    data = await replica.cache.read(answer)
    assert data is not None
    assert sha256(data).hexdigest() == answer.entry.digest
    return data


def outcomes(answers: Sequence[Answer]) -> list[LookupOutcome]:
    """Return how the look-ups ended, in order of their names."""
    return sorted(answer.outcome for answer in answers)


def shut_down_the_hot_tier(*replicas: Replica) -> None:
    """Make every picture be read from the store."""
    for replica in replicas:
        replica.parts.hot_tier._pictures.clear()


async def expired_unrenewed(world: World) -> None:
    """Return when the lighthouse's lease has run out, as nobody renews it."""
    renewals = world.index.calls["hold"]
    async with asyncio.timeout(SOON_SECONDS):
        while world.index.holder_now(LIGHTHOUSE.hash):  # noqa: ASYNC110 - it expires
            await asyncio.sleep(0.001)
    assert world.index.calls["hold"] == renewals


async def test_a_prompt_is_painted_once_and_then_hit(
    world: World, replica: Replica
) -> None:
    """The first answer is a MISS, later ones are HITs with the same picture."""
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


async def test_everything_is_in_the_ledger_before_anyone_is_told(
    world: World, replica: Replica
) -> None:
    """The picture comes before its manifest, the manifest before the entry."""
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
    """Of a hundred who ask at once one is the MISS; the others are counted hits."""
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
    """Replicas share the lease: one paints, the other's callers follow it."""
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
    """News that is lost costs a moment, not an answer."""
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
    """Another prompt, another variant and another project are other pictures."""
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
    """The picture of a caller who left is finished and kept: the next is a HIT."""
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
    """Where the caller who came first has left, the next one is told of the MISS."""
    gate = world.provider.before("paint")
    first, second, third = asking(replica, times=3)
    await gate.reached()
    await replica.waits_for(LIGHTHOUSE, 3)
    first.cancel()
    await asyncio.wait([first])
    gate.open()

    answers = [await second, await third]

    assert outcomes(answers) == [LookupOutcome.COALESCED, LookupOutcome.MISS]


async def test_whoever_waits_too_long_is_told_which_generation_to_ask_for(
    world: World, replica: Replica, another: Replica
) -> None:
    """A wait ends at its bound, with the leader's id, and nothing is paid twice."""
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


async def test_whoever_does_not_wait_at_all_starts_a_painting(
    world: World, replica: Replica
) -> None:
    """A caller in a hurry gets the id of a painting that goes on without it."""
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
    """A leads and stalls, B leads and commits: A's late picture is refused.

    The interleaving of `Contest`: all callers see B's picture, and
    A's own object is removed.
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
    """While B paints under the lease that A lost, A writes nothing."""
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


async def test_a_leader_that_lost_its_lease_to_nobody_takes_it_again(
    world: World, replica: Replica
) -> None:
    """A lease that ran out while nobody else asked costs nothing."""
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
    """A manifest of our own generation is ours, although its create said 412."""
    world.store.lose_reply("create")

    answer = await ask(replica)

    assert answer.outcome == LookupOutcome.MISS
    assert world.images == [str(answer.entry.storage_key)]
    assert (await ask(replica)).entry.image_id == answer.entry.image_id
    assert world.provider.count == 1


async def test_a_lost_reply_to_the_entry_is_made_good(
    world: World, replica: Replica
) -> None:
    """A commit whose reply was lost is served all the same."""
    world.index.lose_reply("commit")

    assert (await ask(replica)).outcome == LookupOutcome.MISS
    assert (await ask(replica)).hits == 1


async def test_redis_away_at_the_commit_loses_no_picture(
    world: World, replica: Replica, another: Replica
) -> None:
    """What was paid for is in the ledger and is served, cache or no cache."""
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
    """Without Redis a HIT comes from the manifest, and no count is made up."""
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
    """The store is asked twice at most, and each read began after it was asked for."""
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


async def test_nothing_is_paid_in_the_dark(world: World, replica: Replica) -> None:
    """Without Redis an unpainted prompt is an outage, and no provider is asked."""
    world.index.is_away = True

    with pytest.raises(CacheUnavailable):
        await ask(replica)
    with pytest.raises(CacheUnavailable):
        await replica.cache.find(LIGHTHOUSE, UNLIMITED_PERMIT)

    assert world.provider.count == 0


async def test_both_away_is_an_outage_of_the_cache(
    world: World, replica: Replica
) -> None:
    """Without Redis and without the store nothing can be said."""
    await ask(replica)
    world.index.is_away = world.store.is_away = True

    with pytest.raises(CacheUnavailable):
        await ask(replica)

    assert world.provider.count == 1


async def test_redis_that_goes_away_before_the_lease_is_asked_for(
    world: World, replica: Replica
) -> None:
    """Between look-up and lease Redis goes: a painted prompt is served, no other."""
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
    """Without memory hits go on uncounted, restored ones too; nothing is painted."""
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
    """A prompt that only the ledger knows is restored: a HIT, counted anew."""
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
    """Where nobody can say what is painted, nobody paints, and all learn it at once.

    Followers are told for a moment what their leader met, instead of running
    into the same time-out one after another; then it is looked for again.
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
    """A picture that was paid for is kept and offered until the store takes it."""
    world.store.fail_next(method, 2)

    answer = await ask(replica)

    assert answer.outcome == LookupOutcome.MISS
    assert world.images == [str(answer.entry.storage_key)]
    assert world.provider.count == 1


async def test_a_picture_that_is_gone_is_painted_once_more(
    world: World, replica: Replica, another: Replica
) -> None:
    """Readers that find no picture start again; one painting replaces the manifest."""
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
    """A reader of the old picture, gone since, leaves the refreshed entry alone."""
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
    """A damaged manifest counts as none, and the next picture takes its place."""
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
    """Callers of every replica get the same kind of error, and so does the next."""
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
    """It says what the remembered ones say, also to the caller who led."""
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
    """After an ambiguous end nothing more is paid, whatever callers try."""
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
    """A refresh whose call may have been billed is not paid again at once."""
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
    """The next replica does not pay at once for what may have been painted."""
    gate = world.provider.before("paint")
    asked = asking(replica)
    await gate.reached()

    await replica.give_up()
    await asyncio.gather(*asked, return_exceptions=True)

    with pytest.raises(ProviderFailed) as later:
        await ask(another)
    assert later.value.end is CallEnd.AMBIGUOUS
    assert world.provider.calls["paint"] == 1


async def test_a_failure_whose_memory_is_lost_is_still_told(
    world: World, replica: Replica
) -> None:
    """Redis away while a failure is noted changes nothing for who waits."""
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
    """Redis away while a call ends ambiguously costs no second payment."""
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
    """A prompt that found no place may find one a moment later."""
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
    """A failed refresh takes nobody's picture away, not even from the ledger."""
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
    """Where the picture is lost and repainting refused, one call is paid, not many."""
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
    """A damaged entry costs its reader a look into the ledger, and never again."""
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
    """HEAD finds what is painted, restores what only the ledger knows, and no more."""
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
    """A manifest without its picture is no picture: HEAD says so, and never pays."""
    painted = await ask(replica)
    del world.store.objects[str(painted.entry.storage_key)]
    world.index.lose_everything()

    assert await replica.cache.find(LIGHTHOUSE, UNLIMITED_PERMIT) is None
    assert world.provider.count == 1


async def test_looking_waits_for_whoever_restores(
    world: World, replica: Replica, another: Replica
) -> None:
    """Two that look at once both find what only the ledger knows."""
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
    """Law 9: whoever restores holds the lease, or its entry is refused.

    1. A reader reads the manifest under its lease and stalls past it. 2. A
    purge takes the lease and removes everything. 3. The reader goes on.
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
    """Law 9, for a leader: no renewal gives it the lease after a purge took it."""
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
    """The last stall in `Contest`: between manifest and entry comes a purge."""
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


async def test_those_who_wait_are_told_when_the_replica_gives_up(
    world: World, replica: Replica
) -> None:
    """At the end of the grace waiters get an error, and the lease is free at once."""
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
    """A reader starts again a few times only; then it is told to come back."""
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
    """A caller who follows a purge has no generation to ask for."""
    lease = leases_of(world).of_flight(LIGHTHOUSE.hash, "w-purge")
    await lease.hold()

    with pytest.raises(StillGenerating) as still:
        await replica.cache.get_or_generate(
            LIGHTHOUSE, permit=UNLIMITED_PERMIT, wait_seconds=0
        )

    assert still.value.generation_id is None
    await lease.release()
    assert (await ask(replica)).outcome == LookupOutcome.MISS
