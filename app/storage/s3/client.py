"""The setup of botocore, because its defaults wait for minutes.

Endpoint, region, credentials, certificates and proxies are its own: from
`AWS_ENDPOINT_URL_S3`, `AWS_ACCESS_KEY_ID`, ... or its configuration files.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from aiobotocore.config import AioConfig
from botocore.handlers import add_expect_header
from botocore.utils import get_environ_proxies

if TYPE_CHECKING:
    from aiobotocore.credentials import AioCredentials
    from aiobotocore.session import AioSession

DEFAULT_REGION = "us-east-1"

# More than both kinds of slots together, so that no call waits for a
# connection: waiting for one has no time-out in aiobotocore.
MAX_CONNECTIONS = 320
KEEP_ALIVE_SECONDS = 20.0
_READ_BUFFER_BYTES = 65_536

# Half of what a write may take: one that may be repeated is.
ANSWER_TIMEOUT_SECONDS = 5.0


def _config(read_timeout_seconds: float) -> AioConfig:
    return AioConfig(
        # The default signs URLs for custom endpoints with Signature Version 2.
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        connect_timeout=read_timeout_seconds / 5,
        read_timeout=read_timeout_seconds,
        max_pool_connections=MAX_CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": 2},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        parameter_validation=False,
        warm_up_loader_caches=True,
        connector_args={"keepalive_timeout": KEEP_ALIVE_SECONDS},
    )


@asynccontextmanager
async def open_client(
    session: AioSession, read_timeout_seconds: float = ANSWER_TIMEOUT_SECONDS
) -> AsyncIterator[tuple[Any, AioCredentials | None]]:
    """Open the one client that all tasks share, and give its credentials.

    Nothing is asked yet. An answer that says nothing for *read_timeout_seconds* is
    given up, and a connection that is not made within a fifth of that.

    Raises `ValueError` for an endpoint that is no URL.
    """
    region = (
        os.environ.get("AWS_DEFAULT_REGION")
        # What other SDKs read, and botocore does not.
        or os.environ.get("AWS_REGION")
        or session.get_config_variable("region")
        or DEFAULT_REGION
    )
    config = _config(read_timeout_seconds)
    opening = session.create_client("s3", region_name=region, config=config)
    async with opening as client:
        # A store that withholds `100 Continue` would hold a PUT for ever.
        client.meta.events.unregister("before-call.s3", add_expect_header)
        client.meta.events.register_first("needs-retry.s3.PutObject", _send_once)
        client.meta.events.register("before-call.s3", _stay_in_region)
        yield client, await session.get_credentials()


def _send_once(*, request_dict: dict[str, Any], **_: object) -> bool | None:
    """Forbid botocore to repeat a conditional write; None leaves it the decision."""
    conditional = {"If-Match", "If-None-Match"} & set(request_dict["headers"])
    return False if conditional else None


def _stay_in_region(*, context: dict[str, Any], **_: object) -> None:
    """Keep botocore from looking for a bucket that is in another region.

    It does so by a HEAD that it redirects in the same way: a server that
    always redirects would have it recurse until the stack is full.
    """
    context["s3_redirect"]["redirected"] = True


def goes_through_a_proxy(client: Any) -> bool:
    """Return whether botocore reaches the endpoint of *client* through a proxy."""
    return bool(get_environ_proxies(client.meta.endpoint_url))


def open_http(session: AioSession) -> aiohttp.ClientSession:
    """Return the session that streams signed URLs, to be used as a context manager.

    Its callers bound the number of requests and every wait. The environment
    is not trusted: a password from `.netrc` would spoil the signature.
    """
    bundle = session.get_config_variable("ca_bundle")
    return aiohttp.ClientSession(
        auto_decompress=False,
        connector=aiohttp.TCPConnector(
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            limit=0,
            ssl=ssl.create_default_context(cafile=bundle) if bundle else True,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": "Paintonce"},
        read_bufsize=_READ_BUFFER_BYTES,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        trust_env=False,
    )
