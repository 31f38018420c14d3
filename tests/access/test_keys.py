"""API keys: made, used, revoked, and used while the ledger is unavailable."""

from __future__ import annotations

import asyncio
import json
import re
import time
from hashlib import sha256
from typing import Any

import pytest

from app import refusal_hold
from app.access.look_ups import LookUpLimit
from app.errors import RateLimited, StorageUnavailable
from tests.access.service import ADMIN, ADMIN_KEY, LIVE, Answer, Paintonce, running
from tests.fakes import a_world
from tests.manual_clock import ManualClock

UNKNOWN = f"pk_{'a' * 12}_{'A' * 43}"


def of(key: str, **headers: str) -> dict[str, str]:
    """Return the headers that send *key*."""
    return {"X-API-Key": key, **headers}


async def test_a_new_key_is_shown_once_and_only_its_hash_is_kept(
    service: Paintonce,
) -> None:
    """The ledger stores only the SHA-256 of a key, and lists never contain the key."""
    made = await service.key()

    assert re.fullmatch(r"pk_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", made["key"])
    assert made["key"].split("_")[1] == made["id"]
    assert made.keys() == {"id", "key", "project", "role", "kind", "created_at"}
    kept = b"".join(one.data for one in service.world.store.objects.values())
    secret = made["key"].split("_", 2)[2].encode()
    assert secret not in kept
    stored = json.loads(
        service.world.store.objects[f"_system/keys/{made['id']}.json"].data
    )
    assert stored["sha256"] == sha256(made["key"].encode()).hexdigest()
    listed = await service.get("/api/v1/keys", of(ADMIN_KEY))
    (shown,) = listed.json["keys"]
    assert shown["id"] == made["id"]
    assert not {"key", "sha256", "sealed"} & shown.keys()
    assert secret not in listed.body


async def test_a_projects_key_names_its_project(service: Paintonce) -> None:
    """A project's key acts for its project and is refused for any other."""
    key = (await service.key("acme/shop"))["key"]

    own = await service.get("/api/v1/live/stats", of(key))
    said = await service.get(
        "/api/v1/live/stats", of(key, **{"X-Project": "acme/shop"})
    )
    other = await service.get(
        "/api/v1/live/stats", of(key, **{"X-Project": "acme/zoo"})
    )

    assert (own.status, own.json["project"]) == (200, "acme/shop")
    assert said.status == 200
    assert (other.status, other.code) == (403, "forbidden")


async def test_an_admin_key_of_the_ledger_serves_every_project(
    service: Paintonce,
) -> None:
    """An admin key acts for any project, which X-Project must name."""
    key = (await service.key("acme/shop", role="admin"))["key"]

    unnamed = await service.get("/api/v1/live/stats", of(key))
    named = await service.get(
        "/api/v1/live/stats", of(key, **{"X-Project": "acme/zoo"})
    )
    listed = await service.get("/api/v1/keys", of(key))

    assert (unnamed.status, unnamed.json["parameter"]) == (400, "X-Project")
    assert named.json["project"] == "acme/zoo"
    assert listed.status == 200


async def test_a_revoked_key_is_refused_at_once_here(service: Paintonce) -> None:
    """A revoked key is refused at once, and revoking it again succeeds."""
    made = await service.key()
    assert (await service.get("/api/v1/live/stats", of(made["key"]))).status == 200

    first = await service.ask("DELETE", f"/api/v1/keys/{made['id']}", of(ADMIN_KEY))
    again = await service.ask("DELETE", f"/api/v1/keys/{made['id']}", of(ADMIN_KEY))
    unknown = await service.ask("DELETE", f"/api/v1/keys/{'z' * 12}", of(ADMIN_KEY))
    malformed = await service.ask("DELETE", "/api/v1/keys/..%2fa", of(ADMIN_KEY))

    assert first.json == again.json == {"revoked": True}
    assert (unknown.status, malformed.status) == (404, 404)
    refused = await service.get("/api/v1/live/stats", of(made["key"]))
    assert (refused.status, refused.code) == (401, "unauthenticated")
    (shown,) = (await service.get("/api/v1/keys", of(ADMIN_KEY))).json["keys"]
    assert shown["revoked_at"] is not None


async def test_a_revocation_reaches_another_replica() -> None:
    """Another replica refuses a revoked key within five seconds."""
    world = a_world()
    async with running(world) as one, running(world) as other:
        made = await one.key()
        assert (await other.get("/api/v1/live/stats", of(made["key"]))).status == 200
        await one.ask("DELETE", f"/api/v1/keys/{made['id']}", of(ADMIN_KEY))

        async def status() -> int:
            return (await other.get("/api/v1/live/stats", of(made["key"]))).status

        async with asyncio.timeout(5):
            while await status() == 200:  # noqa: ASYNC110 - as its user would notice
                await asyncio.sleep(0.05)
        assert await status() == 401


async def test_what_is_no_key_reads_nothing(service: Paintonce) -> None:
    """A missing or malformed key is refused without a call to any port."""
    for headers in ({}, of("pk_short"), of("x" * 59), of(UNKNOWN + "A"), of("ключ")):
        for path in (f"{LIVE}?prompt=a+fox", "/api/v1/live/stats"):
            answer = await service.ask("GET", path, headers)
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"

    # In the background the replica lists purges that were begun.
    assert not service.world.store.calls.keys() - {"list"}
    assert not service.world.index.calls
    assert not service.world.provider.calls


async def test_an_unknown_key_is_looked_up_once(service: Paintonce) -> None:
    """A hundred requests with one unknown key read the ledger once."""
    answers = await asyncio.gather(
        *(service.get(f"{LIVE}?prompt=fox", of(UNKNOWN)) for _ in range(100))
    )

    assert {answer.status for answer in answers} == {401}
    assert service.world.store.calls["get"] == 1
    assert not service.world.index.calls


async def test_a_known_id_with_another_secret_is_no_key(service: Paintonce) -> None:
    """A known id with a wrong secret is refused without reading the ledger again."""
    made = await service.key()
    assert (await service.get("/api/v1/live/stats", of(made["key"]))).status == 200
    reads = service.world.store.calls["get"]

    forged = [f"pk_{made['id']}_{'A' * 43}", made["key"][:-1] + "A" * 2]
    for key in forged:
        answer = await service.get("/api/v1/live/stats", of(key))
        assert answer.status == 401

    assert service.world.store.calls["get"] == reads


async def test_guesses_are_bounded(service: Paintonce) -> None:
    """One address gets 25 unknown keys a second looked up, and 429 for the rest."""
    keys = [f"pk_{number:012}_{'A' * 43}" for number in range(200)]
    began = time.monotonic()

    answers = await asyncio.gather(
        *(service.get("/api/v1/live/stats", of(key)) for key in keys)
    )

    seconds = int(time.monotonic() - began) + 1
    looked_up = sum(answer.status == 401 for answer in answers)
    assert {answer.status for answer in answers} == {401, 429}
    assert 25 <= looked_up == service.world.store.calls["get"] <= 25 * seconds
    refused = next(answer for answer in answers if answer.status == 429)
    assert (refused.code, refused.headers["Retry-After"]) == ("rate_limited", "1")


async def test_a_replica_that_ends_holds_no_refused_key(
    service: Paintonce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refusals of a flood of wrong keys are sent once the listener has closed."""
    monkeypatch.setattr(refusal_hold, "PER_SECOND", 1)
    monkeypatch.setattr(refusal_hold, "LONGEST_SECONDS", 60.0)
    keys = [f"pk_{number:012}_{'A' * 43}" for number in range(200)]
    async with asyncio.timeout(15), asyncio.TaskGroup() as flood:
        asked = [
            flood.create_task(service.get("/api/v1/live/stats", of(key)))
            for key in keys
        ]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        service.lifecycle.listener_closed.set()

    assert {one.result().status for one in asked} == {401, 429}


async def test_look_ups_are_of_an_address_first_then_of_the_replica() -> None:
    """Each second admits 25 unknown keys for an address and 50 for the replica."""
    clock = ManualClock()
    limit = LookUpLimit("keys", clock=clock)

    async def unknown(address: str) -> bool:
        try:
            async with limit.of(address)() as note_unknown:
                await asyncio.sleep(0)
                note_unknown()
        except RateLimited:
            return False
        return True

    async def let_in(address: str, times: int) -> int:
        return sum(await asyncio.gather(*(unknown(address) for _ in range(times))))

    assert [await let_in(address, 40) for address in "abc"] == [25, 25, 0]
    clock.now += 0.99
    assert await let_in("d", 5) == 0
    clock.now += 0.01
    assert [await let_in(address, 40) for address in "cab"] == [25, 25, 0]


async def test_a_burst_of_good_keys_is_never_refused() -> None:
    """A replica that has just started accepts sixty valid keys at once."""
    async with running() as maker:
        made = [(await maker.key())["key"] for _ in range(60)]
        async with running(maker.world) as started:
            answers = await asyncio.gather(
                *(started.get("/api/v1/live/stats", of(key)) for key in made),
                *(started.get("/api/v1/live/stats", of(made[0])) for _ in range(60)),
            )

    assert {answer.status for answer in answers} == {200}


async def test_known_keys_go_on_while_the_ledger_is_away(service: Paintonce) -> None:
    """Without the ledger a key in use gets a HIT, and a key not yet seen gets 503."""
    made, other = await service.key(), await service.key()
    painted = await service.get(LIVE, of(made["key"]), prompt="a fox")
    assert painted.headers["X-Cache-Status"] == "MISS"

    service.world.store.is_away = True
    await asyncio.sleep(0)
    for _ in range(3):
        hit = await service.get(LIVE, of(made["key"]), prompt="a fox")
        assert (hit.status, hit.headers["X-Cache-Status"]) == (200, "HIT")
    unknown = await service.get(LIVE, of(other["key"]), prompt="a fox")

    assert (unknown.status, unknown.code) == (503, "storage_unavailable")
    assert "Retry-After" in unknown.headers


async def test_losing_redis_changes_nothing_about_keys(service: Paintonce) -> None:
    """After Redis is emptied valid keys work and revoked keys do not."""
    made, revoked = await service.key(), await service.key()
    await service.ask("DELETE", f"/api/v1/keys/{revoked['id']}", of(ADMIN_KEY))

    service.world.index.lose_everything()

    assert (await service.get("/api/v1/live/stats", of(made["key"]))).status == 200
    assert (await service.get("/api/v1/live/stats", of(revoked["key"]))).status == 401


@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        ({}, "project"),
        ({"project": "acme"}, "project"),
        ({"project": 7}, "project"),
        ({"project": "acme/shop", "role": "owner"}, "role"),
        ({"project": "acme/shop", "role": None}, "role"),
        ({"project": "acme/shop", "role": ["admin"]}, "role"),
        ({"project": "acme/shop", "kind": "master"}, "kind"),
        ({"project": "acme/shop", "name": "x"}, "name"),
    ],
)
async def test_a_bad_request_for_a_key_names_its_parameter(
    service: Paintonce, given: object, parameter: str
) -> None:
    """A bad request for a key is 400, names its parameter and makes nothing."""
    answer = await service.ask("POST", "/api/v1/keys", ADMIN, json=given)

    assert (answer.status, answer.json["parameter"]) == (400, parameter)
    assert not service.world.store.objects


async def test_a_project_keeps_its_own_signing_keys_and_no_others(
    service: Paintonce,
) -> None:
    """A project's key makes, lists and revokes signing keys of its project alone."""
    own, other = await service.key("acme/shop"), await service.key("acme/zoo")
    foreign = await service.key("acme/zoo", kind="signing")
    mine = of(own["key"])

    async def make(**given: str) -> int:
        return (await service.ask("POST", "/api/v1/keys", mine, json=given)).status

    made = await service.ask(
        "POST", "/api/v1/keys", mine, json={"project": "acme/shop", "kind": "signing"}
    )
    assert made.status == 201
    assert await make(project="acme/shop") == 403
    assert await make(project="acme/zoo", kind="signing") == 403
    assert await make(project="acme/shop", kind="signing", role="admin") == 403
    listed = await service.get("/api/v1/keys", mine)
    assert [one["id"] for one in listed.json["keys"]] == [made.json["id"]]
    elsewhere = await service.get("/api/v1/keys", mine, project="acme/zoo")
    assert elsewhere.status == 403

    async def revoke(key_id: str) -> int:
        return (await service.ask("DELETE", f"/api/v1/keys/{key_id}", mine)).status

    assert await revoke(own["id"]) == 403
    assert await revoke(other["id"]) == 404
    assert await revoke(foreign["id"]) == 404
    assert await revoke(made.json["id"]) == 200


async def test_without_authentication_everyone_is_an_admin() -> None:
    """With AUTH=off anyone may make and list keys, and a wrong key is ignored."""
    async with running(requires_keys=False) as service:
        made = await service.ask("POST", "/api/v1/keys", json={"project": "acme/shop"})
        listed = await service.get("/api/v1/keys", project="acme/shop")
        wrong = await service.get("/api/v1/live/stats", of("wrong"), project="acme/zoo")

    assert made.status == 201
    assert [one["id"] for one in listed.json["keys"]] == [made.json["id"]]
    assert (wrong.status, wrong.json["project"]) == (200, "acme/zoo")


async def test_a_project_has_a_hundred_live_keys_of_each_kind(
    service: Paintonce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key beyond the limit is refused with 507 until another one is revoked."""
    monkeypatch.setattr("app.access.keys.MAX_LIVE_KEYS", 5)

    async def make(kind: str = "api") -> Answer:
        given = {"project": "acme/shop", "kind": kind}
        return await service.ask("POST", "/api/v1/keys", ADMIN, json=given)

    made = await asyncio.gather(*(make() for _ in range(12)))

    let_in = [answer for answer in made if answer.status == 201]
    assert len(let_in) <= 5
    while (answer := await make()).status == 201:
        let_in.append(answer)
    assert len(let_in) == 5
    assert (answer.status, answer.code) == (507, "quota_full")
    assert (await make("signing")).status == 201
    key_id = let_in[0].json["id"]
    await service.ask("DELETE", f"/api/v1/keys/{key_id}", ADMIN)
    assert (await make()).status == 201


async def test_signing_reads_one_document(service: Paintonce) -> None:
    """Signing reads one key document, however many keys the project has."""
    for _ in range(6):
        made = await service.key(kind="signing")
    newest = made["id"]
    for _ in range(3):
        gone = await service.key(kind="signing")
        await service.ask("DELETE", f"/api/v1/keys/{gone['id']}", ADMIN)
    reads = service.world.store.calls["get"]

    signed = await service.ask("POST", "/api/v1/sign", ADMIN, json={"prompt": "a fox"})

    assert f"kid={newest}" in signed.json["url"]
    # One more is the project's rules, for the rate.
    assert service.world.store.calls["get"] - reads <= 2


@pytest.mark.parametrize("written_before", range(3))
async def test_a_key_that_could_not_be_made_leaves_no_trace(
    service: Paintonce, monkeypatch: pytest.MonkeyPatch, written_before: int
) -> None:
    """A key whose making met an outage neither signs nor counts, at any write."""
    monkeypatch.setattr("app.access.keys.MAX_LIVE_KEYS", 2)
    made = await service.key(kind="signing")
    given = {"project": "acme/shop", "kind": "signing"}
    put, writes = service.world.store.put, 0

    async def put_some(*args: Any, **options: Any) -> str:
        nonlocal writes
        writes += 1
        if writes > written_before:
            raise StorageUnavailable("It is unavailable, says the test.")
        return await put(*args, **options)

    monkeypatch.setattr(service.world.store, "put", put_some)
    assert (await service.ask("POST", "/api/v1/keys", ADMIN, json=given)).status == 503
    monkeypatch.setattr(service.world.store, "put", put)

    signed = await service.ask("POST", "/api/v1/sign", ADMIN, json={"prompt": "a fox"})

    assert f"kid={made['id']}" in signed.json["url"]
    assert (await service.ask("POST", "/api/v1/keys", ADMIN, json=given)).status == 201


async def test_a_revocation_that_met_an_outage_finishes(service: Paintonce) -> None:
    """After a failed revocation the key no longer signs, and a second try ends it."""
    made = await service.key(kind="signing")
    service.world.store.fail_next("replace")
    url = f"/api/v1/keys/{made['id']}"
    assert (await service.ask("DELETE", url, ADMIN)).status == 503

    refused = await service.ask("POST", "/api/v1/sign", ADMIN, json={"prompt": "a fox"})
    again = await service.ask("DELETE", url, ADMIN)

    assert (refused.status, refused.code) == (409, "no_signing_key")
    assert again.json == {"revoked": True}
    listed = await service.get("/api/v1/keys", ADMIN)
    assert listed.json["keys"][0]["revoked_at"] is not None


async def test_a_key_of_another_master_key_is_named() -> None:
    """A replica with another SIGNING_MASTER_KEY names the key that it can't open."""
    other_master_key = "bG9va2luZy1mb3ItYS1saWdodGhvdXNlLWtlZXBlciE"
    async with running() as before:
        made = await before.key(kind="signing")
        async with running(before.world, master_key=other_master_key) as after:
            answer = await after.ask(
                "POST", "/api/v1/sign", ADMIN, json={"prompt": "a fox"}
            )

    assert (answer.status, answer.code) == (409, "no_signing_key")
    assert made["id"] in answer.json["detail"]
    assert "SIGNING_MASTER_KEY" in answer.json["detail"]
