"""`Prefer`: how long a caller wants to wait (RFC 7240). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_WAIT = re.compile(r"(?:respond-async|wait[ \t]*=[ \t]*([0-9]+))", re.IGNORECASE)

# More than any wait may take; longer numbers are not read.
_MAX_DIGITS = 9


class Preference(NamedTuple):
    """A preference that is applied: the seconds to wait, and its text in `Prefer`."""

    seconds: float
    applied: str


def preference_of(
    lines: Iterable[str], *, max_seconds: float, takes_async: bool = True
) -> Preference | None:
    """Return the first preference about waiting in the *lines* of `Prefer`, or None.

    A wait is granted up to *max_seconds*. What is malformed is ignored, and
    without *takes_async* `respond-async` as well.
    """
    for line in lines:
        # The seconds may be quoted; other quoted values may hold a comma.
        plain = _QUOTED.sub(lambda found: found[1] if found[1].isdigit() else "", line)
        for preference in plain.split(","):
            found = _WAIT.fullmatch(preference.partition(";")[0].strip(" \t"))
            if found is None:
                continue
            if found[1] is None and not takes_async:
                continue
            if found[1] is None:
                return Preference(0.0, "respond-async")
            digits = found[1].lstrip("0") or "0"
            wanted = float(digits) if len(digits) <= _MAX_DIGITS else max_seconds
            seconds = min(wanted, max_seconds)
            return Preference(seconds, f"wait={seconds:.0f}")
    return None
