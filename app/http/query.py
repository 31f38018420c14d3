"""The query of a request, read strictly from its raw target.

aiohttp's own `request.query` replaces invalid UTF-8 by U+FFFD and keeps the
first of two values: two different requests would be one prompt.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from urllib.parse import unquote_to_bytes

from app.errors import InvalidParameter
from app.http.unknown_names import shown, unknown

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
# More than any route has; each costs a microsecond.
MAX_PARAMETERS = 64


def parse_query(text: str) -> dict[str, str]:
    """Return the parameters in the *text* of a query, none repeated or empty.

    `+` is a space, an empty segment is ignored, a name without `=` is empty.
    Raises `InvalidParameter`, also for a broken percent escape and for bytes
    that are not UTF-8.
    """
    parameters: dict[str, str] = {}
    for segment in text.split("&"):
        if not segment:
            continue
        raw_name, _, raw_value = segment.partition("=")
        name = decode(raw_name, parameter="query", plus_is_space=True)
        named = shown(name, otherwise="query")
        if len(parameters) >= MAX_PARAMETERS:
            raise InvalidParameter(named, "There are too many parameters.")
        if name in parameters:
            raise InvalidParameter(named, f"{named} is given more than once.")
        if not raw_value:
            raise InvalidParameter(named, f"{named} is empty.")
        parameters[name] = decode(raw_value, parameter=named, plus_is_space=True)
    return parameters


def require_known(
    parameters: dict[str, str], allowed: Collection[str]
) -> dict[str, str]:
    """Return *parameters*; raises `InvalidParameter` for one not in *allowed*."""
    for name in parameters:
        if name not in allowed:
            raise unknown(name, allowed, part="query")
    return parameters


def has_parameter(text: str, name: str) -> bool:
    """Return whether the *text* of a query has *name*, however malformed it is."""
    if name not in text and "%" not in text:
        return False
    octets = text.encode("utf-8", "surrogatepass")
    names = (segment.partition(b"=")[0] for segment in octets.split(b"&"))
    return any(unquote_to_bytes(raw) == name.encode() for raw in names)


def decode(raw: str, *, parameter: str, plus_is_space: bool = False) -> str:
    """Percent-decode *raw* once, strictly; errors name *parameter*."""
    if plus_is_space:
        raw = raw.replace("+", " ")
    if "%" not in raw and raw.isascii():
        return raw
    if _BROKEN_ESCAPE.search(raw):
        raise InvalidParameter(parameter, "A percent sign starts no escape.")
    try:
        # The parser hands over bytes beyond ASCII as surrogates.
        octets = raw.encode("utf-8", "surrogateescape")
        return unquote_to_bytes(octets).decode("utf-8")
    except UnicodeError:
        raise InvalidParameter(parameter, f"{parameter} is not UTF-8.") from None


def whole_number(
    parameters: Mapping[str, str], name: str, *, minimum: int, maximum: int
) -> int | None:
    """Return *name* as an integer in ASCII digits, or None where it is not given.

    Raises `InvalidParameter` for anything but `0` or digits without a leading
    zero, and for a value below *minimum* or above *maximum*.
    """
    text = parameters.get(name)
    if text is None:
        return None
    if not _WHOLE_NUMBER.fullmatch(text):
        raise InvalidParameter(name, f"{name} must be a whole number.")
    return bounded(int(text), name, minimum=minimum, maximum=maximum)


def bounded(value: int, name: str, *, minimum: int, maximum: int) -> int:
    """Return *value*, or raise `InvalidParameter` where it is out of bounds."""
    if not minimum <= value <= maximum:
        raise InvalidParameter(name, f"{name} must be from {minimum} to {maximum}.")
    return value
