"""A folder of object files that threads and processes share. It blocks.

Objects appear whole or not at all, conditional writes are decided between
processes, and a write returns once it is on the disk. Below another
object's key there is no room for a key, as in MinIO.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from app.storage.filesystem import object_file
from app.storage.ports.object_store import Listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from app.storage.filesystem.object_file import NewObject, ObjectFile
    from app.storage.ports.object_store import ByteRange

_T = TypeVar("_T")

# Held for a comparison and a rename; longer where another process is frozen.
_LOCK_TIMEOUT_SECONDS = 5.0
_LOCK_PAUSE_SECONDS = 0.005

# Writing one takes seconds; a process that was killed over it never returns.
MAX_DRAFT_SECONDS = 600.0

# There is no file of that name: nothing, a folder, or below another object.
_NO_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


# A file system that has no hard links, as exFAT, says so in one of these ways.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class ObjectFolder:
    """The object files below *root*. Keys are plain; every failure is an `OSError`."""

    def __init__(self, root: Path) -> None:
        self._objects = root / "objects"
        self._drafts = root / "drafts"
        self._lock = root / "lock"

    def make(self) -> None:
        """Make the folder where it is missing."""
        _make_folder(self._objects)
        _make_folder(self._drafts)
        with self._locked():
            pass

    def is_there(self) -> bool:
        """Return whether the folder is there; raises where it can't be written to.

        Drafts that a process left when it was killed are removed.
        """
        if not self._objects.is_dir() or not self._drafts.is_dir():
            return False
        with self._locked():
            pass
        self._remove_left_drafts()
        return True

    def put(self, key: str, new: NewObject) -> str:
        """Keep *new*, replacing what was there; return its ETag."""
        with self._draft(new) as (draft, etag), self._locked():
            self._publish(draft.replace, key)
        return etag

    def create(self, key: str, new: NewObject) -> str | None:
        """Keep *new* and return its ETag, or None if *key* is taken."""
        with self._draft(new) as (draft, etag):
            try:
                is_ours = self._publish(partial(_link, draft), key)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                with self._locked():
                    is_ours = self._publish(partial(_move, draft), key)
        return etag if is_ours else None

    def replace(self, key: str, new: NewObject, expected: str) -> str | None:
        """Keep *new* and return its ETag if *key* has the tag *expected*, else None."""
        with self._draft(new) as (draft, etag), self._locked():
            if self._unless_missing(object_file.read_etag, key) != expected:
                return None
            self._publish(draft.replace, key)
        return etag

    def read(self, key: str, byte_range: ByteRange | None) -> ObjectFile | None:
        """Return the object, or the *byte_range* of it; None if there is none."""
        return self._unless_missing(
            lambda path: object_file.read(path, byte_range), key
        )

    def size(self, key: str) -> int | None:
        """Return how many bytes the object has; None if there is none."""
        return self._unless_missing(object_file.read_size, key)

    def delete(self, key: str) -> None:
        """Remove *key* if it is there."""
        with self._locked():
            self._unless_missing(_remove, key)

    def keys(self, prefix: str, after: str) -> list[str]:
        """Return the keys that start with *prefix*, in order, after *after*."""
        paths = self._unless_missing(_walk, prefix.rpartition("/")[0]) or []
        start = len(str(self._objects)) + 1
        keys = (path[start:] for path in paths)
        return sorted(key for key in keys if key.startswith(prefix) and key > after)

    def sizes(self, keys: Sequence[str]) -> list[Listed]:
        """Return a line for each of *keys* that is still there."""
        lines = (self._unless_missing(partial(_line, key), key) for key in keys)
        return [line for line in lines if line is not None]

    def _unless_missing(self, look: Callable[[Path], _T], key: str) -> _T | None:
        try:
            return look(self._objects / key)
        except _NO_FILE:
            # An unmounted disk has none of the files, too.
            if not self._objects.is_dir():
                raise
            return None

    @contextmanager
    def _draft(self, new: NewObject) -> Iterator[tuple[Path, str]]:
        path = self._drafts / uuid4().hex
        try:
            yield path, object_file.write(path, new)
        finally:
            path.unlink(missing_ok=True)

    def _remove_left_drafts(self) -> None:
        too_old = time.time() - MAX_DRAFT_SECONDS
        for draft in self._drafts.iterdir():
            # Its process, or another one that looks as well, may be faster.
            with suppress(FileNotFoundError):
                if draft.stat().st_mtime < too_old:
                    draft.unlink()

    def _publish(self, give_name: Callable[[Path], _T], key: str) -> _T:
        path = self._objects / key
        _make_folder(path.parent)
        outcome = give_name(path)
        _sync(path.parent)
        return outcome

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of all replacements, against threads and processes."""
        give_up_at = time.monotonic() + _LOCK_TIMEOUT_SECONDS
        with self._lock.open("ab") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > give_up_at:
                        raise
                    time.sleep(_LOCK_PAUSE_SECONDS)
            # Closing the file gives the lock up, and so does dying.
            yield


def _link(draft: Path, path: Path) -> bool:
    """Name *draft* if *path* is free: no link is ever made over another file."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    return True


def _move(draft: Path, path: Path) -> bool:
    """Name *draft* if *path* is free, where the lock keeps all others from it."""
    if path.exists():
        return False
    draft.replace(path)
    return True


def _line(key: str, path: Path) -> Listed:
    modified_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return Listed(key, object_file.read_size(path), modified_at)


def _remove(path: Path) -> None:
    path.unlink()
    _sync(path.parent)


def _walk(top: Path) -> list[str]:
    """Return the paths of all files below *top*."""

    def stop(error: OSError) -> None:
        raise error

    return [
        os.path.join(folder, name)  # noqa: PTH118 - half the time, on long lists
        for folder, _, names in os.walk(top, onerror=stop)
        for name in names
    ]


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    """Have the names in *folder* written to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
