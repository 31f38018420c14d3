"""Server-sent events as bytes (WHATWG HTML, 9.2)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-store",
        # nginx would gather events before it passes them on.
        "X-Accel-Buffering": "no",
    }
)

# A stream that says nothing looks dead to the proxies in between.
COMMENT = b": still here\n\n"


def event(name: str, event_id: str, data: bytes) -> bytes:
    """Return one event; *data* has one line, as JSON without indentation does."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (
        event_id.encode(),
        name.encode(),
        data,
    )
