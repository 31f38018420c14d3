"""Live scopes: quotas of new pictures for pages without a key."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from app import refusal_hold
from app.errors import CallEnd, GenerationTimedOut, PromptRejected
from app.refusal_hold import BURST as REFUSALS_AT_ONCE
from app.refusal_hold import PER_SECOND as REFUSALS_PER_SECOND
from app.refusal_hold import RefusalHold
from app.spending.visitor_limit import BURST, PER_SECOND_OF_REPLICA, VisitorLimit
from tests.access.service import (
    ADMIN,
    LIVE,
    Answer,
    Paintonce,
    running,
    running_together,
)
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCOPES = "/api/v1/live/scopes"
EMPTY: dict[str, Any] = {"scopes": [], "cursor": None}


@pytest.fixture
async def service() -> AsyncIterator[Paintonce]:
    """Run a replica without a limit for addresses."""
    async with running(new_per_address_per_hour=0) as opened:
        yield opened


async def scope(service: Paintonce, **given: Any) -> Any:
    """Create or change the scope `banner` of the shop."""
    answer = await service.ask("PUT", f"{SCOPES}/banner", ADMIN, json=given)
    assert answer.status in {200, 201}, answer
    return answer.json


async def visit(
    service: Paintonce,
    prompt: str,
    *,
    name: str = "banner",
    method: str = "GET",
    headers: Any = None,
    **more: Any,
) -> Answer:
    """Request a prompt through a scope."""
    return await service.ask(
        method,
        f"/live/acme/shop/{name}",
        headers,
        params={"prompt": prompt, **more},
    )


async def generated(service: Paintonce) -> int:
    """Return the number of new pictures of the scope."""
    count: int = (await service.get(f"{SCOPES}/banner", ADMIN)).json["generated"]
    return count


async def test_a_scope_is_made_changed_listed_and_removed(service: Paintonce) -> None:
    """PUT creates or changes a scope, GET lists it, DELETE removes it."""
    made = await service.ask("PUT", f"{SCOPES}/banner", ADMIN, json={})
    changed = await service.ask(
        "PUT", f"{SCOPES}/banner", ADMIN, json={"limit": 2, "allow_new": False}
    )
    listed = await service.get(SCOPES, ADMIN)
    elsewhere = await service.get(SCOPES, {**ADMIN, "X-Project": "acme/zoo"})
    removed = await service.ask("DELETE", f"{SCOPES}/banner", ADMIN)
    again = await service.ask("DELETE", f"{SCOPES}/banner", ADMIN)

    assert (made.status, changed.status) == (201, 200)
    assert made.json == {
        "scope": "banner",
        "project": "acme/shop",
        "limit": 30,
        "allow_new": True,
        "models": ["default"],
        "generated": 0,
        "created_at": made.json["created_at"],
    }
    assert changed.json == {**made.json, "limit": 2, "allow_new": False}
    assert listed.json == {"scopes": [changed.json], "cursor": None}
    assert elsewhere.json == EMPTY
    assert (removed.status, again.status) == (200, 404)
    assert (await visit(service, "a fox")).status == 404


async def test_a_page_paints_without_a_key(service: Paintonce) -> None:
    """A scope paints without a key, with the cache and headers of a keyed request."""
    await scope(service)

    miss, hit = await visit(service, "a fox"), await visit(service, "a fox")
    head = await visit(service, "a fox", method="HEAD")
    keyed = await service.get(LIVE, ADMIN, prompt="a fox")

    assert (miss.headers["X-Cache-Status"], hit.headers["X-Cache-Status"]) == (
        "MISS",
        "HIT",
    )
    assert hit.headers["Cache-Control"] == "public, max-age=31536000"
    assert not {"Vary", "CDN-Cache-Control"} & hit.headers.keys()
    assert (head.status, head.body) == (200, b"")
    assert keyed.headers["X-Prompt-Hash"] == miss.headers["X-Prompt-Hash"]
    assert keyed.headers["X-Cache-Hit-Count"] == "3"
    assert await generated(service) == 1
    later = await visit(service, "an owl", headers={"Prefer": "respond-async"})
    assert (later.status, later.headers.get("Vary")) == (202, None)


async def test_what_is_painted_is_a_hit_through_every_scope(
    service: Paintonce,
) -> None:
    """A painted prompt is a HIT through any scope and uses no quota."""
    await service.get(LIVE, ADMIN, prompt="a fox")
    await scope(service, limit=0)
    await service.ask("PUT", f"{SCOPES}/closed", ADMIN, json={"allow_new": False})

    full = await visit(service, "a fox")
    closed = await visit(service, "a fox", name="closed")

    assert full.headers["X-Cache-Status"] == closed.headers["X-Cache-Status"] == "HIT"
    assert await generated(service) == 0
    refused = (
        await visit(service, "an owl"),
        await visit(service, "an owl", name="closed"),
    )
    assert [(one.status, one.code) for one in refused] == [
        (429, "budget_exhausted"),
        (403, "forbidden"),
    ]
    assert refused[0].headers["Retry-After"] == "3600"
    head = await visit(service, "an owl", method="HEAD")
    assert (head.status, head.headers["X-Cache-Status"]) == (404, "MISS")


async def test_places_are_exact_under_concurrency(service: Paintonce) -> None:
    """Of twenty prompts at once a scope paints exactly its quota."""
    await scope(service, limit=7)

    answers = await asyncio.gather(*(visit(service, f"fox {n}") for n in range(20)))

    assert sum(answer.status == 200 for answer in answers) == 7
    assert {one.code for one in answers if one.status != 200} == {"budget_exhausted"}
    assert service.world.provider.count == await generated(service) == 7


async def test_many_who_wait_for_one_picture_use_one_place(
    service: Paintonce,
) -> None:
    """Many requests for one picture use one unit of the quota."""
    await scope(service, limit=1)

    answers = await asyncio.gather(*(visit(service, "a fox") for _ in range(20)))

    assert {answer.status for answer in answers} == {200}
    assert service.world.provider.count == await generated(service) == 1


async def test_a_full_scope_does_not_stop_a_key(service: Paintonce) -> None:
    """A keyed request that waits with a refused visitor paints with its own permit."""
    await scope(service, limit=1)
    gate = service.accounts.before("reserve")
    visiting = asyncio.create_task(visit(service, "a fox"))
    await gate.reached()
    await scope(service, limit=0)
    keyed = asyncio.create_task(service.get(LIVE, ADMIN, prompt="a fox"))
    await asyncio.sleep(0.05)
    gate.open()

    assert (await visiting).code == "budget_exhausted"
    assert (await keyed).status == 200


async def test_a_visitor_of_a_full_scope_takes_no_lease(service: Paintonce) -> None:
    """A scope whose quota is used up refuses before anything is written."""
    await scope(service, limit=0)

    refused = await visit(service, "a fox")

    assert (refused.status, refused.code) == (429, "budget_exhausted")
    assert service.world.index.calls["acquire"] == 0
    assert service.accounts.calls["reserve"] == 0


async def test_a_visitor_of_a_full_scope_waits_for_a_picture_that_a_key_pays() -> None:
    """The picture of another payer, on another replica, is a HIT once it is there."""
    async with running_together(2) as (one, two):
        world = one.world
        await scope(one, limit=0)
        gate = world.provider.before("paint")
        keyed = asyncio.create_task(one.get(LIVE, ADMIN, prompt="a fox"))
        await gate.reached()
        visiting = asyncio.create_task(visit(two, "a fox"))
        await follows(two)
        gate.open()

        assert (await keyed).status == (await visiting).status == 200
        assert world.provider.count == 1


async def test_a_failed_generation_gives_its_place_back(service: Paintonce) -> None:
    """A refused prompt uses no quota of the scope or the address."""
    await scope(service, limit=1)
    service.world.provider.script.append(PromptRejected("No."))

    failed = await visit(service, "something rude")

    assert failed.status == 422
    assert await generated(service) == 0
    assert (await visit(service, "a fox")).status == 200
    assert (await visit(service, "an owl")).status == 429


async def test_places_are_counted_again_after_a_loss(service: Paintonce) -> None:
    """After Redis is emptied the used quota is counted from the ledger."""
    await scope(service, limit=2)
    await visit(service, "fox 1")
    await visit(service, "fox 2")

    service.accounts.lose_everything()

    assert (await visit(service, "fox 3")).code == "budget_exhausted"
    assert await generated(service) == 2


async def follows(service: Paintonce) -> None:
    """Return when a flight of this replica follows another one's leader."""
    flights = service.replica.cache.flights._flights
    await until(lambda: any(one.followed_id for one in flights.values()))


async def test_a_take_over_goes_on_with_the_quota_of_its_leader() -> None:
    """A follower that takes over uses its leader's unit of the quota."""
    async with running_together(2, new_per_address_per_hour=0) as (leading, following):
        world = leading.world
        await scope(leading, limit=1)
        gate = world.provider.before("paint")
        asking = asyncio.create_task(visit(leading, "a fox"))
        await gate.reached()
        waiting = asyncio.create_task(visit(following, "a fox"))
        await follows(following)

        # As after a kill: nothing renews the lease, and nothing gives it back.
        world.index.lose_everything()

        assert (await waiting).status == 200
        assert await generated(following) == 1
        assert (await visit(following, "an owl")).code == "budget_exhausted"
        # The leader was only without its lease: what it ends with is one picture.
        gate.open()
        await asyncio.wait([asking])
        assert await generated(following) == 1
        leading.accounts.lose_everything()
        assert await generated(following) == 1


async def test_an_unknown_scope_is_not_found(service: Paintonce) -> None:
    """An unknown, malformed or foreign scope is 404."""
    await scope(service)
    for path in (
        "/live/acme/shop/other",
        "/live/acme/zoo/banner",
        "/live/acme/shop/Banner",
        "/live/acme/shop/ban%2fner",
        "/live/Acme/shop/banner",
        "/live/acme/shop/banner%00",
        "/live/acme/shop/..",
        "/live/_system/keys/banner",
    ):
        answer = await service.get(path, prompt="a fox")
        assert (answer.status, answer.code) == (404, "not_found"), path
    assert service.world.provider.count == 0


async def test_a_scope_takes_no_signature_and_no_other_model(
    service: Paintonce,
) -> None:
    """A scope takes live parameters without `project`, and only its models."""
    await scope(service)
    for extra in (
        {"project": "acme/shop"},
        {"sig": "x"},
        {"kid": "x", "exp": "1"},
        {"size": "1"},
        {"model": "unknown"},
    ):
        answer = await visit(service, "a fox", **extra)
        assert (answer.status, answer.code) == (400, "invalid_parameter")
    post = await service.ask("POST", "/live/acme/shop/banner", json={"prompt": "x"})
    assert (post.status, post.code) == (405, "method_not_allowed")


async def test_scopes_make_themselves_where_a_project_wants_it(
    service: Paintonce,
) -> None:
    """With automatic scopes the first new picture creates the scope."""
    assert (await visit(service, "a fox", name="news")).status == 404
    await service.ask(
        "PUT", "/api/v1/project", ADMIN, json={"auto_create_scopes": True}
    )
    head = await visit(service, "a fox", name="news", method="HEAD")
    assert (head.status, head.headers["X-Cache-Status"]) == (404, "MISS")
    assert (await service.get(SCOPES, ADMIN)).json == EMPTY

    assert (await visit(service, "a fox", name="news")).status == 200

    (made,) = (await service.get(SCOPES, ADMIN)).json["scopes"]
    assert (made["scope"], made["limit"], made["generated"]) == ("news", 30, 1)
    assert (await visit(service, "a fox", name="No!")).status == 404


@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        ({"limit": -1}, "limit"),
        ({"limit": "30"}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": None}, "limit"),
        ({"limit": 1_000_001}, "limit"),
        ({"allow_new": 1}, "allow_new"),
        ({"models": []}, "models"),
        ({"models": "default"}, "models"),
        ({"models": ["unknown"]}, "models"),
        ({"generated": 0}, "generated"),
    ],
)
async def test_a_bad_scope_is_not_made(
    service: Paintonce, given: object, parameter: str
) -> None:
    """A bad scope is 400 with its field, and is not created."""
    answer = await service.ask("PUT", f"{SCOPES}/banner", ADMIN, json=given)

    assert (answer.status, answer.json["parameter"]) == (400, parameter)
    assert (await service.get(SCOPES, ADMIN)).json == EMPTY


async def test_an_address_has_a_few_new_pictures_an_hour() -> None:
    """An address gets a few new pictures an hour over all scopes, and any HITs."""
    async with running(
        new_per_address_per_hour=3,
        trusted_proxies=[ip_network("127.0.0.0/8")],
    ) as service:
        await scope(service)
        await service.ask("PUT", f"{SCOPES}/footer", ADMIN, json={})

        async def new(number: int, address: str) -> int:
            name = "banner" if number % 2 else "footer"
            headers = {"X-Forwarded-For": address}
            answer = await visit(service, f"fox {number}", name=name, headers=headers)
            if answer.status == 429:
                assert answer.code == "rate_limited"
                assert 3590 <= int(answer.headers["Retry-After"]) <= 3600
            return answer.status

        # A forged address on the left is not believed: the proxy's is on the right.
        first = await asyncio.gather(
            *(new(n, f"10.9.9.{n}, 203.0.113.7") for n in range(8))
        )
        assert sorted(first) == [200] * 3 + [429] * 5
        assert await new(100, "203.0.113.8") == 200
        v6 = [await new(200 + n, f"2001:db8:1:2::{n + 1:x}") for n in range(5)]
        assert v6 == [200] * 3 + [429] * 2
        assert await new(300, "2001:db8:1:3::1") == 200
        hit = await visit(
            service, "fox 100", headers={"X-Forwarded-For": "203.0.113.7"}
        )
        assert hit.status == 200


async def test_ten_thousand_prompts_from_one_address_paint_ten() -> None:
    """An address that requests ever new pictures gets ten."""
    async with running() as service:
        await scope(service, limit=100_000)
        answers = []
        for start in range(0, 300, 100):
            answers += await asyncio.gather(
                *(visit(service, f"fox {start + n}") for n in range(100))
            )

    assert sum(answer.status == 200 for answer in answers) == 10
    assert service.world.provider.count == 10


async def test_places_are_exact_over_replicas() -> None:
    """Three replicas count the quota of a scope together."""
    async with running_together(3, new_per_address_per_hour=0) as replicas:
        await scope(replicas[0], limit=5)
        answers = await asyncio.gather(
            *(visit(where, f"fox {n}") for n in range(10) for where in replicas)
        )

        assert replicas[0].world.provider.count == await generated(replicas[1]) == 5
        assert sum(answer.status == 200 for answer in answers) >= 5


async def test_a_scope_of_the_budget_that_is_used_up_leaves_nothing(
    service: Paintonce,
) -> None:
    """A used-up budget creates no automatic scope."""
    rules = {"auto_create_scopes": True, "budget_per_day": 0.01}
    await service.ask("PUT", "/api/v1/project", ADMIN, json=rules)

    answers = await asyncio.gather(
        *(visit(service, f"fox {n}", name=f"made-up-{n}") for n in range(15))
    )

    assert {answer.code for answer in answers} == {"budget_exhausted"}
    assert (await service.get(SCOPES, ADMIN)).json == EMPTY
    left = [name for name in service.world.store.objects if "scopes/" in name]
    assert not left
    assert not [name for name in service.world.store.objects if "/places/" in name]


async def test_pages_may_make_so_many_scopes_of_a_project(
    service: Paintonce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit a new automatic scope is 404 without a call."""
    monkeypatch.setattr("app.spending.scopes.MAX_AUTO_CREATED", 2)
    await service.ask(
        "PUT", "/api/v1/project", ADMIN, json={"auto_create_scopes": True}
    )
    for name in ("a", "b"):
        assert (await visit(service, f"fox {name}", name=name)).status == 200

    refused = await visit(service, "fox c", name="c")

    assert (refused.status, refused.code) == (404, "not_found")
    assert service.world.provider.count == 2
    service.accounts.lose_everything()
    assert (await visit(service, "fox c", name="c")).status == 404
    await service.ask("PUT", f"{SCOPES}/a", ADMIN, json={"limit": 5})
    assert (await visit(service, "fox c", name="c")).status == 200
    await service.ask("DELETE", f"{SCOPES}/b", ADMIN)
    assert (await visit(service, "fox d", name="d")).status == 200
    assert (await visit(service, "fox e", name="e")).status == 404


async def test_the_list_is_paged(service: Paintonce) -> None:
    """The list of scopes is paged by name, and an unknown cursor is 400."""
    names = [f"page-{number}" for number in range(7)]
    for name in names:
        await service.ask("PUT", f"{SCOPES}/{name}", ADMIN, json={})

    found: list[str] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        page = (await service.get(SCOPES, ADMIN, **query)).json
        found += [one["scope"] for one in page["scopes"]]
        if page["cursor"] is None:
            break
        query["cursor"] = page["cursor"]

    assert found == names
    for bad in ({"limit": 0}, {"limit": 201}, {"limit": "x"}, {"cursor": "No!"}):
        answer = await service.get(SCOPES, ADMIN, **bad)
        assert (answer.status, answer.json["parameter"]) == (400, next(iter(bad)))


@pytest.mark.parametrize("failing", ["delete", "list", "forget"])
async def test_a_deletion_that_met_an_outage_finishes(
    service: Paintonce, failing: str
) -> None:
    """A deletion that met an outage closes the scope and ends when repeated."""
    await scope(service, limit=3)
    for number in range(3):
        assert (await visit(service, f"fox {number}")).status == 200
    where = service.accounts if failing == "forget" else service.world.store
    if failing == "list":
        gate = service.world.store.before("list")
        deleting = asyncio.create_task(service.ask("DELETE", f"{SCOPES}/banner", ADMIN))
        await gate.reached()
        service.world.store.is_away = True
        gate.open()
        broken = await deleting
        service.world.store.is_away = False
    else:
        where.fail_next(failing)
        broken = await service.ask("DELETE", f"{SCOPES}/banner", ADMIN)
    assert broken.status == 503
    assert (await visit(service, "an owl")).status == 404

    again = await service.ask("DELETE", f"{SCOPES}/banner", ADMIN)

    assert (again.status, again.json) == (200, {"deleted": True})
    assert (await scope(service, limit=3))["generated"] == 0
    assert (await visit(service, "an owl")).status == 200


async def test_a_put_ends_a_deletion_that_was_begun(service: Paintonce) -> None:
    """A PUT after an interrupted deletion creates an unused scope."""
    await scope(service, limit=1)
    await visit(service, "a fox")
    service.world.store.fail_next("delete")
    assert (await service.ask("DELETE", f"{SCOPES}/banner", ADMIN)).status == 503

    made = await service.ask("PUT", f"{SCOPES}/banner", ADMIN, json={"limit": 1})

    assert (made.status, made.json["generated"]) == (201, 0)
    assert (await visit(service, "an owl")).status == 200


async def test_a_change_is_answered_while_redis_is_unavailable(
    service: Paintonce,
) -> None:
    """A change without Redis takes effect, with an unknown usage."""
    service.accounts.is_away = True

    made = await service.ask("PUT", f"{SCOPES}/banner", ADMIN, json={"limit": 7})
    changed = await service.ask("PUT", f"{SCOPES}/banner", ADMIN, json={"limit": 8})

    assert [(one.status, one.json["generated"]) for one in (made, changed)] == [
        (201, None),
        (200, None),
    ]
    service.accounts.is_away = False
    shown = await service.get(f"{SCOPES}/banner", ADMIN)
    assert (shown.json["limit"], shown.json["generated"]) == (8, 0)


async def test_look_ups_of_visitors_are_bounded() -> None:
    """An address gets 20 look-ups of unpainted prompts a second, and any HITs."""
    async with running(new_per_address_per_hour=1) as service:
        await scope(service, allow_new=False)
        await service.get(LIVE, ADMIN, prompt="a fox")

        answers = await asyncio.gather(
            *(visit(service, f"owl {n}", method="HEAD") for n in range(60)),
            *(visit(service, "a fox") for _ in range(40)),
        )

        heads = [answer.status for answer in answers[:60]]
        assert set(heads) == {404, 429}
        assert heads.count(404) >= 20
        assert {answer.status for answer in answers[60:]} == {200}
        assert (await service.get(LIVE, ADMIN, prompt="an owl")).status == 200


async def test_a_burst_of_look_ups_is_spread_over_the_second() -> None:
    """Twenty begin at once, and each of the rest five milliseconds after another."""
    limit, loop = VisitorLimit(), asyncio.get_running_loop()
    began = loop.time()

    async def look_up(number: int) -> float:
        await limit.take(f"203.0.113.{number // 10}")
        return loop.time() - began

    times = await asyncio.gather(*map(look_up, range(60)))

    assert all(
        seconds >= (number - BURST) / PER_SECOND_OF_REPLICA
        for number, seconds in enumerate(times)
    )


async def test_refusals_of_a_burst_are_not_held() -> None:
    """The first fifty refusals are sent without a turn of the loop."""
    hold = RefusalHold()
    for _ in range(REFUSALS_AT_ONCE):
        with pytest.raises(StopIteration):
            hold.wait().send(None)


async def test_a_flood_of_refused_look_ups_waits_for_its_answers() -> None:
    """Fifty refusals are sent at once, and the others at 200 a second."""
    loop = asyncio.get_running_loop()
    hold, began = RefusalHold(), loop.time()

    async def refused() -> float:
        await hold.wait()
        return loop.time() - began

    times = await asyncio.gather(*(refused() for _ in range(REFUSALS_AT_ONCE + 80)))

    assert times[-1] >= 80 / REFUSALS_PER_SECOND
    assert all(
        seconds >= (number - REFUSALS_AT_ONCE) / REFUSALS_PER_SECOND
        for number, seconds in enumerate(times)
    )


async def test_no_refusal_is_held_for_longer_than_two_seconds() -> None:
    """A refusal behind 3,000 others is sent after two seconds."""
    loop = asyncio.get_running_loop()
    hold = RefusalHold()
    async with asyncio.TaskGroup() as flood:
        for _ in range(3_000):
            flood.create_task(hold.wait())
        await asyncio.sleep(0)
        began = loop.time()
        await hold.wait()

        assert 1.9 < loop.time() - began < 3.0


async def test_a_replica_that_ends_holds_no_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Refusals that are held, and those to come, are sent at once in the end."""
    monkeypatch.setattr(refusal_hold, "LONGEST_SECONDS", 60.0)
    ends = asyncio.Event()
    hold = RefusalHold(until=ends)
    async with asyncio.timeout(10), asyncio.TaskGroup() as flood:
        held = [flood.create_task(hold.wait()) for _ in range(3_000)]
        await until(held[0].done)
        assert not held[-1].done()
        ends.set()

    await asyncio.wait_for(hold.wait(), 5)


async def test_a_replica_that_ends_holds_no_refused_visitor(
    service: Paintonce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refusals of visitors are sent once the listener has closed."""
    monkeypatch.setattr(refusal_hold, "PER_SECOND", 1)
    monkeypatch.setattr(refusal_hold, "LONGEST_SECONDS", 60.0)
    await scope(service)
    async with asyncio.timeout(15), asyncio.TaskGroup() as flood:
        asked = [
            flood.create_task(visit(service, f"owl {n}", method="HEAD"))
            for n in range(200)
        ]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        service.lifecycle.listener_closed.set()

    assert {one.result().status for one in asked} == {404, 429}


async def test_many_who_wait_for_one_picture_are_one_look_up(
    service: Paintonce,
) -> None:
    """A hundred requests for one new picture count as one look-up."""
    await scope(service)

    answers = await asyncio.gather(*(visit(service, "a fox") for _ in range(120)))

    assert {answer.status for answer in answers} == {200}


async def test_a_burst_that_comes_before_the_painting_is_one_look_up(
    service: Paintonce,
) -> None:
    """Requests that come before the first of them has read its quota count as one."""
    await scope(service)
    quota_is_read = service.accounts.before("balance")
    first = asyncio.create_task(visit(service, "a fox"))
    await quota_is_read.reached()
    others = [asyncio.create_task(visit(service, "a fox")) for _ in range(60)]
    await until(lambda: service.world.index.calls["look_up"] == 61)
    quota_is_read.open()

    answers = await asyncio.gather(first, *others)

    assert {answer.status for answer in answers} == {200}


async def test_a_look_up_that_hangs_holds_up_no_other(service: Paintonce) -> None:
    """A request gets its picture although one before it can't read its quota."""
    await scope(service)
    quota_is_read = service.accounts.before("balance")
    first = asyncio.create_task(visit(service, "a fox"))
    await quota_is_read.reached()

    async with asyncio.timeout(10):
        other = await visit(service, "a fox")
    quota_is_read.open()

    assert other.status == (await first).status == 200


async def test_what_may_have_been_billed_is_not_given_back() -> None:
    """A call that may have been billed keeps its unit of scope and address."""
    async with running(new_per_address_per_hour=2) as service:
        await scope(service, limit=3)
        service.world.provider.script += [
            b"no picture at all",
            GenerationTimedOut("Too late.", end=CallEnd.AMBIGUOUS),
        ]

        first, second = [await visit(service, f"fox {n}") for n in range(2)]
        third = await visit(service, "fox 3")

        assert (first.status, second.status) == (502, 504)
        assert (third.status, third.code) == (429, "rate_limited")
        assert await generated(service) == 2


async def test_an_address_that_asked_a_provider_has_had_its_picture() -> None:
    """A free refusal gives back the scope's unit, and not the address's."""
    async with running(new_per_address_per_hour=1) as service:
        await scope(service, limit=5)
        service.world.provider.script.append(PromptRejected("No."))

        assert (await visit(service, "something rude")).status == 422
        refused = await visit(service, "a fox")

        assert (refused.status, refused.code) == (429, "rate_limited")
        assert await generated(service) == 0


async def test_a_repaint_after_a_purge_takes_another_picture(
    service: Paintonce,
) -> None:
    """Painting a purged prompt again uses another unit of the quota."""
    await scope(service, limit=2)
    painted = await visit(service, "a fox")
    url = f"/api/v1/live/entries/{painted.headers['X-Prompt-Hash']}"
    for used in (1, 2):
        assert await generated(service) == used
        assert (await service.ask("DELETE", url, ADMIN)).status == 200
        answer = await visit(service, "a fox")

    assert (answer.status, answer.code) == (429, "budget_exhausted")


async def test_a_quota_that_could_not_be_written_takes_no_later_picture(
    service: Paintonce,
) -> None:
    """A reservation whose document could not be written uses no quota later."""
    await scope(service, limit=2)
    service.world.store.fail_next("put")
    assert (await visit(service, "a fox")).status == 503
    service.world.index.lose_everything()
    assert (await visit(service, "a fox")).status == 200

    await service.spending.journal.accounts.settle_again()

    assert await generated(service) == 1
