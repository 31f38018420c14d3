"""Notes of purges in `_system/purges/`: the objects of a prompt to remove.

A purge and a refresh write it down before they begin, so that some replica
finishes what was begun, whatever died or was flushed meanwhile.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from app.errors import InvalidStorageKey, LaterVersion, StorageUnavailable
from app.storage.storage_key import StorageKey

if TYPE_CHECKING:
    from app.storage.storage_key import Project

logger = logging.getLogger(__name__)

NOTE_VERSION = 1


@dataclass(frozen=True, slots=True)
class PurgeNote:
    """Pictures by their storage key, with their bytes.

    *purged* go with the manifest and the entry that name them; *replaced* go
    unless the manifest still names them: then the refresh came to nothing.
    With *is_damaged* a manifest that can't be read goes as well.
    """

    purged: dict[str, int] = field(default_factory=dict)
    replaced: dict[str, int] = field(default_factory=dict)
    is_damaged: bool = False

    @property
    def pictures(self) -> dict[str, int]:
        """Everything that is named."""
        return self.replaced | self.purged

    def __bool__(self) -> bool:
        return bool(self.purged or self.replaced or self.is_damaged)

    def to_bytes(self) -> bytes:
        """Return the document."""
        return orjson.dumps(
            {
                "version": NOTE_VERSION,
                "purged": self.purged,
                "replaced": self.replaced,
                "damaged": self.is_damaged,
            }
        )

    @classmethod
    def from_bytes(cls, project: Project, data: bytes) -> PurgeNote:
        """Read a document of *project*; raises `StorageUnavailable`.

        One of a later version raises `LaterVersion`: it is an outage of its prompt,
        and never overwritten.
        """
        try:
            fields = orjson.loads(data)
            # The first release wrote nothing but keys and bytes.
            if "version" not in fields:
                return cls(_own(project, fields))
            if fields["version"] == NOTE_VERSION:
                return cls(
                    _own(project, fields["purged"]),
                    _own(project, fields["replaced"]),
                    fields["damaged"] is True,
                )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            logger.exception("purge note is unreadable")
            raise StorageUnavailable("What a purge has left can't be read.") from error
        logger.error("purge note of a later version")
        raise LaterVersion("A later release wrote what a purge has left.")


def _own(project: Project, sizes: dict[str, int]) -> dict[str, int]:
    """Return the pictures of *project*: a note removes no other one's."""
    own = {}
    for key, size in sizes.items():
        try:
            is_own = StorageKey.parse(key).project == project
        except InvalidStorageKey:
            continue
        if is_own:
            own[key] = int(size)
    return own
