"""Rights of roles: every route, called in every role."""

from __future__ import annotations

import re
from typing import Any

from app.api.admission import Needs
from app.api.routes import ROUTES
from tests.access.service import ADMIN_KEY, LIVE, Paintonce
from tests.fakes import SHOP

ROLES = ("keyless", "read", "project", "admin")

# The roles that are let in, in the order of ROLES. A route without a row fails the
# test.
LET_IN = {
    Needs.HEALTH: "keyless read project admin",
    Needs.NOTHING: "keyless read project admin",
    Needs.COUNTED: "keyless read project admin",
    Needs.SCOPE: "keyless read project admin",
    Needs.READ: "read project admin",
    Needs.LIVE: "read project admin",
    Needs.OPENAI_READ: "read project admin",
    Needs.PROJECT: "project admin",
    Needs.OPENAI: "project admin",
    Needs.KEYS: "project admin",
}
EXPECTED = {
    ("GET", "/api/v1/live/generate"): "live",
    ("HEAD", "/api/v1/live/generate"): "live",
    ("POST", "/api/v1/live/generate"): "project",
    ("GET", "/api/v1/live/stats"): "read",
    ("GET", "/api/v1/live/stats/history"): "read",
    ("POST", "/api/v1/live/purge"): "project",
    ("GET", "/api/v1/live/entries"): "read",
    ("GET", "/api/v1/live/entries/{prompt_hash}"): "read",
    ("DELETE", "/api/v1/live/entries/{prompt_hash}"): "project",
    ("POST", "/api/v1/live/entries/{prompt_hash}/refresh"): "project",
    ("GET", "/api/v1/live/scopes"): "read",
    ("GET", "/api/v1/live/scopes/{scope}"): "read",
    ("PUT", "/api/v1/live/scopes/{scope}"): "project",
    ("DELETE", "/api/v1/live/scopes/{scope}"): "project",
    ("GET", "/live/{org}/{project}/{scope}"): "scope",
    ("HEAD", "/live/{org}/{project}/{scope}"): "scope",
    ("GET", "/api/v1/generations/{generation_id}"): "read",
    ("GET", "/api/v1/generations/{generation_id}/events"): "read",
    ("GET", "/api/v1/images/{image_id}"): "read",
    ("HEAD", "/api/v1/images/{image_id}"): "read",
    ("GET", "/api/v1/images/{org}/{project}/{category}/{filename}"): "counted",
    ("HEAD", "/api/v1/images/{org}/{project}/{category}/{filename}"): "none",
    ("GET", "/api/v1/images/{storage_key:.*}"): "counted",
    ("HEAD", "/api/v1/images/{storage_key:.*}"): "none",
    ("POST", "/api/images"): "project",
    ("GET", "/api/images"): "read",
    ("POST", "/api/images/delete"): "project",
    ("GET", "/api/images/{id}"): "counted",
    ("HEAD", "/api/images/{id}"): "counted",
    ("DELETE", "/api/images/{id}"): "project",
    ("POST", "/api/v1/keys"): "keys",
    ("GET", "/api/v1/keys"): "keys",
    ("DELETE", "/api/v1/keys/{key_id}"): "keys",
    ("GET", "/api/v1/project"): "read",
    ("PUT", "/api/v1/project"): "project",
    ("GET", "/api/v1/project/spend"): "project",
    ("POST", "/api/v1/sign"): "project",
    ("GET", "/api/v1/models"): "read",
    ("POST", "/v1/images/generations"): "openai",
    ("POST", "/v1/images/edits"): "openai",
    ("GET", "/v1/models"): "openai_read",
    ("GET", "/v1/models/{model}"): "openai_read",
    ("GET", "/healthz"): "health",
    ("GET", "/readyz"): "health",
    ("GET", "/metrics"): "health",
    ("GET", "/openapi.json"): "none",
    ("GET", "/docs"): "none",
    ("GET", "/"): "none",
    ("GET", "/web/{file}"): "none",
}


async def keys_of(service: Paintonce) -> dict[str, dict[str, str]]:
    """Return the headers of each role."""
    headers: dict[str, dict[str, str]] = {"keyless": {}}
    for role in ("read", "project"):
        headers[role] = {"X-API-Key": (await service.key(role=role))["key"]}
    headers["admin"] = {"X-API-Key": ADMIN_KEY, "X-Project": str(SHOP)}
    return headers


def test_every_route_has_a_row() -> None:
    """Every route is listed here with the roles that may call it."""
    routed = {(route.method, route.path): route.needs for route in ROUTES}

    assert {row: needs.value for row, needs in routed.items()} == EXPECTED


async def test_every_role_gets_in_where_it_may_and_nowhere_else(
    service: Paintonce,
) -> None:
    """A call without a key is 401, one in a wrong role 403, and neither has effects."""
    headers = await keys_of(service)
    seen: dict[Any, str] = {}
    for route in ROUTES:
        if route.path in {"/readyz", "/metrics"}:
            continue  # They ask for what this harness does not have.
        path = route.path.replace("{storage_key:.*}", "no/key")
        path = re.sub(r"{\w+}", "0" * 64, path)
        let_in = []
        for role in ROLES:
            calls = service.world.index.calls.copy()
            answer = await service.ask(route.method, path, headers[role])
            if answer.status in {401, 403}:
                assert answer.status == (401 if role == "keyless" else 403)
                assert service.world.index.calls == calls
            else:
                let_in.append(role)
        seen[route.method, route.path] = " ".join(let_in)

    expected = {
        (route.method, route.path): LET_IN[route.needs]
        for route in ROUTES
        if (route.method, route.path) in seen
    }
    assert seen == expected


async def test_a_reader_looks_up_and_never_leads(service: Paintonce) -> None:
    """A reader gets painted prompts; GET of another is 403 and HEAD is 404."""
    headers = await keys_of(service)
    read = headers["read"]
    await service.get(LIVE, headers["project"], prompt="a fox")

    hit = await service.get(LIVE, read, prompt="a fox")
    unpainted = await service.get(LIVE, read, prompt="an owl")
    head = await service.ask("HEAD", f"{LIVE}?prompt=an+owl", read)
    post = await service.ask("POST", LIVE, read, json={"prompt": "a fox"})

    assert (hit.status, hit.headers["X-Cache-Status"]) == (200, "HIT")
    assert (unpainted.status, unpainted.code) == (403, "forbidden")
    assert (head.status, head.headers["X-Cache-Status"]) == (404, "MISS")
    assert (post.status, post.code) == (403, "forbidden")
    assert service.world.provider.count == 1


async def test_a_reader_is_served_what_only_the_ledger_knows(
    service: Paintonce,
) -> None:
    """A reader gets a painted prompt after Redis has lost its entry."""
    headers = await keys_of(service)
    await service.get(LIVE, headers["project"], prompt="a fox")
    service.world.index.lose_everything()

    hit = await service.get(LIVE, headers["read"], prompt="a fox")

    assert (hit.status, service.world.provider.count) == (200, 1)
