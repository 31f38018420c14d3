"""Ports in memory, with gates that force a schedule and switches that fail.

They pass the same contract suites as the real ports (`tests/contracts`), so tests of
the prompt cache may rely on them.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections import Counter, defaultdict, deque
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import PIL.Image

from app.errors import CacheUnavailable, ServiceError, StorageUnavailable
from app.generation.capabilities import Capabilities
from app.generation.config.model_names import ModelNames
from app.generation.finishing import Finishing
from app.generation.model import Model
from app.generation.model_config import ModelConfig
from app.generation.models import Models
from app.generation.provider import Origin, ProviderPicture
from app.generation.providers.placeholder.known_models import PAINTER
from app.generation.spending import UNLIMITED
from app.prompt_cache.assemble import Limits, Ports, assemble
from app.prompt_cache.entry.entry import PromptEntry
from app.prompt_cache.entry.prompt_key import Parameters, PromptKey
from app.prompt_cache.flight.leases import Leases
from app.storage.ports.object_keys import require_plain_key, require_plain_prefix
from app.storage.ports.object_store import (
    ByteRange,
    Listed,
    PlaceMissing,
    StoredObject,
)
from app.storage.ports.prompt_index import (
    CountedRecord,
    FailedBefore,
    Following,
    Holding,
    Leading,
    Painted,
    SeenRecord,
    Verdict,
)
from app.storage.storage_key import Project
from app.telemetry import Metrics
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable, Iterator, Mapping, Sequence

    from app.generation.provider import Job, PaintRequest
    from app.generation.spending import JournalEntry, PaintingPermit
    from app.prompt_cache.administration import PromptEntries
    from app.prompt_cache.cache import PromptCache
    from app.prompt_cache.parts import PromptCacheParts
    from app.prompt_cache.statistics import Statistics
    from app.storage.ports.statistics import Batch

SOON_SECONDS = 10.0
SHOP = Project("acme", "shop")
LIGHTHOUSE = PromptKey(SHOP, Parameters("a lighthouse in a storm"))


class UnlimitedPermit:
    """A `Permit` that pays for everything."""

    payers: frozenset[Hashable] = frozenset()
    is_visitor = False

    async def count_look_up(self) -> None:
        """Do nothing."""

    async def refusal(self) -> None:
        """Return None."""

    async def exhaustion(self) -> None:
        """Return None: nothing is used up."""

    @asynccontextmanager
    async def painting(
        self, generation_id: str, *, follows: str | None = None
    ) -> AsyncIterator[PaintingPermit]:
        """Permit the painting to begin."""
        yield UNLIMITED


UNLIMITED_PERMIT = UnlimitedPermit()


@dataclass(frozen=True)
class _PaidAlready(UnlimitedPermit):
    """The permit of a job that was left, whose call the ledger has as open or not."""

    has_open_calls: bool

    @asynccontextmanager
    async def painting(
        self, generation_id: str, *, follows: str | None = None
    ) -> AsyncIterator[Any]:
        """Permit the job to end."""
        yield self

    async def is_open(self, reference: str) -> bool:
        """Return whether the world has open calls."""
        return self.has_open_calls

    async def begin(self, model: str, price: float) -> JournalEntry:
        """Refuse every new call."""
        raise AssertionError("Nothing is begun.")

    def resume(self, model: str, price: float, reference: str) -> JournalEntry:
        """Permit the job to continue."""
        return UNLIMITED.resume(model, price, reference)


class Gate:
    """A barrier at which one caller waits until the test opens it."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._opened = asyncio.Event()

    async def reached(self) -> None:
        """Return when the caller waits at the gate."""
        async with asyncio.timeout(SOON_SECONDS):
            await self._reached.wait()

    def open(self) -> None:
        """Release the caller."""
        self._opened.set()

    async def passed(self) -> None:
        """Wait at the gate until it is opened."""
        self._reached.set()
        await self._opened.wait()


class Gated:
    """A fake whose calls are counted, and can be stopped or made to fail."""

    away: type[ServiceError] = CacheUnavailable

    def __init__(self) -> None:
        self.is_away = False
        self.calls: Counter[str] = Counter()
        self._gates: dict[tuple[str, str], deque[Gate]] = defaultdict(deque)
        self._failures: Counter[str] = Counter()
        self._lost_replies: Counter[str] = Counter()

    def before(self, method: str) -> Gate:
        """Stop the next caller of *method* before it has any effect."""
        return self._gate("before", method)

    def after(self, method: str) -> Gate:
        """Stop the next caller of *method* after its effect, before its reply."""
        return self._gate("after", method)

    def fail_next(self, method: str, times: int = 1) -> None:
        """Make the next calls of *method* fail without an effect."""
        self._failures[method] += times

    def lose_reply(self, method: str, times: int = 1) -> None:
        """Make the next calls of *method* take effect, and fail."""
        self._lost_replies[method] += times

    def _gate(self, when: str, method: str) -> Gate:
        gate = Gate()
        self._gates[when, method].append(gate)
        return gate

    @asynccontextmanager
    async def _call(self, method: str) -> AsyncIterator[None]:
        """Run a method's body between its gates."""
        self.calls[method] += 1
        await self._pass("before", method)
        if self.is_away or self._failures[method] > 0:
            self._failures[method] -= not self.is_away
            raise self.away("It is unavailable, says the test.")
        yield
        await self._pass("after", method)
        if self._lost_replies[method] > 0:
            self._lost_replies[method] -= 1
            raise self.away("The reply was lost, says the test.")

    async def _pass(self, when: str, method: str) -> None:
        waiting = self._gates[when, method]
        if waiting:
            await waiting.popleft().passed()


@dataclass
class _Object:
    data: bytes
    media_type: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    modified_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def etag(self) -> str:
        return f'"{sha256(self.data).hexdigest()[:32]}"'


@dataclass
class InMemoryBody:
    """An `ObjectBody` in a few chunks."""

    data: bytes
    media_type: str
    metadata: Mapping[str, str]

    @property
    def size(self) -> int:
        """Return the number of bytes that `chunks` yields."""
        return len(self.data)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes in three pieces or more."""
        step = max(1, min(-(-len(self.data) // 3), 131_072))
        for at in range(0, len(self.data), step):
            yield self.data[at : at + step]


class InMemoryObjectStore(Gated):
    """`ObjectStore` in a dictionary; tests may read and change *objects*.

    A store that is not *is_made* is unavailable until it is made, like a lost bucket.
    """

    away = StorageUnavailable

    def __init__(self, *, is_made: bool = True) -> None:
        super().__init__()
        self.is_made = is_made
        self.objects: dict[str, _Object] = {}

    @asynccontextmanager
    async def _about(self, method: str, key: str) -> AsyncIterator[None]:
        """Run a method's body for a valid *key* of a store that is made."""
        require_plain_key(key)
        async with self._call(method):
            if not self.is_made:
                raise self.away("There is no such bucket, says the test.")
            yield

    async def put(
        self,
        key: str,
        data: bytes,
        *,
        media_type: str,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Store *data* under *key*, replacing any object."""
        async with self._about("put", key):
            kept = _Object(data, media_type, dict(metadata or {}))
            self.objects[key] = kept
        return kept.etag

    async def create(self, key: str, data: bytes, *, media_type: str) -> str | None:
        """Store *data* only if *key* is free."""
        async with self._about("create", key):
            made = None
            if key not in self.objects:
                made = self.objects[key] = _Object(data, media_type)
        return made.etag if made else None

    async def replace(
        self, key: str, data: bytes, *, etag: str, media_type: str
    ) -> str | None:
        """Replace *key* only if its tag is *etag*."""
        kept = _Object(data, media_type)
        async with self._about("replace", key):
            found = self.objects.get(key)
            is_same = found is not None and found.etag == etag
            if is_same:
                self.objects[key] = kept
        return kept.etag if is_same else None

    async def get(self, key: str) -> StoredObject | None:
        """Return a whole small object, or None if there is none."""
        async with self._about("get", key):
            found = self.objects.get(key)
        return StoredObject(found.data, found.etag) if found else None

    @asynccontextmanager
    async def open(
        self, key: str, byte_range: ByteRange | None = None
    ) -> AsyncIterator[InMemoryBody | None]:
        """Open *key* for streaming; None if there is none."""
        async with self._about("open", key):
            found = self.objects.get(key)
        if found is None:
            yield None
            return
        data = found.data
        if byte_range is not None:
            if not byte_range.first <= byte_range.last < len(data):
                raise ValueError("the range lies beyond the object")
            data = data[byte_range.first : byte_range.last + 1]
        yield InMemoryBody(data, found.media_type, MappingProxyType(found.metadata))

    async def exists(self, key: str) -> bool:
        """Return whether *key* is there."""
        async with self._about("exists", key):
            return key in self.objects

    async def delete(self, key: str) -> None:
        """Remove *key*; a missing one is a no-op."""
        async with self._about("delete", key):
            self.objects.pop(key, None)

    async def list(self, prefix: str, *, after: str = "") -> AsyncIterator[Listed]:
        """Yield the keys that start with *prefix* and follow *after*, in order."""
        require_plain_prefix(prefix)
        async with self._call("list"):
            if not self.is_made:
                raise self.away("There is no such bucket, says the test.")
            found = [
                Listed(key, len(self.objects[key].data), self.objects[key].modified_at)
                for key in sorted(self.objects)
                if key.startswith(prefix) and key > after
            ]
        for listed in found:
            yield listed

    def on_a_line(self, at_once: int) -> InMemoryObjectStore:
        """Return the store itself, since it has no lines."""
        return self

    async def ping(self) -> None:
        """Return unless the store is unavailable."""
        async with self._call("ping"):
            if not self.is_made:
                raise PlaceMissing("There is no such bucket, says the test.")

    async def make(self) -> None:
        """Make the store."""
        async with self._call("make"):
            self.is_made = True


class InMemoryLanding:
    """The completion events of one prompt."""

    def __init__(self) -> None:
        self.landed = asyncio.Event()

    async def wait(self, max_seconds: float) -> None:
        """Return after the next event or when the time is up."""
        waiting = asyncio.ensure_future(self.landed.wait())
        await asyncio.wait([waiting], timeout=max_seconds)
        waiting.cancel()
        self.landed.clear()


class InMemoryCompletionEvents:
    """`CompletionEvents` for all replicas of a test; *is_deaf* loses events."""

    def __init__(self) -> None:
        self.is_deaf = False
        self._expected: dict[str, list[InMemoryLanding]] = defaultdict(list)

    @contextmanager
    def expect(self, prompt_hash: str) -> Iterator[InMemoryLanding]:
        """Collect the events of a prompt as long as the context is open."""
        completion = InMemoryLanding()
        self._expected[prompt_hash].append(completion)
        try:
            yield completion
        finally:
            self._expected[prompt_hash].remove(completion)

    def tell(self, prompt_hash: str) -> None:
        """Send the event that a flight has ended."""
        for completion in () if self.is_deaf else self._expected[prompt_hash]:
            completion.landed.set()


@dataclass
class _Expiring:
    value: bytes
    deadline: float

    @property
    def remaining(self) -> timedelta:
        return timedelta(seconds=self.deadline - time.monotonic())


class InMemoryPromptIndex(Gated):
    """`PromptIndex` in dictionaries; *is_full* refuses writes that need memory."""

    def __init__(self, completions: InMemoryCompletionEvents) -> None:
        super().__init__()
        self.doubts = 0
        self.is_full = False
        self.entries: dict[str, bytes] = {}
        self.hits: Counter[str] = Counter()
        self._accesses: dict[str, int] = {}
        self._completions = completions
        self._leases: dict[str, _Expiring] = {}
        self._failures_of: dict[str, _Expiring] = {}
        self._holds_of: dict[str, _Expiring] = {}
        self._refreshes: dict[str, _Expiring] = {}
        self._left: dict[str, bytes] = {}
        self.jobs: dict[str, bytes] = {}

    def expire_lease(self, prompt_hash: str) -> None:
        """Expire the lease of a prompt, as if its holder had stalled."""
        del self._leases[prompt_hash]

    def expire_failure(self, prompt_hash: str) -> None:
        """Expire the remembered failure of a prompt."""
        del self._failures_of[prompt_hash]

    def lose_everything(self) -> None:
        """Forget everything, as FLUSHALL does."""
        self.entries.clear()
        self.hits.clear()
        self._accesses.clear()
        self._leases.clear()
        self._failures_of.clear()
        self._holds_of.clear()
        self._refreshes.clear()
        self._left.clear()
        self.jobs.clear()

    def holder_now(self, prompt_hash: str) -> str | None:
        """Return the token of the lease's holder, past all gates."""
        lease = _alive(self._leases, prompt_hash)
        return lease.value.decode() if lease else None

    async def look_up(self, prompt_hash: str, now_ms: int) -> CountedRecord | None:
        """Return the record and count the hit, uncounted while full."""
        counted: CountedRecord | None = None
        async with self._call("look_up"):
            record = self.entries.get(prompt_hash)
            if record is not None and self.is_full:
                counted = CountedRecord(record, None)
            elif record is not None:
                self.hits[prompt_hash] += 1
                self._accesses[prompt_hash] = now_ms
                counted = CountedRecord(record, self.hits[prompt_hash])
        return counted

    async def peek(self, prompt_hashes: Sequence[str]) -> list[SeenRecord | None]:
        """Return records in order, without counting."""
        async with self._call("peek"):
            return [
                SeenRecord(record, self.hits[key], self._accesses.get(key))
                if (record := self.entries.get(key))
                else None
                for key in prompt_hashes
            ]

    async def acquire(
        self, prompt_hash: str, token: str, lease_for: timedelta
    ) -> Verdict:
        """Take the lease for a painting, unless the prompt is painted or failed."""
        verdict: Verdict
        async with self._call("acquire"):
            self._need_memory()
            failure = _alive(self._holds_of, prompt_hash) or _alive(
                self._failures_of, prompt_hash
            )
            if prompt_hash in self.entries:
                verdict = Painted()
            elif failure is not None:
                verdict = FailedBefore(failure.value, failure.remaining)
            else:
                verdict = self._hold(prompt_hash, token, lease_for)
        return verdict

    async def hold(
        self,
        prompt_hash: str,
        token: str,
        lease_for: timedelta,
        *,
        frees: bool = False,
    ) -> Holding:
        """Take or renew the lease, whatever the state of the prompt."""
        async with self._call("hold"):
            if not frees:
                self._need_memory()
            return self._hold(prompt_hash, token, lease_for)

    async def renew(self, prompt_hash: str, token: str, lease_for: timedelta) -> bool:
        """Renew the lease; return False if it is lost."""
        async with self._call("renew"):
            is_ours = self.holder_now(prompt_hash) == token
            if is_ours:
                self._hold(prompt_hash, token, lease_for)
        return is_ours

    async def holder(self, prompt_hash: str) -> str | None:
        """Return the token of the lease's holder, or None."""
        async with self._call("holder"):
            return self.holder_now(prompt_hash)

    async def keep_job(
        self, prompt_hash: str, token: str, job: bytes, keep_for: timedelta
    ) -> bool:
        """Store the provider's job of a painting, replacing any other."""
        async with self._call("keep_job"):
            self._need_memory()
            is_ours = self.holder_now(prompt_hash) == token
            if is_ours:
                self.jobs[prompt_hash] = job
        return is_ours

    async def drop_job(self, prompt_hash: str, token: str) -> None:
        """Remove the job that a leader has left, if the lease is ours."""
        async with self._call("drop_job"):
            if self.holder_now(prompt_hash) == token:
                self.jobs.pop(prompt_hash, None)

    async def job(self, prompt_hash: str) -> bytes | None:
        """Return the job that a leader has left, or None."""
        async with self._call("job"):
            return self.jobs.get(prompt_hash)

    async def commit(self, prompt_hash: str, token: str, record: bytes) -> bool:
        """Write the entry, notify the followers, release."""
        async with self._call("commit"):
            self._need_memory()
            is_ours = self.holder_now(prompt_hash) == token
            if is_ours:
                self.entries[prompt_hash] = record
                self._failures_of.pop(prompt_hash, None)
                self.jobs.pop(prompt_hash, None)
                self._end(prompt_hash)
        return is_ours

    async def fail(
        self,
        prompt_hash: str,
        token: str,
        failure: bytes,
        remember_for: timedelta,
        *,
        is_hold: bool = False,
        keeps_job: bool = False,
    ) -> bool:
        """Remember a failure, notify the followers, release."""
        async with self._call("fail"):
            self._need_memory()
            is_ours = self.holder_now(prompt_hash) == token
            if is_ours:
                remembered = self._holds_of if is_hold else self._failures_of
                remembered[prompt_hash] = _Expiring(
                    failure, time.monotonic() + remember_for.total_seconds()
                )
                if not keeps_job:
                    self.jobs.pop(prompt_hash, None)
                self._end(prompt_hash)
        return is_ours

    async def note(
        self, prompt_hash: str, token: str, failure: bytes, remember_for: timedelta
    ) -> bool:
        """Remember a failure and keep the lease."""
        async with self._call("note"):
            self._need_memory()
            is_ours = self.holder_now(prompt_hash) == token
            if is_ours:
                self._failures_of[prompt_hash] = _Expiring(
                    failure, time.monotonic() + remember_for.total_seconds()
                )
        return is_ours

    async def release(self, prompt_hash: str, token: str) -> None:
        """Notify the followers and release the lease if it is still ours."""
        async with self._call("release"):
            if self.holder_now(prompt_hash) == token:
                self._end(prompt_hash)

    async def remembered(self, prompt_hash: str) -> FailedBefore | None:
        """Return the failure that is remembered for a prompt, or None."""
        async with self._call("remembered"):
            failure = _alive(self._holds_of, prompt_hash) or _alive(
                self._failures_of, prompt_hash
            )
        return FailedBefore(failure.value, failure.remaining) if failure else None

    async def forget(self, prompt_hash: str, token: str, left: bytes) -> bool:
        """Remove entry, hits and failure, and store *left*."""
        async with self._call("forget"):
            is_ours = self.holder_now(prompt_hash) == token
            if is_ours:
                self.entries.pop(prompt_hash, None)
                self._accesses.pop(prompt_hash, None)
                self._failures_of.pop(prompt_hash, None)
                self.jobs.pop(prompt_hash, None)
                self.hits.pop(prompt_hash, None)
                self._left[prompt_hash] = left
        return is_ours

    async def left(self, prompt_hash: str) -> bytes | None:
        """Return the note that an interrupted purge has left, or None."""
        async with self._call("left"):
            return self._left.get(prompt_hash)

    async def finish(self, prompt_hash: str, token: str) -> None:
        """Remove `left` if the lease is still ours."""
        async with self._call("finish"):
            if self.holder_now(prompt_hash) == token:
                self._left.pop(prompt_hash, None)

    async def withdraw(self, prompt_hash: str, token: str) -> bool:
        """Remove an entry that is about to be replaced; its hits stay."""
        async with self._call("withdraw"):
            is_ours = self.holder_now(prompt_hash) == token
            if is_ours:
                self.entries.pop(prompt_hash, None)
        return is_ours

    async def mark_refresh(
        self, prompt_hash: str, mark: bytes, keep_for: timedelta
    ) -> None:
        """Store the mark of a prompt's last refresh."""
        async with self._call("mark_refresh"):
            until = time.monotonic() + keep_for.total_seconds()
            self._refreshes[prompt_hash] = _Expiring(mark, until)

    async def refresh_mark(self, prompt_hash: str) -> bytes | None:
        """Return the mark of the last refresh, or None."""
        async with self._call("refresh_mark"):
            found = _alive(self._refreshes, prompt_hash)
        return found.value if found else None

    async def drop(self, prompt_hash: str, record: bytes) -> bool:
        """Remove the entry if it still is *record*; its hits stay."""
        async with self._call("drop"):
            is_same = self.entries.get(prompt_hash) == record
            if is_same:
                del self.entries[prompt_hash]
        return is_same

    async def drop_with_hits(self, prompt_hash: str, record: bytes) -> bool:
        """Remove the entry and its hits if it still is *record*."""
        async with self._call("drop_with_hits"):
            is_same = self.entries.get(prompt_hash) == record
            if is_same:
                del self.entries[prompt_hash]
                self.hits.pop(prompt_hash, None)
                self._accesses.pop(prompt_hash, None)
        return is_same

    def _hold(self, prompt_hash: str, token: str, lease_for: timedelta) -> Holding:
        holder = self.holder_now(prompt_hash)
        if holder is not None and holder != token:
            return Following(holder)
        deadline = time.monotonic() + lease_for.total_seconds()
        self._leases[prompt_hash] = _Expiring(token.encode(), deadline)
        return Leading()

    def _end(self, prompt_hash: str) -> None:
        del self._leases[prompt_hash]
        self._completions.tell(prompt_hash)

    def _need_memory(self) -> None:
        if self.is_full:
            raise CacheUnavailable("The cache is full.")


def _alive(kept: dict[str, _Expiring], key: str) -> _Expiring | None:
    found = kept.get(key)
    return found if found and found.deadline > time.monotonic() else None


@dataclass
class Sums:
    """The sums of all replicas for one project."""

    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    recency: dict[str, int] = field(default_factory=dict)
    hits: dict[str, int] = field(default_factory=dict)
    history: dict[int, dict[str, float]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(float))
    )


class InMemoryStatistics(Gated):
    """`StatisticsStore` of one replica; *projects* is shared by all."""

    def __init__(self, projects: dict[str, Sums] | None = None) -> None:
        super().__init__()
        self.projects = defaultdict(Sums) if projects is None else projects
        self._applied: Counter[str] = Counter()

    async def apply(self, project: str, number: int, batch: Batch) -> None:
        """Add *batch* unless *number* was added before."""
        async with self._call("apply"):
            if number > self._applied[project]:
                self._applied[project] = number
                _add(self.projects[project], batch)

    async def read(self, project: str) -> dict[str, float]:
        """Return the sums by name, including `entries`."""
        async with self._call("read"):
            known = self.projects[project]
            return {**known.sums, "entries": len(known.recency)}

    async def history(
        self, project: str, hours: Sequence[int]
    ) -> list[dict[str, float]]:
        """Return the sums of each of *hours*, empty ones included."""
        async with self._call("history"):
            known = self.projects[project].history
            return [dict(known.get(hour, {})) for hour in hours]

    async def page(
        self, project: str, *, by_hits: bool, after: tuple[int, str], limit: int
    ) -> list[tuple[int, str]]:
        """Return scores and prompt hashes, highest first, after *after*."""
        async with self._call("page"):
            known = self.projects[project]
            scores = known.hits if by_hits else known.recency
            places = sorted(((at, key) for key, at in scores.items()), reverse=True)
        if not after[1]:
            return places[:limit]
        if after in places:
            return places[places.index(after) + 1 :][:limit]
        return [place for place in places if place[0] <= after[0]][:limit]


def _add(known: Sums, batch: Batch) -> None:
    for name, amount in batch.sums.items():
        known.sums[name] += amount
        known.history[batch.hour][name] += amount
    for key, size in batch.removed.items():
        known.hits.pop(key, None)
        if known.recency.pop(key, None) is not None:
            known.sums["bytes_stored"] -= size
    for key, (at_ms, size) in batch.added.items():
        known.hits.setdefault(key, 0)
        if key not in known.recency:
            known.recency[key] = at_ms
            known.sums["bytes_stored"] += size
    if batch.removed and not known.recency:
        known.sums["bytes_stored"] = 0
    for key, (at_ms, hits) in batch.accesses.items():
        known.sums["last_accessed_ms"] = max(at_ms, known.sums["last_accessed_ms"])
        if key in known.recency:
            known.recency[key] = max(known.recency[key], at_ms)
            known.hits[key] = max(known.hits[key], hits)


class InMemoryGenerations(Gated):
    """`GenerationStore` in a dictionary; *history* is every record in order."""

    def __init__(self, completions: InMemoryCompletionEvents) -> None:
        super().__init__()
        self._completions = completions
        self.records: dict[str, bytes] = {}
        self.kept_for: dict[str, timedelta] = {}
        self.watched: dict[str, float] = {}
        self.history: list[bytes] = []

    async def put(self, generation_id: str, record: bytes, keep_for: timedelta) -> None:
        """Store *record*, and notify its watchers."""
        async with self._call("put"):
            self.records[generation_id] = record
            self.kept_for[generation_id] = keep_for
            self.history.append(record)
            self._completions.tell(generation_id)

    async def get(self, generation_id: str) -> bytes | None:
        """Return the record, or None."""
        async with self._call("get"):
            return self.records.get(generation_id)

    async def watch(self, members: Sequence[str], look_in: timedelta) -> None:
        """Make *members* claimable after a time, unless they are watched again."""
        async with self._call("watch"):
            due = time.monotonic() + look_in.total_seconds()
            self.watched.update(dict.fromkeys(members, due))

    async def claim(self, at_most: int, look_again_in: timedelta) -> list[str]:
        """Return due members; they are due again after a time."""
        async with self._call("claim"):
            now = time.monotonic()
            due = [member for member, at in self.watched.items() if at <= now]
            again = now + look_again_in.total_seconds()
            self.watched.update(dict.fromkeys(due[:at_most], again))
            return due[:at_most]

    async def unwatch(self, member: str) -> None:
        """Remove *member* from the watched ones."""
        async with self._call("unwatch"):
            self.watched.pop(member, None)

    def let_all_be_due(self) -> None:
        """Make every watched member due."""
        self.watched = dict.fromkeys(self.watched, 0.0)


def a_picture(number: int = 0, *, side: int = 16) -> bytes:
    """Return the bytes of a small PNG, with another colour for each number."""
    data = io.BytesIO()
    colour = (number * 37 % 256, number * 91 % 256, 128)
    PIL.Image.new("RGB", (side, side), colour).save(data, "PNG")
    return data.getvalue()


def an_entry(**fields: Any) -> PromptEntry:
    """Return the entry of the lighthouse; *fields* replace those of an ordinary one."""
    picture = a_picture(1)
    return PromptEntry(
        **{
            "prompt_hash": LIGHTHOUSE.hash,
            "project": SHOP,
            "parameters": LIGHTHOUSE.parameters,
            "image_id": "081e7a85-213f-4299-a3c0-267416281cf2",
            "media_type": "image/png",
            "size": len(picture),
            "digest": sha256(picture).hexdigest(),
            "width": 16,
            "height": 16,
            "model": "default",
            "price": 0.04,
            "is_placeholder": False,
            "created_ms": 1_767_323_045_000,
            "generation_id": "",
            **fields,
        }
    )


class ScriptedProvider(Gated):
    """An `ImageProvider` that counts; each call paints another picture.

    *script* holds the results of the next calls, errors or bytes. `before("paint")` is
    a gate like those of the other fakes.
    """

    vendor = "scripted"
    capabilities = Capabilities("scripted", PAINTER)
    takes_addresses = False

    def __init__(self) -> None:
        super().__init__()
        self.script: deque[bytes | Exception] = deque()
        self.calls_by_prompt: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """Return the number of all calls."""
        return self.calls["paint"]

    async def paint(self, request: PaintRequest, job: Job) -> ProviderPicture:
        """Return the next result of the script, or a new picture."""
        self.calls_by_prompt[request.prompt] += 1
        async with self._call("paint"):
            comes = self.script.popleft() if self.script else a_picture(self.count)
        if isinstance(comes, Exception):
            raise comes
        return ProviderPicture(comes, Origin(self.vendor, "scripted-1"))

    async def cancel(self, job_id: str) -> bool:
        """Do nothing, since there are no jobs."""
        return False

    async def probe(self) -> bool:
        """Return False, since no question is free."""
        return False


@dataclass
class World:
    """The state that the replicas of a test share."""

    store: InMemoryObjectStore
    completions: InMemoryCompletionEvents
    index: InMemoryPromptIndex
    generations: InMemoryGenerations
    projects: dict[str, Sums]
    provider: ScriptedProvider
    has_open_calls: bool = False

    @property
    def images(self) -> list[str]:
        """The keys of all pictures in the store."""
        return sorted(key for key in self.store.objects if "/generated/" in key)

    @property
    def manifests(self) -> list[str]:
        """The keys of all manifests in the store."""
        return sorted(key for key in self.store.objects if "/prompts/" in key)


def leases_of(world: World, lease_for: timedelta = timedelta(seconds=20)) -> Leases:
    """Return the leases of a replica without other parts."""
    return Leases(
        index=world.index,
        completions=world.completions,
        lease_for=lease_for,
        metrics=Metrics(),
    )


def a_world() -> World:
    """Return an empty world."""
    completions = InMemoryCompletionEvents()
    return World(
        store=InMemoryObjectStore(),
        completions=completions,
        index=InMemoryPromptIndex(completions),
        generations=InMemoryGenerations(completions),
        projects=defaultdict(Sums),
        provider=ScriptedProvider(),
    )


@dataclass
class Replica:
    """One replica's prompt cache, assembled as in production, over fakes."""

    world: World
    parts: PromptCacheParts
    metrics: Metrics

    @property
    def cache(self) -> PromptCache:
        """The live generation."""
        return self.parts.cache

    @property
    def entries(self) -> PromptEntries:
        """The administration of entries."""
        return self.parts.entries

    @property
    def statistics(self) -> Statistics:
        """The statistics of this replica."""
        return self.parts.statistics

    async def purge(self, project: Project, prompt_hash: str) -> None:
        """Purge a prompt."""
        await self.parts.purge.run(project, prompt_hash)

    async def waits_for(self, key: PromptKey, callers: int = 1) -> None:
        """Return when *count* callers wait for a prompt here."""
        flights = self.cache.flights._flights
        async with asyncio.timeout(SOON_SECONDS):
            while (  # noqa: ASYNC110 - the service has no event for its tests
                key.hash not in flights or flights[key.hash].waiters < callers
            ):
                await asyncio.sleep(0)

    async def waits_for_any(self, callers: int) -> None:
        """Return when *count* callers wait for some prompt here."""
        flights = self.cache.flights._flights
        await until(lambda: any(one.waiters >= callers for one in flights.values()))

    async def queues(self, paintings: int) -> None:
        """Return when *count* paintings wait for a slot."""
        name = "paintonce_provider_queue_length"
        await until(lambda: self.counted(name, model="default") >= paintings)

    async def give_up(self) -> None:
        """End every flight, as at the end of the grace."""
        await self.parts.give_up()

    def looked_up(self, result: str) -> float:
        """Return the number of look-ups with *result*."""
        return self.counted("paintonce_cache_lookups_total", result=result)

    @property
    def uncounted(self) -> float:
        """Return the number of uncounted hits."""
        return self.counted("paintonce_uncounted_hits_total")

    def counted(self, name: str, **labels: str) -> float:
        """Return the value of a metric."""
        return self.metrics._registry.get_sample_value(name, labels) or 0.0


GENERATION_TIMEOUT = timedelta(seconds=30)


def model_names(*aliases: str, accept: tuple[str, ...] = ()) -> ModelNames:
    """Return the names of models with *aliases* and no further names."""
    return ModelNames(
        {alias: ModelConfig(alias, "scripted", accept=accept) for alias in aliases}
    )


@asynccontextmanager
async def no_references(
    project: Project, image_ids: tuple[str, ...]
) -> AsyncIterator[None]:
    """Return no reference pictures."""
    yield


def scripted_models(
    world: World,
    metrics: Metrics,
    *,
    concurrency: int = 8,
    queue: int = 64,
    generation_timeout: timedelta = GENERATION_TIMEOUT,
) -> Models:
    """Return the one model `default`, painted by the provider of *world*."""
    config = ModelConfig(
        "default", "scripted", price=0.04, concurrency=concurrency, queue=queue
    )
    finishing = Finishing(max_image_bytes=100_000, marks=False)
    model = Model(
        config,
        world.provider,
        finishing=finishing,
        observer=metrics,
        generation_timeout_seconds=generation_timeout.total_seconds(),
    )
    return Models({"default": model})


def a_prompt_cache(
    world: World, *, concurrency: int = 8, queue: int = 64, **limits: Any
) -> Replica:
    """Assemble one replica; *concurrency* and *queue* are its model's."""
    metrics = Metrics()
    ports = Ports(
        store=world.store,
        index=world.index,
        completions=world.completions,
        statistics=InMemoryStatistics(world.projects),
        generations=world.generations,
        models=scripted_models(
            world,
            metrics,
            concurrency=concurrency,
            queue=queue,
            generation_timeout=limits.get("generation_timeout", GENERATION_TIMEOUT),
        ),
        references=no_references,
        paid_already=lambda _: _PaidAlready(world.has_open_calls),
        metrics=metrics,
    )
    defaults: dict[str, Any] = {
        "lease_for": timedelta(seconds=20),
        "generation_timeout": GENERATION_TIMEOUT,
        "hot_tier_bytes": 1_000_000,
    }
    return Replica(world, assemble(ports, Limits(**{**defaults, **limits})), metrics)


class InMemoryLedgerMemory(Gated):
    """`LedgerMemory` for all replicas of a test."""

    def __init__(self) -> None:
        super().__init__()
        self.remembered: str | None = None
        self.proposed: str | None = None

    async def recall(self) -> str | None:
        """Return the id, or None if no ledger is known."""
        async with self._call("recall"):
            return self.remembered

    async def remember(self, ledger_id: str) -> None:
        """Store the id unless there is one."""
        async with self._call("remember"):
            self.remembered = self.remembered or ledger_id

    async def replace(self, ledger_id: str) -> None:
        """Store the id, replacing any other."""
        async with self._call("replace"):
            self.remembered = ledger_id

    async def propose(self, ledger_id: str) -> str:
        """Return the id that a new ledger gets."""
        async with self._call("propose"):
            self.proposed = self.proposed or ledger_id
        return self.proposed
