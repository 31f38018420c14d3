"""A whole Paintonce over ports in memory, called through real sockets."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web
from yarl import URL

from app.access.assemble import Access, AccessRules
from app.api.routes import definitions
from app.features import open_services, provide
from app.http.cors import Cors
from app.http.incoming_bodies import DEADLINE_SECONDS
from app.http.picture_headers import KEPT_BY_KEYS, Part
from app.server.frame import install
from app.server.lifecycle import Lifecycle
from app.server.listener import bind, listening
from app.spending.assemble import Spending, SpendingRules
from app.telemetry import Metrics
from tests.access.fakes import InMemoryAccounts, InMemoryRates
from tests.fakes import Replica, a_world, scripted_models
from tests.in_memory import ports_in_memory, terms_in_memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from app.generation.models import Models
    from app.storage.ports.transient_store import TransientStore
    from tests.fakes import World

ADMIN_KEY = "the-keeper-of-the-lighthouse-rows-at-night"
MASTER_KEY = "X2-n7Jq_5yZ3v0TnRk1cWbE9hUoLsPdA4gQxMzVtYi8"
LIVE = "/api/v1/live/generate"
ANY_ORIGIN = Cors()
ADMIN = {"X-API-Key": ADMIN_KEY, "X-Project": "acme/shop"}

RULES: dict[str, Any] = {"admin_key": ADMIN_KEY, "master_key": MASTER_KEY}


@dataclass
class Answer:
    """A response with its whole body."""

    status: int
    headers: Any
    body: bytes
    json: Any

    @property
    def code(self) -> str | None:
        """The code of a problem, else None."""
        return self.json.get("code") if isinstance(self.json, dict) else None


@dataclass
class Paintonce:
    """One running replica, its parts, and a client of it."""

    port: int
    client: aiohttp.ClientSession
    replica: Replica
    access: Access
    spending: Spending
    lifecycle: Lifecycle
    accounts: InMemoryAccounts
    rates: InMemoryRates
    transient: TransientStore

    @property
    def world(self) -> World:
        """The storage of the service."""
        return self.replica.world

    def drain(self) -> None:
        """Begin to drain the replica."""
        self.lifecycle.drain()

    async def ask(
        self, method: str, path: str, headers: Any = None, **options: Any
    ) -> Answer:
        """Send a request and read the whole response."""
        async with self.client.request(
            method,
            # As it is written: a client would tidy it up.
            URL(f"http://127.0.0.1:{self.port}{path}", encoded="params" not in options),
            headers=headers or {},
            allow_redirects=False,
            **options,
        ) as answer:
            body = await answer.read()
            is_json = "json" in answer.headers.get("Content-Type", "")
            document = await answer.json(content_type=None) if is_json and body else {}
            return Answer(answer.status, answer.headers, body, document)

    async def get(self, path: str, headers: Any = None, **query: Any) -> Answer:
        """Send a GET with *query*, encoded as aiohttp does."""
        return await self.ask("GET", path, headers, params=query)

    async def key(
        self, project: str = "acme/shop", role: str = "project", kind: str = "api"
    ) -> Any:
        """Make a key and return its document."""
        given = {"project": project, "role": role, "kind": kind}
        made = await self.ask("POST", "/api/v1/keys", ADMIN, json=given)
        assert made.status == 201, made
        return made.json


@asynccontextmanager
async def running(
    world: World | None = None,
    *,
    base_url: str | None = None,
    shared: tuple[InMemoryAccounts, InMemoryRates] | None = None,
    cors: Cors = ANY_ORIGIN,
    keyed_caching: Part = KEPT_BY_KEYS,
    concurrency: int = 8,
    make_models: Callable[[World, Metrics], Models] | None = None,
    max_image_bytes: int = 100_000,
    quota_bytes: int = 1_000_000,
    deadline_seconds: float | None = None,
    transient: TransientStore | None = None,
    **rules: Any,
) -> AsyncIterator[Paintonce]:
    """Run a replica of *world*; *rules* are of `AccessRules` and `SpendingRules`.

    *make_models* builds other models than the scripted one. Transient images are
    in memory unless they are in *transient*. A body has *deadline_seconds*.

    *shared* is what the replicas of a test count together.
    """
    accounts, rates = shared or (InMemoryAccounts(), InMemoryRates())
    names = {field.name for field in fields(SpendingRules)}
    spent = {name: rules.pop(name) for name in names & rules.keys()}
    world = world or a_world()
    metrics, lifecycle, app = Metrics(), Lifecycle(), web.Application()
    install(app, metrics=metrics, lifecycle=lifecycle, cors=cors)
    app.router.add_routes(definitions())
    if deadline_seconds is not None:
        app[DEADLINE_SECONDS] = deadline_seconds
    sockets = bind("127.0.0.1", 0)
    address = base_url or f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    stores = {} if transient is None else {"transient": transient}
    ports = ports_in_memory(world, accounts=accounts, rates=rates, **stores)
    terms = terms_in_memory(
        AccessRules(**(RULES | rules), base_url=address),
        SpendingRules(**spent),
        max_image_bytes=max_image_bytes,
        quota_bytes=quota_bytes,
        keyed_caching=keyed_caching,
    )
    if make_models is None:
        models = scripted_models(world, metrics, concurrency=concurrency)
    else:
        models = make_models(world, metrics)
    async with open_services(ports, models, terms, metrics, lifecycle) as services:
        provide(app, services)
        async with listening(app, sockets), aiohttp.ClientSession() as client:
            yield Paintonce(
                sockets[0].getsockname()[1],
                client,
                Replica(world, services.prompts, metrics),
                services.access,
                services.spending,
                lifecycle,
                accounts,
                rates,
                ports.transient,
            )


@asynccontextmanager
async def running_together(count: int, **rules: Any) -> AsyncIterator[list[Paintonce]]:
    """Run *count* replicas of one world, which count requests and spend together."""
    world, shared = a_world(), (InMemoryAccounts(), InMemoryRates())
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(running(world, shared=shared, **rules))
            for _ in range(count)
        ]
