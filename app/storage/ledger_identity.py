"""The identity of the ledger: another bucket or folder is an outage.

`_system/ledger.json` holds a random id. Redis and each replica remember it. A
place that is missing, empty or another one than before is never a new beginning:
everything in it would be painted and paid again.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import orjson

from app.errors import CacheUnavailable, LaterVersion, StorageUnavailable
from app.single_flight import SingleFlight
from app.storage.ports.object_store import ConditionRefused, PlaceMissing
from app.storage.storage_key import LEDGER_KEY

if TYPE_CHECKING:
    from app.storage.ports.ledger_memory import LedgerMemory
    from app.storage.ports.object_store import ObjectStore

logger = logging.getLogger(__name__)

# What callers get; the bucket and the command are for operators alone.
WRONG_LEDGER = "The object store is not the one that was used before."
_MISSING = "The object store is not there."

LEDGER_VERSION = 1
_JSON = "application/json"
# A frozen Redis must not read as an outage of the store.
_RECALL_WITHIN_SECONDS = 0.3


class WrongLedger(StorageUnavailable):
    """The bucket or folder is not the ledger that was seen before."""


class LedgerIdentity:
    """This replica's check that its ledger is the same as before.

    *name* is the bucket or folder. Without *makes* a missing ledger is not created.
    """

    def __init__(
        self,
        store: ObjectStore,
        memory: LedgerMemory,
        *,
        name: str,
        makes: bool,
        sends_conditions: bool = True,
    ) -> None:
        self._store = store
        self._memory = memory
        self._name = name
        self._makes = makes
        self._sends_conditions = sends_conditions
        self._confirmations: SingleFlight[None, None] = SingleFlight()
        self._wrong: WrongLedger | None = None
        self.id: str | None = None

    async def check(self, *, needs_memory: bool = True) -> None:
        """Return when the store answers and is the right ledger.

        Makes it where none was seen before. Raises `WrongLedger`, `PlaceMissing`,
        `StorageUnavailable` where the store does not answer, and
        `CacheUnavailable` where Redis has to say whether a ledger was seen;
        without *needs_memory* it counts as not seen.
        """
        found, missing = await self._found()
        expected = await self._expected(is_needed=needs_memory and found is None)
        if expected is None and found is None and not self._makes:
            if missing is not None:
                raise missing
            return
        if expected is None:
            expected = found = found or await self._made()
        self._compare(found, expected, is_there=missing is None)
        with suppress(CacheUnavailable, TimeoutError):
            async with asyncio.timeout(_RECALL_WITHIN_SECONDS):
                await self._memory.remember(expected)

    async def require(self) -> None:
        """Return unless the last look found another ledger, and a new one does.

        Raises like `check`. No request waits for the next ping once the right one is
        back.
        """
        if self._wrong is not None:
            await self.confirm()

    async def confirm(self) -> None:
        """Look again whether this is the right ledger; raises like `check`.

        A key that is missing may mean that the whole ledger is another one:
        what is absent is believed only after this. Callers share the next look.
        """
        await self._confirmations.share_next(None, self._confirm)

    async def adopt(self) -> str:
        """Take on the ledger that is there, or make one; return its id."""
        found, _ = await self._found()
        self.id, self._wrong = found or await self._made(), None
        await self._memory.replace(self.id)
        return self.id

    async def _confirm(self) -> None:
        if self.id is None:
            raise StorageUnavailable("The ledger is not known yet.")
        found, missing = await self._found()
        self._compare(found, self.id, is_there=missing is None)

    def _compare(self, found: str | None, expected: str, *, is_there: bool) -> None:
        if found == expected:
            if self._wrong is not None or self.id != expected:
                logger.info("ledger", extra={"ledger": expected, "store": self._name})
            self.id, self._wrong = expected, None
            return
        what = "holds another ledger than before" if found else "holds no ledger"
        reason = (
            f"{self._name} {what if is_there else 'is missing'}. Nothing is painted "
            "or made until the ledger that was seen before is back, or "
            "`python -m app rebuild --adopt` takes this one on."
        )
        if self._wrong is None:
            logger.error("wrong ledger", extra={"reason": reason})
        self._wrong = WrongLedger(WRONG_LEDGER, reason=reason)
        raise self._wrong

    async def _found(self) -> tuple[str | None, PlaceMissing | None]:
        """Return the id in the store, or None and why there is none."""
        try:
            stored = await self._store.get(LEDGER_KEY)
        except StorageUnavailable:
            # A missing bucket or folder differs from a store that does not answer.
            try:
                await self._store.ping()
            except PlaceMissing:
                return None, PlaceMissing(_MISSING, reason=f"{self._name} is missing.")
            raise
        return (None if stored is None else _id_in(stored.data)), None

    async def _expected(self, *, is_needed: bool) -> str | None:
        """Return the id that was seen before, by any replica."""
        try:
            async with asyncio.timeout(_RECALL_WITHIN_SECONDS):
                return await self._memory.recall() or self.id
        except (CacheUnavailable, TimeoutError) as error:
            if self.id is None and is_needed:
                raise CacheUnavailable(
                    "Redis has to answer before a ledger is made."
                ) from error
            return self.id

    async def _made(self) -> str:
        """Make the bucket and the ledger in it; return the id that was first."""
        proposed = str(uuid4())
        with suppress(CacheUnavailable):
            proposed = await self._memory.propose(proposed)
        await self._store.make()
        data = orjson.dumps(
            {
                "version": LEDGER_VERSION,
                "id": proposed,
                "created_at": datetime.now(UTC).isoformat(),
            }
        )
        is_refused = not self._sends_conditions
        if self._sends_conditions:
            try:
                await self._store.create(LEDGER_KEY, data, media_type=_JSON)
            except ConditionRefused:
                is_refused = True
        if is_refused:
            # Replicas that make it at once write the same id.
            await self._store.put(LEDGER_KEY, data, media_type=_JSON)
        stored = await self._store.get(LEDGER_KEY)
        if stored is None:
            raise StorageUnavailable("The ledger does not settle.")
        return _id_in(stored.data)


def _id_in(data: bytes) -> str:
    """Return the id that a ledger's document names; raises `StorageUnavailable`."""
    with suppress(orjson.JSONDecodeError, KeyError, TypeError):
        fields = orjson.loads(data)
        if fields["version"] != LEDGER_VERSION:
            logger.error("document of a later version", extra={"document": "ledger"})
            raise LaterVersion("A later release wrote the ledger's own document.")
        if isinstance(fields["id"], str):
            return str(fields["id"])
    logger.error("document is unreadable", extra={"document": "ledger"})
    raise StorageUnavailable("The ledger's own document can't be read.")
