"""PromptEntry: what a prompt became.

One value in two spellings: the manifest in the object store is for people and
for ever, the record in Redis is small and quickly read, because there are
millions of them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is a class
from typing import Any, NamedTuple

import orjson

from app.errors import InvalidParameter
from app.generation.provenance import UNKNOWN, Provenance
from app.image import EXTENSIONS, MEDIA_TYPES
from app.prompt_cache.entry.prompt_key import Parameters, PromptKey
from app.prompt_cache.entry.provenance_code import (
    PROVENANCES,
    encode,
    source_type_is_apart,
)
from app.storage.storage_key import Project, StorageKey

MANIFEST_VERSION = 1

# A record begins with its version, so that a replica tells apart what it knows.
# After the head comes a JSON list: project, who painted (0: who was asked to),
# the parameters, and a source type that has no number.
RECORD_VERSION = 2
# A picture has far less than 4 GB: one of `MAX_PIXELS` decodes to 200 MB.
_HEAD = Struct(">BBB32s16sIIIQd")
_PLACEHOLDER, _BY_ANOTHER_MODEL = 1, 2
# Above them the provenance, nothing of which was known of older pictures.
_PROVENANCE_BIT = 2
_WITH_MORE_IN_THE_LIST = frozenset(
    flags
    for flags in range(2**8)
    if flags & _BY_ANOTHER_MODEL or source_type_is_apart(flags >> _PROVENANCE_BIT)
)
# By their number in a record: a new one goes to the end.
_MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/avif")
_UNREADABLE = (StructError, ValueError, TypeError, IndexError, InvalidParameter)


class LaterManifest(ValueError):
    """A manifest of a version that this release does not know."""


class UnreadableManifest(ValueError):
    """A manifest that no version of this service wrote, or that was damaged."""


class PromptEntry(NamedTuple):
    """The picture of a prompt, and where, when and by whom it was painted.

    *model* is the alias that painted, which a fall-back makes another one
    than was asked for; *price* is what it cost, for the statistics;
    *created_ms* counts from 1970; *generation_id* is known to the manifest only.
    """

    prompt_hash: str
    project: Project
    parameters: Parameters
    image_id: str
    media_type: str
    size: int
    digest: str
    width: int
    height: int
    model: str
    price: float
    is_placeholder: bool
    created_ms: int
    generation_id: str
    provenance: Provenance = UNKNOWN

    @property
    def storage_key(self) -> StorageKey:
        """The key of the picture in the object store."""
        return StorageKey.of_generated(self.project, self.image_id, self.media_type)

    @property
    def memory_key(self) -> str:
        """The name under which the hot tier holds its bytes."""
        return self.image_id

    @property
    def key(self) -> PromptKey:
        """The prompt that it answers."""
        return PromptKey(self.project, self.parameters)

    @property
    def created_at(self) -> datetime:
        """When it was painted."""
        return datetime.fromtimestamp(self.created_ms / 1000, UTC)

    def to_manifest(self) -> bytes:
        """Return the JSON that restores the entry after Redis is lost."""
        return orjson.dumps(
            {
                "version": MANIFEST_VERSION,
                "prompt_hash": self.prompt_hash,
                "project": str(self.project),
                "parameters": self.parameters.as_json(),
                "image_id": self.image_id,
                "storage_key": str(self.storage_key),
                "content_type": self.media_type,
                "size": self.size,
                "sha256": self.digest,
                "width": self.width,
                "height": self.height,
                "model": self.model,
                "price": self.price,
                "placeholder": self.is_placeholder,
                "created_at": self.created_at.isoformat(),
                "generation_id": self.generation_id,
                "provenance": self.provenance.as_json(),
            },
            option=orjson.OPT_INDENT_2,
        )

    @classmethod
    def from_manifest(cls, data: bytes) -> PromptEntry:
        """Read a manifest; raises `LaterManifest` and `UnreadableManifest`."""
        try:
            fields = orjson.loads(data)
            _check_version(fields["version"])
            created_at = datetime.fromisoformat(fields["created_at"])
            entry = cls(
                prompt_hash=fields["prompt_hash"],
                project=Project.parse(fields["project"]),
                parameters=Parameters.from_json(fields["parameters"]),
                image_id=fields["image_id"],
                media_type=MEDIA_TYPES[EXTENSIONS[fields["content_type"]]],
                size=fields["size"],
                digest=fields["sha256"],
                width=fields["width"],
                height=fields["height"],
                model=fields["model"],
                price=fields["price"],
                is_placeholder=fields["placeholder"],
                created_ms=round(created_at.timestamp() * 1000),
                generation_id=fields["generation_id"],
                provenance=Provenance.from_json(fields.get("provenance")),
            )
            _check_record(entry)
        except LaterManifest:
            raise
        # Whatever the parsing of foreign bytes meets means the same.
        except Exception as error:
            raise UnreadableManifest(type(error).__name__) from error
        return entry

    def to_record(self) -> bytes:
        """Return the compact spelling that Redis keeps."""
        is_by_another = self.model != self.parameters.model
        provenance = encode(self.provenance)
        is_apart = source_type_is_apart(provenance)
        return _HEAD.pack(
            RECORD_VERSION,
            _MEDIA_TYPES.index(self.media_type),
            self.is_placeholder * _PLACEHOLDER
            | is_by_another * _BY_ANOTHER_MODEL
            | provenance << _PROVENANCE_BIT,
            bytes.fromhex(self.digest),
            bytes.fromhex(self.image_id.replace("-", "")),
            self.size,
            self.width,
            self.height,
            self.created_ms,
            self.price,
        ) + orjson.dumps(
            [
                str(self.project),
                self.model if is_by_another else 0,
                *self.parameters.as_list(),
                *([self.provenance.digital_source_type] if is_apart else ()),
            ]
        )

    @classmethod
    def from_record(cls, prompt_hash: str, record: bytes) -> PromptEntry | None:
        """Read the form of `to_record`; None for damage, or another version."""
        try:
            head = _HEAD.unpack_from(record)
            project, painted_by, *asked = orjson.loads(record[_HEAD.size :])
            is_apart = source_type_is_apart(head[2] >> _PROVENANCE_BIT)
            source_type = asked.pop() if is_apart else None
            parameters = Parameters.from_list(asked)
            asked_for = (prompt_hash, Project.parse(project), parameters)
            entry = cls._of(asked_for, painted_by or parameters.model, head)
            if source_type is None:
                return entry
            provenance = entry.provenance._replace(digital_source_type=source_type)
            return entry._replace(provenance=provenance)
        except _UNREADABLE:
            return None

    @classmethod
    def of_key(cls, key: PromptKey, record: bytes) -> PromptEntry | None:
        """Read the record of *key* like `from_record`, in half the time.

        Every HIT runs this. What was asked for is not read once more: the
        hash that led to the record is that of the key's project and parameters.
        """
        try:
            head = _HEAD.unpack_from(record)
            if head[2] in _WITH_MORE_IN_THE_LIST:
                return cls.from_record(key.hash, record)
            asked_for = (key.hash, key.project, key.parameters)
            return cls._of(asked_for, key.parameters.model, head)
        except _UNREADABLE:
            return None

    @classmethod
    def _of(
        cls,
        asked_for: tuple[str, Project, Parameters],
        model: str,
        head: tuple[Any, ...],
    ) -> PromptEntry:
        (
            version,
            media_type,
            flags,
            digest,
            image_id,
            size,
            width,
            height,
            created_ms,
            price,
        ) = head
        if version != RECORD_VERSION:
            raise ValueError("the record is of another version")
        uuid = image_id.hex()
        return cls(
            *asked_for,
            # `str(UUID(bytes=...))` takes twice as long.
            f"{uuid[:8]}-{uuid[8:12]}-{uuid[12:16]}-{uuid[16:20]}-{uuid[20:]}",
            _MEDIA_TYPES[media_type],
            size,
            digest.hex(),
            width,
            height,
            model,
            price,
            bool(flags & _PLACEHOLDER),
            created_ms,
            "",
            PROVENANCES[flags >> _PROVENANCE_BIT],
        )


def _check_version(version: object) -> None:
    if version != MANIFEST_VERSION:
        raise LaterManifest(f"version {version!r}")


def _check_record(entry: PromptEntry) -> None:
    """Check that Redis can keep *entry*: else it would be restored for ever."""
    kept = PromptEntry.from_record(entry.prompt_hash, entry.to_record())
    if kept != entry._replace(generation_id=""):
        raise ValueError("a record can't say this")
