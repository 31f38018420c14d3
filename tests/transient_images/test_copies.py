"""Copies of the pictures of requests: stored once, and gone with their requests."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from app.errors import CacheUnavailable
from app.image import Image
from app.storage.ports.transient_store import Quota
from app.storage.storage_key import Project
from app.transient_images.copies import Copies, account_of
from tests.fake_transient_store import InMemoryTransientStore
from tests.fakes import Gate, a_picture

if TYPE_CHECKING:
    import pytest

SHOP = Project("acme", "shop")
PLENTY = Quota(in_project=1_000_000, in_all=None, pictures=1000)


class HeldStore(InMemoryTransientStore):
    """A store whose uploads wait at a gate, and may fail behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.fails = Gate(), False

    async def put(self, *arguments: Any, **options: Any) -> Any:
        """Store an image once the gate is open."""
        await self.gate.passed()
        if self.fails:
            raise CacheUnavailable("It is unavailable, says the test.")
        return await super().put(*arguments, **options)


def a_request(copies: Copies, image: Image) -> asyncio.Task[None]:
    """Begin a request that keeps a copy of *image*, and needs it for ever."""

    async def keep() -> None:
        async with copies.kept(SHOP, [image], lasts=timedelta(hours=1)):
            await asyncio.Event().wait()

    return asyncio.create_task(keep())


async def test_a_client_that_leaves_while_copies_are_stored_leaves_none() -> None:
    """A request that is cancelled before its copies are stored leaves none."""
    store = HeldStore()
    asking = a_request(Copies(store, quota=PLENTY), Image.inspect(a_picture(1)))
    await store.gate.reached()

    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    store.gate.open()
    await asyncio.sleep(0)

    assert (await store.inventory(account_of(SHOP))).images == ()


async def test_an_outage_after_the_client_has_left_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Copies that fail after their request was cancelled are no error of a task."""
    store = HeldStore()
    asking = a_request(Copies(store, quota=PLENTY), Image.inspect(a_picture(1)))
    await store.gate.reached()
    store.fails = True

    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    store.gate.open()
    for _ in range(5):
        await asyncio.sleep(0)
    del asking
    gc.collect()

    assert [one for one in caplog.records if one.name == "asyncio"] == []


async def test_copies_are_stored_for_those_who_stay() -> None:
    """Of two requests that share copies one may leave while they are stored."""
    store = HeldStore()
    copies, image = Copies(store, quota=PLENTY), Image.inspect(a_picture(1))
    one, another = a_request(copies, image), a_request(copies, image)
    await store.gate.reached()

    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    store.gate.open()
    async with asyncio.timeout(5):
        while not (await store.inventory(account_of(SHOP))).images:  # noqa: ASYNC110 - a task's doing
            await asyncio.sleep(0)

    another.cancel()
    await asyncio.gather(another, return_exceptions=True)
