"""Where everything lies in Redis.

All keys of one script share a hash tag, so that they lie in one slot of a
Cluster (Redis Cluster Specification, "Hash tags"). A new version prefix
leaves what older replicas wrote alone. Nothing ever scans keys.
"""

from __future__ import annotations

VERSION = "p1"

LANDED = f"{VERSION}:landed"
"""The channel that tells of every flight that ended, by its prompt hash."""


def entry(prompt_hash: str) -> str:
    """Hash: `r` the record, `a` when it was last asked for (ms since 1970)."""
    return f"{VERSION}:{{{prompt_hash}}}"


def hits(prompt_hash: str) -> str:
    """Counter of the hits of a prompt."""
    return f"{VERSION}:{{{prompt_hash}}}:h"


def lease(prompt_hash: str) -> str:
    """Token of whoever may write about a prompt, with a time to live."""
    return f"{VERSION}:{{{prompt_hash}}}:l"


def failure(prompt_hash: str) -> str:
    """Failure that is remembered for a prompt, with a time to live."""
    return f"{VERSION}:{{{prompt_hash}}}:f"


def generation(generation_id: str) -> str:
    """Hash that tells how a generation goes."""
    return f"{VERSION}:g:{{{generation_id}}}"


def statistics(project: str) -> str:
    """Hash of a project's sums."""
    return f"{VERSION}:{{{project}}}:s"


def by_recency(project: str) -> str:
    """Sorted set of a project's prompt hashes by their last access (ms)."""
    return f"{VERSION}:{{{project}}}:recent"


def by_hits(project: str) -> str:
    """Sorted set of a project's prompt hashes by their hits."""
    return f"{VERSION}:{{{project}}}:hits"


def batch(project: str, replica: str) -> str:
    """Counter: the last batch of statistics that *replica* has applied."""
    return f"{VERSION}:{{{project}}}:b:{replica}"


TRANSIENT_RECORDS = f"{VERSION}:{{transient}}:records"
TRANSIENT_DOOMED = f"{VERSION}:{{transient}}:doomed"

TRANSIENT_BOOKS = (
    TRANSIENT_RECORDS,
    f"{VERSION}:{{transient}}:listed",
    f"{VERSION}:{{transient}}:due",
    f"{VERSION}:{{transient}}:taken",
    TRANSIENT_DOOMED,
)
"""What is known of all transient images; `transient_scripts` says how."""


def transient_bytes(image_id: str) -> str:
    """Bytes of a transient image, as a plain string."""
    return f"{VERSION}:{{{image_id}}}:t"
