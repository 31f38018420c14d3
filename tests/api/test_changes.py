"""Changes finish in the service even if their client disconnects."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.access.service import ADMIN, running
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.access.service import Paintonce

SCOPE, KEYS = "/api/v1/live/scopes/banner", "/api/v1/keys"


@pytest.fixture
async def service() -> AsyncIterator[Paintonce]:
    """Run a replica that asks for keys."""
    async with running() as service:
        yield service


async def begin(
    service: Paintonce, method: str, path: str, body: Any
) -> asyncio.StreamWriter:
    """Send a whole request and read no answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    data = json.dumps(body).encode()
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    head += [f"{name}: {value}" for name, value in ADMIN.items()]
    head += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    writer.write("\r\n".join([*head, "", ""]).encode() + data)
    await writer.drain()
    return writer


async def disconnect(service: Paintonce, writer: asyncio.StreamWriter) -> None:
    """Cut the connection; return when the service has noticed it."""
    writer.transport.abort()
    await until(lambda: 'status="499"' in service.replica.metrics.render().decode())


async def scopes(service: Paintonce) -> Any:
    """Return the scopes of the project."""
    answer = await service.get("/api/v1/live/scopes", ADMIN)
    return answer.json["scopes"]


async def keys(service: Paintonce) -> Any:
    """Return the keys that are not revoked."""
    answer = await service.get(KEYS, ADMIN)
    return [key for key in answer.json["keys"] if key["revoked_at"] is None]


async def test_a_scope_is_made_without_its_client(
    service: Paintonce,
) -> None:
    """A PUT of a scope finishes after its client disconnects."""
    gate = service.world.store.before("create")
    writer = await begin(service, "PUT", SCOPE, {"limit": 7})
    await gate.reached()

    await disconnect(service, writer)
    gate.open()

    async def limits() -> bool:
        return [scope["limit"] for scope in await scopes(service)] == [7]

    await until(limits)


async def test_a_scope_is_deleted_without_its_client(service: Paintonce) -> None:
    """A scope that is marked as deleted is removed after its client disconnects."""
    assert (await service.ask("PUT", SCOPE, ADMIN, json={})).status == 201
    gate = service.world.store.after("replace")
    writer = await begin(service, "DELETE", SCOPE, {})
    await gate.reached()

    await disconnect(service, writer)
    gate.open()

    store = service.world.store
    await until(lambda: "_system/scopes/acme/shop/banner.json" not in store.objects)


async def test_a_key_is_revoked_without_its_client(
    service: Paintonce,
) -> None:
    """A key is revoked even if the client leaves while it is authenticated."""
    made = await service.key()
    gate = service.world.store.before("get")
    writer = await begin(service, "DELETE", f"{KEYS}/{made['id']}", {})
    await gate.reached()

    await disconnect(service, writer)
    gate.open()

    async def is_revoked() -> bool:
        return not await keys(service)

    await until(is_revoked)


async def test_a_drain_waits_for_a_change_without_a_client(
    service: Paintonce,
) -> None:
    """A drain waits until a change whose client has left is done."""
    gate = service.world.store.before("create")
    writer = await begin(service, "PUT", "/api/v1/project", {"budget_per_day": 3})
    await gate.reached()
    await disconnect(service, writer)

    finishing = asyncio.create_task(service.lifecycle.finish())
    await asyncio.sleep(0)
    assert not finishing.done()
    gate.open()
    await finishing

    answer = await service.get("/api/v1/project", ADMIN)
    assert answer.json["budget_per_day"] == 3
