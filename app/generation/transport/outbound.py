"""Outbound HTTP as every vendor's adapter needs it: asked once, bounded, distrustful.

Deadlines belong to the caller, who cancels; only connecting is timed here.
What a provider sends is input from a stranger: every read has a cap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from app.errors import BadImage, CallEnd, ProviderFailed
from app.generation.transport.call_ends import end_of_connection
from app.generation.transport.json_bodies import JsonBody

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.abc import AbstractResolver
    from yarl import URL

CONNECT_TIMEOUT_SECONDS = 10.0

_CHUNK_BYTES = 65_536
# An error's envelope is a few hundred bytes; beyond this it is some page.
_ERROR_BODY_BYTES = 65_536


class AnswerTooLarge(Exception):
    """More bytes than the caller allows for."""


@dataclass(frozen=True, slots=True)
class ProviderResponse:
    """The answer of a provider, whatever the status; *headers* ignore case.

    With a status of 300 or more *body* may be cut short or empty.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def open_outbound_session(
    *, resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:
    """Return a session for requests to providers, to be used as a context manager.

    It takes no proxy and no password from the environment, keeps no cookies
    and never reuses a connection: a request on one that the provider is just
    closing is lost, and a lost request may have been billed. A handshake is
    nothing beside a painting. Compression is declined because inflating would
    happen on the event loop.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=resolver, limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": "Paintonce"},
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_SECONDS),
        trust_env=False,
    )


async def ask(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    *,
    headers: Mapping[str, str],
    limit_bytes: int,
    json: object = None,
    data: aiohttp.FormData | None = None,
) -> ProviderResponse:
    """Ask once and return the answer, of at most *limit_bytes* if it is a success.

    The request is never sent again: aiohttp repeats only idempotent methods,
    and redirects are not followed. Raises `ProviderFailed`, whose end is
    ambiguous unless the connection was never made, or `BadImage` for an answer
    that is too large.
    """
    body = JsonBody(json) if json is not None else data
    try:
        async with session.request(
            method, url, headers=headers, data=body, allow_redirects=False
        ) as response:
            return ProviderResponse(
                response.status,
                response.headers,
                await _read_answer(response, limit_bytes),
            )
    except AnswerTooLarge as error:
        raise BadImage("The image provider's answer is too large.") from error
    except (aiohttp.ClientError, OSError) as error:
        end = end_of_connection(error)
        raise ProviderFailed(
            "The image provider could not be reached."
            if end is CallEnd.CERTAIN
            else "The connection to the image provider broke off.",
            end=end,
        ) from error


async def _read_answer(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    if response.status < 300:  # noqa: PLR2004 - the 2xx class, RFC 9110 15.3
        return await read_capped(response, limit_bytes)
    try:
        return await read_capped(response, _ERROR_BODY_BYTES)
    except (AnswerTooLarge, aiohttp.ClientError, OSError):
        # The status says enough: it is an error.
        return b""


async def read_capped(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """Return the whole body; raises `AnswerTooLarge` before it holds more.

    Both the declared length and the bytes that arrive (after decompression,
    which a provider may apply uninvited) are held to the limit.
    """
    if (response.content_length or 0) > limit_bytes:
        raise AnswerTooLarge
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > limit_bytes:
            raise AnswerTooLarge
    return bytes(body)
