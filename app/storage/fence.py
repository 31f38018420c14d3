"""The fence: nothing is painted before the store has proved that one writer wins."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from app.background import running
from app.errors import StorageUnavailable
from app.storage.store_proof import PROOF_WITHIN_SECONDS, Proof, Verdict, prove

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from app.storage.ports.object_store import ObjectStore
    from app.telemetry import Metrics

logger = logging.getLogger(__name__)

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
