"""`POST /api/v1/live/purge` and the history: their forms and bounds."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.access.service import ADMIN, LIVE

if TYPE_CHECKING:
    from tests.access.service import Paintonce

PURGE = "/api/v1/live/purge"
HISTORY = "/api/v1/live/stats/history"


async def purge(service: Paintonce, body: Any) -> Any:
    """Send a bulk purge."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {**ADMIN, "Content-Type": "application/json"}
    return await service.ask("POST", PURGE, headers, data=text)


async def test_each_form_purges(service: Paintonce) -> None:
    """A bulk purge removes entries by hash, by age, or all."""
    hashes = []
    for prompt in ("a red fox", "a barn owl", "a grey seal"):
        painted = await service.get(LIVE, ADMIN, prompt=prompt)
        hashes.append(painted.headers["X-Prompt-Hash"])

    empty = await purge(service, {"prompt_hashes": []})
    named = await purge(service, {"prompt_hashes": [hashes[0], "f" * 64]})
    old = await purge(service, {"older_than_seconds": 60})
    every = await purge(service, {"all": True})
    any_age = await purge(service, {"older_than_seconds": 0})

    assert (named.status, named.json) == (
        200,
        {"deleted": 1, "failed": 0, "more": False},
    )
    assert empty.json == old.json == any_age.json
    assert old.json == {"deleted": 0, "failed": 0, "more": False}
    assert every.json == {"deleted": 2, "failed": 0, "more": False}
    assert every.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({}, "body"),
        ({"everything": True}, "everything"),
        ({"all": True, "dry_run": True}, "dry_run"),
        ({"all": True, "dry run": True}, "body"),
        ({"all": True, "older_than_seconds": 60}, "body"),
        ({"all": False}, "all"),
        ({"all": 1}, "all"),
        ({"prompt_hashes": ["F" * 64]}, "prompt_hashes"),
        ({"prompt_hashes": "f" * 64}, "prompt_hashes"),
        ({"prompt_hashes": ["f" * 64] * 1001}, "prompt_hashes"),
        ({"older_than_seconds": -1}, "older_than_seconds"),
        ({"older_than_seconds": 1.0}, "older_than_seconds"),
        ({"older_than_seconds": True}, "older_than_seconds"),
        ({"older_than_seconds": None}, "older_than_seconds"),
    ],
)
async def test_what_is_no_form_is_refused(
    service: Paintonce, body: Any, parameter: str
) -> None:
    """A purge body needs exactly one form, of the right type and in its bounds."""
    refused = await purge(service, body)

    assert (refused.status, refused.code) == (400, "invalid_parameter")
    assert refused.json["parameter"] == parameter


async def test_a_reader_may_not_purge(service: Paintonce) -> None:
    """A key with the role read gets 403 for a bulk purge."""
    key = (await service.key(role="read"))["key"]

    refused = await service.ask("POST", PURGE, {"X-API-Key": key}, json={"all": True})

    assert (refused.status, refused.code) == (403, "forbidden")


async def test_the_history_has_an_hour_for_each_that_was_asked_for(
    service: Paintonce,
) -> None:
    """The history lists every requested hour, oldest first, empty ones included."""
    for _ in range(3):
        await service.get(LIVE, ADMIN, prompt="a red fox")

    usual = (await service.get(HISTORY, ADMIN)).json["buckets"]
    three = (await service.get(HISTORY, ADMIN, hours="3")).json["buckets"]

    assert (len(usual), len(three)) == (48, 3)
    times = [datetime.fromisoformat(bucket["at"]) for bucket in three]
    assert times == sorted(times)
    assert times[1] - times[0] == timedelta(hours=1)
    assert timedelta() <= datetime.now(UTC) - times[-1] <= timedelta(hours=2)
    summed = {
        name: sum(bucket[name] for bucket in three) for name in ("hits", "misses")
    }
    assert summed == {"hits": 2, "misses": 1}
    assert sum(bucket["spend"] for bucket in three) == pytest.approx(0.04)
    assert sum(bucket["saved"] for bucket in three) == pytest.approx(0.08)
    assert set(three[0]) == {
        *("at", "hits", "misses", "coalesced", "failures", "spend", "saved")
    }


@pytest.mark.parametrize("hours", ["0", "841", "1.0", "-1", "many"])
async def test_a_history_has_its_bounds(service: Paintonce, hours: str) -> None:
    """`hours` must be 1 to 840 in ASCII digits."""
    refused = await service.get(HISTORY, ADMIN, hours=hours)

    assert (refused.status, refused.json["parameter"]) == (400, "hours")
