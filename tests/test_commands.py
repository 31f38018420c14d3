"""The command line: exit statuses and output."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING
from unittest import mock

import aiohttp
import pytest
import redis

from app.__main__ import main
from app.storage.s3 import open_s3_object_store
from tests.fake_provider import FakeProvider, serve
from tests.fake_provider.dialects import DIALECTS
from tests.replica import ROOT, environment_of, replica
from tests.servers import redis_server as run_redis_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers import S3Server

    Ended = subprocess.CompletedProcess[str]
    RunHere = Callable[..., Ended]


def run(
    *arguments: str, folder: Path, environment: dict[str, str] | None = None
) -> Ended:
    """Run `python -m app` in *folder*; return the ended process."""
    inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=folder,
        env={**inherited, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def environment(redis_url: str, s3_server: S3Server, bucket: str) -> dict[str, str]:
    """Give the environment of a service over servers that answer."""
    return environment_of(
        redis_url=redis_url, bucket=bucket, object_store=s3_server.environment()
    )


@pytest.fixture
def run_here(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> RunHere:
    """Return a function like `run` without a process, whose start takes a second."""
    monkeypatch.chdir(tmp_path)
    # The log of the tests' own process stays as it is.
    for module in ("check", "dev", "rebuild"):
        monkeypatch.setattr(
            f"app.commands.{module}.configure_logging", lambda *_, **__: None
        )

    def run_here(*arguments: str, environment: dict[str, str]) -> Ended:
        with mock.patch.dict(os.environ, environment, clear=True):
            status = main(arguments)
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, status, said.out, said.err)

    return run_here


def test_a_wrong_configuration_is_status_2(tmp_path: Path) -> None:
    """A wrong configuration prints a line for each variable and ends with 2."""
    ended = run("serve", folder=tmp_path, environment={"PORT": "x", "AUTH": "off"})

    assert ended.returncode == 2
    named = [line.split(":")[1].strip() for line in ended.stderr.splitlines()]
    assert sorted(named) == ["PORT", "REDIS_URL", "S3_BUCKET"]


def test_a_weak_admin_key_starts_nothing(run_here: RunHere) -> None:
    """`serve` starts without an admin key, and not with one under 32 characters."""
    enough = {"REDIS_URL": "redis://127.0.0.1:1", "S3_BUCKET": "images"}

    short = run_here("serve", environment={**enough, "ADMIN_API_KEY": "x" * 31})

    assert short.returncode == 2
    assert "at least 32 characters" in short.stderr


@pytest.mark.parametrize("command", ["serve", "dev"])
def test_a_taken_port_is_one_line_and_status_1(
    tmp_path: Path, run_here: RunHere, command: str
) -> None:
    """A port in use prints one line, ends with 1 and starts nothing."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environment = environment_of(
            redis_url="redis://127.0.0.1:1",
            bucket="images",
            object_store={},
            PORT=str(taken.getsockname()[1]),
        )
        if command == "serve":
            ended = run(command, folder=tmp_path, environment=environment)
        else:
            ended = run_here(command, environment=environment)

    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert str(environment["PORT"]) in ended.stderr
    assert not (tmp_path / "var" / "redis").exists()


@pytest.mark.parametrize(
    ("arguments", "status"), [(["--help"], 0), ([], 2), (["paint"], 2)]
)
def test_help_lists_the_commands(
    arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The help lists every command; a missing or unknown command ends with 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    said = capsys.readouterr()
    assert ended.value.code == status
    if status == 0:
        for command in ("serve", "dev", "keys", "sign", "warm", "rebuild", "check"):
            assert command in said.out


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_check_names_what_is_unavailable(
    environment: dict[str, str],
    s3_server: S3Server,
    bucket: str,
    tmp_path: Path,
    run_here: RunHere,
) -> None:
    """`check` ends with 0 if all answer, else with 1 and the name of the other."""
    away = {**environment, "REDIS_URL": "redis://127.0.0.1:1"}
    wrong = {**environment, "AWS_SECRET_ACCESS_KEY": "wrong-secret"}

    async def check(environment: dict[str, str]) -> Ended:
        return await asyncio.to_thread(run_here, "check", environment=environment)

    missing = await check(environment)
    again = await check(environment)
    async with replica(environment, folder=tmp_path):
        pass
    good = run("check", folder=tmp_path, environment=environment)
    bad = run("check", folder=tmp_path, environment=away)
    refused = await check(wrong)

    # It makes no bucket, for a name that was mistyped neither.
    for mistyped in (missing, again):
        assert mistyped.returncode == 1
        assert f"The bucket {bucket} is missing" in mistyped.stderr
        assert "the first start of `python -m app serve` makes it" in mistyped.stderr
    assert good.returncode == 0, good.stderr
    assert re.search(r"store_fence +proved", good.stdout)
    assert bad.returncode == 1
    assert re.search("redis .*127.0.0.1:1", bad.stderr)
    assert "object_store" in bad.stdout
    if s3_server.kind == "minio":
        assert "(403)" in refused.stderr


async def test_check_names_what_redis_refuses_in_one_line(
    s3_server: S3Server, bucket: str, tmp_path: Path, run_here: RunHere
) -> None:
    """`check` prints a missing right as a fault and an evicting policy as a warning."""
    store = s3_server.environment()
    async with open_s3_object_store(bucket=bucket) as opened:
        await opened.make()
    evicting = ("--maxmemory-policy", "volatile-lru")
    with run_redis_server(tmp_path / "redis", args=evicting) as server:
        environment = environment_of(
            redis_url=server.url, bucket=bucket, object_store=store
        )
        warned = await asyncio.to_thread(run_here, "check", environment=environment)
        with redis.Redis.from_url(server.url) as admin:
            rules = ("on", ">pw", "~*", "+@all", "-time", "resetchannels")
            admin.execute_command("ACL", "SETUSER", "limited", *rules)
        environment["REDIS_URL"] = server.url.replace("//", "//limited:pw@")
        refused = await asyncio.to_thread(run_here, "check", environment=environment)

    assert warned.returncode == 0, warned.stderr
    assert re.search("redis_proof +a warning: maxmemory-policy", warned.stdout)
    assert warned.stderr == ""
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert re.match("redis_proof +Redis refuses TIME, PUBLISH", line)


@pytest.mark.long
async def test_check_asks_providers_for_what_costs_nothing(
    environment: dict[str, str], bucket: str, tmp_path: Path
) -> None:
    """`check` prints for each model whether its provider answers, at no cost."""
    provider = FakeProvider()
    models = tmp_path / "models.toml"
    async with serve(provider) as origin:
        tables = [
            f'[models.{name}]\nprovider = "{name}"\nmodel = "{dialect.example}"\n'
            f'base_url = "{origin}{dialect.base_path}"\napi_key_env = "SOME_KEY"\n'
            for name, dialect in DIALECTS.items()
        ]
        models.write_text("\n".join(tables))
        environment |= {"PROVIDERS_FILE": str(models), "SOME_KEY": "keeper:lamp"}
        async with open_s3_object_store(bucket=bucket) as store:
            await store.make()

        good = await asyncio.to_thread(
            run, "check", "--providers", folder=tmp_path, environment=environment
        )
        # Without a key the fake Replicate refuses.
        models.write_text(tables[2].replace("SOME_KEY", ""))
        bad = await asyncio.to_thread(
            run, "check", "--providers", folder=tmp_path, environment=environment
        )

    assert good.returncode == 0, good.stderr
    assert re.findall(r"model +(\w+): \w+, (.*)", good.stdout) == [
        ("openai", "answers"),
        ("gemini", "answers"),
        ("replicate", "answers"),
        ("fal", "configuration ok; it has no call that costs nothing"),
        ("a1111", "answers"),
    ]
    assert bad.returncode == 1
    assert "replicate, The image provider does not accept" in bad.stderr
    assert provider.calls == []


async def test_check_prints_what_each_model_can_do(
    environment: dict[str, str], bucket: str, tmp_path: Path
) -> None:
    """`check` prints a line of capabilities for each model."""
    models = tmp_path / "models.toml"
    models.write_text(
        '[models.big]\nprovider = "openai"\nmodel = "gpt-image-1"\n'
        'api_key_env = "SOME_KEY"\n'
        '[models.own]\nprovider = "a1111"\nbase_url = "http://127.0.0.1:9"\n'
    )
    environment |= {"PROVIDERS_FILE": str(models), "SOME_KEY": "a-key"}
    async with open_s3_object_store(bucket=bucket) as store:
        await store.make()

    checked = await asyncio.to_thread(
        run, "check", folder=tmp_path, environment=environment
    )

    assert checked.returncode == 0, checked.stderr
    lines = [line for line in checked.stdout.splitlines() if line.startswith("model ")]
    big, own = (line.partition("configuration ok; ") for line in lines)
    assert re.fullmatch(r"model +big: openai, ", big[0])
    assert big[2].startswith("16 references, a mask, 3 sizes, no seeds, quality, ")
    assert re.fullmatch(r"model +own: a1111, ", own[0])
    assert own[2].startswith("one reference, a mask, sizes from 64x64 to ")
    assert ", seeds, negative_prompt (" in own[2]


async def test_rebuild_restores_a_flushed_redis(
    environment: dict[str, str], redis_url: str, tmp_path: Path, run_here: RunHere
) -> None:
    """`rebuild` restores every painted prompt; a second run finds them."""
    async with (
        replica(environment, folder=tmp_path, forked=False) as one,
        aiohttp.ClientSession() as session,
    ):
        live = f"{one.url}/api/v1/live/generate"
        for prompt in ("a red fox", "a barn owl", "a grey seal"):
            async with session.get(live, params={"prompt": prompt}) as answer:
                assert answer.headers["X-Cache-Status"] == "MISS"
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()

        ended = run("rebuild", folder=tmp_path, environment=environment)
        again = await asyncio.to_thread(
            run_here, "rebuild", "default/main", environment=environment
        )
        swept = await asyncio.to_thread(
            run_here, "rebuild", "--orphans", environment=environment
        )

        assert ended.returncode == 0, ended.stderr
        assert "3 restored, 0 were there" in ended.stdout
        assert "default/main" in ended.stderr  # the progress bar
        assert "0 restored, 3 were there" in again.stdout
        assert swept.stdout == "0 removed, 0 bytes.\n"
        async with session.get(f"{one.url}/api/v1/live/entries") as listed:
            entries = (await listed.json())["entries"]
        assert {entry["prompt"] for entry in entries} == {
            *("a red fox", "a barn owl", "a grey seal")
        }
        async with session.get(live, params={"prompt": "a barn owl"}) as answer:
            assert answer.headers["X-Cache-Status"] == "HIT"


def test_rebuild_refuses_what_is_no_project(run_here: RunHere) -> None:
    """`rebuild` refuses a malformed project name before it reads anything."""
    environment = environment_of(
        redis_url="redis://127.0.0.1:1", bucket="images", object_store={}
    )

    ended = run_here("rebuild", "NoProject", environment=environment)

    assert ended.returncode == 1
    assert "org/project" in ended.stderr
