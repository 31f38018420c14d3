"""A proxy before an S3 server that changes what conditional writes do."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers.object_store import S3Server

_CONDITIONS = ("If-None-Match", "If-Match")
_HOP_BY_HOP = {"Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length"}
_RACE_SECONDS = 0.05
_MAX_BODY_BYTES = 64 * 1024 * 1024
_REFUSAL = (
    "<Error><Code>NotImplemented</Code><Message>A header you provided implies "
    "functionality that is not implemented.</Message></Error>"
)


@dataclass
class ConditionsProxy:
    """The proxy; *behaviour* may be changed while it runs.

    `pass` forwards everything. `strip` removes the conditions and signs again. `refuse`
    answers 501 to them. `race` checks whether the key is free and writes a moment
    later. *seen* counts the conditional writes by key.
    """

    server: S3Server
    session: aiohttp.ClientSession
    behaviour: str = "pass"
    url: str = ""
    seen: Counter[str] = field(default_factory=Counter)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request as the server does, or as *behaviour* says."""
        body = await request.read()
        condition = next((one for one in _CONDITIONS if one in request.headers), None)
        if request.method != "PUT" or condition is None:
            return await self._forward(request, body, dict(request.headers))
        self.seen[request.path] += 1
        if self.behaviour == "refuse":
            return web.Response(
                status=501, text=_REFUSAL, content_type="application/xml"
            )
        if self.behaviour == "race" and not await self._is_free(request):
            return web.Response(
                status=412,
                text="<Error><Code>PreconditionFailed</Code></Error>",
                content_type="application/xml",
            )
        if self.behaviour != "pass":
            return await self._forward(request, body, self._signed_anew(request, body))
        return await self._forward(request, body, dict(request.headers))

    def environment(self) -> dict[str, str]:
        """Return the environment variables for botocore."""
        return self.server.environment() | {"AWS_ENDPOINT_URL_S3": self.url}

    async def _is_free(self, request: web.Request) -> bool:
        look = self._headers("HEAD", request, b"", {"Host": request.host})
        async with self.session.head(self._upstream(request), headers=look) as answer:
            is_free = answer.status == 404
        await asyncio.sleep(_RACE_SECONDS)
        return is_free

    def _signed_anew(self, request: web.Request, body: bytes) -> dict[str, str]:
        kept = {
            name: value
            for name, value in request.headers.items()
            if name not in _CONDITIONS
            and name.lower() not in {"authorization", "x-amz-date"}
        }
        return self._headers("PUT", request, body, kept)

    def _headers(
        self, method: str, request: web.Request, body: bytes, headers: dict[str, str]
    ) -> dict[str, str]:
        url = f"http://{request.host}{request.rel_url}"
        signed = AWSRequest(method, url, headers, body)
        keys = Credentials(self.server.access_key, self.server.secret_key)
        S3SigV4Auth(keys, "s3", "us-east-1").add_auth(signed)
        return dict(signed.headers.items())

    def _upstream(self, request: web.Request) -> URL:
        return URL(f"{self.server.endpoint}{request.rel_url}", encoded=True)

    async def _forward(
        self, request: web.Request, body: bytes, headers: dict[str, str]
    ) -> web.StreamResponse:
        async with self.session.request(
            request.method,
            self._upstream(request),
            data=body or None,
            headers=headers,
            allow_redirects=False,
        ) as answer:
            kept = {k: v for k, v in answer.headers.items() if k not in _HOP_BY_HOP}
            if request.method == "HEAD":
                kept["Content-Length"] = answer.headers.get("Content-Length", "0")
            return web.Response(
                status=answer.status, headers=kept, body=await answer.read()
            )


@asynccontextmanager
async def conditions_proxy(
    server: S3Server, behaviour: str = "pass"
) -> AsyncIterator[ConditionsProxy]:
    """Run a proxy before *server* in this event loop."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        proxy = ConditionsProxy(server, session, behaviour)
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            proxy.url = f"http://127.0.0.1:{port}"
            yield proxy
        finally:
            await runner.cleanup()
