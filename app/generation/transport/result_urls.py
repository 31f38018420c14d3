"""Result addresses: pictures that a provider's answer only points to.

The provider's answer chooses the address, so it is trusted with
nothing: not with our key, not with our network, not with our memory.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping

import aiohttp
from yarl import URL

from app.errors import BadImage, UnsupportedImage
from app.generation.transport.base64_pictures import decode_base64
from app.generation.transport.global_addresses import GlobalResolver
from app.generation.transport.outbound import (
    AnswerTooLarge,
    open_outbound_session,
    read_capped,
)
from app.generation.transport.polling import (
    TryAgain,
    refused_result,
    repeat,
    unavailable_result,
)
from app.generation.transport.retry_hints import retry_hint
from app.image import Image, sniff

# What is left of a URL when white space, controls and non-ASCII are refused;
# signed addresses of object stores have about 2000 characters.
_SPELLING = re.compile(r"[!-~]{1,8192}")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]")

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:-]{1,255}")

_HTTPS_PORT = 443
_LAST_PORT = 65_535

# An answer that names no length may have been cut: so often it is fetched anew.
_UNSURE_TRIES = 3


def is_result_host(text: object) -> bool:
    """Return whether *text* may be allowed: a name, `*.` and one, or an origin."""
    if not isinstance(text, str):
        return False
    return bool(_HOST.fullmatch(text.removeprefix("*."))) or _origin(text) is not None


def _origin(text: str) -> URL | None:
    """Return the origin that *text* is (`http://host:port`), if it is one."""
    if not _ORIGIN.fullmatch(text):
        return None
    try:
        url = URL(text, encoded=True)
        # yarl takes any number for a port.
        return url.origin() if url.port and url.port <= _LAST_PORT else None
    except ValueError:
        return None


def open_guarded_session() -> aiohttp.ClientSession:
    """Return a session that reaches hosts on the open internet only."""
    return open_outbound_session(resolver=GlobalResolver())


class ResultUrls:
    """Fetches pictures from the provider's own origin and from allowed hosts.

    The origin of *base_url*, and any origin among *hosts*, is the operator's
    choice and may be private and plain http; it is reached through *session*.
    Any other address must be https on port 443 at one of *hosts* (names, or
    `*.` and a name), and is reached through a guarded session.
    """

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        base_url: str,
        hosts: Collection[str],
        limit_bytes: int,
        open_session: Callable[[], aiohttp.ClientSession] = open_guarded_session,
    ) -> None:
        self._session = session
        self._base = URL(base_url.rstrip("/") + "/")
        self._names = [host for host in hosts if not _origin(host)]
        self._origins = {origin for host in hosts if (origin := _origin(host))}
        self._limit_bytes = limit_bytes
        self._open_session = open_session

    async def fetch(
        self, address: object, *, headers: Mapping[str, str], deadline: float
    ) -> bytes:
        """Return the bytes at *address*: absolute, relative to the base, or `data:`.

        *headers* (the key) go to the base's own origin only; redirects are not
        followed. What may pass is tried again until *deadline*. Raises
        `BadImage`, or `ProviderFailed` where the host is unavailable: the
        picture is paid for either way.
        """
        if isinstance(address, str) and address.startswith("data:"):
            return await decode_base64(address, limit_bytes=self._limit_bytes)
        url = self._check(address)
        if url.origin() == self._base.origin():
            return await self._get(self._session, url, headers, deadline)
        if url.origin() in self._origins:
            return await self._get(self._session, url, {}, deadline)
        async with self._open_session() as guarded:
            return await self._get(guarded, url, {}, deadline)

    def _check(self, address: object) -> URL:
        if not isinstance(address, str) or not _SPELLING.fullmatch(address):
            raise BadImage("The image provider's result address is broken.")
        try:
            # Already encoded: requoting would break a signed address.
            url = self._base.join(URL(address, encoded=True))
            origin = url.origin()
        except ValueError as error:
            raise BadImage("The image provider's result address is broken.") from error
        if url.raw_user is None and url.raw_password is None:
            if origin == self._base.origin() or origin in self._origins:
                return url
            if origin.scheme == "https" and origin.port == _HTTPS_PORT:
                host = (origin.raw_host or "").lower()
                if self._is_allowed(host):
                    return url
        raise BadImage(
            "The image provider's result lies at a host that is not allowed."
        )

    def _is_allowed(self, host: str) -> bool:
        # A literal address is no host name, whatever the operator allowed.
        return bool(_HOST.fullmatch(host)) and any(
            host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern
            for pattern in self._names
        )

    async def _get(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        headers: Mapping[str, str],
        deadline: float,
    ) -> bytes:
        unsure = 0

        async def attempt() -> bytes:
            nonlocal unsure
            data, has_length = await self._get_once(session, url, headers)
            # Servers name the length of a picture that they have cut as well.
            is_doubtful = not has_length or sniff(data) is not None
            if is_doubtful and unsure < _UNSURE_TRIES:
                unsure += 1
                if not await asyncio.to_thread(_is_whole, data):
                    raise TryAgain(unavailable_result())
            return data

        return await repeat(attempt, deadline, stalled=unavailable_result)

    async def _get_once(
        self, session: aiohttp.ClientSession, url: URL, headers: Mapping[str, str]
    ) -> tuple[bytes, bool]:
        """Return the body, and whether its length was named and is right."""
        try:
            async with session.get(
                url, headers=headers, allow_redirects=False
            ) as response:
                if response.status != 200:  # noqa: PLR2004 - RFC 9110 15.3.1
                    hint = retry_hint(response.headers)
                    pause_seconds = hint.total_seconds() if hint else 0.0
                    raise refused_result(response.status, pause_seconds=pause_seconds)
                data = await read_capped(response, self._limit_bytes)
                return data, response.content_length is not None
        except AnswerTooLarge as error:
            raise BadImage("The image provider's picture is too large.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise TryAgain(unavailable_result()) from error


def _is_whole(data: bytes) -> bool:
    try:
        Image.inspect(data)
    except UnsupportedImage:
        return False
    return True
