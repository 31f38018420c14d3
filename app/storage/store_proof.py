"""The proof of the store: its conditional writes let exactly one writer win.

"One answer" rests on them. Some stores ignore the conditions and answer 200, some
refuse them, some race, so each replica tries them before it paints anything.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import uuid4

from app.errors import StorageUnavailable
from app.storage.ports.object_store import ConditionRefused
from app.storage.storage_key import FENCE_PREFIX

if TYPE_CHECKING:
    from app.storage.ports.object_store import ObjectStore

CREATES_AT_ONCE = 8
# A store may be slow just after its start.
PROOF_WITHIN_SECONDS = 30.0
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
