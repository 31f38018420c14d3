"""A job whose leader has died: what its painting took of a scope's quota."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import pytest

from app.access.caller import BOOTSTRAP, Audience, Caller, Role
from app.generation.painting import CallOutcome
from app.spending.scope import ScopeRequest
from app.storage.storage_key import Project
from tests.access.service import ADMIN, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.access.service import Paintonce

SHOP = Project("acme", "shop")
SCOPE = "/api/v1/live/scopes/banner"
LEADER = "00000000-0000-4000-8000-000000000000"
PRICE = 0.04
FREE = (CallOutcome.FAILED, 0.0)
BILLED = (CallOutcome.BAD_IMAGE, PRICE)


@pytest.fixture
async def service() -> AsyncIterator[Paintonce]:
    """Run a replica with a scope."""
    async with running() as opened:
        made = await opened.ask("PUT", SCOPE, ADMIN, json={})
        assert made.status == 201
        yield opened


async def left_call(
    service: Paintonce, price: float, *, after_a_billed_one: bool = False
) -> str:
    """Begin a visitor's call, and leave it as a leader that dies; return its name."""
    scope = await service.spending.scopes.current(SHOP, "banner")
    assert scope is not None
    caller = Caller(SHOP, Role.PROJECT, "banner", Audience.SCOPE)
    permit = service.spending.permits.of_scope_request(
        ScopeRequest(scope, "192.0.2.1"), caller
    )
    async with permit.painting(LEADER) as painting:
        if after_a_billed_one:
            billed = await painting.begin("default", price)
            await billed.settle(*BILLED)
        reference = (await painting.begin("default", price)).reference
        at_its_death = deepcopy(service.accounts._accounts)
    # Nothing is settled, and nothing is renewed any more.
    for kept in at_its_death.values():
        kept.reserved = {item: (one, 0.0) for item, (one, _) in kept.reserved.items()}
    service.accounts._accounts.clear()
    service.accounts._accounts.update(at_its_death)
    assert await generated(service) == 1
    return reference


async def generated(service: Paintonce) -> int:
    """Return how many pictures of its quota the scope has used."""
    count: int = (await service.get(SCOPE, ADMIN)).json["generated"]
    return count


@pytest.mark.parametrize("price", [PRICE, 0.0])
@pytest.mark.parametrize(("end", "used"), [(FREE, 0), (BILLED, 1)])
async def test_a_job_that_ends_free_gives_the_picture_back(
    service: Paintonce, price: float, end: tuple[CallOutcome, float], used: int
) -> None:
    """A replica that finishes a dead leader's job gives its picture back if free."""
    reference = await left_call(service, price)
    permit = service.spending.permits.paid_already(SHOP)

    async with permit.painting(LEADER) as paid:
        for _ in range(2):
            await paid.resume("default", price, reference).settle(*end)

    assert await generated(service) == used
    service.accounts.lose_everything()
    assert await generated(service) == used
    said = (await service.get("/api/v1/project", ADMIN)).json
    assert said["spent_today"] == (price if used else 0)


async def test_a_call_is_open_until_it_is_settled(service: Paintonce) -> None:
    """The ledger knows a call as open from its reservation to its end."""
    permit = service.spending.permits.paid_already(SHOP)
    for end in (FREE, BILLED):
        reference = await left_call(service, PRICE)
        assert await permit.is_open(reference)
        async with permit.painting(LEADER) as paid:
            await paid.resume("default", PRICE, reference).settle(*end)

        assert not await permit.is_open(reference)
    # A call that costs nothing has none.
    assert not await permit.is_open("")


async def test_a_billed_call_before_the_job_keeps_the_picture(
    service: Paintonce,
) -> None:
    """A job that ends free gives nothing back after a call that was billed."""
    reference = await left_call(service, PRICE, after_a_billed_one=True)
    permit = service.spending.permits.paid_already(SHOP)

    async with permit.painting(LEADER) as paid:
        await paid.resume("default", PRICE, reference).settle(*FREE)

    assert await generated(service) == 1


async def test_a_purge_gives_no_picture_back(service: Paintonce) -> None:
    """A purge that cancels a dead leader's job gives no picture of a quota back."""
    reference = await left_call(service, PRICE)

    call = service.spending.permits.paid_already(SHOP).resume(
        "default", PRICE, reference
    )
    await call.settle(*FREE)

    assert await generated(service) == 1
    said = (await service.get("/api/v1/project", ADMIN)).json
    assert said["spent_today"] == 0


async def test_a_key_goes_on_with_a_visitors_job(service: Paintonce) -> None:
    """A request with a key settles the call that a visitor's leader began."""
    reference = await left_call(service, PRICE)
    caller = Caller(SHOP, Role.ADMIN, BOOTSTRAP, Audience.KEY)

    async with service.spending.permits.of(caller).painting("another") as painting:
        await painting.resume("default", PRICE, reference).settle(*FREE)

    said = (await service.get("/api/v1/project", ADMIN)).json
    assert said["spent_today"] == 0
