"""The ports of a replica over its Redis and its object store.

Tests build the same `Ports` over memory and hand it to `open_services`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from app.storage.fence import Fence
from app.storage.fenced_store import FencedStore
from app.storage.filesystem.store import FilesystemObjectStore
from app.storage.ledger_identity import LedgerIdentity
from app.storage.redis.accounts import RedisAccounts, RedisRates
from app.storage.redis.client.traffic import open_redis
from app.storage.redis.completion_events import open_completion_events
from app.storage.redis.generations import RedisGenerations
from app.storage.redis.ledger_memory import RedisLedgerMemory
from app.storage.redis.prompts import RedisPromptIndex
from app.storage.redis.proof import RedisProof, prove_redis
from app.storage.redis.statistics import RedisStatistics
from app.storage.redis.transient import RedisTransientStore
from app.storage.s3 import WRITE_TIMEOUT_SECONDS, open_s3_object_store
from app.storage.store_proof import PROOF_WITHIN_SECONDS, Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from app.configuration import Configuration
    from app.storage.ports.accounts import AccountStore
    from app.storage.ports.generations import GenerationStore
    from app.storage.ports.object_store import ObjectStore
    from app.storage.ports.prompt_index import CompletionEvents, PromptIndex
    from app.storage.ports.rates import Rates
    from app.storage.ports.statistics import StatisticsStore
    from app.storage.ports.transient_store import TransientStore
    from app.telemetry import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The places where a replica keeps its data; readiness calls *pings*.

    *max_memory* returns the bound of the transient store in bytes, None for none;
    *prove_redis* tries what the service needs of Redis.
    """

    store: ObjectStore
    index: PromptIndex
    completions: CompletionEvents
    statistics: StatisticsStore
    generations: GenerationStore
    accounts: AccountStore
    rates: Rates
    transient: TransientStore
    max_memory: Callable[[], Awaitable[int | None]]
    fence: Fence
    identity: LedgerIdentity
    pings: Mapping[str, Callable[[], Awaitable[None]]]
    prove_redis: Callable[[], Awaitable[RedisProof]] | None = None


@asynccontextmanager
async def open_ports(
    configuration: Configuration, metrics: Metrics, *, makes: bool = True
) -> AsyncIterator[Ports]:
    """Connect to the Redis and the object store that *configuration* names.

    Without *makes* no ledger is made where none was seen yet.
    """
    url = configuration.settings.redis_url
    address = url.get_secret_value() if url else ""
    async with (
        open_redis(address, on_breaker=metrics.breaker_open) as redis,
        open_object_store(configuration) as store,
        open_completion_events(redis.subscriber) as completions,
    ):
        fence = fence_of(configuration, store, metrics)
        identity = LedgerIdentity(
            store,
            RedisLedgerMemory(redis.commands),
            name=_name_of(configuration),
            makes=makes,
            sends_conditions=fence.verdict is not Verdict.LEASE,
        )
        yield Ports(
            store=FencedStore(store, fence, identity),
            index=RedisPromptIndex(
                commands=redis.commands, leases=redis.leases, runs=redis.runs
            ),
            completions=completions,
            statistics=RedisStatistics(redis.commands),
            generations=RedisGenerations(redis.commands),
            accounts=RedisAccounts(redis.leases, redis.run_of, balances=redis.commands),
            rates=RedisRates(redis.commands),
            transient=RedisTransientStore(
                commands=redis.commands, slices=redis.slices, blobs=redis.blobs
            ),
            max_memory=redis.max_memory,
            fence=fence,
            identity=identity,
            pings={"redis": redis.ping, "object_store": fence.watched(identity.check)},
            prove_redis=partial(prove_redis, redis),
        )


def _name_of(configuration: Configuration) -> str:
    if configuration.image_folder is not None:
        return f"The folder {configuration.image_folder}"
    return f"The bucket {configuration.settings.s3_bucket}"


def fence_of(
    configuration: Configuration, store: ObjectStore, metrics: Metrics
) -> Fence:
    """Return the fence of *store*, closed until the store is proved."""
    trusts_lease = configuration.settings.ledger_fence == "lease"
    return Fence(
        store,
        metrics=metrics,
        opens=lambda: open_object_store(configuration, patience=PROOF_WITHIN_SECONDS),
        trusts_lease=trusts_lease,
    )


def open_object_store(
    configuration: Configuration, *, patience: float = WRITE_TIMEOUT_SECONDS
) -> AbstractAsyncContextManager[ObjectStore]:
    """Return the object store: a folder in embedded mode, else the bucket.

    A write that is not answered for the seconds of *patience* has failed.
    """
    if configuration.image_folder is not None:
        return _in_folder(FilesystemObjectStore(configuration.image_folder))
    bucket = configuration.settings.s3_bucket
    assert bucket is not None  # noqa: S101 - load_configuration saw to it
    return open_s3_object_store(bucket=bucket, write_timeout_seconds=patience)


@asynccontextmanager
async def _in_folder(store: FilesystemObjectStore) -> AsyncIterator[ObjectStore]:
    yield store
