"""Queries to prompt keys, and the ones that were asked for lately at hand.

Hot prompts are asked for in the same words again and again. Parsing is pure,
so what the same text of a query came to is what it comes to.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from app.api.parameters import QUERY_PARAMETERS, from_query
from app.http.query import parse_query
from app.prompt_cache.entry.prompt_key import PromptKey

if TYPE_CHECKING:
    from collections.abc import Container

    from app.storage.storage_key import Project

# Some 30 MB, 60 at the most; longer queries are parsed every time.
KEPT = 32_768
LONGEST_KEPT = 1024


class QueryCache:
    """The prompt keys of queries; *models* are the known aliases."""

    def __init__(self, models: Container[str]) -> None:
        self._models = models
        self._kept = lru_cache(KEPT)(self._read)

    def of_query(self, project: Project, query: str) -> PromptKey:
        """Return what *query* asks for; raises `InvalidParameter`, each time."""
        if len(query) > LONGEST_KEPT:
            return self._read(project, query)
        return self._kept(project, query)

    def _read(self, project: Project, query: str) -> PromptKey:
        given = parse_query(query, QUERY_PARAMETERS)
        return PromptKey(project, from_query(given, self._models))
