"""The stage: real servers for all rows, and the measured programs."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from app.storage.s3 import open_s3_object_store
from benchmarks.bare import sign
from benchmarks.machine import ROOT, Cores, kept_on
from tests.replica import environment_of, replica

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
    from pathlib import Path

    from app.storage.s3.store import S3ObjectStore
    from tests.fake_provider import FakeProvider
    from tests.replica import Replica
    from tests.servers import RedisServer, S3Server

ADMIN_KEY = "an-admin-key-of-the-benchmarks-alone"
PROJECT = "acme/shop"
HEADERS = {"X-API-Key": ADMIN_KEY, "X-Project": PROJECT}
PICTURE_BYTES = 65_536

_STARTS_WITHIN_SECONDS = 30.0
_PROVIDERS = """\
[models.default]
provider = "openai"
model = "gpt-image-2"
base_url = "{base_url}"
api_key_env = ""
"""


@dataclass(frozen=True, slots=True)
class Source:
    """A checkout of the service, and the name of its figures."""

    label: str
    root: Path = ROOT


@dataclass(frozen=True, slots=True)
class Picture:
    """A painted picture, and the headers of its answer."""

    target: str
    data: bytes
    headers: dict[str, str]

    @property
    def key(self) -> str:
        """The key of the picture in the bucket."""
        return self.headers["Content-Location"].partition("/images/")[2]


@dataclass(frozen=True)
class Stage:
    """The fixtures of rows.

    *sources* begins with the checkout that is measured; others are compared with it.
    *tiny* makes everything as small as is still meaningful.
    """

    folder: Path
    redis: RedisServer
    store: S3Server
    provider: FakeProvider
    provider_url: str
    cores: Cores
    sources: Sequence[Source]
    rounds: int = 5
    seconds: float = 5.0
    tiny: bool = False
    _numbers: count[int] = field(default_factory=count)

    @property
    def bucket(self) -> str:
        """The bucket that all services share."""
        return "paintonce-benchmarks"

    @asynccontextmanager
    async def service(
        self,
        source: Source,
        cores: frozenset[int] | None = None,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> AsyncIterator[Replica]:
        """Run a replica of *source*, by default on the server's core."""
        folder = self.new_folder()
        providers = folder / "models.toml"
        providers.write_text(_PROVIDERS.format(base_url=f"{self.provider_url}/v1"))
        environment = environment_of(
            redis_url=self.redis.url,
            bucket=self.bucket,
            object_store=self.store.environment(),
            AUTH="required",
            ADMIN_API_KEY=ADMIN_KEY,
            PROVIDERS_FILE=str(providers),
        )
        environment |= {"PYTHONPATH": str(source.root), **settings}
        async with AsyncExitStack() as stack:
            with kept_on(self.cores.server if cores is None else cores):
                running = await stack.enter_async_context(
                    replica(environment, folder=folder, forked=False)
                )
            yield running

    @asynccontextmanager
    async def services(self, **settings: str) -> AsyncIterator[dict[str, Replica]]:
        """Run a replica of each source, by the names of their figures."""
        async with AsyncExitStack() as stack:
            yield {
                source.label: await stack.enter_async_context(
                    self.service(source, settings=settings)
                )
                for source in self.sources
            }

    @asynccontextmanager
    async def bare(self, kind: str, **options: Any) -> AsyncIterator[str]:
        """Run a bare handler of `benchmarks.bare`; yield its origin."""
        options = {"kind": kind, **options}
        data = options.pop("data", None)
        folder = self.new_folder()
        if data is not None:
            options["body"] = str(folder / "body")
            (folder / "body").write_bytes(data)
        (folder / "options.json").write_text(json.dumps(options))
        command = [
            sys.executable,
            "-m",
            "benchmarks.bare",
            str(folder / "options.json"),
        ]
        async with self.program(command) as origin:
            yield origin

    @asynccontextmanager
    async def program(
        self, command: Sequence[str], **environment: str
    ) -> AsyncIterator[str]:
        """Run a server that prints its port, on the server's core; yield its origin."""
        inherited = environment_of(
            redis_url=self.redis.url,
            bucket=self.bucket,
            object_store=self.store.environment(),
        )
        with kept_on(self.cores.server):
            process = await asyncio.create_subprocess_exec(
                *command,
                env={**inherited, **environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
            )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(_STARTS_WITHIN_SECONDS):
                line = await process.stdout.readline()
            yield f"http://127.0.0.1:{json.loads(line)['port']}"
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    @asynccontextmanager
    async def object_store(self) -> AsyncIterator[S3ObjectStore]:
        """Open the bucket as the service does."""
        with self._environment_of_the_store():
            async with open_s3_object_store(bucket=self.bucket) as store:
                await store.make()
                yield store

    async def sign(self, key: str) -> URL:
        """Return a URL of the store itself, for the object *key*."""
        with self._environment_of_the_store():
            return await sign(self.bucket, key)

    @contextmanager
    def _environment_of_the_store(self) -> Iterator[None]:
        theirs = self.store.environment()
        before = {name: os.environ.get(name) for name in theirs}
        os.environ.update(theirs)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    async def paint(
        self, service: Replica, prompt: str, size: int = PICTURE_BYTES
    ) -> Picture:
        """Paint a picture of *size* bytes, and request it until it is a HIT."""
        self.provider.behave(picture_bytes=size)
        target = target_of(prompt)
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            status = ""
            while status != "HIT":
                url = URL(service.url + target, encoded=True)
                async with session.get(url) as answer:
                    answer.raise_for_status()
                    status = answer.headers["X-Cache-Status"]
                    data = await answer.read()
        own = {"Date", "Content-Length", "Server"}
        headers = {
            name: value for name, value in answer.headers.items() if name not in own
        }
        return Picture(target, data, headers)

    def new_folder(self) -> Path:
        """Return an empty folder."""
        folder = self.folder / f"part-{next(self._numbers)}"
        folder.mkdir()
        return folder


def target_of(prompt: str) -> str:
    """Return the request target of *prompt*."""
    return str(URL("/api/v1/live/generate").with_query(prompt=prompt))
