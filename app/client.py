"""A client of the service: asynchronous and typed.

It needs aiohttp and `app/signing.py`, which needs nothing. Where the service
itself is not installed, copy both files and adapt the one import.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from http import HTTPStatus
from itertools import islice
from re import fullmatch
from types import TracebackType
from typing import Any, NamedTuple, Self, TypedDict, Unpack

import aiohttp

from app.signing import LIVE_PATH, sign_url

logger = logging.getLogger(__name__)

ENTRIES = "/api/v1/live/entries"
STATISTICS = "/api/v1/live/stats"
TRANSIENT_IMAGES = "/api/images"

# A problem's code, and what HEAD, which has no body, says instead.
NOT_PAINTED = "not_found"
UNKNOWN = "unknown"

# A connection that is not accepted is given up; how long an answer may take is
# the service's to say, and bounded by the client's whole time.
CONNECT_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.5
# An upload that its caller gave up is waited for, to be deleted.
LAST_WAIT_SECONDS = 5.0
ENTRIES_AT_ONCE = 200

# To these "not now" is the answer, and nothing has been done.
_LATER = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class Parameters(TypedDict, total=False):
    """The parameters of live generation beside the prompt: docs/reference/api.md."""

    model: str
    aspect_ratio: str
    width: int
    height: int
    seed: int
    variant: int
    quality: str
    background: str
    moderation: str
    style: str
    negative_prompt: str
    w: int
    format: str
    q: int
    references: list[str]


class Statistics(TypedDict):
    """The sums of a project's cache; money is in the operator's currency."""

    project: str
    entries: int
    hits: int
    misses: int
    hit_rate: float
    coalesced: int
    failures: int
    bytes_stored: int
    generation_seconds: float
    spend: float
    saved: float
    last_accessed_at: str | None


class Provenance(TypedDict):
    """The origin that a picture declares."""

    c2pa: bool
    c2pa_lost: bool
    digital_source_type: str | None
    marked: bool


class Entry(TypedDict):
    """A painted prompt as the service lists it; times are RFC 3339."""

    prompt_hash: str
    prompt: str
    model: str
    parameters: dict[str, Any]
    price: float
    hits: int
    last_accessed_at: str | None
    created_at: str
    image_id: str
    storage_key: str
    content_type: str
    size: int
    width: int
    height: int
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Picture:
    """A whole picture. *status* is `HIT` or `MISS`; *permalink* is a path.

    *hits* counts this one, and is None on a MISS and while Redis is unavailable.
    """

    prompt: str
    data: bytes = field(repr=False)
    content_type: str
    status: str
    hits: int | None
    image_id: str
    prompt_hash: str
    permalink: str
    model: str


@dataclass(frozen=True, slots=True)
class LentImage:
    """A picture that has an address until it is deleted.

    Where *reachable* is false an outside provider can't fetch it: send a data
    URI instead.
    """

    id: str
    url: str
    reachable: bool


class PaintonceError(Exception):
    """The service did not do what it was asked for; *code* is its problem's.

    *status* is None where there was no whole answer: *code* is `unreachable`,
    `timed_out` or `damaged` then. What is no problem document is `unknown`.
    *retry_after* is in seconds; *prompt* is the one that was asked for.
    """

    def __init__(
        self,
        status: int | None,
        code: str,
        detail: str,
        request_id: str | None = None,
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{code} ({status or 'no answer'}): {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.retry_after = retry_after
        self.prompt: str | None = None


class _Request(NamedTuple):
    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: bytes | None = None
    body_type: str = ""

    @property
    def survives_cuts(self) -> bool:
        """Whether it is harmless if it was done already.

        A purge is not: what was painted and paid since would go, too.
        """
        is_take_back = self.path.startswith(f"{TRANSIENT_IMAGES}/")
        return self.method in {"GET", "HEAD"} or is_take_back


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    data: bytes


class Paintonce:
    """The service at *url*, for the project of *api_key*, or for *project*.

    An asynchronous context manager. Every method raises `PaintonceError`. "Not
    now" (429, 503) is asked again after its `Retry-After`, and so is a GET
    whose connection was cut, at most *tries* times and *timeout_seconds* in
    all; a refresh costs money and is never repeated. Redirects are not
    followed, so the key goes to no other host.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        project: str | None = None,
        *,
        tries: int = 5,
        timeout_seconds: float = 300.0,
        final_codes: Collection[str] = (),
    ) -> None:
        if not fullmatch(r"https?://[^/?#\s]+[^?#\s]*", url):
            raise ValueError("url must be the http(s) address of a service")
        if tries < 1:
            raise ValueError("tries must be at least 1")
        self._url = url.rstrip("/")
        self._project = project
        named = {"X-API-Key": api_key, "X-Project": project}
        self._headers = {name: value for name, value in named.items() if value}
        self._tries = tries
        self._timeout_seconds = timeout_seconds
        self._final_codes = final_codes
        self._running: set[asyncio.Task[Picture | PaintonceError]] = set()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # Of compressed bytes the length and the digest could not be compared.
            headers={"Accept-Encoding": "identity", **self._headers},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            middlewares=(_once,),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await _cancelled(self._running)
        await self._session.close()

    async def generate(self, prompt: str, **parameters: Unpack[Parameters]) -> Picture:
        """Return the picture of *prompt*; it is painted, and paid, if it is new.

        The bytes are whole: their length, and their digest where the `ETag` is
        one, have been compared.
        """
        try:
            return _picture(prompt, await self._ask(_live(prompt, parameters)))
        except PaintonceError as error:
            error.prompt = prompt
            raise

    async def generate_many(
        self, prompts: Iterable[str | tuple[str, Parameters]], concurrency: int = 4
    ) -> AsyncGenerator[Picture | PaintonceError, None]:
        """Yield each prompt's picture, or why there is none, as they are ready.

        A prompt may be a pair of it and its parameters. At most *concurrency*
        are asked for at once, and as many wait to be taken; *prompts* are drawn
        as needed. Who leaves early cancels what is still asked for.
        """
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        waiting = iter(prompts)
        ready: asyncio.Queue[asyncio.Task[Picture | PaintonceError]] = asyncio.Queue()
        running: set[asyncio.Task[Picture | PaintonceError]] = set()

        def start(most: int) -> None:
            for each in islice(waiting, most):
                prompt, parameters = (each, {}) if isinstance(each, str) else each
                task = asyncio.create_task(self._outcome(prompt, parameters))
                task.add_done_callback(ready.put_nowait)
                running.add(task)
                self._running.add(task)

        try:
            start(concurrency)
            while running:
                task = await ready.get()
                running.discard(task)
                self._running.discard(task)
                start(1)
                yield task.result()
        finally:
            self._running -= running
            await _cancelled(running)

    async def is_painted(self, prompt: str, **parameters: Unpack[Parameters]) -> bool:
        """Return whether *prompt* is painted; it never pays, and counts as a hit.

        *parameters* have no references here: a question has no body.
        """
        if "references" in parameters:
            raise ValueError("references can't be asked about")
        try:
            await self._ask(_live(prompt, parameters)._replace(method="HEAD"))
        except PaintonceError as error:
            if error.code == NOT_PAINTED:
                return False
            error.prompt = prompt
            raise
        return True

    async def entry(self, prompt_hash: str) -> Entry:
        """Return the entry of one painted prompt."""
        entry: Entry = await self._json(_Request("GET", f"{ENTRIES}/{prompt_hash}"))
        return entry

    async def entries(self, sort: str = "recent") -> AsyncIterator[Entry]:
        """Yield every painted prompt, by last access or, with `hits`, by hits."""
        query = {"limit": str(ENTRIES_AT_ONCE), "sort": sort}
        while True:
            page = await self._json(_Request("GET", ENTRIES, query))
            for entry in page["entries"]:
                yield entry
            if page["cursor"] is None:
                return
            query["cursor"] = page["cursor"]

    async def stats(self) -> Statistics:
        """Return the project's statistics, exact within a second."""
        statistics: Statistics = await self._json(_Request("GET", STATISTICS))
        return statistics

    async def purge(self, prompt_hash: str) -> bool:
        """Remove a painted prompt, its picture and a remembered failure.

        Raises `PaintonceError` with status 404 where nothing was.
        """
        answer = await self._json(_Request("DELETE", f"{ENTRIES}/{prompt_hash}"))
        return bool(answer["deleted"])

    async def refresh(self, prompt_hash: str) -> Entry:
        """Paint again, and pay again, under the same hash; return the new entry.

        Never repeated: where it ends with 503 `still_generating`, `entry` tells
        later what came of it.
        """
        refresh = _Request("POST", f"{ENTRIES}/{prompt_hash}/refresh")
        entry: Entry = _document(await self._bounded(self._attempt(refresh)))
        return entry

    def sign(
        self,
        prompt: str,
        *,
        kid: str,
        secret: str,
        exp: int,
        project: str | None = None,
        **parameters: str | int,
    ) -> str:
        """Return an address that needs no key until *exp* (Unix seconds).

        *kid* and *secret* are a signing key's id and key, of *project* or else
        of the client's own. Nothing is asked of the service.
        """
        project = project or self._project
        if project is None:
            raise ValueError("a signed URL names its project")
        return sign_url(
            self._url,
            prompt,
            project=project,
            kid=kid,
            secret=secret,
            exp=exp,
            **parameters,
        )

    @asynccontextmanager
    async def lend(
        self, image: bytes | str, ttl: int | None = None
    ) -> AsyncIterator[LentImage]:
        """Lend *image* (bytes or a data URL) an address while the context is open.

        It is deleted on exit, also after an error or a cancellation; *ttl*, in
        seconds, is for callers that may die before.
        """
        upload = asyncio.create_task(self.upload(image, ttl), name="upload")
        try:
            lent = await asyncio.shield(upload)
        except asyncio.CancelledError:
            # The service may have the whole picture already.
            await asyncio.wait([upload], timeout=LAST_WAIT_SECONDS)
            if upload.done() and not upload.cancelled() and not upload.exception():
                await self._take_back(upload.result())
            upload.cancel()
            raise
        try:
            yield lent
        finally:
            deletion = asyncio.create_task(self._take_back(lent), name="take-back")
            try:
                await asyncio.shield(deletion)
            except asyncio.CancelledError:
                await asyncio.wait([deletion])
                raise

    async def upload(self, image: bytes | str, ttl: int | None = None) -> LentImage:
        """Give *image* an address until its *ttl* (seconds) is over."""
        query = {} if ttl is None else {"ttl": str(ttl)}
        if isinstance(image, str):
            body, body_type = (
                json.dumps({"data_url": image}).encode(),
                "application/json",
            )
        else:
            # The service finds the type out from the bytes.
            body, body_type = image, "image/*"
        answer = await self._json(
            _Request("POST", TRANSIENT_IMAGES, query, body, body_type)
        )
        return LentImage(answer["id"], answer["url"], answer["reachable"])

    async def _take_back(self, lent: LentImage) -> None:
        """Delete what was lent; a failure is logged, since the work is done."""
        try:
            await self._json(_Request("DELETE", f"{TRANSIENT_IMAGES}/{lent.id}"))
        except PaintonceError as error:
            logger.warning("transient image left", extra={"code": error.code})

    async def _outcome(
        self, prompt: str, parameters: Parameters
    ) -> Picture | PaintonceError:
        try:
            return await self.generate(prompt, **parameters)
        except PaintonceError as error:
            return error

    async def _json(self, request: _Request) -> Any:
        return _document(await self._ask(request))

    async def _ask(self, request: _Request) -> _Answer:
        return await self._bounded(self._until_it_stands(request))

    async def _bounded(self, answer: Coroutine[Any, Any, _Answer]) -> _Answer:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await answer
        except TimeoutError as error:
            raise PaintonceError(
                None, "timed_out", f"No answer in {self._timeout_seconds:g} s."
            ) from error

    async def _until_it_stands(self, request: _Request) -> _Answer:
        """Ask until there is an answer that asking again would not change."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._timeout_seconds
        tried = 0
        while True:
            try:
                return await self._attempt(request)
            except PaintonceError as error:
                tried += 1
                pause = _pause(error, request, tried)
                is_last = tried == self._tries or error.code in self._final_codes
                if pause is None or is_last or loop.time() + pause > ends_at:
                    raise
            await asyncio.sleep(pause)

    async def _attempt(self, request: _Request) -> _Answer:
        headers, body = {}, None
        if request.body is not None:
            headers["Content-Type"] = request.body_type
            # aiohttp warns of large bytes as they are.
            body = io.BytesIO(request.body)
        try:
            async with self._session.request(
                request.method,
                f"{self._url}{request.path}",
                params=request.query,
                data=body,
                headers=headers,
                allow_redirects=False,
            ) as response:
                data = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise PaintonceError(
                None, "unreachable", "There was no whole answer."
            ) from error
        answer = _Answer(response.status, response.headers, data)
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise _failure(answer)
        if request.method != "HEAD" and not _is_whole(answer):
            raise PaintonceError(
                None, "damaged", "The bytes are not those that were announced."
            )
        return answer


class _Cut(aiohttp.ClientError):
    """The connection was refused or cut."""


async def _once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from asking again by itself: it would repeat a purge, too."""
    try:
        return await handler(request)
    except aiohttp.ClientError as error:
        raise _Cut from error


def _live(prompt: str, parameters: Parameters) -> _Request:
    asked: dict[str, Any] = {"prompt": prompt, **parameters}
    if "references" in asked:
        body = json.dumps(asked).encode()
        return _Request("POST", LIVE_PATH, None, body, "application/json")
    return _Request("GET", LIVE_PATH, {n: str(value) for n, value in asked.items()})


def _picture(prompt: str, answer: _Answer) -> Picture:
    headers = answer.headers
    hits = headers.get("X-Cache-Hit-Count")
    try:
        return Picture(
            prompt=prompt,
            data=answer.data,
            content_type=headers["Content-Type"],
            status=headers["X-Cache-Status"],
            hits=None if hits is None else int(hits),
            image_id=headers["X-Image-Id"],
            prompt_hash=headers["X-Prompt-Hash"],
            permalink=headers["Content-Location"],
            model=headers["X-Model"],
        )
    except (KeyError, ValueError) as error:
        raise _foreign(answer) from error


def _document(answer: _Answer) -> Any:
    try:
        return json.loads(answer.data)
    except ValueError as error:
        raise _foreign(answer) from error


def _foreign(answer: _Answer) -> PaintonceError:
    return PaintonceError(answer.status, UNKNOWN, "The answer is none of Paintonce's.")


def _failure(answer: _Answer) -> PaintonceError:
    detail = "The answer is no problem document."
    # A failure that was asked for as a picture names its code in a header.
    code = answer.headers.get("X-Error-Code", UNKNOWN)
    if answer.headers.get("X-Cache-Status") == "MISS":
        code = NOT_PAINTED
    with suppress(ValueError, KeyError, TypeError):
        problem = json.loads(answer.data)
        code, detail = str(problem["code"]), str(problem["detail"])
    return PaintonceError(
        answer.status,
        code,
        detail,
        answer.headers.get("X-Request-Id"),
        retry_after=_seconds(answer.headers.get("Retry-After", "")),
    )


def _is_whole(answer: _Answer) -> bool:
    length = answer.headers.get("Content-Length")
    if length is not None and int(length) != len(answer.data):
        return False
    digest = fullmatch('"([0-9a-f]{64})"', answer.headers.get("ETag", ""))
    return digest is None or digest[1] == sha256(answer.data).hexdigest()


def _pause(error: PaintonceError, request: _Request, tried: int) -> float | None:
    """Return after how many seconds to ask again, None for never."""
    put_off = error.status in _LATER
    # A proxy's own 503 leaves the fate of the request unknown.
    is_certain = put_off and error.code != UNKNOWN
    may_be_done = put_off or error.status is None
    if not is_certain and not (may_be_done and request.survives_cuts):
        return None
    if error.retry_after is not None:
        return error.retry_after
    return float(FIRST_PAUSE_SECONDS * 2 ** (tried - 1))


def _seconds(retry_after: str) -> float | None:
    """Read a number of seconds or a date (RFC 9110, 10.2.3), None for neither."""
    if fullmatch("[0-9]{1,9}", retry_after):
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if at.tzinfo is None:
        # "-0000" says UTC of a clock in an unknown zone (RFC 5322, 3.3).
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


async def _cancelled(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
