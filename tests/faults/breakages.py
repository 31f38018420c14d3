"""Random faults: replicas, Redis, the object store and the provider."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.faults.history import Fault, Kind
from tests.faults.turmoil import PAINTING_SECONDS

if TYPE_CHECKING:
    from random import Random

    from tests.faults.turmoil import Turmoil
    from tests.servers import S3Server

Faults = list[tuple[int, Callable[[], Awaitable[None]]]]
"""The possible faults, with their relative frequencies."""


@dataclass(frozen=True)
class VendorFault:
    """One failure of a vendor, as a `Behaviour` of the fake provider."""

    kind: Kind
    behaviour: Mapping[str, Any]


_HICCUPS = ("missing", "overloaded", "reset_before_headers")
# In the dialect of jobs, and in the one without.
VENDOR_FAULTS = (
    VendorFault(
        Kind.PROVIDER_CUTS, {"mode": "reset_before_headers", "dialect": "openai"}
    ),
    VendorFault(Kind.PROVIDER_STALLS, {"mode": "never", "dialect": "openai"}),
    VendorFault(
        Kind.PROVIDER_STUMBLES,
        {
            "mode": "ok",
            "dialect": "replicate",
            "faults": _HICCUPS,
            "stumbles": ("overloaded", "missing", "short_body"),
        },
    ),
    VendorFault(
        Kind.PROVIDER_STALLS,
        {"mode": "ok", "dialect": "replicate", "stumbles": ("never",)},
    ),
    VendorFault(Kind.PICTURES_WITHHELD, {"mode": "moderation", "dialect": "replicate"}),
    VendorFault(Kind.JOBS_LOST, {"mode": "lost", "dialect": "replicate"}),
)


@dataclass(frozen=True)
class Breakages:
    """Breaks the parts that *turmoil* uses, and records each fault there."""

    turmoil: Turmoil
    store: S3Server
    random: Random
    lease_seconds: float

    async def replicas(self, stops_at: float) -> None:
        """Kill and pause replicas until a moment of the monotonic clock."""
        await self._first(self._pause, self._kill)
        await self._break([(3, self._kill), (2, self._pause)], stops_at)

    async def dependencies(self, stops_at: float) -> None:
        """Break Redis, store and provider in turn until a moment of that clock."""
        faults: Faults = [
            (2, self._flush),
            (2, self._restart_redis),
            (2, self._restore_redis),
            (2, self._freeze_redis),
            (2, self._freeze_store),
            (1, self._fail_provider),
            (1, self._slow_provider),
            *((1, self._vendor(vendor)) for vendor in VENDOR_FAULTS),
        ]
        await self._first(self._freeze_redis)
        await self._break(faults, stops_at)

    async def _first(self, *happens: Callable[[], Awaitable[None]]) -> None:
        """Run each of these faults once, before the random ones."""
        for happen in happens:
            await asyncio.sleep(self.random.uniform(0.3, 1.2))
            await happen()

    async def _break(self, faults: Faults, stops_at: float) -> None:
        weights, happens = zip(*faults, strict=True)
        while True:
            await asyncio.sleep(self.random.uniform(0.3, 1.2))
            if time.monotonic() > stops_at:
                return
            await self.random.choices(happens, weights)[0]()

    def _note(self, kind: Kind, began: float, replica: int | None = None) -> None:
        self.turmoil.history.faults.append(
            Fault(kind=kind, began=began, ended=time.time(), replica=replica)
        )

    async def _kill(self) -> None:
        number = self.turmoil.pick(self.random)
        killed = self.turmoil.alive.pop(number)
        began = time.time()
        await killed.kill()
        self._note(Kind.REPLICA_KILLED, began, number)
        (started,) = await self.turmoil.place.start(1, ready=False)
        self.turmoil.welcome(started)

    async def _pause(self) -> None:
        number = self.turmoil.pick(self.random)
        began = time.time()
        self.turmoil.alive[number].pause()
        await asyncio.sleep(self.lease_seconds * self.random.uniform(0.3, 2.5))
        self.turmoil.alive[number].resume()
        self._note(Kind.REPLICA_PAUSED, began, number)

    async def _flush(self) -> None:
        began = time.time()
        await self.turmoil.place.seen_redis.flushall()
        self._note(Kind.REDIS_FLUSHED, began)

    async def _restart_redis(self) -> None:
        began = time.time()
        self.turmoil.place.redis.kill()
        await asyncio.sleep(self.random.uniform(0.1, 4.0))
        await asyncio.to_thread(self.turmoil.place.redis.start)
        self._note(Kind.REDIS_RESTARTED, began)

    async def _restore_redis(self) -> None:
        await self.turmoil.place.seen_redis.save()
        # What is painted, purged and replaced meanwhile is not in the snapshot.
        await asyncio.sleep(self.random.uniform(0.5, 4.0))
        began = time.time()
        self.turmoil.place.redis.kill()
        await asyncio.to_thread(self.turmoil.place.redis.start)
        self._note(Kind.REDIS_RESTORED, began)

    async def _freeze_redis(self) -> None:
        began = time.time()
        self.turmoil.place.redis.freeze()
        await asyncio.sleep(self.random.uniform(0.5, 4.0))
        self.turmoil.place.redis.thaw()
        self._note(Kind.REDIS_FROZEN, began)

    async def _freeze_store(self) -> None:
        began = time.time()
        self.store.freeze()
        await asyncio.sleep(self.random.uniform(0.5, 3.0))
        self.store.thaw()
        self._note(Kind.STORE_FROZEN, began)

    async def _fail_provider(self) -> None:
        for dialect in ("openai", "replicate"):
            await self._behave(Kind.PROVIDER_FAILS, "server_error", dialect=dialect)

    async def _slow_provider(self) -> None:
        seconds = 3 * self.lease_seconds
        await self._behave(Kind.PROVIDER_SLOW, "ok", seconds, dialect="openai")

    def _vendor(self, fault: VendorFault) -> Callable[[], Awaitable[None]]:
        async def happen() -> None:
            await self._behave(fault.kind, **fault.behaviour)

        return happen

    async def _behave(
        self, kind: Kind, mode: str, delay_seconds: float = 0.05, **more: Any
    ) -> None:
        began = time.time()
        provider = self.turmoil.place.provider
        await provider.behave(mode, delay_seconds=delay_seconds, **more)
        await asyncio.sleep(self.random.uniform(0.3, 1.5))
        await provider.behave(
            "ok", delay_seconds=PAINTING_SECONDS, dialect=more.get("dialect")
        )
        self._note(kind, began)
