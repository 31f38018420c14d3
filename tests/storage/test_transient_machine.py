"""Row 26: the count is right after any order of uploads, deletions and expiry."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)

from app.storage.ports.transient_store import Quota, QuotaReached, StoredImage
from app.storage.redis.client.traffic import open_redis
from tests.transient_images.stores import keys_left, picture, store_on

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.servers import RedisServer

PROJECTS = ["acme/shop", "acme/shop-2", "acme/studio"]
QUOTA = Quota(in_project=500, in_all=900, pictures=8)
FOR_EVER = 1 << 62


class StoreMachine(RuleBasedStateMachine):
    """A store on a real Redis, compared with a dict."""

    url = ""
    images: Bundle[str] = Bundle("images")

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, tuple[str, StoredImage, bytes]] = {}
        self.runner = asyncio.Runner()
        self.stack = contextlib.AsyncExitStack()
        self.redis = self.do(self.stack.enter_async_context(open_redis(self.url)))
        self.do(self.redis.leases.execute("FLUSHALL"))
        self.store = store_on(self.redis)

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run *coroutine* on the machine's own loop."""
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        """Remove everything, and require an empty Redis."""
        for image_id, (project, _, _) in self.model.items():
            self.do(self.store.forget(project, [image_id]))
        self.do(self.store.sweep())
        left = self.do(keys_left(self.redis))
        self.do(self.stack.aclose())
        self.runner.close()
        assert left == []

    def now(self) -> int:
        """Return the time of Redis in milliseconds."""
        seconds, micros = self.do(self.redis.leases.execute("TIME"))
        return int(seconds) * 1000 + int(micros) // 1000

    def alive(self, at: int, project: str | None = None) -> dict[str, StoredImage]:
        """Return the pictures that are alive *at* a time."""
        return {
            image_id: image
            for image_id, (owner, image, _) in self.model.items()
            if project in {None, owner} and (image.expires_ms or FOR_EVER) >= at
        }

    def has_room(self, at: int, project: str, size: int) -> bool:
        """Return whether the model has room for one more."""
        own, everyones = self.alive(at, project), self.alive(at)
        return (
            sum(image.size for image in own.values()) + size <= QUOTA.in_project
            and sum(image.size for image in everyones.values()) + size
            <= (QUOTA.in_all or 0)
            and len(own) < QUOTA.pictures
        )

    @rule(
        target=images,
        project=st.sampled_from(PROJECTS),
        size=st.integers(8, 200),
        ttl_ms=st.sampled_from([None, None, 3, 10, 60_000]),
    )
    def keep(self, project: str, size: int, ttl_ms: int | None) -> Any:
        """Upload a picture, which must succeed if the model has room."""
        image_id, data, before = str(uuid4()), picture(size), self.now()
        stored = self.do(
            self.store.put(
                image_id,
                data,
                project=project,
                media_type="image/png",
                ttl=None if ttl_ms is None else timedelta(milliseconds=ttl_ms),
                quota=QUOTA,
            )
        )
        if isinstance(stored, QuotaReached):
            assert not self.has_room(before, project, size)
            # Whether it was depends on the time: rules must find as many ids again.
            return image_id
        assert self.has_room(stored.created_ms, project, size)
        self.model[image_id] = (project, stored, data)
        return image_id

    @rule(image_id=images)
    def read(self, image_id: str) -> None:
        """Read a picture, which must be whole while it lives and gone after."""
        before = self.now()
        found = self.do(self.store.read(image_id, 0, -1))
        after = self.now()
        if image_id in self.alive(after):
            assert found == self.model[image_id][2]
        if image_id not in self.alive(before):
            assert found == b""

    @rule(image_id=images, project=st.sampled_from(PROJECTS))
    def forget(self, image_id: str, project: str) -> None:
        """Delete a picture, which only its owner can while it lives."""
        before = self.now()
        deleted = self.do(self.store.forget(project, [image_id, image_id]))
        after = self.now()
        if image_id in self.alive(after, project):
            assert deleted == 1
        if image_id not in self.alive(before, project):
            assert deleted == 0
        if image_id in self.model and self.model[image_id][0] == project:
            del self.model[image_id]
            assert self.do(self.store.describe(image_id)) is None

    @rule(image_id=consumes(images))
    def wait_for_the_end_of(self, image_id: str) -> None:
        """Wait until a picture has expired, if that is soon."""
        if image_id in self.model:
            expires_ms = self.model[image_id][1].expires_ms or FOR_EVER
            if expires_ms < self.now() + 1000:
                while self.now() <= expires_ms:
                    pass

    @rule()
    def sweep(self) -> None:
        """Run the sweeper."""
        self.do(self.store.sweep())

    @invariant()
    def the_count_is_the_sum_of_what_lives(self) -> None:
        """Require that list and count are the model's."""
        for project in PROJECTS:
            inventory = self.do(self.store.inventory(project))
            expected = self.alive(inventory.now_ms, project)

            assert {image.image_id: image for image in inventory.images} == expected
            assert inventory.used_bytes == sum(x.size for x in expected.values())


def test_the_count_is_the_sum_of_what_lives(redis_server: RedisServer) -> None:
    """After any order of operations list and count are the model's."""
    StoreMachine.url = redis_server.url
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            # 40 in `make test-all`.
            max_examples=settings().max_examples * 2 // 5,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
