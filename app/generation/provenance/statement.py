"""Provenance: what is known of a picture's origin, as entries show it."""

from __future__ import annotations

from typing import Any, NamedTuple

_NONE = type(None)


class Provenance(NamedTuple):
    """Marks of origin found in a picture, and whether one was added.

    *c2pa*: it carries a C2PA manifest. *c2pa_lost*: the provider's picture
    did, and cropping or resizing it lost it. *digital_source_type*: what its
    XMP says, whatever wrote it. *marked*: we wrote into it.
    """

    c2pa: bool = False
    c2pa_lost: bool = False
    digital_source_type: str | None = None
    marked: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return every statement by its name."""
        return self._asdict()

    @classmethod
    def from_json(cls, fields: dict[str, Any] | None) -> Provenance:
        """Read the form of `as_json`; None is from before pictures were marked."""
        if fields is None:
            return UNKNOWN
        flags = {type(fields[name]) for name in ("c2pa", "c2pa_lost", "marked")}
        if flags != {bool} or type(fields["digital_source_type"]) not in {str, _NONE}:
            raise TypeError("a provenance can't say this")
        return cls(**fields)


# Of pictures that were stored before their origin was read.
UNKNOWN = Provenance()
