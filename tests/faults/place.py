"""Place: an installation with the questions and controls of a test."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.storage.redis import keys
from tests.replica import replica
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from redis.asyncio import Redis

    from tests.faults.clients import Clients, Got
    from tests.faults.provider import Provider
    from tests.replica import Replica
    from tests.servers import RedisServer

PROJECT = "default/main"
WITHIN_SECONDS = 15.0


@dataclass
class Place:
    """The installation of a test; `start` adds replicas to it."""

    folder: Path
    redis: RedisServer
    provider: Provider
    clients: Clients
    environment: dict[str, str]
    bucket: str
    # For looking at what is there, past every proxy.
    seen_redis: Redis
    seen_store: Any
    replicas: list[Replica] = field(default_factory=list)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(
        self, count: int = 1, *, ready: bool = True, **settings: str
    ) -> list[Replica]:
        """Start *count* replicas at once; return them."""
        environment = self.environment | settings
        started = await asyncio.gather(
            *(
                self._stack.enter_async_context(
                    replica(environment, folder=self.folder, ready=ready)
                )
                for _ in range(count)
            )
        )
        self.replicas += started
        return list(started)

    async def get(self, prompt: str, at: Replica | str, **more: str) -> Got:
        """Request a prompt; see `Clients`."""
        return await self.clients.get(prompt, at, **more)

    def asking(self, prompt: str, at: Replica, **more: str) -> asyncio.Task[Got]:
        """Request a prompt in the background."""
        return asyncio.create_task(self.get(prompt, at, **more))

    async def held(self, prompt: str, at: Replica) -> asyncio.Task[Got]:
        """Request a prompt; return the request once the provider holds its call."""
        await self.provider.hold()
        asking = self.asking(prompt, at)
        await self.provider.until_held()
        return asking

    async def until_following(self, prompt: str, at: Replica) -> str:
        """Return the leader's generation once *at* follows it."""
        accepted = await self.get(prompt, at, prefer="respond-async")
        assert accepted.status == 202, accepted.body
        return str(accepted.json()["generation_id"])

    async def until_renewed(self, times: int) -> None:
        """Return once the only held lease was renewed *times* times."""
        (lease,) = await self.leases()
        renewals, left = 0, await self.seen_redis.pttl(lease)

        async def is_renewed() -> bool:
            nonlocal renewals, left
            before, left = left, await self.seen_redis.pttl(lease)
            renewals += left > before
            return renewals >= times

        await until(is_renewed)

    async def hash_of(self, prompt: str, at: Replica) -> str:
        """Return the hash of a painted prompt."""
        return (await self.get(prompt, at)).headers["X-Prompt-Hash"]

    async def leases(self) -> list[str]:
        """Return the keys of all held leases."""
        return await self._keys(keys.lease)

    async def jobs(self) -> list[str]:
        """Return the keys of all recorded jobs."""
        return await self._keys(keys.job)

    async def entries(self) -> list[str]:
        """Return the keys of all entries in Redis."""
        return await self._keys(keys.entry)

    async def objects(self, category: str = "generated") -> list[str]:
        """Return the keys of the ledger's objects: pictures, or `prompts`."""
        listed = await self.seen_store.list_objects_v2(
            Bucket=self.bucket, Prefix=f"{PROJECT}/{category}/"
        )
        return [line["Key"] for line in listed.get("Contents", ())]

    async def lose(self, key: str) -> None:
        """Delete an object from the object store."""
        await self.seen_store.delete_object(Bucket=self.bucket, Key=key)

    async def damage(self, key: str) -> None:
        """Replace an object's bytes by others of the same length.

        Its metadata stay the same.
        """
        head = await self.seen_store.head_object(Bucket=self.bucket, Key=key)
        await self.seen_store.put_object(
            Bucket=self.bucket,
            Key=key,
            Body=bytes(head["ContentLength"]),
            Metadata=head["Metadata"],
        )

    async def metric(self, at: Replica, line: str) -> float:
        """Return the value of a metric, named with its labels; 0 before its first."""
        text = (await self.clients.call("GET", f"{at.url}/metrics")).body.decode()
        values = [one.rpartition(" ") for one in text.splitlines()]
        return sum(float(value) for name, _, value in values if name == line)

    async def spend(self, at: Replica) -> Any:
        """Return the spend of the project, as a replica answers it."""
        url = f"{at.url}/api/v1/project/spend"
        return (await self.clients.call("GET", url)).json()

    async def has_counted(self, at: Replica, line: str) -> bool:
        """Return whether a metric has risen."""
        return await self.metric(at, line) > 0

    async def has_entries(self, count: int) -> bool:
        """Return whether Redis has *count* entries."""
        return len(await self.entries()) == count

    async def redis_connections(self) -> int:
        """Return the number of Redis's connections."""
        return len(await self.seen_redis.client_list())

    async def readiness(self, at: Replica, *, strict: bool = False) -> tuple[int, str]:
        """Return status and state of `/readyz`."""
        query = "?strict=1" if strict else ""
        got = await self.clients.call("GET", f"{at.url}/readyz{query}")
        return got.status, str(got.json()["status"])

    async def until_ready(self, at: Replica, word: str = "ok") -> None:
        """Return once a replica is ready, in the given state."""

        async def says_so() -> bool:
            return await self.readiness(at) == (200, word)

        await until(says_so)

    async def until_counting(self, prompt: str, at: Replica) -> None:
        """Return once a hit at a replica is counted again."""

        async def counts() -> bool:
            return (await self.get(prompt, at)).hits is not None

        await until(counts)

    async def persistently(self, prompt: str, at: Replica) -> Got:
        """Repeat until the answer is final, obeying `Retry-After`."""
        got = []

        async def is_answered() -> bool:
            got.append(await self.get(prompt, at))
            return got[-1].status != 503

        await until(is_answered)
        return got[-1]

    async def check(self, prompt: str, *, calls: int, answers: int = 1) -> None:
        """Assert the state that holds after every fault.

        The given number of calls were paid for, all clients saw one picture, and no
        lease is left behind.
        """
        await until(self._no_lease_is_left)
        assert await self.provider.calls(prompt) == calls
        assert self.clients.answers_to(prompt) == answers

    async def _no_lease_is_left(self) -> bool:
        return not await self.leases()

    async def _keys(self, key: Callable[[str], str]) -> list[str]:
        """Return all keys that *key* makes of a prompt hash."""
        pattern = key("00" * 32).replace("A" * 43, "[-0-9A-Za-z_]" * 43)
        found = await self.seen_redis.keys(pattern)
        return [one.decode() for one in found if isinstance(one, bytes)]
