"""The project itself: its limits, what it spends, and its switch."""

from __future__ import annotations

import math
import re
from datetime import date
from typing import TYPE_CHECKING, Any

from app.access.caller import Role
from app.api.admission import CALLER, project_and_query, project_of
from app.api.services import SERVICES
from app.errors import Forbidden, InvalidParameter
from app.http.json_answers import json_answer
from app.http.json_bodies import read_json_object
from app.spending import money
from app.spending.journal import end_of, today

if TYPE_CHECKING:
    from aiohttp import web

    from app.spending.projects import ProjectRules
    from app.storage.storage_key import Project

MAX_REQUESTS = 1_000_000
MAX_MONEY = 1e9

# What only an admin decides: the project itself would not limit itself.
_OF_THE_ADMIN = frozenset({"budget_per_day", "rate_limit_per_minute"})
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


async def get_project(request: web.Request) -> web.Response:
    """Answer with the limits of the project, and what it has spent today."""
    project = project_of(request)
    rules = await request.app[SERVICES].spending.projects.get(project)
    return await _answer(request, project, rules)


async def change_project(request: web.Request) -> web.Response:
    """Change what the body names; null goes back to the default."""
    project, caller = project_of(request), request[CALLER]
    given = await read_json_object(request)
    changes = {name: _read(name, value) for name, value in given.items()}
    if _OF_THE_ADMIN & changes.keys() and caller.role is not Role.ADMIN:
        raise Forbidden("Only an admin changes budgets and rates.")
    projects = request.app[SERVICES].spending.projects
    rules = await projects.change(project, changes, by=caller.name)
    return await _answer(request, project, rules)


async def get_spend(request: web.Request) -> web.Response:
    """Answer with every paid call of a day, for the bill."""
    project, given = project_and_query(request, {"day"})
    day = _day(given.get("day"))
    calls = await request.app[SERVICES].spending.journal.calls(project, day)
    total = sum(money.to_units(call["amount"]) for call in calls)
    return json_answer({"calls": calls, "total": money.from_units(total)})


async def _answer(
    request: web.Request, project: Project, rules: ProjectRules
) -> web.Response:
    balance = await request.app[SERVICES].spending.journal.balance(project)
    return json_answer(
        {
            "project": str(project),
            "generation": rules.generation,
            "budget_per_day": rules.budget_per_day,
            "spent_today": money.from_units(balance.settled),
            "reserved": money.from_units(balance.reserved),
            "rate_limit_per_minute": rules.rate_limit_per_minute,
            "auto_create_scopes": rules.auto_create_scopes,
            "day_ends_at": end_of(today()),
        }
    )


def _read(name: str, value: Any) -> Any:
    match name:
        case "generation" | "auto_create_scopes":
            is_right = isinstance(value, bool)
        case "rate_limit_per_minute":
            is_right = type(value) is int and 0 <= value <= MAX_REQUESTS
        case "budget_per_day":
            is_right = (
                type(value) in {int, float}
                and math.isfinite(value)
                and 0 <= value <= MAX_MONEY
            )
        case _:
            shown = name if name.isascii() and name.isidentifier() else "body"
            raise InvalidParameter(shown[:64], "There is no such parameter here.")
    if value is not None and not is_right:
        raise InvalidParameter(name, f"{name} is malformed, or out of bounds.")
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
