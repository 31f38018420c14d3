"""The replicas that benchmarks measure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import aiohttp

from benchmarks.machine import Cores
from benchmarks.stage import Source, Stage
from tests.fake_provider import FakeProvider

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import RedisServer, S3Server

OTHER = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Other(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("X-Cores", json.dumps(sorted(os.sched_getaffinity(0))))
        self.end_headers()

server = HTTPServer(("127.0.0.1", 0), Other)
print(json.dumps({"event": "listening", "port": server.server_port}), flush=True)
server.serve_forever()
"""


async def test_another_commit_is_measured_in_its_own_tree(
    tmp_path: Path, redis_server: RedisServer, s3_server: S3Server
) -> None:
    """A replica of another source runs that source, on the core that it is given."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text(OTHER)
    core = frozenset({max(os.sched_getaffinity(0))})
    stage = Stage(
        folder=tmp_path,
        redis=redis_server,
        store=s3_server,
        provider=FakeProvider(),
        provider_url="http://127.0.0.1:1",
        cores=Cores(core, core),
        sources=(),
    )

    async with (
        stage.service(Source("other", tmp_path)) as other,
        aiohttp.ClientSession() as session,
        session.get(other.url) as answer,
    ):
        assert answer.headers["X-Cores"] == str(list(core))
