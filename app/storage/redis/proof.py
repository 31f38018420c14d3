"""Proof that this Redis, and the user that it knows us by, do what is needed.

Every script runs once on keys of its own, every command of a script runs once
within one, and one event is sent and received. What is refused is named; a Redis that
does not answer proves nothing.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from redis.exceptions import ResponseError

from app.errors import CacheUnavailable
from app.storage.redis import (
    account_scripts,
    keys,
    scripts,
    statistics_scripts,
    transient_scripts,
)
from app.storage.redis.client import server_runs
from app.storage.redis.client.clients import FAILURES, subscription
from app.storage.redis.client.failures import CacheFull
from app.storage.redis.client.rights import RightMissing, right_missing
from app.storage.redis.client.script import Script
from app.storage.redis.server_advice import advice_on

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from redis.asyncio.client import PubSub

    from app.storage.redis.client.connection import RedisConnection
    from app.storage.redis.client.traffic import RedisConnections

logger = logging.getLogger(__name__)

_MODULES = (
    scripts,
    account_scripts,
    statistics_scripts,
    transient_scripts,
    server_runs,
)

SCRIPTS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": script
    for module in _MODULES
    for name, script in vars(module).items()
    if isinstance(script, Script)
}
for _name, _script in SCRIPTS.items():
    _script.name = _name

# What scripts call, with as many arguments as each needs; KEY stands for a key.
KEY = "KEY"
CALLS = (
    *(
        "TIME",
        "DBSIZE",
        "DEL KEY",
        "EXISTS KEY",
        "EXPIRE KEY 1",
        "GET KEY",
        "GETRANGE KEY 0 1",
    ),
    *("HDEL KEY f", "HEXISTS KEY f", "HGET KEY f", "HGETALL KEY", "HINCRBY KEY f 1"),
    *("HINCRBYFLOAT KEY f 1", "HSET KEY f 1", "HSETNX KEY f 1", "INCR KEY"),
    *("PERSIST KEY", "PEXPIRE KEY 1000", "PEXPIREAT KEY 1000", "PTTL KEY"),
    *("SET KEY 1", "SETRANGE KEY 0 1", "STRLEN KEY", "ZADD KEY 1 m", "ZCARD KEY"),
    *("ZCOUNT KEY 0 1", "ZLEXCOUNT KEY - +", "ZRANGE KEY 0 1", "ZREM KEY m"),
    *("ZRANGEBYLEX KEY - +", "ZRANGEBYSCORE KEY 0 1", "ZREMRANGEBYSCORE KEY 0 1"),
    *("ZREVRANGE KEY 0 1", "ZREVRANK KEY m", "ZSCORE KEY m"),
)

# What is sent outside of scripts, each to a key of another form.
_DIRECT = ("DEL", "UNLINK", "EXISTS", "GET", "STRLEN", "HGETALL")

_EVENT_WITHIN_SECONDS = 2.0
_AGAIN_AFTER_SECONDS = 1.0


class RedisProof(NamedTuple):
    """Refused commands, and advice for the operator; empty where all is well."""

    faults: tuple[str, ...]
    warnings: tuple[str, ...]


async def prove_redis(redis: RedisConnections) -> RedisProof:
    """Try everything once. Raises `CacheUnavailable` where Redis does not answer."""
    trials = _Trials(redis.leases)
    await trials.commands()
    await trials.calls()
    await trials.scripts()
    if not trials.faults:
        await trials.event(redis)
    warnings = await advice_on(redis.leases)
    return RedisProof(tuple(dict.fromkeys(trials.faults)), warnings)


async def prove_at_the_start(prove: Callable[[], Awaitable[RedisProof]]) -> None:
    """Prove Redis as soon as it answers, and log what came of it."""
    while True:
        try:
            proof = await prove()
        except CacheUnavailable:
            await asyncio.sleep(_AGAIN_AFTER_SECONDS)
            continue
        for warning in proof.warnings:
            logger.warning("redis advice", extra={"advice": warning})
        if proof.faults:
            logger.error("redis not proved", extra={"missing": list(proof.faults)})
        else:
            logger.info("redis proved")
        return


class _Trials:
    """The trials of one proof, on keys that no other has."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._id = str(uuid4())
        self.faults: list[str] = []

    async def commands(self) -> None:
        """Send each command that is sent outside of scripts."""
        digest = uuid4().hex * 2
        project = f"proof/{self._id}"
        forms = [
            *(keys.entry(digest), keys.lease(digest), keys.generation(self._id)),
            *(keys.statistics(project), keys.transient_bytes(self._id)),
            *(*keys.account(project), keys.rate(project)),
        ]
        for key in forms:
            await self._try("GET", key)
        for command in _DIRECT:
            await self._try(command, forms[0])
        await self._try("SET", forms[0], "1", "PX", "1")
        await self._try("ZREM", forms[-1], "1")
        await self._try("PING")
        # The scripts may be known already, and EVAL be needed after a restart.
        await self._try("EVAL", "return 1", "0")

    async def calls(self) -> None:
        """Call each command that scripts call within one script, then publish."""
        key = self._key(0)
        lines = [
            f"try({', '.join(_argument(one) for one in c.split())})" for c in CALLS
        ]
        lines.append("try('PUBLISH', ARGV[1], 'proof')")
        script = Script.of(
            "#!lua\nlocal refused = {}\n"
            "local function try(...)\n"
            "  local reply = redis.pcall(...)\n"
            "  if type(reply) == 'table' and reply.err then\n"
            "    local name = ...\n"
            "    refused[#refused + 1] = name\n"
            "    refused[#refused + 1] = reply.err\n"
            "  end\n"
            "  redis.pcall('DEL', KEYS[1])\n"
            "end\n" + "\n".join(lines) + "\nreturn refused"
        )
        script.name = "proof"
        refused = await self._run(script, [key], [keys.LANDED]) or ()
        for name, text in zip(refused[::2], refused[1::2], strict=True):
            missing = right_missing(
                ResponseError(text.decode()), (name.decode(), key), None
            )
            if missing is not None:
                self._note(missing)

    async def scripts(self) -> None:
        """Run each script on keys of its own, which are deleted again."""
        for number, script in enumerate(SCRIPTS.values()):
            own = [self._key(number, at) for at in range(_most("KEYS", script))]
            await self._run(script, own, ["0"] * _most("ARGV", script))
            for key in own:
                await self._try("DEL", key)

    async def event(self, redis: RedisConnections) -> None:
        """Subscribe as replicas do, and see that what is published arrives."""
        try:
            async with (
                asyncio.timeout(_EVENT_WITHIN_SECONDS),
                subscription(redis.subscriber) as heard,
            ):
                await heard.subscribe(keys.LANDED)
                await _until(heard, lambda event: event["type"] == "subscribe")
                await self._try("PUBLISH", keys.LANDED, self._id)
                await _until(heard, lambda event: event["data"] == self._id.encode())
        except FAILURES as error:
            missing = right_missing(error, ("SUBSCRIBE",), None)
            if missing is not None:
                self._note(missing)
            elif isinstance(error, TimeoutError):
                self.faults.append("SUBSCRIBE (what is published does not arrive)")
            else:
                raise CacheUnavailable("The cache is unavailable.") from error

    def _key(self, *parts: int) -> str:
        return f"{keys.VERSION}:{{proof:{self._id}}}:" + ":".join(map(str, parts))

    async def _try(self, *command: str) -> Any:
        return await self._noting(self._connection.execute(*command))

    async def _run(self, script: Script, own: list[str], args: list[str]) -> Any:
        return await self._noting(self._connection.run(script, own, args))

    async def _noting(self, reply: Any) -> Any:
        try:
            # A trial's arguments may be none that a command takes; a full Redis
            # says nothing of what it would permit.
            with suppress(ResponseError, CacheFull):
                return await reply
        except CacheUnavailable as error:
            if not isinstance(error.__cause__, RightMissing):
                raise
            self._note(error.__cause__)
        return None

    def _note(self, missing: RightMissing) -> None:
        """Keep *missing* unless one of its commands is known to be refused."""
        commands = set(_commands(str(missing)))
        if not any(commands & set(_commands(fault)) for fault in self.faults):
            self.faults.append(str(missing))


def _commands(fault: str) -> list[str]:
    return fault.partition(" (")[0].partition(" on ")[0].split(" or ")


def _argument(word: str) -> str:
    return "KEYS[1]" if word == KEY else f"'{word}'"


def _most(array: str, script: Script) -> int:
    """Return the highest index of *array* that *script* names, at least 1."""
    return max(chain([1], _indices(array, script.source)))


def _indices(array: str, source: str) -> Iterator[int]:
    for part in source.split(f"{array}[")[1:]:
        digits = part.partition("]")[0]
        if digits.isdigit():
            yield int(digits)


async def _until(heard: PubSub, is_awaited: Callable[[dict[str, Any]], bool]) -> None:
    while True:
        event = await heard.get_message(timeout=_EVENT_WITHIN_SECONDS)
        if event is not None and is_awaited(event):
            return
