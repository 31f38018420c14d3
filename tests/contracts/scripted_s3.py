"""An S3 server that answers as its script says, byte by byte."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    Script = Callable[["Request", asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Request:
    """One request; header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class ScriptedS3:
    """The server, the requests that it got, and its script."""

    port: int
    script: Script
    requests: list[Request] = field(default_factory=list)
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def endpoint(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def scripted_s3(script: Script) -> AsyncIterator[ScriptedS3]:
    """Serve on a free port; *script* answers each request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        server.connections.add(connection)
        try:
            while not writer.is_closing():
                request = await _read(reader)
                server.requests.append(request)
                await server.script(request, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # The client is gone, or the test is over.
            pass
        finally:
            writer.transport.abort()
            server.connections.discard(connection)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    server = ScriptedS3(listener.sockets[0].getsockname()[1], script)
    try:
        yield server
    finally:
        listener.close()
        left = list(server.connections)
        for connection in left:
            connection.cancel()
        if left:
            await asyncio.wait(left)


async def _read(reader: asyncio.StreamReader) -> Request:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if headers.get("expect") == "100-continue":
        # It is never said, so the body never comes.
        await asyncio.Event().wait()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body)


def head(status: str, length: int | None, **headers: str) -> bytes:
    """Return the head of an answer; underscores in header names are hyphens."""
    lines = [f"HTTP/1.1 {status}"]
    headers = {"ETag": '"c0ffee"', **headers}
    if length is not None:
        lines.append(f"Content-Length: {length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def refusal(status: str, code: str) -> Script:
    """Answer with S3's XML for an error."""
    text = f'<?xml version="1.0"?>\n<Error><Code>{code}</Code></Error>'
    return whole(text.encode(), status=status, media_type="application/xml")


def whole(
    data: bytes, *, status: str = "200 OK", media_type: str = "image/png"
) -> Script:
    """Answer with *data*, all of it."""

    async def script(request: Request, writer: asyncio.StreamWriter) -> None:
        body = b"" if request.method == "HEAD" else data
        writer.write(head(status, len(data), Content_Type=media_type) + body)
        await writer.drain()

    return script


def ranged(data: bytes, *, etag: str = '"c0ffee"') -> Script:
    """Answer with *data*, or the range of it that was asked for."""

    async def script(request: Request, writer: asyncio.StreamWriter) -> None:
        asked = request.headers.get("range", "").removeprefix("bytes=")
        first, _, last = asked.partition("-")
        part = data[int(first or 0) : int(last or len(data) - 1) + 1]
        status = "206 Partial Content" if asked else "200 OK"
        writer.write(head(status, len(part), ETag=etag) + part)
        await writer.drain()

    return script
