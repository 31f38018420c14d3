"""For callers of the service: lend a picture an address for a while.

This is a client of the service's own HTTP, and runs in the caller's process.
"""

from __future__ import annotations

import asyncio
import io
import logging
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import aiohttp

from app import urls
from app.errors import UnsupportedImage
from app.image import sniff
from app.transient_images.threshold import bytes_of, is_http_url

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from yarl import URL

logger = logging.getLogger(__name__)

_UPLOAD_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10)
_DELETE_TIMEOUT = aiohttp.ClientTimeout(total=10)
_DELETE_ATTEMPTS = 3
_BETWEEN_ATTEMPTS_SECONDS = 0.5
# An upload that its caller gave up is waited for, to be deleted.
_LAST_WAIT_SECONDS = 5.0


class UploadFailed(Exception):
    """The service did not take or delete a picture; *code* is its problem code.

    *status* is 0 and *code* is `unreachable` where there was no answer, and
    `unknown` where it was no problem document.
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{code} ({status}): {detail}")
        self.status = status
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class LentImage:
    """A picture that has an address until it is deleted.

    Where *reachable* is false an outside provider can't fetch it: send a data
    URI instead.
    """

    id: str
    url: str
    reachable: bool


def upload_image_for_url(
    image: bytes | str,
    *,
    service: str | URL,
    api_key: str | None = None,
    ttl: float | timedelta | None = None,
    project: str | None = None,
) -> Upload:
    """Lend *image* (bytes or a data URL) an address at the *service*'s base URL.

    Await it for a `LentImage`; the caller deletes it, or gives a *ttl* in whole
    seconds. As an async context manager it is deleted on exit, also after an
    error or a cancellation. *project* names the project of an admin key. Raises
    `UploadFailed`, `UnsupportedImage` for bytes that are no accepted picture,
    and `ValueError` for anything that is no picture, also an http(s) URL: it
    has an address already.
    """
    if isinstance(image, str) and is_http_url(image):
        raise ValueError("an http(s) URL needs no upload")
    data = bytes_of(image)
    media_type = sniff(data)
    if media_type is None:
        raise UnsupportedImage("The bytes are no PNG, JPEG, WebP, GIF or AVIF.")
    headers = {"Content-Type": media_type}
    if api_key is not None:
        headers["X-API-Key"] = api_key
    if project is not None:
        headers["X-Project"] = project
    return Upload(f"{service}".rstrip("/"), data, headers, _whole_seconds(ttl))


class Upload:
    """An upload to come: awaitable, and an async context manager."""

    def __init__(
        self, service: str, data: bytes, headers: dict[str, str], ttl: int | None
    ) -> None:
        self._address = f"{service}{urls.TRANSIENT_IMAGES}"
        self._data = data
        self._headers = headers
        self._query = {} if ttl is None else {"ttl": str(ttl)}
        self._lent: LentImage | None = None

    def __await__(self) -> Generator[Any, None, LentImage]:
        return self._upload().__await__()

    async def __aenter__(self) -> LentImage:
        upload = asyncio.create_task(self._upload(), name="transient-upload")
        try:
            self._lent = await asyncio.shield(upload)
        except asyncio.CancelledError:
            # The service may have the whole picture already.
            await asyncio.wait([upload], timeout=_LAST_WAIT_SECONDS)
            if upload.done() and not upload.cancelled() and not upload.exception():
                await self._delete(upload.result())
            upload.cancel()
            raise
        return self._lent

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._lent is None:
            return
        deletion = asyncio.create_task(
            self._delete(self._lent), name="transient-delete"
        )
        try:
            await asyncio.shield(deletion)
        except asyncio.CancelledError:
            await asyncio.wait([deletion])
            raise

    async def _upload(self) -> LentImage:
        answer = await self._request(
            "POST",
            self._address,
            timeout=_UPLOAD_TIMEOUT,
            # aiohttp warns of large bytes as they are.
            data=io.BytesIO(self._data),
            params=self._query,
        )
        return LentImage(answer["id"], answer["url"], answer["reachable"])

    async def _delete(self, lent: LentImage) -> None:
        """Delete what was lent; a failure is logged, since the work is done."""
        for attempt in range(1, _DELETE_ATTEMPTS + 1):
            try:
                await self._request(
                    "DELETE", f"{self._address}/{lent.id}", timeout=_DELETE_TIMEOUT
                )
            except UploadFailed as error:
                if attempt == _DELETE_ATTEMPTS:
                    logger.warning("transient image left", extra={"code": error.code})
                else:
                    await asyncio.sleep(_BETWEEN_ATTEMPTS_SECONDS)
            else:
                return

    async def _request(self, method: str, address: str, **options: Any) -> Any:
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers) as session,
                session.request(method, address, **options) as response,
            ):
                if response.ok:
                    return await response.json()
                raise await _failure(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UploadFailed(
                0, "unreachable", "The service gave no answer."
            ) from error


async def _failure(response: aiohttp.ClientResponse) -> UploadFailed:
    try:
        problem = await response.json(content_type="application/problem+json")
        return UploadFailed(response.status, problem["code"], problem["detail"])
    except (aiohttp.ContentTypeError, ValueError, KeyError, TypeError):
        phrase = response.reason or HTTPStatus(response.status).phrase
        return UploadFailed(response.status, "unknown", phrase)


def _whole_seconds(ttl: float | timedelta | None) -> int | None:
    if ttl is None:
        return None
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if seconds != int(seconds) or seconds < 1:
        raise ValueError("ttl must be a whole number of seconds, at least 1")
    return int(seconds)
