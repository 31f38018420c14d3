"""Spend: reserved before a call, journaled, settled, and counted again."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from app.access.caller import BOOTSTRAP, Audience, Caller, Role
from app.errors import (
    BadImage,
    CallEnd,
    GenerationTimedOut,
    PromptRejected,
    ProviderFailed,
)
from app.spending.projects import ProjectRules
from app.storage.storage_key import Project
from tests.access.service import (
    ADMIN,
    LIVE,
    Answer,
    Paintonce,
    running,
    running_together,
)
from tests.fakes import a_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes import Gate

PRICE = 0.04


@pytest.fixture
async def service() -> AsyncIterator[Paintonce]:
    """Run one replica whose projects may spend little more than two pictures a day."""
    async with running() as opened:
        yield opened


async def budget(service: Paintonce, amount: float | None) -> None:
    """Set the shop's budget."""
    changed = await service.ask(
        "PUT", "/api/v1/project", ADMIN, json={"budget_per_day": amount}
    )
    assert changed.status == 200, changed


async def paint(service: Paintonce, prompt: str) -> Answer:
    """Request a prompt of the shop."""
    return await service.get(LIVE, ADMIN, prompt=prompt)


async def painting_at_gate(
    service: Paintonce, prompt: str
) -> tuple[Gate, asyncio.Task[Answer]]:
    """Request a prompt; return the gate at which its painting waits, and the task."""
    gate = service.world.provider.before("paint")
    asking = asyncio.create_task(paint(service, prompt))
    await gate.reached()
    return gate, asking


async def project(service: Paintonce) -> Any:
    """Return the shop's project document."""
    answer = await service.get("/api/v1/project", ADMIN)
    assert answer.status == 200, answer
    return answer.json


def journal(service: Paintonce) -> list[str]:
    """Return the names of the journal's documents."""
    objects = service.world.store.objects
    return sorted(key for key in objects if key.startswith("_system/spend/"))


async def accounts_agree(service: Paintonce, calls: int) -> None:
    """Check that journal, project, statistics and metrics have *calls* paid calls."""
    spent = round(calls * PRICE, 6)
    said = await project(service)
    stats = await service.get("/api/v1/live/stats", ADMIN)
    spend = await service.get("/api/v1/project/spend", ADMIN)
    assert (said["spent_today"], said["reserved"]) == (spent, 0)
    assert stats.json["spend"] == spent
    assert spend.json["total"] == spent
    assert len(spend.json["calls"]) == len(journal(service)) == calls
    metric = service.replica.counted("paintonce_spend_total", model="default")
    assert round(metric, 6) == spent


async def test_the_accounts_agree(service: Paintonce) -> None:
    """Journal, project, statistics and metrics have the price of every call."""
    await asyncio.gather(*(paint(service, f"fox {n % 7}") for n in range(30)))

    assert service.world.provider.count == 7
    await accounts_agree(service, 7)
    (first, *_) = (await service.get("/api/v1/project/spend", ADMIN)).json["calls"]
    assert first.keys() == {"generation_id", "at", "amount", "model", "outcome"}
    assert (first["amount"], first["model"], first["outcome"]) == (
        PRICE,
        "default",
        "ok",
    )
    assert all("_0.04.json" in name for name in journal(service))


@pytest.mark.parametrize(
    ("ending", "costs"),
    [
        (b"no picture at all", True),
        (BadImage("There is no picture in the answer."), True),
        (GenerationTimedOut("Too late."), True),
        (ProviderFailed("Cut.", end=CallEnd.AMBIGUOUS), True),
        (ProviderFailed("A clear error."), False),
        (PromptRejected("No."), False),
        (PromptRejected("Withheld.", end=CallEnd.BILLED), True),
    ],
)
async def test_what_may_have_been_billed_counts(
    service: Paintonce,
    ending: bytes | Exception,
    costs: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """A broken picture and an ambiguous end cost the price, a refusal nothing."""
    service.world.provider.script.append(ending)

    failed = await paint(service, "a fox")

    assert failed.status in {422, 502, 504}
    await accounts_agree(service, int(costs))


async def test_the_budget_of_a_day_is_exact(service: Paintonce) -> None:
    """Of twenty prompts at once as many are painted as the budget pays; HITs go on."""
    await budget(service, 5 * PRICE)

    answers = await asyncio.gather(*(paint(service, f"fox {n}") for n in range(20)))

    painted = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status != 200]
    assert len(painted) == service.world.provider.count == 5
    assert {(one.status, one.code) for one in refused} == {(429, "budget_exhausted")}
    until = int(refused[0].headers["Retry-After"])
    assert 1 <= until <= 86_400
    await accounts_agree(service, 5)
    hits = [await paint(service, f"fox {n}") for n in range(20)]
    assert sum(one.headers.get("X-Cache-Status") == "HIT" for one in hits) == 5


async def test_a_budget_is_not_overdrawn_by_a_fraction(service: Paintonce) -> None:
    """A call that does not fit into the budget whole is refused; zero is no limit."""
    await budget(service, 1.5 * PRICE)
    assert (await paint(service, "fox 1")).status == 200
    assert (await paint(service, "fox 2")).code == "budget_exhausted"
    await budget(service, 0)
    assert (await paint(service, "fox 2")).status == 200
    await budget(service, None)
    assert (await project(service))["budget_per_day"] == 0


async def test_the_price_is_reserved_before_the_call(service: Paintonce) -> None:
    """During a call its price is reserved and journaled as open."""
    gate, asking = await painting_at_gate(service, "a fox")

    said = await project(service)
    assert (said["spent_today"], said["reserved"]) == (0, PRICE)
    (name,) = journal(service)
    written = json.loads(service.world.store.objects[name].data)
    assert (written["outcome"], written["amount"]) == ("open", PRICE)
    assert name.startswith(f"_system/spend/acme/shop/{datetime.now(UTC).date()}/")
    assert written["generation_id"] in name
    gate.open()
    assert (await asking).status == 200
    await accounts_agree(service, 1)


async def test_a_lost_redis_is_counted_again_before_anything_is_paid(
    service: Paintonce,
) -> None:
    """After Redis is emptied the day's spend is counted from the journal."""
    await budget(service, 3 * PRICE)
    await paint(service, "fox 1")
    gate, asking = await painting_at_gate(service, "fox 2")

    service.accounts.lose_everything()

    said = await project(service)
    assert said["spent_today"] == 2 * PRICE
    assert (await paint(service, "fox 3")).status == 200
    assert (await paint(service, "fox 4")).code == "budget_exhausted"
    gate.open()
    assert (await asking).status == 200
    await accounts_agree(service, 3)


async def test_a_refusal_settles_what_a_recount_took_for_paid(
    service: Paintonce,
) -> None:
    """A recounted open call that costs nothing is given back."""
    service.world.provider.script.append(PromptRejected("No."))
    gate, asking = await painting_at_gate(service, "a fox")
    service.accounts.lose_everything()
    assert (await project(service))["spent_today"] == PRICE

    gate.open()

    assert (await asking).status == 422
    await accounts_agree(service, 0)


async def test_a_loss_between_reserving_and_writing_is_noticed(
    service: Paintonce,
) -> None:
    """A loss between reservation and journal is noticed, and counted again."""
    await budget(service, PRICE)
    gate = service.world.store.before("put")
    asking = asyncio.create_task(paint(service, "fox 1"))
    await gate.reached()
    service.accounts.lose_everything()
    assert (await project(service))["spent_today"] == 0

    gate.open()

    assert (await asking).status == 200
    assert (await paint(service, "fox 2")).code == "budget_exhausted"
    await accounts_agree(service, 1)


async def test_nothing_is_paid_without_journal_or_count(service: Paintonce) -> None:
    """Without the journal or the account no provider is called."""
    service.world.store.fail_next("put")
    assert (await paint(service, "fox 1")).code == "storage_unavailable"
    service.accounts.is_away = True
    assert (await paint(service, "fox 2")).code == "cache_unavailable"
    service.accounts.is_away = False

    assert service.world.provider.count == 0
    await service.spending.journal.accounts.settle_again()
    await accounts_agree(service, 0)


async def test_what_could_not_be_settled_is_settled_later(service: Paintonce) -> None:
    """A call that could not be settled is settled later."""
    service.world.provider.script.append(PromptRejected("No."))
    service.world.store.fail_next("delete")
    assert (await paint(service, "fox 1")).status == 422
    assert (await project(service))["reserved"] == PRICE
    service.accounts.fail_next("settle")
    assert (await paint(service, "fox 2")).status == 200

    await service.spending.journal.accounts.settle_again()

    await accounts_agree(service, 1)


async def test_two_replicas_count_as_one() -> None:
    """Two replicas share one budget."""
    async with running_together(2) as (one, other):
        await budget(one, 4 * PRICE)
        await asyncio.sleep(0)
        answers = await asyncio.gather(
            *(paint(where, f"fox {n}") for n in range(8) for where in (one, other))
        )
        assert one.world.provider.count == 4
        assert {answer.status for answer in answers} == {200, 429}


async def test_generation_is_switched_off_for_one_project(service: Paintonce) -> None:
    """With generation off a project gets HITs and 503 for MISSes."""
    key = (await service.key())["key"]
    mine = {"X-API-Key": key}
    await paint(service, "a fox")

    off = await service.ask("PUT", "/api/v1/project", mine, json={"generation": False})
    hit, miss = await paint(service, "a fox"), await paint(service, "an owl")
    elsewhere = await service.get(
        LIVE, {**ADMIN, "X-Project": "acme/zoo"}, prompt="an owl"
    )
    refresh = await service.ask(
        "POST",
        f"/api/v1/live/entries/{hit.headers['X-Prompt-Hash']}/refresh",
        ADMIN,
    )

    assert off.json["generation"] is False
    assert hit.headers["X-Cache-Status"] == "HIT"
    assert (miss.status, miss.code) == (503, "generation_disabled")
    assert "Retry-After" in miss.headers
    assert elsewhere.status == 200
    assert (refresh.status, refresh.code) == (503, "generation_disabled")
    assert service.world.provider.count == 2


async def test_the_kill_switch_outranks_every_project() -> None:
    """With GENERATION=off no project pays, and HITs are served."""
    world = a_world()
    async with running(world) as before:
        await paint(before, "a fox")
    async with running(world, defaults=ProjectRules(generation=False)) as service:
        on = await service.ask(
            "PUT", "/api/v1/project", ADMIN, json={"generation": True}
        )
        hit, miss = await paint(service, "a fox"), await paint(service, "an owl")

    assert on.json["generation"] is False
    assert (hit.status, miss.code) == (200, "generation_disabled")


@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        ({"budget_per_day": -1}, "budget_per_day"),
        ({"budget_per_day": "5"}, "budget_per_day"),
        ({"budget_per_day": True}, "budget_per_day"),
        ({"rate_limit_per_minute": 1.5}, "rate_limit_per_minute"),
        ({"rate_limit_per_minute": -1}, "rate_limit_per_minute"),
        ({"generation": "off"}, "generation"),
        ({"generation": 0}, "generation"),
        ({"auto_create_scopes": "no"}, "auto_create_scopes"),
        ({"spent_today": 0}, "spent_today"),
    ],
)
async def test_a_bad_change_changes_nothing(
    service: Paintonce, given: dict[str, Any], parameter: str
) -> None:
    """A bad change is 400 with its field and changes nothing."""
    answer = await service.ask(
        "PUT", "/api/v1/project", ADMIN, json={"budget_per_day": 3, **given}
    )

    assert (answer.status, answer.json["parameter"]) == (400, parameter)
    assert (await project(service))["budget_per_day"] == 0


async def test_a_project_does_not_raise_its_own_limits(service: Paintonce) -> None:
    """A project's key may change generation and scopes, and not budgets or rates."""
    mine = {"X-API-Key": (await service.key())["key"]}
    for given in ({"budget_per_day": 100}, {"rate_limit_per_minute": 0}):
        answer = await service.ask("PUT", "/api/v1/project", mine, json=given)
        assert (answer.status, answer.code) == (403, "forbidden")

    answer = await service.ask(
        "PUT", "/api/v1/project", mine, json={"auto_create_scopes": True}
    )

    assert answer.json == {
        "project": "acme/shop",
        "generation": True,
        "budget_per_day": 0,
        "spent_today": 0,
        "reserved": 0,
        "rate_limit_per_minute": 0,
        "auto_create_scopes": True,
        "can_sign": False,
        "day_ends_at": answer.json["day_ends_at"],
    }
    assert answer.json["day_ends_at"].endswith("T00:00:00Z")


async def test_a_bill_is_proved_for_its_own_project(service: Paintonce) -> None:
    """A bill has the calls of one project and day; a bad day is 400."""
    await paint(service, "a fox")

    zoo = await service.get("/api/v1/project/spend", {**ADMIN, "X-Project": "acme/zoo"})
    old = await service.get("/api/v1/project/spend", ADMIN, day="2020-02-29")
    bad = [
        await service.get("/api/v1/project/spend", ADMIN, day=day)
        for day in (
            "today",
            "2026-2-1",
            "2026-02-30",
            "../../keys",
            "\uff12\uff10\uff12\uff16-01-01",
        )
    ]

    assert zoo.json == old.json == {"calls": [], "total": 0, "cursor": None}
    assert [(one.status, one.json["parameter"]) for one in bad] == [(400, "day")] * 5


async def test_a_change_is_answered_while_redis_is_unavailable(
    service: Paintonce,
) -> None:
    """A change without Redis takes effect, with unknown sums."""
    service.accounts.is_away = True

    changed = await service.ask(
        "PUT", "/api/v1/project", ADMIN, json={"generation": False}
    )

    assert (changed.status, changed.json["generation"]) == (200, False)
    assert (changed.json["spent_today"], changed.json["reserved"]) == (None, None)
    assert (await paint(service, "a fox")).code == "generation_disabled"


async def test_a_huge_integer_is_no_budget(service: Paintonce) -> None:
    """A budget that no float holds is 400."""
    body = b'{"budget_per_day": 1' + b"0" * 400 + b"}"
    answer = await service.ask(
        "PUT",
        "/api/v1/project",
        {**ADMIN, "Content-Type": "application/json"},
        data=body,
    )

    assert (answer.status, answer.json["parameter"]) == (400, "budget_per_day")


async def test_a_bill_is_paged_and_its_total_is_the_day_s(
    service: Paintonce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages of a bill have each call once, and the day's total."""
    monkeypatch.setattr("app.spending.journal.MAX_CALLS", 4)
    for number in range(10):
        await paint(service, f"fox {number}")

    found: list[str] = []
    query: dict[str, str] = {}
    pages = 0
    while True:
        page = (await service.get("/api/v1/project/spend", ADMIN, **query)).json
        assert page["total"] == round(10 * PRICE, 6)
        found += [call["generation_id"] for call in page["calls"]]
        pages += 1
        if page["cursor"] is None:
            break
        query["cursor"] = page["cursor"]

    assert (pages, len(found), len(set(found))) == (3, 10, 10)
    bad = await service.get("/api/v1/project/spend", ADMIN, cursor="../x")
    assert (bad.status, bad.json["parameter"]) == (400, "cursor")


async def test_an_open_call_of_a_replica_that_died_counts_in_all(
    service: Paintonce,
) -> None:
    """A dead replica's open call counts in bill, spend and statistics."""
    await paint(service, "a fox")
    caller = Caller(Project("acme", "shop"), Role.ADMIN, BOOTSTRAP, Audience.KEY)
    permit = service.spending.permits.of(caller)
    async with permit.painting("00000000-0000-4000-8000-000000000000") as painting:
        await painting.begin("default", PRICE)
        # As after a kill: nothing is settled, and nothing is renewed.
        for kept in service.accounts._accounts.values():
            kept.reserved = {
                item: (one, 0.0) for item, (one, _) in kept.reserved.items()
            }

    said = await project(service)
    stats = await service.get("/api/v1/live/stats", ADMIN)
    bill = await service.get("/api/v1/project/spend", ADMIN)
    assert (said["spent_today"], said["reserved"]) == (2 * PRICE, 0)
    assert stats.json["spend"] == bill.json["total"] == 2 * PRICE
    assert [call["outcome"] for call in bill.json["calls"]] == ["ok", "open"]


async def test_what_died_before_it_was_written_down_costs_nothing(
    service: Paintonce,
) -> None:
    """A reservation whose replica died before the journal expires and costs nothing."""
    gate = service.world.store.before("put")
    asking = asyncio.create_task(paint(service, "a fox"))
    await gate.reached()
    assert (await project(service))["reserved"] == PRICE
    for kept in service.accounts._accounts.values():
        kept.reserved = {item: (one, 0.0) for item, (one, _) in kept.reserved.items()}

    said = await project(service)

    assert (said["spent_today"], said["reserved"]) == (0, 0)
    gate.open()
    assert (await asking).status == 200
    await accounts_agree(service, 1)
