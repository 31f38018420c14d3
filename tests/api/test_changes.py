"""Changes finish in the service even if their client disconnects."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.access.service import ADMIN, LIVE, running
from tests.fake_transient_store import InMemoryTransientStore
from tests.fakes import Gate, a_picture
from tests.until import until

if TYPE_CHECKING:
    from tests.access.service import Paintonce

SCOPE, KEYS = "/api/v1/live/scopes/banner", "/api/v1/keys"
PROJECT, ENTRIES = "/api/v1/project", "/api/v1/live/entries"
PURGE, IMAGES = "/api/v1/live/purge", "/api/images"
JSON, PNG, FORM = "application/json", "image/png", "multipart/form-data; boundary=x"
NEW_KEY = {"project": "acme/shop", "role": "project", "kind": "api"}


class HeldTransientStore(InMemoryTransientStore):
    """A transient store that holds each upload at a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    async def put(self, *arguments: Any, **options: Any) -> Any:
        """Store an image once the gate is open."""
        await self.gate.passed()
        return await super().put(*arguments, **options)


async def begin(
    service: Paintonce,
    method: str,
    path: str,
    body: Any,
    *,
    kind: str = JSON,
    is_cut: bool = False,
) -> asyncio.StreamWriter:
    """Send a request, or all but the end of its body, and read no answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    head += [f"{name}: {value}" for name, value in ADMIN.items()]
    head += [f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
    sent = data[:-1] if is_cut else data
    writer.write("\r\n".join([*head, "", ""]).encode() + sent)
    await writer.drain()
    return writer


async def disconnect(service: Paintonce, writer: asyncio.StreamWriter) -> None:
    """Cut the connection; return when the service has noticed it."""
    writer.transport.abort()
    await until(lambda: 'status="499"' in service.replica.metrics.render().decode())


async def ended(service: Paintonce) -> None:
    """Return when no request and no change is running."""
    await until(lambda: service.lifecycle._requests == 0)


async def paint(service: Paintonce, prompt: str = "a red fox") -> str:
    """Paint a prompt; return its hash."""
    painted = await service.get(LIVE, ADMIN, prompt=prompt)
    assert painted.status == 200
    return str(painted.headers["X-Prompt-Hash"])


def is_purged(service: Paintonce) -> bool:
    """Return whether no picture, manifest, note or entry is left."""
    world = service.world
    notes = [key for key in world.store.objects if "/purges/" in key]
    return not (world.images or world.manifests or notes or world.index.entries)


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
    again = await service.ask("PUT", SCOPE, ADMIN, json={"limit": 7})
    assert (again.status, again.json["limit"]) == (200, 7)


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


async def test_a_key_is_made_without_its_client(service: Paintonce) -> None:
    """A key whose client left while it is made is whole: listed, and can be revoked."""
    gate = service.world.store.before("put")
    writer = await begin(service, "POST", KEYS, NEW_KEY)
    await gate.reached()

    await disconnect(service, writer)
    gate.open()
    await ended(service)

    (made,) = await keys(service)
    for _ in range(2):
        revoked = await service.ask("DELETE", f"{KEYS}/{made['id']}", ADMIN)
        assert revoked.status == 200
    assert not await keys(service)


@pytest.mark.parametrize(
    ("port", "step"),
    [
        ("store", "put"),  # The note.
        ("store", "delete"),  # The manifest.
        ("index", "forget"),  # Entry, count and failure.
        ("index", "finish"),  # What is left of it in Redis.
    ],
)
async def test_a_purge_is_finished_without_its_client(
    service: Paintonce, port: str, step: str
) -> None:
    """C2: a purge finishes whose client disconnects at any of its steps."""
    path = f"{ENTRIES}/{await paint(service)}"
    gate = getattr(service.world, port).before(step)
    writer = await begin(service, "DELETE", path, {})
    await gate.reached()

    await disconnect(service, writer)
    gate.open()
    await ended(service)

    assert is_purged(service)
    statistics = await service.get("/api/v1/live/stats", ADMIN)
    assert (statistics.json["entries"], statistics.json["bytes_stored"]) == (0, 0)
    assert (await service.ask("DELETE", path, ADMIN)).status == 404


async def test_a_bulk_purge_is_finished_without_its_client(
    service: Paintonce,
) -> None:
    """C2: a purge of all removes everything after its client disconnects."""
    for number in range(20):
        await paint(service, f"{number} red foxes")
    gate = service.world.store.after("delete")
    writer = await begin(service, "POST", PURGE, {"all": True})
    await gate.reached()

    await disconnect(service, writer)
    gate.open()
    await ended(service)

    assert is_purged(service)
    again = await service.ask("POST", PURGE, ADMIN, json={"all": True})
    assert again.json == {"deleted": 0, "failed": 0, "more": False}


@pytest.mark.parametrize(
    ("port", "step"),
    [
        ("provider", "paint"),
        ("store", "put"),
        ("store", "replace"),
        ("index", "commit"),
    ],
)
async def test_a_refresh_is_finished_without_its_client(
    service: Paintonce, port: str, step: str
) -> None:
    """A refresh whose client left replaces the picture; a repetition pays nothing."""
    path = f"{ENTRIES}/{await paint(service)}"
    (old,) = service.world.images
    gate = getattr(service.world, port).before(step)
    writer = await begin(service, "POST", f"{path}/refresh", {})
    await gate.reached()

    await disconnect(service, writer)
    flights = service.replica.entries.refreshes._flights
    calls = service.world.index.calls
    holds = calls["hold"]
    repeated = asyncio.create_task(service.ask("POST", f"{path}/refresh", ADMIN))
    # It waits for the same flight, or follows one that takes no more waiters.
    await until(
        lambda: (
            calls["hold"] > holds
            or any(flight.waiters == 2 for flight in flights.values())
        )
    )
    gate.open()
    answer = await repeated
    await ended(service)

    (new,) = service.world.images
    assert (answer.status, answer.json["storage_key"]) == (200, new)
    assert new != old
    assert not [key for key in service.world.store.objects if "/purges/" in key]
    assert service.world.provider.count == 2
    assert (await service.get(path, ADMIN)).json["storage_key"] == new


async def test_an_upload_is_kept_without_its_client() -> None:
    """An upload whose body is whole is kept, once, after its client disconnects."""
    store, picture = HeldTransientStore(), a_picture(1)
    async with running(transient=store) as service:
        writer = await begin(service, "POST", IMAGES, picture, kind=PNG)
        await store.gate.reached()

        await disconnect(service, writer)
        store.gate.open()
        await ended(service)

        kept = (await service.get(IMAGES, ADMIN)).json
        (image,) = kept["images"]
        assert (image["size"], kept["quota_used_bytes"]) == (len(picture),) * 2
        path = f"{IMAGES}/{image['id']}"
        assert (await service.get(path)).body == picture
        assert (await service.ask("DELETE", path, ADMIN)).json == {"deleted": True}


DATA_URL = "data:image/png;base64," + base64.b64encode(a_picture(1)).decode()
PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'


@pytest.mark.parametrize(
    "cut",
    [
        ("PUT", SCOPE, {"limit": 7}, JSON),
        ("PUT", PROJECT, {"budget_per_day": 3}, JSON),
        ("POST", KEYS, NEW_KEY, JSON),
        ("POST", PURGE, {"all": True}, JSON),
        ("POST", IMAGES, a_picture(1), PNG),
        ("POST", IMAGES, {"data_url": DATA_URL}, JSON),
        ("POST", IMAGES, PART + a_picture(1) + b"\r\n--x--\r\n", FORM),
    ],
)
async def test_a_body_that_is_cut_begins_nothing(
    service: Paintonce,
    caplog: pytest.LogCaptureFixture,
    cut: tuple[str, str, Any, str],
) -> None:
    """A client that leaves before its body is whole has changed nothing."""
    await paint(service)
    before = dict(service.world.store.objects)

    method, path, body, kind = cut
    writer = await begin(service, method, path, body, kind=kind, is_cut=True)
    await until(lambda: service.lifecycle._requests > 0)
    await disconnect(service, writer)
    await ended(service)

    assert service.world.store.objects == before
    assert (await service.get(IMAGES, ADMIN)).json["images"] == []
    assert "change failed without a client" not in caplog.text
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
