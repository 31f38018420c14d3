"""The folder as an object store, beyond the common contract."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import PIL.Image
import pytest

from app.errors import StorageUnavailable
from app.storage.filesystem.object_folder import MAX_DRAFT_SECONDS
from app.storage.filesystem.store import FilesystemObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable

LIGHTHOUSE = "acme/shop/generated/a-lighthouse.png"
MANIFEST = "acme/shop/prompts/a-lighthouse.json"
JSON = "application/json"
ROUNDS = 200

# Takes the manifest from `n` to `n + 1`, so many times, against everybody else.
COUNTER = """
import asyncio, sys
from pathlib import Path
from app.storage.filesystem.store import FilesystemObjectStore

async def count(root, rounds):
    store = FilesystemObjectStore(Path(root))
    won = 0
    while won < int(rounds):
        seen = await store.get("acme/shop/prompts/a-lighthouse.json")
        more = b"%d" % (int(seen.data) + 1)
        won += None is not await store.replace(
            "acme/shop/prompts/a-lighthouse.json",
            more, etag=seen.etag, media_type="application/json",
        )

asyncio.run(count(*sys.argv[1:]))
"""

# A limit on the size of files stands for a disk that is full.
FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from app.errors import StorageUnavailable
from app.storage.filesystem.store import FilesystemObjectStore

async def fill(root):
    store = FilesystemObjectStore(Path(root))
    await store.make()
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        await store.create("acme/shop/a", bytes(20_000), media_type="image/png")
    except StorageUnavailable:
        print(await store.get("acme/shop/a"), list(Path(root, "drafts").iterdir()))

asyncio.run(fill(*sys.argv[1:]))
"""


def run(program: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python program that knows `app`."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
async def store(tmp_path: Path) -> FilesystemObjectStore:
    """Give a store that is ready, in `tmp_path`."""
    store = FilesystemObjectStore(tmp_path)
    await store.make()
    return store


async def test_pictures_survive_a_restart(
    store: FilesystemObjectStore, tmp_path: Path
) -> None:
    """An object and its metadata are read by a later process."""
    await store.put(
        LIGHTHOUSE, b"a lighthouse", media_type="image/png", metadata={"a": "b"}
    )

    async with FilesystemObjectStore(tmp_path).open(LIGHTHOUSE) as body:
        assert body is not None
        assert (body.data, body.media_type) == (b"a lighthouse", "image/png")
        assert body.metadata == {"a": "b"}


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp"])
async def test_a_picture_in_the_folder_can_be_looked_at(
    store: FilesystemObjectStore, tmp_path: Path, kind: str
) -> None:
    """A stored picture is an ordinary file."""
    original = tmp_path / f"original.{kind}"
    PIL.Image.new("RGB", (8, 6), "navy").save(original)
    await store.put(
        f"acme/shop/generated/a-lighthouse.{kind}",
        original.read_bytes(),
        media_type=f"image/{kind}",
    )

    kept = tmp_path / f"objects/acme/shop/generated/a-lighthouse.{kind}"
    with PIL.Image.open(kept) as picture:
        picture.load()
        assert picture.size == (8, 6)


async def test_processes_do_not_overwrite_each_other(
    store: FilesystemObjectStore, tmp_path: Path
) -> None:
    """Concurrent replacements of two processes are all applied."""
    await store.create(MANIFEST, b"0", media_type=JSON)
    counters = [run(COUNTER, str(tmp_path), str(ROUNDS)) for _ in range(2)]
    for counter in counters:
        await asyncio.to_thread(counter.communicate)

    stored = await store.get(MANIFEST)
    assert stored is not None
    assert int(stored.data) == 2 * ROUNDS


def test_a_full_disk_is_an_outage(tmp_path: Path) -> None:
    """A write to a full disk is an outage and leaves no draft."""
    output, _ = run(FULL_DISK, str(tmp_path)).communicate()

    assert output == "None []\n"


def cut_short(path: Path) -> None:
    """Remove the last bytes of a file, as a repair may."""
    path.write_bytes(path.read_bytes()[:-3])


def empty(path: Path) -> None:
    """Remove all bytes of a file."""
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_short, empty])
async def test_a_damaged_file_is_an_outage(
    store: FilesystemObjectStore, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """A damaged file is an outage, neither a shorter nor a missing picture."""
    await store.put(LIGHTHOUSE, b"a lighthouse", media_type="image/png")
    damage(tmp_path / "objects" / LIGHTHOUSE)

    with pytest.raises(StorageUnavailable):
        await store.get(LIGHTHOUSE)
    with pytest.raises(StorageUnavailable):
        await store.exists(LIGHTHOUSE)


async def test_a_disk_that_is_unmounted_is_an_outage(
    store: FilesystemObjectStore, tmp_path: Path
) -> None:
    """An unmounted folder is an outage until it is back."""
    await store.put(LIGHTHOUSE, b"a lighthouse", media_type="image/png")
    (tmp_path / "objects").rename(tmp_path / "elsewhere")

    with pytest.raises(StorageUnavailable):
        await store.get(LIGHTHOUSE)
    (tmp_path / "elsewhere").rename(tmp_path / "objects")
    assert await store.exists(LIGHTHOUSE)


async def test_a_key_below_another_object_has_no_room(
    store: FilesystemObjectStore,
) -> None:
    """A create below another object's key is an outage."""
    await store.put("acme/shop/a", b"a lighthouse", media_type="image/png")

    with pytest.raises(StorageUnavailable):
        await store.create("acme/shop/a/b", b"a window", media_type="image/png")
    assert await store.get("acme/shop/a") is not None


async def test_what_was_left_half_written_is_removed(tmp_path: Path) -> None:
    """Old drafts of killed processes are removed, fresh ones stay."""
    store = FilesystemObjectStore(tmp_path)
    await store.make()
    left, fresh = tmp_path / "drafts" / "left", tmp_path / "drafts" / "fresh"
    for draft in (left, fresh):
        draft.write_bytes(b"half a lighthouse")
    long_ago = time.time() - MAX_DRAFT_SECONDS - 1
    os.utime(left, (long_ago, long_ago))
    await store.ping()

    assert [draft.name for draft in left.parent.iterdir()] == ["fresh"]


async def test_a_disk_without_hard_links_has_one_winner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without hard links one of several concurrent creates wins."""

    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    store = FilesystemObjectStore(tmp_path)
    await store.make()

    tags = await asyncio.gather(
        *(store.create(MANIFEST, b"%d" % n, media_type=JSON) for n in range(8))
    )

    (winner,) = [n for n, tag in enumerate(tags) if tag is not None]
    kept = await store.get(MANIFEST)
    assert kept is not None
    assert (kept.data, kept.etag) == (b"%d" % winner, tags[winner])
    assert list((tmp_path / "drafts").iterdir()) == []
