"""nginx with `proxy_cache` in front of MinIO: no counting, no keys, no prompts."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from yarl import URL

from benchmarks.machine import kept_on
from tests.servers import ChildProcess, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.stage import Picture, Stage

_CONFIGURATION = """\
daemon off;
user {user};
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache keys_zone=pictures:10m;
  sendfile on;
  keepalive_requests 100000000;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      # By a variable, so that nothing of the request is put behind it.
      set $signed "{signed}";
      proxy_pass $signed;
      proxy_set_header Host {host};
      proxy_cache pictures;
      proxy_cache_key $request_uri;
      proxy_cache_valid 200 1h;
      # MinIO says Vary: clients that ask in other words would all miss.
      proxy_ignore_headers Vary Set-Cookie Cache-Control Expires;
      add_header X-Cache-Status $upstream_cache_status;
    }}
  }}
}}
"""


@asynccontextmanager
async def nginx(stage: Stage, picture: Picture) -> AsyncIterator[str | None]:
    """Run nginx with *picture* in its cache; yield its origin, None without nginx."""
    program = shutil.which("nginx")
    if program is None:
        yield None
        return
    folder, port = stage.new_folder(), free_port()
    signed = await _signed(stage, picture.key)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            folder=folder,
            port=port,
            signed=signed,
            host=URL(stage.store.endpoint).authority,
            user=folder.owner(),
        )
    )
    with kept_on(stage.cores.server):
        process = ChildProcess(
            [program, "-p", str(folder), "-c", str(configuration)],
            log=folder / "nginx.log",
        )
    try:
        origin = f"http://127.0.0.1:{port}"
        await _until_cached(origin, picture)
        yield origin
    finally:
        process.stop()


async def _signed(stage: Stage, key: str) -> str:
    opening = get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=stage.store.endpoint,
        aws_access_key_id=stage.store.access_key,
        aws_secret_access_key=stage.store.secret_key,
        config=AioConfig(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    async with opening as client:
        signed: str = await client.generate_presigned_url(
            "get_object", Params={"Bucket": stage.bucket, "Key": key}
        )
    return signed


async def _until_cached(origin: str, picture: Picture) -> None:
    retry = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=retry) as session:
        status = None
        while status != "HIT":
            try:
                url = URL(origin + picture.target, encoded=True)
                async with session.get(url) as answer:
                    answer.raise_for_status()
                    status = answer.headers["X-Cache-Status"]
                    assert await answer.read() == picture.data
            except aiohttp.ClientConnectorError:
                continue
