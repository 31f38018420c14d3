"""Bulk purge: many prompts of a project, a bounded number or time at once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cachetools import TTLCache

from app.errors import LaterVersion, NotFound, StillGenerating, Unavailable
from app.prompt_cache.entry.entry import PromptEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.prompt_cache.entry.ledger import Ledger
    from app.prompt_cache.purge import Purge
    from app.prompt_cache.statistics import Statistics
    from app.storage.ports.prompt_index import PromptIndex
    from app.storage.storage_key import Project

MAX_PROMPTS = 1000
MAX_SECONDS = 10.0
AT_ONCE = 8
LOOKED_AT_ONCE = 100

# Walks that are not over, and how long one may take: what becomes old meanwhile is
# looked at once more at its end.
_WALKS = 1024
_WALK_SECONDS = 600.0


@dataclass(slots=True)
class Purged:
    """The result of a call; *more* says that there may be more to remove."""

    deleted: int = 0
    failed: int = 0
    more: bool = False


@dataclass(slots=True)
class _Call:
    """One call: its bounds, and its result so far."""

    deadline: float
    left: int
    purged: Purged = field(default_factory=Purged)
    outage: Unavailable | None = None

    @property
    def is_over(self) -> bool:
        is_late = time.monotonic() >= self.deadline
        return self.outage is not None or self.left <= 0 or is_late


@dataclass(slots=True)
class _Walk:
    """A walk over all manifests, in one call or several; *at* is how far it is.

    *soon* become old before it can be over; *is_clean* says that nothing has
    failed on the way.
    """

    began: float = field(default_factory=time.time)
    at: str = ""
    soon: set[str] = field(default_factory=set)
    is_clean: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkPurge:
    """Purges many prompts, each by the rules of one."""

    purge: Purge
    index: PromptIndex
    ledger: Ledger
    statistics: Statistics
    max_prompts: int = MAX_PROMPTS
    max_seconds: float = MAX_SECONDS
    _walks: TTLCache[tuple[str, float], _Walk] = field(
        default_factory=lambda: TTLCache(_WALKS, _WALK_SECONDS)
    )

    async def these(self, project: Project, prompt_hashes: Sequence[str]) -> Purged:
        """Remove the prompts that are named; unknown ones are not counted.

        Raises the outage that kept it from removing anything.
        """
        return await self.purge.owned(self._these(project, prompt_hashes))

    async def all(self, project: Project) -> Purged:
        """Remove everything: also what only Redis lists, and what purges have left."""
        return await self.purge.owned(self._older_than(project, 0.0))

    async def older_than(self, project: Project, seconds: float) -> Purged:
        """Remove what was created so many seconds ago; 0 is everything.

        Raises like `these`.
        """
        return await self.purge.owned(self._older_than(project, seconds))

    async def _these(self, project: Project, prompt_hashes: Sequence[str]) -> Purged:
        call = self._begin()
        left = await self._run(project, [*dict.fromkeys(prompt_hashes)], call)
        return _ended(call, more=bool(left))

    async def _older_than(self, project: Project, seconds: float) -> Purged:
        call = self._begin()
        key = (str(project), seconds)
        # Another call for the same has a walk of its own: neither ends the other's.
        began, walk = time.time(), self._walks.pop(key, None) or _Walk()
        is_over = await self._walk(project, walk, seconds, call)
        if is_over and walk.began < began and time.time() - walk.began >= seconds:
            # What was painted since an earlier call began it, and behind it, is old.
            walk = _Walk()
            is_over = await self._walk(project, walk, seconds, call)
        if is_over and not seconds:
            is_over = await self._written_down(project, call)
            is_over = is_over and await self._only_listed(project, call)
        walk.is_clean = walk.is_clean and not call.purged.failed
        if not is_over:
            self._walks[key] = walk
        return _ended(call, more=not is_over or not walk.is_clean)

    def _begin(self) -> _Call:
        return _Call(time.monotonic() + self.max_seconds, self.max_prompts)

    async def _walk(
        self, project: Project, walk: _Walk, seconds: float, call: _Call
    ) -> bool:
        """Go on with *walk* as far as *call* may; return whether it is over."""
        while not call.is_over:
            hashes = await self._next(project, walk.at)
            is_end = len(hashes) < LOOKED_AT_ONCE
            old = await self._old(project, hashes, seconds, walk, call)
            left = await self._run(project, old, call)
            if left:
                # The next call goes on before the first one that is left.
                walk.at = before(left[0])
                return False
            if is_end:
                break
            walk.at = hashes[-1]
        else:
            return False
        soon = sorted(walk.soon)
        walk.soon.clear()
        old = await self._old(project, soon, seconds, walk, call)
        left = await self._run(project, old, call)
        walk.soon.update(left)
        return not left

    async def _next(self, project: Project, after: str) -> list[str]:
        hashes: list[str] = []
        async for prompt_hash in self.ledger.manifests(project, after=after):
            hashes.append(prompt_hash)
            if len(hashes) == LOOKED_AT_ONCE:
                break
        return hashes

    async def _old(
        self,
        project: Project,
        hashes: list[str],
        seconds: float,
        walk: _Walk,
        call: _Call,
    ) -> list[str]:
        """Return those of *hashes* that are old; note those that soon will be."""
        if not seconds or not hashes:
            return hashes
        now_ms = time.time() * 1000
        before_ms = now_ms - seconds * 1000
        records = await self.index.peek(hashes)
        old = []
        for prompt_hash, seen in zip(hashes, records, strict=True):
            entry = PromptEntry.from_record(prompt_hash, seen.record) if seen else None
            # An older Redis may name a picture that was replaced since.
            if entry is None or self.index.doubts:
                try:
                    manifest = await self.ledger.read(project, prompt_hash)
                except LaterVersion:
                    # Its age is not known: it may be one that has to go.
                    call.purged.failed += 1
                    continue
                entry = manifest.entry if manifest else None
            if entry is None:
                continue
            if entry.created_ms <= before_ms:
                old.append(prompt_hash)
            elif entry.created_ms <= before_ms + _WALK_SECONDS * 1000:
                walk.soon.add(prompt_hash)
        return old

    async def _written_down(self, project: Project, call: _Call) -> bool:
        """Finish what is written down of other purges; return whether that was all."""
        async for _, prompt_hash in self.ledger.noted_purges(project):
            if await self._run(project, [prompt_hash], call):
                return False
        return True

    async def _only_listed(self, project: Project, call: _Call) -> bool:
        """Remove what the list of Redis has besides; return whether that was all."""
        seen: set[str] = set()
        while not call.is_over:
            cursors = await self.statistics.page(
                str(project), by_hits=False, after=None, limit=LOOKED_AT_ONCE
            )
            hashes = [cursor.prompt_hash for cursor in cursors]
            if not hashes or call.purged.failed:
                return not hashes
            if seen.issuperset(hashes):
                # What was removed can't be taken off the list now: Redis is full.
                return False
            seen.update(hashes)
            if await self._run(project, hashes, call):
                return False
        return False

    async def _run(
        self, project: Project, prompt_hashes: Sequence[str], call: _Call
    ) -> Sequence[str]:
        """Purge as many as *call* may, some at once; return those that are left."""
        left = prompt_hashes
        while left and not call.is_over:
            batch, left = left[:AT_ONCE], left[AT_ONCE:]
            call.left -= len(batch)
            async with asyncio.TaskGroup() as tasks:
                for prompt_hash in batch:
                    tasks.create_task(self._one(project, prompt_hash, call))
        return left

    async def _one(self, project: Project, prompt_hash: str, call: _Call) -> None:
        try:
            await self.purge.run(project, prompt_hash)
        except NotFound:
            # Redis lists a prompt that is not there.
            self.statistics.removed(project, prompt_hash, 0)
        except (StillGenerating, LaterVersion):
            call.purged.failed += 1
        except Unavailable as outage:
            call.purged.failed += 1
            call.outage = outage
        else:
            call.purged.deleted += 1


def before(prompt_hash: str) -> str:
    """Return the last hash in order that comes before *prompt_hash*."""
    return f"{int(prompt_hash, 16) - 1:064x}" if int(prompt_hash, 16) else ""


def _ended(call: _Call, *, more: bool) -> Purged:
    if call.outage is not None and not call.purged.deleted:
        raise call.outage
    call.purged.more = more or call.outage is not None or call.purged.failed > 0
    return call.purged
