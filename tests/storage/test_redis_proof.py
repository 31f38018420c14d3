"""The proof of Redis: missing rights of its user are named."""

from __future__ import annotations

import logging
import pkgutil
import re
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import redis

from app.errors import CacheUnavailable
from app.storage import redis as redis_package
from app.storage.redis import keys, scripts
from app.storage.redis import proof as proofs
from app.storage.redis.client.script import Script
from app.storage.redis.client.traffic import open_redis
from app.storage.redis.completion_events import open_completion_events
from app.storage.redis.proof import CALLS, SCRIPTS, RedisProof, prove_redis
from app.storage.redis.server_advice import _advice
from tests.replica import ROOT
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from app.storage.redis.client.traffic import RedisConnections
    from tests.servers import RedisServer

COMMANDS = sorted({call.split()[0] for call in CALLS} | {"PUBLISH"})


@pytest.fixture
def user_with(redis_server: RedisServer) -> Iterator[Callable[..., str]]:
    """Return a function that makes users with the service's rights and changes."""
    name = f"user-{uuid4().hex[:8]}"
    with redis.Redis.from_url(redis_server.url) as admin:

        def address(*rules: str) -> str:
            admin.execute_command(
                *("ACL", "SETUSER", name, "reset", "on", ">secret"),
                *("~*", "&*", "+@all", *rules),
            )
            return redis_server.url.replace("redis://", f"redis://{name}:secret@")

        yield address
        admin.execute_command("ACL", "DELUSER", name)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[RedisConnections]:
    """Open a replica's connections."""
    async with open_redis(url) as connections:
        yield connections


async def proof_of(url: str) -> RedisProof:
    """Return the proof's result for this user."""
    async with connected(url) as connections:
        return await prove_redis(connections)


async def test_a_user_with_all_rights_is_proved_and_nothing_is_left(
    user_with: Callable[..., str], redis_server: RedisServer
) -> None:
    """A user with all rights has no faults, and the proof leaves no key."""
    with redis.Redis.from_url(redis_server.url) as admin:
        # Each connection to an empty Redis writes that one.
        before = {*admin.scan_iter(), keys.BEGAN.encode()}

        assert await proof_of(user_with()) == RedisProof((), ())

        assert {key for key in admin.scan_iter() if admin.pttl(key) != 1} <= before


def test_the_proof_knows_every_script_and_every_command_of_one() -> None:
    """The proof tries every script and every command that scripts call."""
    written = {
        script.sha
        for module in pkgutil.iter_modules(redis_package.__path__)
        if module.name != "client"
        for script in vars(
            import_module(f"{redis_package.__name__}.{module.name}")
        ).values()
        if isinstance(script, Script)
    }
    called = {
        command
        for script in SCRIPTS.values()
        for command in re.findall(r"redis\.p?call\(\s*'(\w+)'", script.source)
    }

    assert {script.sha for script in SCRIPTS.values()} >= written
    assert called <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_that_is_missing_is_named(
    user_with: Callable[..., str], command: str
) -> None:
    """A missing command is one fault that names it."""
    proof = await proof_of(user_with(f"-{command.lower()}"))

    assert [fault.split()[0] for fault in proof.faults] == [command]


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (["-subscribe"], "SUBSCRIBE"),
        (["-eval"], "EVAL"),
        (["-evalsha"], "EVALSHA"),
        (["-unlink"], "UNLINK"),
        (["-ping"], "PING"),
        (["resetchannels"], "PUBLISH on the channel of the service"),
        (["resetkeys", "~2:*"], "GET on its keys, such as 2"),
        (["resetkeys", "~2*"], "GET on its keys, such as {2"),
        (["-client|setname"], "CLIENT SETNAME"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, list) else None,
)
async def test_a_right_that_is_missing_is_named(
    user_with: Callable[..., str], rules: list[str], named: str
) -> None:
    """A missing right to channels, keys or connection commands is a fault."""
    proof = await proof_of(user_with(*rules))

    assert any(fault.startswith(named) for fault in proof.faults), proof.faults


async def test_the_rights_that_are_documented_are_enough(
    user_with: Callable[..., str],
) -> None:
    """The user of the how-to page has no faults."""
    page = (ROOT / "docs" / "how-to" / "redis.md").read_text()
    (rules,) = re.findall(r"ACL SETUSER paintonce on >SECRET (.*)", page)

    url = user_with("resetkeys", "resetchannels", *rules.split())

    assert await proof_of(url) == RedisProof((), ())


async def test_info_is_done_without(user_with: Callable[..., str]) -> None:
    """Without INFO there is a warning and no fault."""
    proof = await proof_of(user_with("-info"))

    assert proof.faults == ()
    assert "INFO" in proof.warnings[0]


@pytest.mark.parametrize(
    ("server", "word"),
    [
        ({"maxmemory_policy": "volatile-lru", "redis_version": "7.2.4"}, "volatile"),
        ({"maxmemory_policy": "noeviction", "redis_version": "6.2.14"}, "6.2.14"),
    ],
)
def test_what_an_operator_should_change_is_a_warning(
    server: dict[str, str], word: str
) -> None:
    """An evicting policy and an old server are warnings."""
    (warning,) = _advice(server)

    assert word in warning


async def test_a_right_that_goes_later_is_an_outage_that_names_it(
    user_with: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """A right that is lost later is an outage and an ERROR for its commands only."""
    async with connected(user_with()) as connections:
        await connections.commands.execute("PING")
        user_with("-pexpire")
        caplog.set_level(logging.ERROR)

        key = f"2:{{proof:{uuid4()}}}"
        await connections.leases.run(scripts.HOLD, [key], ["token", "1000"])
        for _ in range(3):
            with pytest.raises(CacheUnavailable):
                await connections.commands.run(scripts.RENEW, [key], ["token", "1000"])

        assert await connections.commands.execute("GET", key) == b"token"
        await connections.commands.execute("DEL", key)
    record = caplog.records[0]
    assert record.message == "redis refuses a command"
    assert record.command == "PEXPIRE (line 3 of script scripts.RENEW)"  # type: ignore[attr-defined]


async def test_news_that_may_not_be_heard_is_an_error_that_names_it(
    user_with: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """A missing right to subscribe is logged once."""
    caplog.set_level(logging.INFO)

    def events() -> list[str]:
        return [record.message for record in caplog.records]

    async with (
        connected(user_with("-subscribe")) as connections,
        open_completion_events(connections.subscriber),
    ):
        await until(lambda: events().count("completions are not heard") == 2)

    assert events().count("redis refuses a command") == 1


async def test_a_redis_that_is_away_proves_nothing() -> None:
    """The proof raises while Redis is unavailable."""
    async with connected("redis://127.0.0.1:1/0") as connections:
        with pytest.raises(CacheUnavailable):
            await proofs.prove_redis(connections)
