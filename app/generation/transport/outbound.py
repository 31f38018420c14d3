"""Outbound HTTP as every vendor's adapter needs it: asked once, bounded, distrustful.

Deadlines belong to the caller, who cancels; only connecting is timed here.
What a provider sends is input from a stranger: every read has a cap, and JSON
of another shape than expected is an absent value, never an exception.
"""

from __future__ import annotations

import asyncio
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from app.errors import BadImage, ProviderFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.abc import AbstractResolver
    from yarl import URL

CONNECT_TIMEOUT_SECONDS = 10.0

_CHUNK_BYTES = 65_536
# An error's envelope is a few hundred bytes; beyond this it is some page.
_ERROR_BODY_BYTES = 65_536
# Base64 has no commas: a large answer is one long text, while ten million empty
# tables in as many bytes would be half a gigabyte of objects.
_MAX_VALUES = 100_000
# Below it decoding takes about two milliseconds, less than a thread is worth.
_DECODE_INLINE_BYTES = 1_000_000
# `a2b_base64` holds the interpreter lock, so that a thread alone would still
# stop the loop for 28 ms (16 MiB); in slices of this size it is 5 ms.
_DECODE_SLICE = 262_144

# Raised before a byte of the request has left, so nothing was asked.
_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)


class AnswerTooLarge(Exception):
    """More bytes than the caller allows for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider answered, whatever the status; *headers* ignore case.

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


async def post(
    session: aiohttp.ClientSession,
    url: URL,
    *,
    headers: Mapping[str, str],
    limit_bytes: int,
    json: object = None,
    data: aiohttp.FormData | None = None,
) -> Answer:
    """Ask once and return the answer, of at most *limit_bytes* if it is a success.

    The request is never sent again: aiohttp repeats only idempotent methods,
    and redirects are not followed. Raises `ProviderFailed`, which may have
    been billed unless the connection was never made, or `BadImage` for an
    answer that is too large.
    """
    try:
        async with session.post(
            url, headers=headers, json=json, data=data, allow_redirects=False
        ) as response:
            return Answer(
                response.status,
                response.headers,
                await _read_answer(response, limit_bytes),
            )
    except AnswerTooLarge as error:
        raise BadImage("The image provider's answer is too large.") from error
    except _NOT_SENT as error:
        raise ProviderFailed("The image provider could not be reached.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ProviderFailed(
            "The connection to the image provider broke off.", maybe_billed=True
        ) from error


async def _read_answer(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    if response.status < 300:  # noqa: PLR2004 - the 2xx class, RFC 9110 15.3
        return await read_capped(response, limit_bytes)
    try:
        return await read_capped(response, _ERROR_BODY_BYTES)
    except (AnswerTooLarge, aiohttp.ClientError, OSError):
        # The status says enough: it is an error, and not a billed one.
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


def parse_json(body: bytes) -> Any:
    """Return what *body* says, or None where it is no JSON or has no end of values.

    orjson has a depth limit, so that nesting raises no RecursionError. It
    holds the interpreter lock: a thread would not spare the loop anything.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def pick(document: object, *path: str | int) -> Any:
    """Return what lies at *path* in parsed JSON, or None where nothing does."""
    for step in path:
        if isinstance(step, str) and isinstance(document, dict):
            document = document.get(step)
        elif isinstance(step, int) and isinstance(document, list):
            document = (
                document[step] if -len(document) <= step < len(document) else None
            )
        else:
            return None
    return document


async def decode_base64(text: object, *, limit_bytes: int) -> bytes:
    """Return the bytes of *text*, with or without `data:` prefix and line breaks.

    Raises `BadImage` for any other character, wrong padding, no bytes at all,
    more than *limit_bytes* of them, or something that is no text.
    """
    if not isinstance(text, str) or not text:
        raise BadImage("The image provider answered without a picture.")
    if len(text) > _DECODE_INLINE_BYTES:
        data = await asyncio.to_thread(_decode, text)
    else:
        data = _decode(text)
    if len(data) > limit_bytes:
        raise BadImage("The image provider's picture is too large.")
    return data


def _decode(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        encoded = "".join(text.split()).encode("ascii")
        # Padding ends the data, so that only the last slice may have any.
        if encoded.find(b"=", 0, len(encoded) - 2) >= 0:
            raise BadImage("The image provider's picture is not valid base64.")
        data = b"".join(
            binascii.a2b_base64(encoded[at : at + _DECODE_SLICE], strict_mode=True)
            for at in range(0, len(encoded), _DECODE_SLICE)
        )
    except ValueError as error:
        raise BadImage("The image provider's picture is not valid base64.") from error
    if not data:
        raise BadImage("The image provider answered without a picture.")
    return data
