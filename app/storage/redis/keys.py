"""The names of all keys in Redis.

All keys of one script share a hash tag, so that they lie in one slot of a
Cluster (Redis Cluster Specification, "Hash tags"). A new version prefix
leaves what older replicas wrote alone. Nothing ever scans keys.

There are millions of prompts, and Redis keeps each key as it is: a prompt hash
is 43 characters here and 32 bytes in a list, not 64 hex digits. The version is
one character, so that the key of an entry fits into 48 bytes of memory; an
entry's key has no braces, so it is its own hash tag.
"""

from __future__ import annotations

from binascii import b2a_base64, unhexlify
from functools import lru_cache

VERSION = "2"

LEDGER = f"{VERSION}:ledger"
"""The id of the ledger that the replicas have seen."""

PROPOSED_LEDGER = f"{VERSION}:ledger:proposed"
"""The id that a ledger gets that is being made."""

BEGAN = f"{VERSION}:began"
"""Hash of the runs in which the data began, by node: see `client.server_runs`."""

LANDED = f"{VERSION}:landed"
"""The channel that tells of every flight that ended, by its prompt hash."""

_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def entry(prompt_hash: str) -> str:
    """Return the key of an entry, which is a string: `scripts` says of what."""
    # `urlsafe_b64encode` takes half as long again.
    encoded = b2a_base64(unhexlify(prompt_hash))[:43].translate(_URL_SAFE)
    return f"{VERSION}{encoded.decode()}"


# A look-up of a prompt that many request makes its keys once: some 300 bytes each.
@lru_cache(8192)
def entry_and_hits(prompt_hash: str) -> tuple[str, str]:
    """Return the keys of an entry and of its hits: all that a look-up needs."""
    key = entry(prompt_hash)
    return key, f"{{{key}}}:h"


def lease(prompt_hash: str) -> str:
    """Return the key of a prompt's lease: its holder's token, with a time to live."""
    return f"{{{entry(prompt_hash)}}}:l"


def failure(prompt_hash: str) -> str:
    """Failure that is remembered for a prompt, with a time to live."""
    return f"{{{entry(prompt_hash)}}}:f"


def hold(prompt_hash: str) -> str:
    """Failure after which nothing may be paid for a prompt; a purge leaves it."""
    return f"{{{entry(prompt_hash)}}}:a"


def job(prompt_hash: str) -> str:
    """Job of a provider that a painting waits for, with a time to live."""
    return f"{{{entry(prompt_hash)}}}:j"


def refresh(prompt_hash: str) -> str:
    """Last refresh of a prompt, and when it was answered, with a time to live."""
    return f"{{{entry(prompt_hash)}}}:r"


def left(prompt_hash: str) -> str:
    """Note of what a purge has still to remove."""
    return f"{{{entry(prompt_hash)}}}:p"


def generation(generation_id: str) -> str:
    """Hash that tells how a generation goes."""
    return f"{VERSION}:g:{{{generation_id}}}"


OPEN_GENERATIONS = f"{VERSION}:{{open}}:g"
"""Sorted set of generations that have not ended, by when to look at them (ms)."""


def statistics(project: str) -> str:
    """Hash of a project's sums."""
    return f"{VERSION}:{{{project}}}:s"


def history(project: str, day: int) -> str:
    """Hash of a project's sums of one day, since 1970, each `hour:name`."""
    return f"{VERSION}:{{{project}}}:d:{day}"


def by_recency(project: str) -> str:
    """Sorted set of a project's prompts, each `member`, by last access (ms)."""
    return f"{VERSION}:{{{project}}}:recent"


def by_hits(project: str) -> str:
    """Sorted set of a project's prompts, each `member`, by hits."""
    return f"{VERSION}:{{{project}}}:hits"


def member(prompt_hash: str) -> bytes:
    """Return a prompt as a member of the sorted sets; `bytes.hex` turns it back."""
    return unhexlify(prompt_hash)


def batch(project: str, replica: str) -> str:
    """Counter: the last batch of statistics that *replica* has applied."""
    return f"{VERSION}:{{{project}}}:b:{replica}"


TRANSIENT_TOMBSTONES = f"{VERSION}:{{transient}}:tombstones"

TRANSIENT_ACCOUNTS = (
    f"{VERSION}:{{transient}}:records",
    f"{VERSION}:{{transient}}:listed",
    f"{VERSION}:{{transient}}:due",
    f"{VERSION}:{{transient}}:used",
    TRANSIENT_TOMBSTONES,
    f"{VERSION}:{{transient}}:digests",
)
"""The keys of the accounts of transient images, in the order of the scripts."""


def transient_bytes(image_id: str) -> str:
    """Bytes of a transient image, as a plain string."""
    return f"{VERSION}:{{{image_id}}}:t"


def account(name: str) -> list[str]:
    """Hash of an account, and sorted set of its items by when they are due."""
    return [f"{VERSION}:{{{name}}}:a", f"{VERSION}:{{{name}}}:due"]


def rate(name: str) -> str:
    """Sorted set of the events of *name* in the last window."""
    return f"{VERSION}:{{{name}}}:rate"
