"""Storage keys: where every object lies. Pure: parses and builds, does no I/O.

A picture's key is `org/project/category/filename`. Each segment is validated
here and nowhere else, because some S3 servers fold `//`, `.` and `..`, so
that one project's key could alias another's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from app.errors import InvalidParameter, InvalidStorageKey
from app.image import EXTENSIONS, MEDIA_TYPES

GENERATED = "generated"
PROMPTS = "prompts"
RENDITIONS = "renditions"
# No project is called so: what lies below belongs to the service itself.
SYSTEM = "_system"
# Holds the id by which a ledger is recognised.
LEDGER_KEY = f"{SYSTEM}/ledger.json"
# What the proof of the store writes, and removes.
FENCE_PREFIX = f"{SYSTEM}/fence/"

_SEGMENT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# The hash of a manifest's name has 64 digits: it is a key, though no picture's.
_FILENAME = re.compile(r"([a-z0-9][a-z0-9_-]{0,63})\.([a-z0-9]{1,8})")


@dataclass(frozen=True, slots=True)
class Project:
    """`org/project`: who pays, and whose bytes they are."""

    org: str
    name: str

    @classmethod
    def parse(cls, text: str, *, parameter: str = "project") -> Project:
        """Read `org/project`; raises `InvalidParameter` naming *parameter*."""
        try:
            return _project(text)
        except ValueError:
            raise InvalidParameter(
                parameter,
                f"{parameter} must be org/project, each part 1 to 63 lower-case "
                "letters, digits, hyphens and underscores, starting with a letter "
                "or a digit.",
            ) from None

    def __str__(self) -> str:
        return f"{self.org}/{self.name}"


# Each request of a project names it; what is malformed is not remembered.
@lru_cache(4096)
def _project(text: str) -> Project:
    org, slash, name = text.partition("/")
    if not slash or not _SEGMENT.fullmatch(org) or not _SEGMENT.fullmatch(name):
        raise ValueError(text)
    return Project(org, name)


@dataclass(frozen=True, slots=True)
class StorageKey:
    """The key of one stored picture."""

    project: Project
    category: str
    filename: str

    @classmethod
    def parse(cls, text: str) -> StorageKey:
        """Read a key; raises `InvalidStorageKey`. The text is already decoded."""
        segments = text.split("/")
        if len(segments) != 4:  # noqa: PLR2004 - org, project, category, filename
            raise InvalidStorageKey("A storage key is org/project/category/filename.")
        org, name, category, filename = segments
        if not all(_SEGMENT.fullmatch(part) for part in (org, name, category)):
            raise InvalidStorageKey(
                "org, project and category must be 1 to 63 lower-case letters, "
                "digits, hyphens and underscores, starting with a letter or a digit."
            )
        if not _FILENAME.fullmatch(filename):
            raise InvalidStorageKey(
                "The file name must be lower-case letters, digits, hyphens and "
                "underscores, one dot and an extension."
            )
        return cls(Project(org, name), category, filename)

    @classmethod
    def of_generated(
        cls, project: Project, image_id: str, media_type: str
    ) -> StorageKey:
        """Return where the generated picture *image_id* lies."""
        return cls(project, GENERATED, f"{image_id}.{EXTENSIONS[media_type]}")

    @classmethod
    def of_rendition(cls, project: Project, image_id: str, filename: str) -> StorageKey:
        """Return where a rendition of the picture *image_id* lies.

        It has one segment more than other keys, and `parse` never returns one.
        """
        return cls(project, f"{RENDITIONS}/{image_id}", filename)

    @property
    def image_id(self) -> str | None:
        """The image id in the file name; None where it names no generated picture."""
        stem, _, extension = self.filename.partition(".")
        known = self.category == GENERATED and extension in MEDIA_TYPES
        return stem if known and is_image_id(stem) else None

    def __str__(self) -> str:
        return f"{self.project}/{self.category}/{self.filename}"


def manifest_key(project: Project, prompt_hash: str) -> str:
    """Return where the manifest of a prompt lies."""
    return f"{project}/{PROMPTS}/{prompt_hash}.json"


def purge_key(project: Project, prompt_hash: str) -> str:
    """Return where it is written down what has to go of a prompt."""
    return f"{purges_prefix(project)}{prompt_hash}.json"


def purges_prefix(project: Project | None = None) -> str:
    """Return the prefix of all such keys, or of those of *project*."""
    return f"{SYSTEM}/purges/{project}/" if project else f"{SYSTEM}/purges/"


def manifest_prefix(project: Project) -> str:
    """Return the prefix of the manifests of *project*."""
    return f"{project}/{PROMPTS}/"


def renditions_prefix(project: Project, image_id: str = "") -> str:
    """Return the prefix of all renditions, or of one picture's."""
    return f"{project}/{RENDITIONS}/" + (f"{image_id}/" if image_id else "")


def rendered_image_id(key: str) -> str | None:
    """Return the id of the picture that a rendition's *key* names, else None."""
    segments = key.split("/")
    if len(segments) != 5 or segments[2] != RENDITIONS:  # noqa: PLR2004 - see `of_rendition`
        return None
    return segments[3] if is_image_id(segments[3]) else None


def is_image_id(text: str) -> bool:
    """Return whether *text* is a UUID in its canonical lower-case form."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
