"""The parameters of a rendition: `w`, `format` and `q`, no part of a prompt."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from app.errors import InvalidParameter
from app.http.accept import accepted_types
from app.http.query import bounded, whole_number
from app.renditions import LOSSY, MEDIA_TYPE_OF_FORMAT, Rendition, can_be

RENDITION_PARAMETERS = frozenset(("w", "format", "q"))
AUTO = "auto"
FORMATS = (*MEDIA_TYPE_OF_FORMAT, AUTO)
MAX_Q, Q_STEP = 100, 10

# What `auto` prefers where it is accepted, in this order.
_PREFERRED = ("image/avif", "image/webp")
_FORMAT_OF_MEDIA_TYPE = {it: name for name, it in MEDIA_TYPE_OF_FORMAT.items()}


class Shape(NamedTuple):
    """The type and the size of a stored picture."""

    media_type: str
    width: int
    height: int


class AskedRendition(NamedTuple):
    """A requested rendition, before anything is known of the picture."""

    width: int | None = None
    format: str | None = None
    q: int | None = None

    @property
    def is_negotiated(self) -> bool:
        """Whether `Accept` decides about the type."""
        return self.format == AUTO

    def of(self, own: Shape, accept: Iterable[str]) -> Rendition:
        """Return the rendition of a picture like *own*; *accept* are header lines."""
        if self.format is None:
            return Rendition(self.width, None, self.q)
        if self.format != AUTO:
            return Rendition(self.width, MEDIA_TYPE_OF_FORMAT[self.format], self.q)
        named = accepted_types(", ".join(accept))
        for media_type in _PREFERRED:
            if media_type in named and can_be(
                media_type, self.width, own.width, own.height
            ):
                return Rendition(self.width, media_type, self.q)
        media_type = "image/png" if own.media_type == "image/gif" else own.media_type
        return Rendition(
            self.width, media_type, self.q if media_type in LOSSY else None
        )

    def query_of(self, rendition: Rendition) -> str:
        """Return the query that asks for *rendition* alone, whatever is accepted."""
        values = {"w": self.width, "q": rendition.q}
        if self.format is not None and rendition.media_type is not None:
            values["format"] = _FORMAT_OF_MEDIA_TYPE[rendition.media_type]  # type: ignore[assignment]
        return "&".join(
            f"{name}={values[name]}"
            for name in ("w", "format", "q")
            if values.get(name) is not None
        )


def asked_in_query(
    given: Mapping[str, str], widths: Collection[int]
) -> AskedRendition | None:
    """Read a query; None where it asks for the picture itself.

    Raises `InvalidParameter`.
    """
    if not RENDITION_PARAMETERS & given.keys():
        return None

    def integer(name: str, minimum: int, maximum: int) -> int | None:
        return whole_number(given, name, minimum=minimum, maximum=maximum)

    return _asked(given, widths, integer)


def asked_in_json(
    given: Mapping[str, Any], widths: Collection[int]
) -> AskedRendition | None:
    """Read the fields of a JSON object like a query; integers are integers here."""
    if not RENDITION_PARAMETERS & given.keys():
        return None

    def integer(name: str, minimum: int, maximum: int) -> int | None:
        value = given.get(name)
        if name not in given:
            return None
        if type(value) is not int:
            raise InvalidParameter(name, f"{name} must be a whole number.")
        return bounded(value, name, minimum=minimum, maximum=maximum)

    return _asked(given, widths, integer)


def require_width(width: int, widths: Collection[int], parameter: str) -> int:
    """Return *width*; raises `InvalidParameter` where it is none of *widths*."""
    if width not in widths:
        known = ", ".join(map(str, sorted(widths)))
        raise InvalidParameter(parameter, f"{parameter} must be one of {known}.")
    return width


def _asked(
    given: Mapping[str, Any],
    widths: Collection[int],
    integer: Callable[[str, int, int], int | None],
) -> AskedRendition:
    width = integer("w", 0, 10**18)
    if width is not None:
        require_width(width, widths, "w")
    name = given.get("format")
    if name is not None and name not in FORMATS:
        raise InvalidParameter("format", f"format must be one of {', '.join(FORMATS)}.")
    q = integer("q", 0, MAX_Q)
    if q is not None and q % Q_STEP:
        raise InvalidParameter("q", f"q must be 0 to {MAX_Q} in steps of {Q_STEP}.")
    if q is not None and name == "png":
        raise InvalidParameter("q", "q is for jpeg, webp and avif.")
    return AskedRendition(width, name, q)
