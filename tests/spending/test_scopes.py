"""Live scopes: what a static page may have painted, and no more."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from app.errors import PromptRejected
from tests.access.fakes import InMemoryAccounts, InMemoryRates
from tests.access.service import ADMIN, LIVE, Answer, Paintonce, running
from tests.fakes import a_world
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
    """Make or change the scope `banner` of the shop."""
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
    """Ask through a scope."""
    return await service.ask(
        method,
        f"/live/acme/shop/{name}",
        headers,
        params={"prompt": prompt, **more},
    )


async def generated(service: Paintonce) -> int:
    """Return how many new pictures the scope has had."""
    count: int = (await service.get(f"{SCOPES}/banner", ADMIN)).json["generated"]
    return count


async def test_a_scope_is_made_changed_listed_and_removed(service: Paintonce) -> None:
    """PUT is 201, then 200, and changes what it names; DELETE ends it."""
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
    """Same picture, same cache, same headers as with a key, and no Vary."""
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
    """It uses up no place, in a closed and in a full scope as well."""
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
    """Of twenty prompts at once the scope has as many painted as it has places."""
    await scope(service, limit=7)

    answers = await asyncio.gather(*(visit(service, f"fox {n}") for n in range(20)))

    assert sum(answer.status == 200 for answer in answers) == 7
    assert {one.code for one in answers if one.status != 200} == {"budget_exhausted"}
    assert service.world.provider.count == await generated(service) == 7


async def test_many_who_wait_for_one_picture_use_one_place(
    service: Paintonce,
) -> None:
    """The last place serves everybody who asks for the same prompt."""
    await scope(service, limit=1)

    answers = await asyncio.gather(*(visit(service, "a fox") for _ in range(20)))

    assert {answer.status for answer in answers} == {200}
    assert service.world.provider.count == await generated(service) == 1


async def test_a_full_scope_does_not_stop_a_key(service: Paintonce) -> None:
    """Whoever waits with a key while a visitor is refused paints with its own."""
    await scope(service, limit=0)
    gate = service.accounts.before("reserve")
    visiting = asyncio.create_task(visit(service, "a fox"))
    await gate.reached()
    keyed = asyncio.create_task(service.get(LIVE, ADMIN, prompt="a fox"))
    await asyncio.sleep(0.05)
    gate.open()

    assert (await visiting).code == "budget_exhausted"
    assert (await keyed).status == 200


async def test_a_failed_generation_gives_its_place_back(service: Paintonce) -> None:
    """A refused prompt uses up nothing, of the scope and of the address."""
    await scope(service, limit=1)
    service.world.provider.script.append(PromptRejected("No."))

    failed = await visit(service, "something rude")

    assert failed.status == 422
    assert await generated(service) == 0
    assert (await visit(service, "a fox")).status == 200
    assert (await visit(service, "an owl")).status == 429


async def test_places_are_counted_again_after_a_loss(service: Paintonce) -> None:
    """The ledger knows which places are used: a flush makes none anew."""
    await scope(service, limit=2)
    await visit(service, "fox 1")
    await visit(service, "fox 2")

    service.accounts.lose_everything()

    assert (await visit(service, "fox 3")).code == "budget_exhausted"
    assert await generated(service) == 2


async def follows(service: Paintonce) -> None:
    """Return when a flight of this replica follows another's leader."""
    flights = service.replica.cache.flights._flights
    await until(lambda: any(one.followed_id for one in flights.values()))


async def test_a_take_over_goes_on_with_the_quota_of_its_leader() -> None:
    """A follower whose leader died takes no second picture of the quota."""
    world, shared = a_world(), (InMemoryAccounts(), InMemoryRates())
    rules: Any = {"new_per_address_per_hour": 0}
    async with (
        running(world, shared=shared, **rules) as leading,
        running(world, shared=shared, **rules) as following,
    ):
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
        gate.open()
        await asyncio.wait([asking])


async def test_an_unknown_scope_is_nobodys(service: Paintonce) -> None:
    """404 for what was not made, for malformed names and other projects."""
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
    """The parameters of live generation but `project`; models of its list alone."""
    await scope(service)
    for extra in (
        {"project": "acme/shop"},
        {"sig": "x"},
        {"kid": "x", "exp": "1"},
        {"size": "1"},
        {"model": "nobody"},
    ):
        answer = await visit(service, "a fox", **extra)
        assert (answer.status, answer.code) == (400, "invalid_parameter")
    post = await service.ask("POST", "/live/acme/shop/banner", json={"prompt": "x"})
    assert (post.status, post.code) == (405, "method_not_allowed")


async def test_scopes_make_themselves_where_a_project_wants_it(
    service: Paintonce,
) -> None:
    """The first new picture makes it, with 30 places; looking alone makes nothing."""
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
        ({"models": ["nobody"]}, "models"),
        ({"generated": 0}, "generated"),
    ],
)
async def test_a_bad_scope_is_not_made(
    service: Paintonce, given: object, parameter: str
) -> None:
    """The faulty field is named."""
    answer = await service.ask("PUT", f"{SCOPES}/banner", ADMIN, json=given)

    assert (answer.status, answer.json["parameter"]) == (400, parameter)
    assert (await service.get(SCOPES, ADMIN)).json == EMPTY


async def test_an_address_has_a_few_new_pictures_an_hour() -> None:
    """Across scopes, exactly; what is painted is a HIT for everybody."""
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
    """A stranger who asks for ever new pictures is stopped by the default limit."""
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
    """Three replicas count the places of one scope together."""
    world, shared = a_world(), (InMemoryAccounts(), InMemoryRates())
    rules: Any = {"new_per_address_per_hour": 0}
    async with (
        running(world, shared=shared, **rules) as one,
        running(world, shared=shared, **rules) as two,
        running(world, shared=shared, **rules) as three,
    ):
        await scope(one, limit=5)
        answers = await asyncio.gather(
            *(
                visit(where, f"fox {n}")
                for n in range(10)
                for where in (one, two, three)
            )
        )

        assert world.provider.count == await generated(two) == 5
        assert sum(answer.status == 200 for answer in answers) >= 5
