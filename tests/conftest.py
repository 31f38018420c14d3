"""Fixtures that more than one folder uses: the servers, and a clean place on them."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import redis
from botocore.loaders import create_loader
from hypothesis import HealthCheck, settings

from tests.servers import (
    RedisServer,
    S3Server,
    minio_command,
    object_store_server,
    redis_command,
)
from tests.servers import redis_server as run_redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).parents[1]

# Whole files that take long, because they kill processes, wait for time-outs, drive
# a browser or run a page's lines: `make test-all` has them, as what is marked `long`.
TAKE_LONG = (
    "tests/documents/",
    "tests/faults/",
    "tests/topologies/",
    "tests/benchmarks/test_benchmarks.py",
    "tests/contracts/test_s3_faults.py",
    "tests/deploy/test_nginx_addresses.py",
    "tests/replicas/test_traces.py",
    "tests/replicas/test_two_replicas.py",
    "tests/test_embedded_redis.py",
    "tests/web/",
)

# Files among them that only compare a page with the code.
ARE_QUICK = (
    "tests/documents/test_limits_page.py",
    "tests/documents/test_models_page.py",
)


# The files with the longest tests, the longest first. A worker that began one of
# them at the end would run it alone.
LONGEST_FIRST = (
    "tests/api/test_schemathesis.py",
    "tests/sdks/",
    "tests/faults/test_shutdown.py",
    "tests/access/test_attacks.py",
    "tests/faults/test_jobs.py",
    "tests/documents/test_rotate_keys_page.py",
    "tests/benchmarks/",
    "tests/faults/test_chaos.py",
    "tests/documents/test_responsive_page.py",
    "tests/faults/test_moved_ledger.py",
    "tests/faults/test_herds.py",
    "tests/access/test_commands.py",
    "tests/test_commands.py",
    "tests/faults/test_recovery.py",
    "tests/documents/",
    "tests/faults/",
    "tests/topologies/",
)


# Every day a quarter of what `make test-all` tries. A busy machine may stall in any
# example and be slow to make one up.
for _profile, _examples in {"everyday": 25, "thorough": 100}.items():
    settings.register_profile(
        _profile,
        max_examples=_examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile("everyday")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of a file that takes long, and put the longest first."""
    for item in items:
        file = _file_of(item)
        if file.startswith(TAKE_LONG) and file not in ARE_QUICK:
            item.add_marker(pytest.mark.long)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = _longest_first(items, workers)


def _longest_first(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Deal the longest files to the workers; xdist cuts the list into equal parts."""
    files: dict[str, list[pytest.Item]] = {name: [] for name in LONGEST_FIRST}
    rest: list[pytest.Item] = []
    for item in items:
        names = [name for name in files if _file_of(item).startswith(name)]
        (files[names[0]] if names else rest).append(item)
    parts = [
        [item for name in LONGEST_FIRST[number::workers] for item in files[name]]
        for number in range(workers)
    ]
    others = iter(rest)
    size = -(-len(items) // workers)
    for part in parts:
        part.extend(itertools.islice(others, max(0, size - len(part))))
    return [*itertools.chain.from_iterable(parts), *others]


def _file_of(item: pytest.Item) -> str:
    return item.path.relative_to(ROOT).as_posix()


def pytest_configure() -> None:
    """Handle signals as in a terminal; processes that tests start inherit this.

    A run in the background ignores some of them.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def pytest_report_header() -> list[str]:
    """Return which servers this run uses."""
    store = os.environ.get("TEST_S3_ENDPOINT") or minio_command() or "moto"
    return [f"object store: {store}", f"redis: {redis_command()}"]


@pytest.fixture(scope="session", autouse=True)
def _one_model_of_s3() -> Iterator[None]:
    """Load botocore's description of S3 once per worker, not once per client.

    It is a megabyte of JSON; clients of one session share it just so.
    """
    loader = create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", lambda *_: loader)
        yield


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run one Redis per worker; a test that stops or freezes one runs its own."""
    with run_redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Give the address of a Redis that is empty."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="module")
def module_redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a Redis for replicas that outlive a test, and give its address.

    They would write the identity of their ledger into the Redis that all tests
    share, and replicas over another bucket would refuse to paint.
    """
    with run_redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Run one object store per worker; a test that stops one runs its own."""
    with object_store_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_environment(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Point botocore at the object store; a child process is handed the dict."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    environment = s3_server.environment()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


@pytest.fixture
def bucket(s3_environment: dict[str, str]) -> str:
    """Give the name of a bucket that is not made yet; botocore finds its server."""
    return f"pictures-{uuid4().hex}"
