"""The query of a request, read strictly from its raw target.

aiohttp's own `request.query` replaces invalid UTF-8 by U+FFFD and keeps the
first of two values: two different requests would be one prompt.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from app.errors import InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aiohttp import web

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_SHOWN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def read_query(request: web.Request, allowed: Collection[str]) -> dict[str, str]:
    """Return the query's parameters, each at most once, none of them empty.

    `+` is a space, an empty segment is ignored, a name without `=` is empty.
    Raises `InvalidParameter` for a name that is not in *allowed*, a repeated
    or empty one, a broken percent escape and bytes that are not UTF-8.
    """
    return parse_query(request.raw_path.partition("?")[2], allowed)


def parse_query(text: str, allowed: Collection[str]) -> dict[str, str]:
    """Do the same for the *text* of a query."""
    parameters: dict[str, str] = {}
    for segment in text.split("&"):
        if not segment:
            continue
        raw_name, _, raw_value = segment.partition("=")
        name = decode(raw_name, parameter="query", plus_is_space=True)
        if name not in allowed:
            raise InvalidParameter(_shown(name), "There is no such parameter here.")
        if name in parameters:
            raise InvalidParameter(name, f"{name} is given more than once.")
        if not raw_value:
            raise InvalidParameter(name, f"{name} is empty.")
        parameters[name] = decode(raw_value, parameter=name, plus_is_space=True)
    return parameters


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
    parameters: Mapping[str, str], name: str, *, least: int, most: int
) -> int | None:
    """Return *name* as an integer in ASCII digits, or None where it is not given.

    Raises `InvalidParameter` for anything but `0` or digits without a leading
    zero, and for a value below *least* or above *most*.
    """
    text = parameters.get(name)
    if text is None:
        return None
    if not _WHOLE_NUMBER.fullmatch(text):
        raise InvalidParameter(name, f"{name} must be a whole number.")
    return bounded(int(text), name, least=least, most=most)


def bounded(value: int, name: str, *, least: int, most: int) -> int:
    """Return *value*, or raise `InvalidParameter` where it is out of bounds."""
    if not least <= value <= most:
        raise InvalidParameter(name, f"{name} must be from {least} to {most}.")
    return value


def _shown(name: str) -> str:
    """Return *name* where it is harmless to repeat in an answer."""
    return name if _SHOWN_NAME.fullmatch(name) else "query"
