"""Well-behaved and rude clients."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import aiohttp

from tests.fake_provider.pictures import mark_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.replica import Replica

LIVE = "/api/v1/live/generate"


@dataclass(frozen=True, slots=True)
class Got:
    """One response, read to its end, and its duration."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        """Return the document."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The problem's code."""
        return str(self.json()["code"])

    @property
    def cache(self) -> str:
        """The cache status, HIT or MISS."""
        return self.headers["X-Cache-Status"]

    @property
    def hits(self) -> int | None:
        """The hit's number, None if it was not counted."""
        counted = self.headers.get("X-Cache-Hit-Count")
        return int(counted) if counted else None


@dataclass(frozen=True, slots=True)
class Clients:
    """Clients that check every response.

    A 200 is whole, has its digest for an ETag and shows the prompt of the request; a
    503 has Retry-After. *answers* are the digests that each prompt was answered with,
    *sent* the paths of open requests.
    """

    session: aiohttp.ClientSession
    sent: list[str]
    answers: defaultdict[str, set[str]] = field(
        default_factory=lambda: defaultdict(set)
    )

    async def get(
        self, prompt: str, at: Replica | str, *, prefer: str = "", **more: str
    ) -> Got:
        """Request a prompt from a replica or an address."""
        url = at if isinstance(at, str) else at.url
        headers = {"Prefer": prefer} if prefer else {}
        query = {"prompt": prompt, **more}
        began = time.monotonic()
        async with self.session.get(
            url + LIVE, params=query, headers=headers
        ) as answer:
            body = await answer.read()
        got = Got(answer.status, answer.headers, body, time.monotonic() - began)
        self._check(prompt, got)
        return got

    async def herd(self, prompt: str, *at: Replica, count: int) -> list[Got]:
        """Send *count* requests at once, to the replicas in turn."""
        asking = (self.get(prompt, at[n % len(at)]) for n in range(count))
        return await asyncio.gather(*asking)

    async def look(self, prompt: str, at: Replica) -> Got:
        """Send a HEAD for a prompt."""
        query = urlencode({"prompt": prompt})
        return await self.call("HEAD", f"{at.url}{LIVE}?{query}")

    async def call(self, method: str, url: str, **options: Any) -> Got:
        """Send any other request."""
        began = time.monotonic()
        async with self.session.request(method, url, **options) as answer:
            body = await answer.read()
        return Got(answer.status, answer.headers, body, time.monotonic() - began)

    def answers_to(self, prompt: str) -> int:
        """Return the number of different pictures seen for a prompt."""
        return len(self.answers[prompt])

    def _check(self, prompt: str, got: Got) -> None:
        if got.status == 503:
            assert int(got.headers["Retry-After"]) >= 1
        if got.status != 200:
            assert got.headers["Cache-Control"] == "no-store"
            return
        digest = sha256(got.body).hexdigest()
        assert got.headers["ETag"] == f'"{digest}"'
        assert got.headers["Content-Length"] == str(len(got.body))
        _, painted_for = mark_of(got.body)
        assert painted_for == sha256(prompt.encode()).hexdigest()
        self.answers[prompt].add(digest)


def watching(sent: list[str]) -> aiohttp.TraceConfig:
    """Return a trace that records the path of every request of a session."""

    async def note(
        _session: aiohttp.ClientSession,
        _context: object,
        request: aiohttp.TraceRequestHeadersSentParams,
    ) -> None:
        sent.append(request.url.path)

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(note)
    return trace


class RudeClient:
    """A client on a bare socket that can stop reading or reset."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self._writer = writer

    @classmethod
    async def ask(
        cls,
        prompt: str,
        at: Replica,
        *,
        receives_bytes: int | None = None,
        **more: str,
    ) -> RudeClient:
        """Send a request without reading; *receives_bytes* is the kernel's buffer."""
        connection = socket.socket()
        if receives_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives_bytes)
        connection.settimeout(0)
        address = urlsplit(at.url)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (address.hostname, address.port))
        reader, writer = await asyncio.open_connection(sock=connection, limit=1024)
        target = f"{LIVE}?{urlencode({'prompt': prompt, **more})}"
        writer.write(
            f"GET {target} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode()
        )
        await writer.drain()
        return cls(reader, writer)

    def reset(self) -> None:
        """Close with a reset (SO_LINGER 0), if the replica has not closed before."""
        connection = self._writer.get_extra_info("socket")
        linger = struct.pack("ii", 1, 0)
        if not self._writer.is_closing():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()
