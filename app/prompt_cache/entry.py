"""PromptEntry: what a prompt became.

One value in two spellings: the manifest in the object store is for people and
for ever, the record in Redis leaves out what can be derived, because there
are millions of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from app.image import EXTENSIONS, MEDIA_TYPES
from app.prompt_cache.prompt_key import Parameters, PromptKey
from app.storage.storage_key import Project, StorageKey

MANIFEST_VERSION = 1


class UnreadableManifest(ValueError):
    """A manifest that no version of this service wrote, or that was damaged."""


@dataclass(frozen=True, slots=True)
class PromptEntry:
    """The picture of a prompt, and where, when and by whom it was painted.

    *model* is the alias that painted, which a fall-back makes another one
    than was asked for; *price* is what it cost, for the statistics;
    *generation_id* is known to the manifest only.
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
    created_at: datetime
    generation_id: str

    @property
    def storage_key(self) -> StorageKey:
        """Where the picture lies."""
        return StorageKey.of_generated(self.project, self.image_id, self.media_type)

    @property
    def key(self) -> PromptKey:
        """The prompt that it answers."""
        return PromptKey(self.project, self.parameters)

    @property
    def created_ms(self) -> int:
        """When it was painted, in milliseconds since 1970."""
        return round(self.created_at.timestamp() * 1000)

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
            },
            option=orjson.OPT_INDENT_2,
        )

    @classmethod
    def from_manifest(cls, data: bytes) -> PromptEntry:
        """Read a manifest; raises `UnreadableManifest`."""
        try:
            fields = orjson.loads(data)
            _check_version(fields["version"])
            return cls(
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
                created_at=datetime.fromisoformat(fields["created_at"]),
                generation_id=fields["generation_id"],
            )
        # Whatever the parsing of foreign bytes meets means the same.
        except Exception as error:
            raise UnreadableManifest(type(error).__name__) from error

    def to_record(self) -> bytes:
        """Return the compact JSON that Redis keeps."""
        said = {
            name: value
            for name, value in self.parameters.as_json().items()
            if value not in (None, (), 0) or (name == "seed" and value == 0)
        }
        record: dict[str, Any] = {
            "j": str(self.project),
            "q": said,
            "i": self.image_id,
            "t": EXTENSIONS[self.media_type],
            "s": self.size,
            "d": self.digest,
            "w": self.width,
            "h": self.height,
            "m": self.model,
            "c": self.created_ms,
        }
        if self.price:
            record["p"] = self.price
        if self.is_placeholder:
            record["x"] = 1
        return orjson.dumps(record)

    @classmethod
    def from_record(cls, prompt_hash: str, record: bytes) -> PromptEntry:
        """Read what `to_record` made."""
        fields = orjson.loads(record)
        org, _, name = fields["j"].partition("/")
        return cls(
            prompt_hash=prompt_hash,
            project=Project(org, name),
            parameters=Parameters.from_json(fields["q"]),
            image_id=fields["i"],
            media_type=MEDIA_TYPES[fields["t"]],
            size=fields["s"],
            digest=fields["d"],
            width=fields["w"],
            height=fields["h"],
            model=fields["m"],
            price=fields.get("p", 0.0),
            is_placeholder="x" in fields,
            created_at=datetime.fromtimestamp(fields["c"] / 1000, UTC),
            generation_id="",
        )


def _check_version(version: object) -> None:
    if version != MANIFEST_VERSION:
        raise ValueError(f"version {version!r} of the manifest is not known")
