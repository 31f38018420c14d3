"""For callers of the service: lend a picture an address for a while.

This is a client of the service's own HTTP, and runs in the caller's process.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from app.client import LentImage, Paintonce, PaintonceError
from app.errors import UnsupportedImage
from app.image import sniff
from app.transient_images.threshold import bytes_of, is_http_url

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType

    from yarl import URL

_TRIES = 3
_TIMEOUT_SECONDS = 60.0


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
    if sniff(data) is None:
        raise UnsupportedImage("The bytes are no PNG, JPEG, WebP, GIF or AVIF.")
    paintonce = Paintonce(
        str(service), api_key, project, tries=_TRIES, timeout_seconds=_TIMEOUT_SECONDS
    )
    return Upload(paintonce, data, _whole_seconds(ttl))


class Upload:
    """An upload to come: awaitable, and an async context manager."""

    def __init__(self, paintonce: Paintonce, data: bytes, ttl: int | None) -> None:
        self._paintonce = paintonce
        self._data = data
        self._ttl = ttl
        self._lending = AsyncExitStack()

    def __await__(self) -> Generator[Any, None, LentImage]:
        return self._upload().__await__()

    async def __aenter__(self) -> LentImage:
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(self._paintonce)
            with _translated():
                lent = await opened.enter_async_context(
                    self._paintonce.lend(self._data, self._ttl)
                )
            self._lending = opened.pop_all()
        return lent

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._lending.__aexit__(kind, error, traceback)

    async def _upload(self) -> LentImage:
        async with self._paintonce:
            with _translated():
                return await self._paintonce.upload(self._data, self._ttl)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PaintonceError as error:
        code = error.code if error.status else "unreachable"
        raise UploadFailed(error.status or 0, code, error.detail) from error


def _whole_seconds(ttl: float | timedelta | None) -> int | None:
    if ttl is None:
        return None
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if seconds != int(seconds) or seconds < 1:
        raise ValueError("ttl must be a whole number of seconds, at least 1")
    return int(seconds)
