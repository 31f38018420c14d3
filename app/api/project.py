"""A project: its limits, its spend, and whether it may paint."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING, Any

from app.access.caller import Role
from app.api.admitted_request import CALLER, project_and_query, project_of
from app.api.services import SERVICES
from app.errors import (
    CacheUnavailable,
    Forbidden,
    InvalidParameter,
    NoSigningKey,
    StorageUnavailable,
    Unavailable,
)
from app.http.json_answers import json_answer
from app.http.json_bodies import read_json_object
from app.http.unknown_names import unknown
from app.spending import money
from app.spending.journal import end_of, today

if TYPE_CHECKING:
    from aiohttp import web

    from app.spending.projects import ProjectRules
    from app.storage.ports.accounts import Balance
    from app.storage.storage_key import Project

MAX_REQUESTS = 1_000_000
MAX_MONEY = 1e9

_FIELDS = {
    "generation": "true or false",
    "auto_create_scopes": "true or false",
    "budget_per_day": f"a number from 0 to {MAX_MONEY:.0f}",
    "rate_limit_per_minute": f"a whole number from 0 to {MAX_REQUESTS}",
}
# Only an admin changes these: they limit the project.
_OF_THE_ADMIN = frozenset({"budget_per_day", "rate_limit_per_minute"})
_CURSOR = re.compile(r"[0-9a-z._-]{1,128}", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


async def get_project(request: web.Request) -> web.Response:
    """Answer with the limits of the project, and what it has spent today."""
    project = project_of(request)
    rules = await request.app[SERVICES].spending.projects.get(project)
    balance = await request.app[SERVICES].spending.journal.balance(project)
    return await _answer(request, project, rules, balance)


async def change_project(request: web.Request) -> web.Response:
    """Change what the body names; null goes back to the default."""
    project, caller = project_of(request), request[CALLER]
    given = await read_json_object(request)
    changes = {name: _read(name, value) for name, value in given.items()}
    if _OF_THE_ADMIN & changes.keys() and caller.role is not Role.ADMIN:
        raise Forbidden("Only an admin changes budgets and rates.")
    projects = request.app[SERVICES].spending.projects
    rules = await projects.change(project, changes, by=caller.name)
    balance: Balance | None = None
    # The change is made: without Redis the answer lacks only what is counted there.
    with suppress(CacheUnavailable, StorageUnavailable):
        balance = await request.app[SERVICES].spending.journal.balance(project)
    return await _answer(request, project, rules, balance)


async def get_spend(request: web.Request) -> web.Response:
    """Answer with a page of the paid calls of a day, for the bill."""
    project, given = project_and_query(request, {"day", "cursor"})
    day, after = _day(given.get("day")), given.get("cursor", "")
    if "cursor" in given and not _CURSOR.fullmatch(after):
        raise InvalidParameter("cursor", "cursor is none that was answered.")
    journal = request.app[SERVICES].spending.journal
    bill = await journal.bill(project, day, after=after)
    return json_answer(
        {
            "calls": bill.calls,
            "total": money.from_units(bill.total),
            "cursor": bill.cursor,
        }
    )


async def _answer(
    request: web.Request,
    project: Project,
    rules: ProjectRules,
    balance: Balance | None,
) -> web.Response:
    return json_answer(
        {
            "project": str(project),
            "generation": rules.generation,
            "budget_per_day": rules.budget_per_day,
            "spent_today": balance and money.from_units(balance.settled),
            "reserved": balance and money.from_units(balance.reserved),
            "rate_limit_per_minute": rules.rate_limit_per_minute,
            "auto_create_scopes": rules.auto_create_scopes,
            "can_sign": await _can_sign(request, project),
            "day_ends_at": end_of(today()),
        }
    )


async def _can_sign(request: web.Request, project: Project) -> bool:
    """Return whether `POST /api/v1/sign` gives this caller an address.

    A page asks before, so that no refusal stands in a browser's console.
    """
    if request[CALLER].role is Role.READ:
        return False
    try:
        return await request.app[SERVICES].access.keys.signing_key(project) is not None
    except (NoSigningKey, Unavailable):
        return False


def _read(name: str, value: Any) -> Any:
    match name:
        case "generation" | "auto_create_scopes":
            is_right = isinstance(value, bool)
        case "rate_limit_per_minute":
            is_right = type(value) is int and 0 <= value <= MAX_REQUESTS
        case "budget_per_day":
            # Compared first: an integer may be too large for a float.
            is_right = (
                type(value) in {int, float}
                and 0 <= value <= MAX_MONEY
                and math.isfinite(value)
            )
        case _:
            raise unknown(name, _FIELDS)
    if value is not None and not is_right:
        raise InvalidParameter(name, f"{name} must be {_FIELDS[name]}, or null.")
    return value


def _day(text: str | None) -> date:
    if text is None:
        return today()
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise InvalidParameter("day", "day must be a day of UTC: YYYY-MM-DD.")
