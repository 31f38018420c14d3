"""A provenance in five bits: there are millions of records."""

from __future__ import annotations

from app.generation.provenance import BY_A_MODEL, BY_A_PROGRAM, Provenance

_CODES = 32
_C2PA, _C2PA_LOST, _MARKED = 1, 2, 4
# By their number in the bits above; a picture may also say something else.
_SOURCE_TYPES = (None, BY_A_MODEL, BY_A_PROGRAM)
_ANOTHER = len(_SOURCE_TYPES)
_SOURCE_TYPE_BIT = 3


def _of(code: int) -> Provenance:
    number = code >> _SOURCE_TYPE_BIT
    return Provenance(
        c2pa=bool(code & _C2PA),
        c2pa_lost=bool(code & _C2PA_LOST),
        digital_source_type=None if number == _ANOTHER else _SOURCE_TYPES[number],
        marked=bool(code & _MARKED),
    )


# What `encode` was given, by its code, but for a source type that is apart:
# each hit reads one.
PROVENANCES = tuple(map(_of, range(_CODES)))


def encode(provenance: Provenance) -> int:
    """Return the bits of *provenance*; see `source_type_is_apart`."""
    source_type = provenance.digital_source_type
    is_known = source_type in _SOURCE_TYPES
    number = _SOURCE_TYPES.index(source_type) if is_known else _ANOTHER
    return (
        provenance.c2pa * _C2PA
        | provenance.c2pa_lost * _C2PA_LOST
        | provenance.marked * _MARKED
        | number << _SOURCE_TYPE_BIT
    )


def source_type_is_apart(code: int) -> bool:
    """Return whether the source type has no number and is kept after the bits."""
    return code >> _SOURCE_TYPE_BIT == _ANOTHER
