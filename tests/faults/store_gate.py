"""A proxy before the object store that fails chosen requests."""

from __future__ import annotations

import asyncio
import io
import socket
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}
_FULL = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>XMinioStorageFull</Code>'
    b"<Message>Storage backend has reached its minimum free drive threshold."
    b"</Message></Error>"
)


class Fault(Enum):
    """The failure that a request meets instead of an answer."""

    FULL = auto()  # 507, as MinIO says it
    HOLD = auto()  # held back until `heal`, then let through
    HOLD_REPLY = auto()  # let through, its reply held back until `heal`
    LOSE_REPLY = auto()  # let through, its reply lost with a reset
    TRUNCATE = auto()  # half of the body, then an orderly end
    RESET = auto()  # half of the body, then a reset
    STALL = auto()  # half of the body, then nothing until `heal`


@dataclass
class _Rule:
    method: str
    part: str
    fault: Fault
    times: int | None


@dataclass
class StoreGate:
    """Forwards HTTP with its `Host`, so that signatures hold.

    Each answer comes after *delay_seconds*.
    """

    target: str
    session: aiohttp.ClientSession
    endpoint: str = ""
    delay_seconds: float = 0.0
    _rules: list[_Rule] = field(default_factory=list)
    _met: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _open: asyncio.Event = field(default_factory=asyncio.Event)

    def on(
        self, method: str, part: str, fault: Fault, *, times: int | None = None
    ) -> None:
        """Make requests whose path has *part* meet *fault*, *times* times if given."""
        self._open.clear()
        self._rules.append(_Rule(method, part, fault, times))

    def heal(self) -> None:
        """Pass everything, held requests included."""
        self._rules.clear()
        self._open.set()

    async def until_met(self, count: int = 1) -> None:
        """Return once *count* requests have met a fault; a held reply has arrived."""
        async with asyncio.timeout(15), self._changed:
            await self._changed.wait_for(lambda: self._met >= count)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        body = await request.content.read()
        await asyncio.sleep(self.delay_seconds)
        match fault := self._fault_for(request):
            case Fault.FULL:
                await self._note()
                return web.Response(status=507, body=_FULL)
            case Fault.HOLD:
                await self._note()
                await self._open.wait()
        reply, data = await self._forward(request, body)
        if fault in {Fault.TRUNCATE, Fault.RESET, Fault.STALL}:
            return await self._send_half(request, reply, data, fault)
        if fault in {Fault.HOLD_REPLY, Fault.LOSE_REPLY}:
            await self._note()
        if fault is Fault.HOLD_REPLY:
            await self._open.wait()
        if fault is Fault.LOSE_REPLY:
            _reset(request)
        return web.Response(status=reply.status, headers=_end_to_end(reply), body=data)

    def _fault_for(self, request: web.BaseRequest) -> Fault | None:
        for rule in self._rules:
            if rule.method != request.method or rule.part not in request.raw_path:
                continue
            if rule.times is not None:
                rule.times -= 1
                if not rule.times:
                    self._rules.remove(rule)
            return rule.fault
        return None

    async def _forward(
        self, request: web.BaseRequest, body: bytes
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _HOP_BY_HOP
        }
        async with self.session.request(
            request.method,
            URL(self.target + request.raw_path, encoded=True),
            headers=headers,
            # As a file, because aiohttp sends one in portions.
            data=io.BytesIO(body) if body else None,
            allow_redirects=False,
            skip_auto_headers={"Accept", "Accept-Encoding", "User-Agent"},
        ) as reply:
            return reply, await reply.read()

    async def _send_half(
        self,
        request: web.BaseRequest,
        reply: aiohttp.ClientResponse,
        data: bytes,
        fault: Fault,
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=reply.status, headers=_end_to_end(reply))
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        await self._note()
        if fault is Fault.STALL:
            await self._open.wait()
        if fault is Fault.RESET:
            _reset(request)
        elif request.transport is not None:
            request.transport.close()
        return response

    async def _note(self) -> None:
        async with self._changed:
            self._met += 1
            self._changed.notify_all()


def _end_to_end(reply: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the headers of a reply that are not about the connection."""
    return {
        name: value
        for name, value in reply.headers.items()
        if name.lower() not in _HOP_BY_HOP
    }


def _reset(request: web.BaseRequest) -> None:
    """Make the kernel send RST rather than FIN."""
    if request.transport is not None:
        linger = struct.pack("ii", 1, 0)
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        request.transport.abort()


@asynccontextmanager
async def store_gate(target: str) -> AsyncIterator[StoreGate]:
    """Forward to the object store at *target* while the context is open."""
    async with aiohttp.ClientSession(
        auto_decompress=False,
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
    ) as session:
        gate = StoreGate(target, session)
        server = web.Server(gate.serve, handler_cancellation=True)
        runner = web.ServerRunner(server, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            gate.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield gate
        finally:
            gate.heal()
            await runner.cleanup()
