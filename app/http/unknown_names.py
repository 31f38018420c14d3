"""Names of parameters and fields that are not known, as an error names them."""

from __future__ import annotations

import re
from collections.abc import Collection

from app.errors import InvalidParameter

_HARMLESS = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")


def shown(name: str, *, otherwise: str) -> str:
    """Return *name* where it is harmless to repeat in an answer, else *otherwise*."""
    return name if _HARMLESS.fullmatch(name) else otherwise


def unknown(
    name: str,
    known: Collection[str] = (),
    *,
    part: str = "body",
    kind: str = "parameter",
) -> InvalidParameter:
    """Return the error of a *name* in *part* of the request that is not *known*."""
    named = f"`{name}`" if shown(name, otherwise="") else "of that name"
    detail = f"There is no {kind} {named} here."
    if known:
        detail += f" Known are {', '.join(sorted(known))}."
    return InvalidParameter(shown(name, otherwise=part), detail)
