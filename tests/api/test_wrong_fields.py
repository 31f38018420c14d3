"""A refused field of a body is named, and the answer says what would be right."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tests.access.service import ADMIN, LIVE

if TYPE_CHECKING:
    from tests.access.service import Paintonce

SCOPE, PROJECT = ("PUT", "/api/v1/live/scopes/banner"), ("PUT", "/api/v1/project")
UPLOAD, FORGET = ("POST", "/api/images"), ("POST", "/api/images/delete")
SIGN, ENTRIES = ("POST", "/api/v1/sign"), "/api/v1/live/entries"


@pytest.mark.parametrize(
    ("route", "body", "parameter", "remedy"),
    [
        (SCOPE, {"limits": 3}, "limits", "allow_new, limit, models"),
        (SCOPE, {"limit": "3"}, "limit", "must be a whole number from 0"),
        (SCOPE, {"allow_new": 1}, "allow_new", "must be true or false"),
        (SCOPE, {"models": ["none"]}, "models", "GET /api/v1/models"),
        (PROJECT, {"budget": 1}, "budget", "budget_per_day, generation"),
        (PROJECT, {"budget_per_day": -1}, "budget_per_day", "a number from 0"),
        (PROJECT, {"generation": "off"}, "generation", "true or false, or null"),
        (SIGN, {"prompt": "a", "expires": 60}, "expires", "expires_in"),
        (SIGN, {"prompt": "a", "sizes": [64]}, "sizes", "width, widths"),
        (UPLOAD, {"data_url": "data:,", "ttl": 5}, "ttl", "data_url"),
        (FORGET, {"ids": [], "force": True}, "force", "ids"),
        (FORGET, {"ids": "all"}, "ids", "must be a list"),
    ],
)
async def test_a_wrong_field_is_named_with_its_remedy(
    service: Paintonce, route: tuple[str, str], body: Any, parameter: str, remedy: str
) -> None:
    """A refusal names the field that is wrong, and what it must be or is called."""
    refused = await service.ask(*route, ADMIN, json=body)

    assert (refused.status, refused.code) == (400, "invalid_parameter")
    assert refused.json["parameter"] == parameter
    assert remedy in refused.json["detail"]


async def test_a_damaged_cursor_is_not_taken_for_one_of_another_list(
    service: Paintonce,
) -> None:
    """A cursor without its end is none of ours; one of `hits` is of another list."""
    await service.get(LIVE, ADMIN, prompt="a red fox")
    page = await service.get(ENTRIES, ADMIN, limit="1")
    cursor = page.json["cursor"]
    text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    other = base64.urlsafe_b64encode(text.replace("recent", "hits").encode()).decode()

    damaged = await service.get(ENTRIES, ADMIN, cursor=cursor[:-4])
    foreign = await service.get(ENTRIES, ADMIN, cursor=other.rstrip("="))

    assert damaged.json["detail"] == "cursor is none of ours."
    assert foreign.json["detail"] == "cursor belongs to another list."
