"""Reads the media types that an `Accept` names (RFC 9110, 12.5.1). Pure."""

from __future__ import annotations

import re
from functools import lru_cache

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\U0010ffff]|\\[\t -~\x80-\U0010ffff])*"'
_PARAMETER = rf"[ \t]*;[ \t]*({_NAME})=({_NAME}|{_QUOTED})"
_RANGE = re.compile(
    rf"({_NAME}/{_NAME})((?:[ \t]*;[ \t]*(?:{_NAME}=(?:{_NAME}|{_QUOTED}))?)*)"
)
_BETWEEN = re.compile(r"[ \t]*(?:,[ \t]*)+|[ \t]*$")
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?", re.ASCII)
_LONGEST = 8_192


@lru_cache(1024)
def accepted_types(header: str) -> frozenset[str]:
    """Return the media types that *header* names with a weight above 0.

    Wildcards name no type. A malformed header names none at all.
    """
    header = header.strip(" \t,")
    named: set[str] = set()
    at = 0
    while at < len(header) <= _LONGEST:
        found = _RANGE.match(header, at)
        between = _BETWEEN.match(header, found.end()) if found else None
        weight = _weight_in(found[2]) if found else None
        if found is None or between is None or weight is None:
            return frozenset()
        if weight > 0:
            named.add(found[1].lower())
        at = between.end()
    return frozenset(named)


def _weight_in(parameters: str) -> float | None:
    """Return the weight among *parameters*, 1 without one; None if it is malformed."""
    weights = [
        value
        for name, value in re.findall(_PARAMETER, parameters)
        if name.lower() == "q"
    ]
    if not weights:
        return 1.0
    if len(weights) > 1 or not _WEIGHT.fullmatch(weights[0]):
        return None
    return float(weights[0])
