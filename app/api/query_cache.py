"""Parsed queries of live generation, the recent ones cached.

Hot prompts are asked for in the same words again and again. Parsing is pure,
so the same text of a query has the same result: signed URLs, too, are parsed and
put into the form that is signed only once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from app.access.signed_urls import PARAMETERS as SIGNATURE_PARAMETERS
from app.access.signed_urls import Claims, read_claims
from app.api.parameters import QUERY_PARAMETERS, from_query
from app.api.rendition_parameters import AskedRendition, asked_in_query
from app.errors import InvalidParameter
from app.http.query import has_parameter, parse_query, require_known
from app.prompt_cache.entry.prompt_key import PromptKey

if TYPE_CHECKING:
    from collections.abc import Collection

    from app.api.parameters import KnownModels
    from app.storage.storage_key import Project

# Some 15 MB, 60 at the most; longer queries are parsed every time.
KEPT = 8_192
LONGEST_KEPT = 768

_ALLOWED = QUERY_PARAMETERS | SIGNATURE_PARAMETERS


class LiveQuery:
    """One parsed query, the same for every caller.

    Errors are kept and raised after authentication, so that a caller without a
    key learns nothing. *is_signed* says that it has a `sig`, however spelled.
    """

    __slots__ = (
        "_claimed",
        "_claims",
        "_fault",
        "_given",
        "_key",
        "_models",
        "_rendition",
        "_widths",
        "is_signed",
    )

    def __init__(self, text: str, models: KnownModels, widths: Collection[int]) -> None:
        self._models = models
        self._widths = widths
        self._given: dict[str, str] = {}
        self._fault: tuple[str, str] | None = None
        self._key: PromptKey | None = None
        self._rendition: AskedRendition | None = None
        self._claims: Claims | None = None
        self.is_signed = has_parameter(text, "sig")
        try:
            self._given = parse_query(text)
        except InvalidParameter as fault:
            self._fault = fault.parameter, fault.detail
        # A parameter that only a signature may have, if any is there.
        self._claimed = next(iter(SIGNATURE_PARAMETERS & self._given.keys()), None)

    @property
    def given(self) -> dict[str, str]:
        """The parameters as they were sent; raises `InvalidParameter`."""
        if self._fault is not None:
            raise InvalidParameter(*self._fault)
        return self._given

    def claims(self, path: str) -> Claims:
        """Return the claims of the signature; raises `InvalidParameter`."""
        claims = self._claims
        if claims is None or claims.path != path:
            claims = self._claims = read_claims(path, self.given)
        return claims

    def key_of(self, project: Project, *, takes_claims: bool) -> PromptKey:
        """Return the prompt that is asked for, of *project*; raises `InvalidParameter`.

        With *takes_claims* the parameters of a signature may be there.
        """
        if not takes_claims and self._claimed is not None:
            name = self._claimed
            raise InvalidParameter(name, f"{name} belongs to a signed URL.")
        key = self._key
        if key is None or key.project != project:
            asked = require_known(self.given, _ALLOWED)
            self._rendition = asked_in_query(asked, self._widths)
            key = PromptKey(project, from_query(asked, self._models))
            self._key = key
        return key

    @property
    def rendition(self) -> AskedRendition | None:
        """The rendition that is asked for, once `key_of` has read the query."""
        return self._rendition


class QueryCache:
    """The queries of this replica, which may name these *models* and *widths*."""

    def __init__(self, models: KnownModels, widths: Collection[int]) -> None:
        self._models = models
        self._widths = widths
        self._kept = lru_cache(KEPT)(self._read)

    def read(self, text: str) -> LiveQuery:
        """Return the *text* of a query, parsed."""
        return self._read(text) if len(text) > LONGEST_KEPT else self._kept(text)

    def _read(self, text: str) -> LiveQuery:
        return LiveQuery(text, self._models, self._widths)
