"""Key, rules and scope are read again directly before each call."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from app.storage.known_documents import MAX_AGE_SECONDS, UNAVAILABLE_SECONDS
from tests.access.service import ADMIN, LIVE, Answer, Paintonce, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCOPE = "/api/v1/live/scopes/banner"
PRICE = 0.04


@pytest.fixture
async def service() -> AsyncIterator[Paintonce]:
    """Run a replica with one slot."""
    async with running(concurrency=1, new_per_address_per_hour=0) as opened:
        made = await opened.ask("PUT", SCOPE, ADMIN, json={"limit": 100})
        assert made.status == 201
        yield opened


@asynccontextmanager
async def queued(
    service: Paintonce, path: str, headers: Any = None, callers: int = 4
) -> AsyncIterator[list[asyncio.Task[Answer]]]:
    """Give requests of which one is being painted and the others are queued."""
    gate = service.world.provider.before("paint")
    asking = [
        asyncio.create_task(service.get(path, headers, prompt=f"fox {number}"))
        for number in range(callers)
    ]
    await gate.reached()
    await service.replica.queues(callers - 1)
    yield asking
    gate.open()
    await asyncio.wait(asking)


async def after(
    service: Paintonce, path: str, headers: Any, change: tuple[str, str, Any]
) -> list[Answer]:
    """Return the answers of the queued requests after an admin's *change*."""
    method, where, given = change
    async with queued(service, path, headers) as asking:
        changed = await service.ask(method, where, ADMIN, json=given)
        assert changed.status == 200, changed
    return [one.result() for one in asking]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (("PUT", "/api/v1/project", {"generation": False}), "generation_disabled"),
        (("PUT", "/api/v1/project", {"budget_per_day": PRICE}), "budget_exhausted"),
    ],
)
@pytest.mark.parametrize(
    ("path", "headers"), [(LIVE, ADMIN), ("/live/acme/shop/banner", None)]
)
async def test_a_project_s_change_reaches_those_who_wait(
    service: Paintonce,
    change: tuple[str, str, Any],
    code: str,
    path: str,
    headers: Any,
) -> None:
    """A queued request is refused after generation is off or the budget is cut."""
    first, *others = await after(service, path, headers, change)

    assert first.status == 200
    assert {answer.code for answer in others} == {code}
    assert service.world.provider.count == 1


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (("PUT", SCOPE, {"allow_new": False}), 403, "forbidden"),
        (("PUT", SCOPE, {"limit": 1}), 429, "budget_exhausted"),
        (("DELETE", SCOPE, None), 404, "not_found"),
    ],
)
async def test_a_scope_s_change_reaches_those_who_wait(
    service: Paintonce, change: tuple[str, str, Any], status: int, code: str
) -> None:
    """A queued request is refused after its scope is closed, cut or deleted."""
    first, *others = await after(service, "/live/acme/shop/banner", None, change)

    assert first.status == 200
    assert {(one.status, one.code) for one in others} <= {
        (status, code),
        # As many as fit in the new limit may follow once others gave back.
        (200, None),
    }
    assert service.world.provider.count == 1


async def test_a_key_that_is_revoked_in_the_queue_gets_401(service: Paintonce) -> None:
    """A queued request of a revoked key is 401; another key's is painted."""
    made = await service.key()
    mine = {"X-API-Key": made["key"]}
    async with queued(service, LIVE, mine) as asking:
        other = asyncio.create_task(service.get(LIVE, ADMIN, prompt="fox 3"))
        await service.replica.waits_for_any(2)
        revoked = await service.ask("DELETE", f"/api/v1/keys/{made['id']}", ADMIN)
        assert revoked.status == 200
    first, *others = [one.result() for one in asking]

    assert first.status == 200
    assert {(one.status, one.code) for one in others[:2]} == {(401, "unauthenticated")}
    assert others[0].headers["WWW-Authenticate"] == "Bearer"
    assert (await other).status == 200
    assert service.world.provider.count == 2


async def test_a_signature_that_is_revoked_in_the_queue_is_none(
    service: Paintonce,
) -> None:
    """A queued request of a revoked signing key is 403."""
    made = await service.key(kind="signing")
    urls = [
        (await service.ask("POST", "/api/v1/sign", ADMIN, json={"prompt": f"fox {n}"}))
        for n in range(2)
    ]
    gate = service.world.provider.before("paint")
    asking = []
    for signed in urls:
        target = signed.json["url"].partition(str(service.port))[2]
        asking.append(asyncio.create_task(service.ask("GET", target)))
        await gate.reached()
    await service.replica.queues(1)

    await service.ask("DELETE", f"/api/v1/keys/{made['id']}", ADMIN)
    gate.open()
    answers = await asyncio.gather(*asking)

    assert answers[0].status == 200
    assert (answers[1].status, answers[1].code) == (403, "invalid_signature")


@pytest.mark.long
@pytest.mark.parametrize("document", ["keys/{id}", "projects/acme/shop"])
async def test_what_can_not_be_read_pays_nothing_and_serves_hits(
    document: str,
) -> None:
    """A damaged document stops paintings of its own key or project, and no hits."""
    async with running() as service:
        made, other = await service.key(), await service.key("acme/zoo")
        await service.ask("PUT", "/api/v1/project", ADMIN, json={"generation": True})
        mine = {"X-API-Key": made["key"]}
        assert (await service.get(LIVE, mine, prompt="a fox")).status == 200
        name = f"_system/{document.format(id=made['id'])}.json"
        service.world.store.objects[name].data = b"{"
        await asyncio.sleep(MAX_AGE_SECONDS + UNAVAILABLE_SECONDS)

        hit = await service.get(LIVE, mine, prompt="a fox")
        miss = await service.get(LIVE, mine, prompt="an owl")
        elsewhere = await service.get(LIVE, {"X-API-Key": other["key"]}, prompt="a fox")

    assert (hit.status, hit.headers["X-Cache-Status"]) == (200, "HIT")
    assert (miss.status, miss.code) == (503, "storage_unavailable")
    assert elsewhere.status == 200
    assert service.world.provider.count == 2
