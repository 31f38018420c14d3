"""A replica holds a thousand waiting clients of OpenAI's API cheaply."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from tests.fake_provider import FakeProvider
from tests.models_of_replicas import replicas_over

if TYPE_CHECKING:
    from tests.replica import Replica
    from tests.servers import S3Server

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]

WAITERS = 1000
MAX_BYTES_EACH = 64 * 1024


def status_of(service: Replica, name: str) -> int:
    """Return a value of the kernel's status of the replica's process."""
    lines = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields[name].split()[0])


def picture_of(answer: bytes) -> bytes:
    """Return the base64 of a chunked response."""
    unframed = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", answer)
    return unframed.split(b'"b64_json":"')[1].split(b'"')[0]


class Waiter:
    """One client with a connection of its own."""

    async def ask(self, service: Replica, *, is_stream: bool) -> None:
        """Send the request without reading the response."""
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", service.port
        )
        body = json.dumps({"prompt": "a long wait", "stream": is_stream}).encode()
        self._writer.write(
            b"POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        await self._writer.drain()

    async def answer(self) -> bytes:
        """Return the whole response."""
        answer = await self._reader.read()
        self._writer.close()
        return answer


async def test_a_thousand_clients_wait_cheaply(
    redis_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    """A thousand waiters need no thread or key each, and at most 64 KB."""
    provider = FakeProvider()
    provider.behave("hold", prompt="a long wait")
    async with replicas_over(
        provider,
        1,
        folder=tmp_path,
        redis_url=redis_url,
        store=s3_server,
        terms="deadline_seconds = 120\n",
    ) as (service,):
        first = Waiter()
        await first.ask(service, is_stream=False)
        await provider.until_held()
        threads, before = status_of(service, "Threads"), status_of(service, "VmRSS")
        with redis.Redis.from_url(redis_url) as client:
            keys = client.dbsize()

            waiters = [Waiter() for _ in range(WAITERS)]
            for number, waiter in enumerate(waiters):
                await waiter.ask(service, is_stream=number % 2 == 0)
            # A comment says that its stream waits; the last one came last.
            await asyncio.gather(
                *(
                    waiter._reader.readuntil(b": still here\n")
                    for waiter in waiters[::2]
                )
            )

            held = (status_of(service, "VmRSS") - before) * 1024 / WAITERS
            assert status_of(service, "Threads") == threads
            assert client.dbsize() == keys
        provider.release()
        answers = await asyncio.gather(
            *(waiter.answer() for waiter in (first, *waiters))
        )

    sys.stdout.write(f"{held / 1024:.1f} KB for each of {WAITERS} waiting clients\n")
    assert held <= MAX_BYTES_EACH
    assert len(provider.calls) == 1
    assert len(set(map(picture_of, answers))) == 1
