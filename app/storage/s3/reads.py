"""Two ways to GET an object: a signed URL, or botocore's own call.

botocore builds, signs and parses anew for every call, which costs ten times
what sending it does. So a URL is signed once and streamed by plain aiohttp.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError
from cachetools import TTLCache
from yarl import URL

from app.storage.s3.translated_errors import Refused, code_of
from app.storage.s3.url_signer import VALID_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import aiohttp

    from app.storage.ports.object_store import ByteRange
    from app.storage.s3.url_signer import UrlSigner

# Temporary credentials are renewed ten minutes before their end at the latest,
# so a URL that is dropped after ten minutes never outlives the ones it has.
_URL_KEPT_SECONDS = VALID_SECONDS / 2
# A signed URL is about half a kilobyte.
_URLS_KEPT = 8192

_SUCCESSES = frozenset({200, 206})
_FORBIDDEN = 403
# The whole error is some 300 bytes; beyond this it is some proxy's page.
_ERROR_BYTES = 16_384
_CODE = re.compile(rb"<Code>(\w{1,64})</Code>")
_METADATA = "x-amz-meta-"
_UNKNOWN_TYPE = "application/octet-stream"
# Without it a body that was cut short looks whole.
_NO_LENGTH = "MissingContentLength"


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """A GET that succeeded, before its body.

    *read* gives the next bytes of it, at most as many as it is asked for.
    `close` hands the connection back if the body has been read, and cuts it
    otherwise.
    """

    size: int
    media_type: str
    metadata: Mapping[str, str]
    etag: str
    read: Callable[[int], Awaitable[bytes]]
    close: Callable[[], None]


class Reads(Protocol):
    """A way to GET an object."""

    async def get(self, key: str, byte_range: ByteRange | None) -> StoreAnswer:
        """Ask for *key*; raises `Refused` with S3's code, or what the network does."""
        ...


class SignedReads:
    """GETs by URLs that are signed once."""

    def __init__(self, signer: UrlSigner, http: aiohttp.ClientSession) -> None:
        self._signer = signer
        self._http = http
        self._urls: TTLCache[str, URL] = TTLCache(_URLS_KEPT, _URL_KEPT_SECONDS)

    async def get(self, key: str, byte_range: ByteRange | None) -> StoreAnswer:
        """Ask for *key*; the signature does not cover the range."""
        # A redirect is an answer: it would be another host's, unsigned.
        response = await self._http.get(
            await self._url(key), headers=_range(byte_range), allow_redirects=False
        )
        size = response.content_length
        if response.status in _SUCCESSES and size is not None:
            return _answer(response, size)
        try:
            code = await self._code(response, key)
        finally:
            response.close()
        raise Refused(code)

    async def _url(self, key: str) -> URL:
        url = self._urls.get(key)
        if url is None:
            signed = await self._signer.url(key)
            url = self._urls[key] = URL(signed, encoded=True)
        return url

    async def _code(self, response: aiohttp.ClientResponse, key: str) -> str:
        if response.status in _SUCCESSES:
            return _NO_LENGTH
        if response.status == _FORBIDDEN:
            # Perhaps the credentials were exchanged: sign anew the next time.
            self._urls.pop(key, None)
        body = b""
        while len(body) < _ERROR_BYTES and (more := await response.content.readany()):
            body += more
        code = _CODE.search(body)
        return code[1].decode() if code else str(response.status)


class PlainReads:
    """GETs by botocore: the reference, and the way through a proxy."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def get(self, key: str, byte_range: ByteRange | None) -> StoreAnswer:
        """Ask for *key*."""
        try:
            answer = await self._client.get_object(
                Bucket=self._bucket, Key=key, **_range(byte_range)
            )
        except ClientError as error:
            raise Refused(code_of(error)) from error
        body = answer["Body"]
        if "ContentLength" not in answer:
            body.close()
            raise Refused(_NO_LENGTH)
        return StoreAnswer(
            answer["ContentLength"],
            answer.get("ContentType", _UNKNOWN_TYPE),
            answer["Metadata"],
            answer.get("ETag", ""),
            body.read,
            body.close,
        )


def _answer(response: aiohttp.ClientResponse, size: int) -> StoreAnswer:
    metadata = {
        name[len(_METADATA) :].lower(): value
        for name, value in response.headers.items()
        if name.lower().startswith(_METADATA)
    }
    return StoreAnswer(
        size,
        response.headers.get("Content-Type", _UNKNOWN_TYPE),
        metadata,
        response.headers.get("ETag", ""),
        response.content.read,
        response.close,
    )


def _range(byte_range: ByteRange | None) -> dict[str, str]:
    if byte_range is None:
        return {}
    return {"Range": f"bytes={byte_range.first}-{byte_range.last}"}
