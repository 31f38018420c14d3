"""Signed URLs, checked: an `<img>` may paint, without a key, until it expires."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, NamedTuple

from app.errors import InvalidParameter, InvalidSignature
from app.signing import canonical
from app.storage.storage_key import Project

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.access.caller import Caller

PARAMETERS = frozenset({"project", "exp", "kid", "sig"})

LONGEST_SECONDS = 3653 * 86_400

_KID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TIME = re.compile(r"0|[1-9][0-9]{0,11}", re.ASCII)


class Claims(NamedTuple):
    """What a signed URL says: whose key signed what, and until when it holds."""

    path: str
    project: Project
    kid: str
    exp: int
    sig: str
    canonical: str


def read_claims(path: str, given: Mapping[str, str]) -> Claims:
    """Read the claims of a query; nothing of them is believed yet.

    Raises `InvalidParameter` where one is missing or malformed.
    """
    for name in PARAMETERS:
        if name not in given:
            raise InvalidParameter(name, f"A signed URL needs {name}.")
    if not _KID.fullmatch(given["kid"]):
        raise InvalidParameter("kid", "kid is no key's id.")
    if not _TIME.fullmatch(given["exp"]):
        raise InvalidParameter("exp", "exp must be a time in Unix seconds.")
    exp = int(given["exp"])
    if exp > time.time() + LONGEST_SECONDS:
        raise InvalidParameter("exp", "exp is more than ten years ahead.")
    return Claims(
        path,
        Project.parse(given["project"]),
        given["kid"],
        exp,
        given["sig"],
        canonical("GET", path, given),
    )


class SignedUrls:
    """The check of signatures."""

    async def verify(self, claims: Claims) -> Caller:  # noqa: ARG002
        """Return on whose behalf the URL asks; raises `InvalidSignature`."""
        raise InvalidSignature("Signed URLs are off: there is no SIGNING_MASTER_KEY.")
