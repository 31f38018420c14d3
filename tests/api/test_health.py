from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from app.api import health
from app.errors import CacheUnavailable
from app.server.dependency_monitor import (
    DEPENDENCY_MONITOR,
    FENCE,
    DependencyMonitor,
)
from app.server.frame import install
from app.server.lifecycle import Lifecycle
from app.server.listener import bind, listening
from app.storage.fence import Fence
from app.storage.store_proof import Proof, Verdict
from app.telemetry import Metrics
from tests.fakes import InMemoryObjectStore
from tests.server.frame import Answer, Frame, get, wire
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUICK_SECONDS = 0.01


class Dependency:
    """A dependency that answers, refuses or hangs, as the test sets it."""

    def __init__(self, behaviour: str = "answers") -> None:
        self.behaviour = behaviour
        self.pings = 0

    async def ping(self) -> None:
        """Answer, refuse or hang."""
        self.pings += 1
        if self.behaviour == "hangs":
            await asyncio.Event().wait()
        if self.behaviour == "is late once":
            self.behaviour = "answers"
            raise TimeoutError
        if self.behaviour == "refuses":
            raise CacheUnavailable("Away.") from ConnectionRefusedError()

    async def was_asked_again(self) -> None:
        """Return after the next two rounds of pings have begun."""
        # A round has two pings where the first one fails.
        seen = self.pings
        await until(lambda: self.pings >= seen + 4)


@asynccontextmanager
async def watched(
    redis: Dependency, store: Dependency, verdict: Verdict = Verdict.PROVED
) -> AsyncIterator[Frame]:
    """Run an application that pings two dependencies a hundred times a second.

    *verdict* is the result of its proof of the store.
    """
    metrics, lifecycle = Metrics(), Lifecycle()
    dependencies = DependencyMonitor(
        {"redis": redis.ping, "object_store": store.ping},
        metrics=metrics,
        interval_seconds=QUICK_SECONDS,
        timeout_seconds=0.05,
    )
    app = web.Application()
    app[DEPENDENCY_MONITOR] = dependencies
    app[FENCE] = fence = Fence(InMemoryObjectStore(), metrics=metrics)
    fence._note(Proof(verdict))
    install(app, metrics=metrics, lifecycle=lifecycle)
    app.router.add_get("/healthz", health.healthz)
    app.router.add_get("/readyz", health.readyz)
    app.router.add_get("/metrics", health.metrics)
    async with dependencies, listening(app, bind("127.0.0.1", 0)) as listener:
        yield Frame(listener, metrics, lifecycle)


async def asked(frame: Frame, path: str) -> tuple[Answer, Any]:
    """Return the response and its JSON."""
    async with wire(frame.port) as line:
        answer = await line.ask(get(path))
    return answer, json.loads(answer.body)


async def test_a_replica_is_ready_when_both_have_answered() -> None:
    """A replica is ready once both dependencies answer; the answer is `no-store`."""
    redis, store = Dependency(), Dependency()
    async with watched(redis, store) as frame:
        await store.was_asked_again()
        answer, document = await asked(frame, "/readyz")

        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"].startswith("application/json")
        assert document["status"] == "ok"
        for name in ("redis", "object_store"):
            finding = document["dependencies"][name]
            assert finding["ok"] is True
            assert 0 <= finding["seconds"] < 5
            assert frame.count("paintonce_dependency_up", dependency=name) == 1


@pytest.mark.parametrize("behaviour", ["refuses", "hangs"])
async def test_a_replica_that_never_met_its_store_is_starting(behaviour: str) -> None:
    """A replica is not ready before both dependencies have answered once."""
    redis, store = Dependency(), Dependency(behaviour)
    async with watched(redis, store) as frame:
        await store.was_asked_again()
        answer, document = await asked(frame, "/readyz")

        assert (answer.status, document["status"]) == (503, "starting")
        assert document["dependencies"]["object_store"]["ok"] is False
        assert document["dependencies"]["redis"]["ok"] is True

        store.behaviour = "answers"
        await store.was_asked_again()
        answer, document = await asked(frame, "/readyz")

        assert (answer.status, document["status"]) == (200, "ok")


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [("refuses", "ConnectionRefusedError"), ("hangs", "TimeoutError")],
)
async def test_an_outage_degrades_and_does_not_take_the_replica_out(
    behaviour: str, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    """During an outage a replica is ready but degraded; a strict check gets 503."""
    caplog.set_level(logging.INFO)
    redis, store = Dependency(), Dependency()
    async with watched(redis, store) as frame:
        await redis.was_asked_again()
        redis.behaviour = behaviour
        await redis.was_asked_again()
        answer, document = await asked(frame, "/readyz")
        strict, _ = await asked(frame, "/readyz?strict=1")

        assert (answer.status, document["status"]) == (200, "degraded")
        assert strict.status == 503
        assert frame.count("paintonce_dependency_up", dependency="redis") == 0

        redis.behaviour = "answers"
        await redis.was_asked_again()
        strict, document = await asked(frame, "/readyz?strict=1")

        assert (strict.status, document["status"]) == (200, "ok")
    logged = [r for r in caplog.records if "dependency" in r.message]
    assert [record.message for record in logged] == [
        "dependency answers",
        "dependency answers",
        "dependency is unavailable",
        "dependency answers",
    ]
    assert vars(logged[2])["cause"] == cause


@pytest.mark.parametrize("verdict", [Verdict.UNPROVED, Verdict.FAILED])
async def test_a_replica_without_a_proved_store_is_unfenced(verdict: Verdict) -> None:
    """A replica whose store failed the proof is not ready and names the verdict."""
    store = Dependency()
    async with watched(Dependency(), store, verdict) as frame:
        await store.was_asked_again()
        answer, document = await asked(frame, "/readyz")

        assert (answer.status, document["status"]) == (503, "unfenced")
        assert document["fence"] == verdict
        assert frame.count("paintonce_store_fence", verdict=verdict) == 1


async def test_a_replica_that_trusts_the_lease_is_ready() -> None:
    """With LEDGER_FENCE=lease a replica is ready without the proof."""
    store = Dependency()
    async with watched(Dependency(), store, Verdict.LEASE) as frame:
        await store.was_asked_again()
        answer, document = await asked(frame, "/readyz")

        assert (answer.status, document["status"]) == (200, "ok")
        assert document["fence"] == "lease"


async def test_one_late_ping_is_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    """A stall of the replica's own loop does not count as an outage of Redis."""
    redis, store = Dependency(), Dependency()
    async with watched(redis, store) as frame:
        await redis.was_asked_again()
        redis.behaviour = "is late once"
        await redis.was_asked_again()

        assert frame.count("paintonce_dependency_up", dependency="redis") == 1
    assert redis.behaviour == "answers"
    assert not caplog.records


async def test_a_draining_replica_says_so_at_once() -> None:
    """A draining replica is alive and not ready."""
    async with watched(Dependency(), Dependency()) as frame:
        frame.lifecycle.drain()
        answer, document = await asked(frame, "/readyz")
        alive, _ = await asked(frame, "/healthz")

        assert (answer.status, document["status"]) == (503, "draining")
        assert alive.status == 200


async def test_liveness_touches_no_dependency() -> None:
    """A replica whose dependencies hang is alive."""
    redis, store = Dependency("hangs"), Dependency("hangs")
    async with watched(redis, store) as frame:
        before = redis.pings + store.pings
        answer, _ = await asked(frame, "/healthz")

        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        assert before <= 2


async def test_metrics_are_prometheus_text() -> None:
    """`/metrics` is Prometheus text and `no-store`."""
    async with watched(Dependency(), Dependency()) as frame, wire(frame.port) as line:
        answer = await line.ask(get("/metrics"))

        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert answer.headers["cache-control"] == "no-store"
        assert b'paintonce_dependency_up{dependency="redis"}' in answer.body
