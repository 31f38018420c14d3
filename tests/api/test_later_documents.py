"""Keys, rules, scopes and bills of a later release are outages of that one alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.access.service import ADMIN, LIVE

if TYPE_CHECKING:
    from tests.access.service import Answer, Paintonce

SCOPES, KEYS = "/api/v1/live/scopes", "/api/v1/keys"
PROJECT, SPEND = "/api/v1/project", "/api/v1/project/spend"


def grows_later(service: Paintonce, prefix: str) -> dict[str, bytes]:
    """Rewrite the documents below *prefix* as a later release would."""
    objects = service.world.store.objects
    later = {key: kept for key, kept in objects.items() if key.startswith(prefix)}
    assert later
    for kept in later.values():
        kept.data = orjson.dumps(orjson.loads(kept.data) | {"version": 2})
    return {key: kept.data for key, kept in later.items()}


def is_outage(answer: Answer, caplog: pytest.LogCaptureFixture) -> bool:
    """Return whether *answer* is an outage of the store, and an ERROR was logged."""
    logged = {
        record.message for record in caplog.records if record.levelname == "ERROR"
    }
    is_logged = "document of a later version" in logged
    return (answer.status, answer.code, is_logged) == (503, "storage_unavailable", True)


@pytest.mark.parametrize("reader", ["authenticated", "listed", "revoked"])
async def test_a_later_key(
    service: Paintonce, caplog: pytest.LogCaptureFixture, reader: str
) -> None:
    """A key of a later release is an outage of it, for each reader of keys."""
    made, other = await service.key(), await service.key()
    later = grows_later(service, f"_system/keys/{made['id']}")
    before = dict(service.world.store.objects)

    match reader:
        case "authenticated":
            key = {"X-API-Key": made["key"]}
            answer = await service.get(LIVE, key, prompt="a red fox")
        case "listed":
            answer = await service.get(KEYS, ADMIN, project="acme/shop")
        case _:
            answer = await service.ask("DELETE", f"{KEYS}/{made['id']}", ADMIN)

    assert is_outage(answer, caplog)
    assert service.world.store.objects == before
    assert {key: before[key].data for key in later} == later
    assert service.world.provider.count == 0
    good = await service.get(LIVE, {"X-API-Key": other["key"]}, prompt="a red fox")
    assert good.status == 200


@pytest.mark.parametrize("reader", ["painted", "shown", "changed"])
async def test_later_rules_of_a_project(
    service: Paintonce, caplog: pytest.LogCaptureFixture, reader: str
) -> None:
    """Rules of a later release are an outage of their project, for each reader."""
    await service.ask("PUT", PROJECT, ADMIN, json={"budget_per_day": 3})
    grows_later(service, "_system/projects/acme/shop")
    before = dict(service.world.store.objects)
    service.spending.projects._known.forget("projects/acme/shop")

    match reader:
        case "painted":
            answer = await service.get(LIVE, ADMIN, prompt="a red fox")
        case "shown":
            answer = await service.get(PROJECT, ADMIN)
        case _:
            answer = await service.ask(
                "PUT", PROJECT, ADMIN, json={"budget_per_day": 4}
            )

    assert is_outage(answer, caplog)
    assert service.world.store.objects == before
    assert service.world.provider.count == 0
    zoo = {**ADMIN, "X-Project": "acme/zoo"}
    assert (await service.get(LIVE, zoo, prompt="a red fox")).status == 200


@pytest.mark.parametrize("reader", ["visited", "shown", "listed", "put", "deleted"])
async def test_a_later_scope(
    service: Paintonce, caplog: pytest.LogCaptureFixture, reader: str
) -> None:
    """A scope of a later release is an outage of it, for each reader of scopes."""
    await service.ask("PUT", f"{SCOPES}/banner", ADMIN, json={})
    await service.ask("PUT", f"{SCOPES}/other", ADMIN, json={})
    grows_later(service, "_system/scopes/acme/shop/banner")
    before = dict(service.world.store.objects)
    service.spending.scopes._known.forget("scopes/acme/shop/banner")

    path, body = f"{SCOPES}/banner", {"limit": 2}
    asked: dict[str, Any] = {
        "visited": lambda: service.get("/live/acme/shop/banner", prompt="a red fox"),
        "shown": lambda: service.get(path, ADMIN),
        "listed": lambda: service.get(SCOPES, ADMIN),
        "put": lambda: service.ask("PUT", path, ADMIN, json=body),
        "deleted": lambda: service.ask("DELETE", path, ADMIN),
    }
    answer = await asked[reader]()

    assert is_outage(answer, caplog)
    assert service.world.store.objects == before
    assert service.world.provider.count == 0
    other = await service.get("/live/acme/shop/other", prompt="a red fox")
    assert other.status == 200


async def test_a_later_call_of_a_bill(
    service: Paintonce, caplog: pytest.LogCaptureFixture
) -> None:
    """A call that a later release wrote is an outage of the bill, and never left out.

    What is spent goes on: the names alone have the amounts.
    """
    await service.get(LIVE, ADMIN, prompt="a red fox")
    grows_later(service, "_system/spend/acme/shop/")

    answer = await service.get(SPEND, ADMIN)

    assert is_outage(answer, caplog)
    service.accounts.lose_everything()
    assert (await service.get(PROJECT, ADMIN)).json["spent_today"] == 0.04
