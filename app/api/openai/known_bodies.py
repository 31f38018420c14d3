"""Bodies of generations, and a cache of what the latest ones ask for.

Hot prompts are asked for in the same bytes again and again, and parsing is
pure: the same body asks for the same pictures of a project each time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from app.api.openai.fields import Fields, read_fields
from app.http.json_bodies import parse_object
from app.prompt_cache.entry.prompt_key import PromptKey

if TYPE_CHECKING:
    from app.api.parameters import KnownModels
    from app.storage.storage_key import Project

# Some 10 MB; longer bodies are parsed every time.
MAX_KNOWN = 4096
MAX_KNOWN_BYTES = 1024


class KnownBody:
    """One body: what is *asked*, and the keys of its pictures."""

    __slots__ = ("_keys", "_project", "asked")

    def __init__(self, body: bytes, models: KnownModels) -> None:
        fields = Fields(parse_object(body))
        fields.require_known()
        self.asked = read_fields(fields, models)
        self._project: Project | None = None
        self._keys: list[PromptKey] = []

    def keys_of(self, project: Project) -> list[PromptKey]:
        """Return the key of each picture that is asked for, of *project*."""
        if self._project != project:
            self._project = project
            self._keys = [PromptKey(project, one) for one in self.asked.variants()]
        return self._keys


class KnownBodies:
    """The bodies of this replica; *models* are those that they may name."""

    def __init__(self, models: KnownModels) -> None:
        self._models = models
        self._known = lru_cache(MAX_KNOWN)(self._read)

    def read(self, body: bytes) -> KnownBody:
        """Return *body* parsed; raises `InvalidRequest`, `ModelNotFound`."""
        return self._read(body) if len(body) > MAX_KNOWN_BYTES else self._known(body)

    def _read(self, body: bytes) -> KnownBody:
        return KnownBody(body, self._models)
