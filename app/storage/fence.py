"""The proof of the store: its conditional writes let exactly one writer win.

"One answer" rests on them. Some stores ignore the conditions and answer 200, some
refuse them, some race, so each replica tries them before it paints anything.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import uuid4

from app.background import running
from app.errors import StorageUnavailable
from app.storage.ports.object_store import ConditionRefused
from app.storage.storage_key import FENCE_PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from app.storage.ports.object_store import ObjectStore
    from app.telemetry import Metrics

logger = logging.getLogger(__name__)

CREATES_AT_ONCE = 8
# A store may be slow just after its start.
PROOF_WITHIN_SECONDS = 30.0
REPEAT_UNPROVED_SECONDS = 1.0
# A store that failed may have been upgraded since.
REPEAT_FAILED_SECONDS = 60.0
# The proof of a store that answers takes less; a request need not fail for it.
PAINTING_WAITS_SECONDS = 1.0
LEASE_WARNING = (
    "LEDGER_FENCE=lease sends no conditions to the store. The lease in Redis alone "
    "decides who writes: where it is lost, a prompt may be paid twice, and the later "
    "picture replaces the first."
)
_REMOVE_WITHIN_SECONDS = 5.0

_TEXT = "text/plain"
# An ETag in the form that stores use, of bytes that were never written.
_WRONG_ETAG = f'"{"0" * 32}"'


class Verdict(StrEnum):
    """The proof of the store's conditional writes.

    `unproved` until a proof got its answers; `lease` where the operator does
    without them.
    """

    PROVED = "proved"
    UNPROVED = "unproved"
    FAILED = "failed"
    LEASE = "lease"


@dataclass(frozen=True, slots=True)
class Proof:
    """A verdict and, unless it is `proved`, what the store did."""

    verdict: Verdict
    reason: str = ""


async def prove(
    store: ObjectStore, *, within_seconds: float = PROOF_WITHIN_SECONDS
) -> Proof:
    """Try the conditional writes of *store* on a fresh key, and remove it.

    A store that does not answer proves nothing: the verdict is `unproved`.
    """
    key = f"{FENCE_PREFIX}{uuid4()}"
    try:
        async with asyncio.timeout(within_seconds):
            return await _tried(store, key)
    except ConditionRefused as refused:
        return Proof(Verdict.FAILED, refused.detail)
    except TimeoutError:
        reason = f"The store took longer than {within_seconds:g} s for the proof."
        return Proof(Verdict.UNPROVED, reason)
    except StorageUnavailable as outage:
        return Proof(Verdict.UNPROVED, outage.reason)
    finally:
        # All creates have ended, or were given up: none is begun after this.
        with suppress(StorageUnavailable, TimeoutError):
            async with asyncio.timeout(_REMOVE_WITHIN_SECONDS):
                await store.delete(key)


async def _tried(store: ObjectStore, key: str) -> Proof:
    texts = [f"{key} {number}".encode() for number in range(CREATES_AT_ONCE)]
    ends = await asyncio.gather(
        *(store.create(key, text, media_type=_TEXT) for text in texts),
        return_exceptions=True,
    )
    winners = [at for at, end in enumerate(ends) if isinstance(end, str)]
    if len(winners) > 1:
        return _failed(
            f"{len(winners)} of {CREATES_AT_ONCE} creates of one key at once won: "
            "the store ignores If-None-Match on PUT, or races."
        )
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    stored = await store.get(key)
    if not winners:
        if stored is None:
            return _failed("The store refused to create a key that was free.")
        return Proof(Verdict.UNPROVED, "A create was sent twice on the way.")
    if stored is None or stored.data != texts[winners[0]]:
        return _failed("The store does not give back what the one winner created.")
    return await _replaced(store, key, stored.etag)


async def _replaced(store: ObjectStore, key: str, etag: str) -> Proof:
    wrong, right = b"replaced with a wrong ETag", b"replaced with the right ETag"
    if await store.replace(key, wrong, etag=_WRONG_ETAG, media_type=_TEXT) is not None:
        return _failed(
            "The store replaced an object whose ETag was not the one in If-Match: "
            "it ignores If-Match on PUT."
        )
    is_refused = await store.replace(key, right, etag=etag, media_type=_TEXT) is None
    stored = await store.get(key)
    if stored is None or stored.data != right:
        return _failed("The store did not replace an object whose ETag was right.")
    if is_refused:
        return Proof(Verdict.UNPROVED, "A replace was sent twice on the way.")
    return Proof(Verdict.PROVED)


def _failed(reason: str) -> Proof:
    return Proof(Verdict.FAILED, reason)


class Fence:
    """The verdict of this replica, and the task that finds it.

    The proof is tried over what *opens* opens, which has more patience than
    *store*. With *trusts_lease* the store is not tried at all: the verdict is
    `lease`.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        metrics: Metrics,
        opens: Callable[[], AbstractAsyncContextManager[ObjectStore]] | None = None,
        trusts_lease: bool = False,
        repeat_seconds: float = REPEAT_UNPROVED_SECONDS,
    ) -> None:
        self._opens = opens or (lambda: nullcontext(store))
        self._metrics = metrics
        self._repeat_seconds = repeat_seconds
        self._has_answered = asyncio.Event()
        self._is_open = asyncio.Event()
        self.proof = Proof(Verdict.UNPROVED, "The store has not answered yet.")
        if trusts_lease:
            self.proof = Proof(Verdict.LEASE, LEASE_WARNING)
        self._keep(self.proof)

    @property
    def verdict(self) -> Verdict:
        """The last verdict."""
        return self.proof.verdict

    @property
    def is_open(self) -> bool:
        """Whether anything may be painted."""
        return self._is_open.is_set()

    async def decided(self, within_seconds: float = PROOF_WITHIN_SECONDS) -> Proof:
        """Prove the store now, again while it does not answer; return the proof."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_seconds
        while self.verdict is Verdict.UNPROVED:
            left = max(deadline - loop.time(), self._repeat_seconds)
            async with self._opens() as store:
                self.proof = await prove(store, within_seconds=left)
            is_over = loop.time() + self._repeat_seconds > deadline
            if is_over or self.verdict is not Verdict.UNPROVED:
                break
            await asyncio.sleep(self._repeat_seconds)
        return self.proof

    async def refusal(self) -> StorageUnavailable | None:
        """Return why nothing may be painted, or None where it may.

        Waits a moment for a proof that is under way.
        """
        if self._is_open.is_set():
            return None
        if self.verdict is Verdict.UNPROVED and self._has_answered.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PAINTING_WAITS_SECONDS):
                    await self._is_open.wait()
                return None
        return StorageUnavailable(
            "The object store has not proved that one writer wins, "
            "so nothing is painted."
        )

    def watched(
        self, ping: Callable[[], Awaitable[None]]
    ) -> Callable[[], Awaitable[None]]:
        """Return *ping*, whose first answer begins the proof."""

        async def watched_ping() -> None:
            await ping()
            self._has_answered.set()

        return watched_ping

    @asynccontextmanager
    async def proving(self) -> AsyncIterator[None]:
        """Prove the store as soon as it answers, as long as the context is open."""
        if self.verdict is Verdict.LEASE:
            logger.warning("store fence", extra=_as_log_fields(self.proof))
        async with running(self._prove(), name="store-fence"):
            yield

    async def _prove(self) -> None:
        await self._has_answered.wait()
        while not self.is_open:
            async with self._opens() as store:
                self._note(await prove(store))
            has_failed = self.verdict is Verdict.FAILED
            await asyncio.sleep(
                REPEAT_FAILED_SECONDS if has_failed else self._repeat_seconds
            )

    def _note(self, proof: Proof) -> None:
        if proof.verdict is Verdict.FAILED:
            logger.error("store fence", extra=_as_log_fields(proof))
        elif proof != self.proof:
            logger.info("store fence", extra=_as_log_fields(proof))
        self._keep(proof)

    def _keep(self, proof: Proof) -> None:
        self.proof = proof
        self._metrics.store_fence(proof.verdict)
        if proof.verdict in {Verdict.PROVED, Verdict.LEASE}:
            self._is_open.set()


def _as_log_fields(proof: Proof) -> dict[str, str]:
    return {"verdict": str(proof.verdict), "reason": proof.reason}
