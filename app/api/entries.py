"""Statistics and entries of a project."""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from app.api.admitted_request import CALLER, project_and_query, project_of
from app.api.generations import accepted
from app.api.live import preferred_wait
from app.api.services import SERVICES
from app.errors import (
    CacheUnavailable,
    InvalidParameter,
    NotFound,
    StillGenerating,
    StorageUnavailable,
)
from app.http.json_answers import json_answer
from app.http.json_bodies import read_json_object
from app.http.query import whole_number
from app.http.unknown_names import unknown
from app.prompt_cache.bulk_purge import MAX_PROMPTS
from app.prompt_cache.entry.prompt_key import is_prompt_hash
from app.prompt_cache.statistics import Cursor
from app.spending import money

if TYPE_CHECKING:
    from aiohttp import web

MAX_ENTRIES = 200
DEFAULT_ENTRIES = 50

# 35 days; after them an hour is forgotten.
MAX_HOURS = 840
DEFAULT_HOURS = 48

# A hundred years.
MAX_SECONDS = 3_153_600_000


async def get_statistics(request: web.Request) -> web.Response:
    """Answer with what the project's cache did."""
    services, project = request.app[SERVICES], project_of(request)
    statistics = services.prompts.statistics
    sums = await services.prompts.listed.sums(project)
    # A replica that died has counted nothing of its last call; the journal has.
    with suppress(CacheUnavailable, StorageUnavailable):
        balance = await services.spending.journal.balance(project)
        counted = await statistics.history(str(project), datetime.now(UTC).hour + 1)
        today = sum(money.to_units(hour["spend"]) for hour in counted)
        before = money.to_units(sums["spend"]) - today
        sums["spend"] = money.from_units(max(0, before) + sum(balance))
    return json_answer(sums)


async def list_entries(request: web.Request) -> web.Response:
    """Answer with a page of entries, the latest or the most hit first."""
    project, given = project_and_query(request, {"limit", "cursor", "sort"})
    limit = whole_number(given, "limit", minimum=1, maximum=MAX_ENTRIES)
    sort = given.get("sort", "recent")
    if sort not in {"recent", "hits"}:
        raise InvalidParameter("sort", "sort must be recent or hits.")
    after = _parsed_cursor(given["cursor"], sort) if "cursor" in given else None
    seen, last = await request.app[SERVICES].prompts.listed.page(
        project, by_hits=sort == "hits", after=after, limit=limit or DEFAULT_ENTRIES
    )
    return json_answer(
        {
            "entries": [entry.as_json() for entry in seen],
            "cursor": _cursor_text(last, sort) if last else None,
        }
    )


async def get_history(request: web.Request) -> web.Response:
    """Answer with what the project's cache did, hour by hour."""
    project, given = project_and_query(request, {"hours"})
    hours = whole_number(given, "hours", minimum=1, maximum=MAX_HOURS) or DEFAULT_HOURS
    buckets = await request.app[SERVICES].prompts.statistics.history(
        str(project), hours
    )
    return json_answer({"buckets": buckets})


async def get_entry(request: web.Request) -> web.Response:
    """Answer with one entry."""
    project = project_of(request)
    prompt_hash = _prompt_hash(request)
    entry = await request.app[SERVICES].prompts.entries.get(project, prompt_hash)
    return json_answer(entry.as_json())


async def purge(request: web.Request) -> web.Response:
    """Remove an entry, its manifest, its picture and its remembered failure."""
    project = project_of(request)
    purge = request.app[SERVICES].prompts.purge
    await purge.owned(purge.run(project, _prompt_hash(request)))
    return json_answer({"deleted": True})


_FORMS_OF_PURGE = frozenset({"prompt_hashes", "older_than_seconds", "all"})


async def purge_many(request: web.Request) -> web.Response:
    """Purge the prompts that are named, those of an age, or all."""
    project = project_of(request)
    document = await read_json_object(request)
    bulk = request.app[SERVICES].prompts.bulk_purge
    for name in sorted(document.keys() - _FORMS_OF_PURGE):
        raise unknown(name, _FORMS_OF_PURGE)
    match list(document.items()):
        case [("prompt_hashes", hashes)]:
            purged = await bulk.these(project, _prompt_hashes(hashes))
        case [("older_than_seconds", seconds)]:
            purged = await bulk.older_than(project, _age(seconds))
        case [("all", asked)] if asked is True:
            purged = await bulk.all(project)
        case [("all", _)]:
            raise InvalidParameter("all", "all must be true.")
        case _:
            raise InvalidParameter(
                "body", "Say either prompt_hashes, older_than_seconds, or all."
            )
    return json_answer(asdict(purged))


def _prompt_hashes(given: object) -> list[str]:
    if not isinstance(given, list) or len(given) > MAX_PROMPTS:
        raise InvalidParameter(
            "prompt_hashes", f"prompt_hashes must be a list of at most {MAX_PROMPTS}."
        )
    if not all(isinstance(one, str) and is_prompt_hash(one) for one in given):
        raise InvalidParameter(
            "prompt_hashes", "A prompt hash has 64 hexadecimal digits in lower case."
        )
    return given


def _age(given: object) -> float:
    # A boolean is an integer to Python.
    if type(given) is not int or not 0 <= given <= MAX_SECONDS:
        raise InvalidParameter(
            "older_than_seconds",
            f"older_than_seconds must be a whole number from 0 to {MAX_SECONDS}.",
        )
    return given


async def refresh(request: web.Request) -> web.Response:
    """Paint again and replace the picture under the same hash."""
    project, prompt_hash = project_of(request), _prompt_hash(request)
    services = request.app[SERVICES]
    permit = services.spending.permits.of(request[CALLER])
    if refused := await permit.refusal():
        raise refused
    preferred = preferred_wait(request)
    longest = services.wait_timeout_seconds
    try:
        entry = await services.prompts.entries.refresh(
            project,
            prompt_hash,
            permit=permit,
            wait_seconds=longest if preferred is None else preferred.seconds,
            wants_id=preferred is not None,
        )
    except StillGenerating as error:
        if preferred is None or error.generation_id is None:
            raise
        return await accepted(
            services, project, prompt_hash, error.generation_id, preferred, headers={}
        )
    return json_answer(entry.as_json())


def _prompt_hash(request: web.Request) -> str:
    prompt_hash = request.match_info["prompt_hash"]
    if not is_prompt_hash(prompt_hash):
        raise NotFound("There is no such entry.")
    return prompt_hash


def _cursor_text(cursor: Cursor, sort: str) -> str:
    text = f"{sort}:{cursor.score}:{cursor.prompt_hash}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parsed_cursor(given: str, sort: str) -> Cursor:
    """Return the cursor that was written for *sort*; raises `InvalidParameter`."""
    try:
        padded = given.encode("ascii") + b"=" * (-len(given) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        made_for, score, prompt_hash = text.split(":")
        cursor = Cursor(int(score), prompt_hash)
    except (ValueError, binascii.Error):
        raise InvalidParameter("cursor", "cursor is none of ours.") from None
    if not is_prompt_hash(prompt_hash):
        raise InvalidParameter("cursor", "cursor is none of ours.")
    if made_for != sort:
        raise InvalidParameter("cursor", "cursor belongs to another list.")
    return cursor
