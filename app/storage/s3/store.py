"""The object store on S3: every call bounded, every failure one name."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from app.errors import StorageUnavailable
from app.storage.ports.object_keys import require_plain_key, require_plain_prefix
from app.storage.ports.object_store import (
    ByteRange,
    ConditionRefused,
    Listed,
    PlaceMissing,
    StoredObject,
)
from app.storage.s3 import translated_errors
from app.storage.s3.bucket import make_bucket, require_bucket
from app.storage.s3.client import (
    ANSWER_TIMEOUT_SECONDS,
    goes_through_a_proxy,
    open_client,
    open_http,
)
from app.storage.s3.reads import PlainReads, SignedReads
from app.storage.s3.streaming.body import (
    READ_TIMEOUT_SECONDS,
    RangeBeyondEnd,
    begin,
    start,
)
from app.storage.s3.streaming.windows import Windows
from app.storage.s3.timeouts import CallLimit, stall_tolerant_timeout, with_time_for
from app.storage.s3.translated_errors import code_of, status_of
from app.storage.s3.url_signer import UrlSigner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from app.storage.s3.reads import Reads
    from app.storage.s3.streaming.windows import WindowedBody

WRITE_TIMEOUT_SECONDS = 10.0

# GETs of pictures that are sent as they arrive. They must not keep a painted
# one from being stored: everything else has slots of its own. More at once
# only means that a store answers all of them late.
_STREAMS_AT_ONCE = 64
# How long a window waits for a slot; one is free as soon as another was read.
STREAM_WAITS_SECONDS = 1.5
_CALLS_AT_ONCE = 100

# The errors of a conditional write that came too late; the second for `If-Match`
# on a key that is gone.
_LOST = {"PreconditionFailed", "NoSuchKey"}
_NOT_IMPLEMENTED = 501
_CONFLICT_ATTEMPTS = 5
_CONFLICT_PAUSE_SECONDS = 0.1


@asynccontextmanager
async def open_s3_object_store(
    *,
    bucket: str,
    signed_urls: bool = True,
    write_timeout_seconds: float = WRITE_TIMEOUT_SECONDS,
) -> AsyncIterator[S3ObjectStore]:
    """Open the store in *bucket*; it need not be there, nor the server, before `ping`.

    Without *signed_urls*, or behind a proxy, bodies are read by botocore's own
    call. Raises `ValueError` where the endpoint is no URL.
    """
    async with AsyncExitStack() as stack:
        # The variables of the environment and the files of botocore are read once.
        session = get_session()
        is_patient = write_timeout_seconds > WRITE_TIMEOUT_SECONDS
        answers_within = write_timeout_seconds if is_patient else ANSWER_TIMEOUT_SECONDS
        client, credentials = await stack.enter_async_context(
            open_client(session, answers_within)
        )
        reads: Reads = PlainReads(client, bucket)
        if signed_urls and not goes_through_a_proxy(client):
            http = await stack.enter_async_context(open_http(session))
            reads = SignedReads(UrlSigner(client, bucket, credentials), http)
        windows = Windows(
            reads,
            CallLimit(_STREAMS_AT_ONCE, waits_seconds=STREAM_WAITS_SECONDS),
        )
        stack.callback(windows.close)
        yield S3ObjectStore(client, bucket, reads, windows, write_timeout_seconds)


class S3ObjectStore:
    """The `ObjectStore` in one bucket."""

    def __init__(
        self,
        client: Any,
        bucket: str,
        reads: Reads,
        windows: Windows,
        write_timeout_seconds: float,
        *,
        at_once: int = _CALLS_AT_ONCE,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._reads = reads
        self._write_timeout_seconds = write_timeout_seconds
        self._windows = windows
        self._calls = CallLimit(at_once)

    def on_a_line(self, at_once: int) -> S3ObjectStore:
        """Return the same store, with *at_once* calls that wait for no others.

        Connections are shared: there are more of them than all lines may use.
        """
        return S3ObjectStore(
            self._client,
            self._bucket,
            self._reads,
            self._windows,
            self._write_timeout_seconds,
            at_once=at_once,
        )

    async def put(
        self,
        key: str,
        data: bytes,
        *,
        media_type: str,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Keep *data* under *key*, replacing what was there; return its ETag."""
        require_plain_key(key)
        with translated_errors.translated():
            answer = await self._call(
                self._client.put_object,
                Key=key,
                Body=data,
                ContentType=media_type,
                Metadata=dict(metadata or {}),
            )
        return str(answer["ETag"])

    async def create(self, key: str, data: bytes, *, media_type: str) -> str | None:
        """Keep *data* only if *key* is free; return its ETag, or None if it is taken.

        After `StorageUnavailable` it is unknown whether the write got through,
        and None may mean that it did: HTTP clients repeat a PUT whose
        connection broke. A caller that needs to know reads the object and looks
        for its own bytes.
        """
        return await self._put_if(key, data, media_type, IfNoneMatch="*")

    async def replace(
        self, key: str, data: bytes, *, etag: str, media_type: str
    ) -> str | None:
        """Replace *key* only while its tag is *etag*; None as for `create`."""
        return await self._put_if(key, data, media_type, IfMatch=etag)

    async def _put_if(
        self, key: str, data: bytes, media_type: str, **condition: str
    ) -> str | None:
        require_plain_key(key)
        put = {"Key": key, "Body": data, "ContentType": media_type, **condition}
        with translated_errors.translated():
            for _ in range(_CONFLICT_ATTEMPTS):
                try:
                    answer = await self._call(self._client.put_object, **put)
                    return str(answer["ETag"])
                except ClientError as error:
                    if code_of(error) in _LOST:
                        return None
                    if _refuses_conditions(error):
                        raise _condition_refused(error, condition) from error
                    if code_of(error) != "ConditionalRequestConflict":
                        raise
                    # Another write was under way: S3 asks to send it again.
                    await asyncio.sleep(_CONFLICT_PAUSE_SECONDS)
        raise StorageUnavailable("The object store does not settle.")

    async def get(self, key: str) -> StoredObject | None:
        """Return a whole small object, or None if there is none."""
        with translated_errors.translated():
            async with stall_tolerant_timeout(READ_TIMEOUT_SECONDS), self._calls:
                body = await start(self._reads, key)
                if body is None:
                    return None
                try:
                    data = b"".join(await body.read(body.size))
                finally:
                    body.close()
                return StoredObject(data, body.etag)

    @asynccontextmanager
    async def open(
        self, key: str, byte_range: ByteRange | None = None
    ) -> AsyncIterator[WindowedBody | None]:
        """Open *key* for streaming, with its first bytes read; None if there is none.

        An object that is replaced or deleted while a slow reader reads it ends
        in `StorageUnavailable`. Raises `ValueError` for a range beyond the end.
        """
        with ExitStack() as stack:
            body = await self._windows.open(key, byte_range)
            if body is not None:
                stack.callback(body.close)
            yield body

    async def exists(self, key: str) -> bool:
        """Return whether *key* is there."""
        try:
            body = await begin(self._reads, key, ByteRange(0, 0), slots=self._calls)
        except RangeBeyondEnd:
            # It is there, and empty: there is no first byte.
            return True
        if body is not None:
            body.close()
        return body is not None

    async def delete(self, key: str) -> None:
        """Remove *key*; removing what is not there is a no-op."""
        require_plain_key(key)
        with translated_errors.translated():
            await self._call(self._client.delete_object, Key=key)

    async def list(self, prefix: str, *, after: str = "") -> AsyncIterator[Listed]:
        """Yield the objects whose key starts with *prefix*, in order, after *after*."""
        require_plain_prefix(prefix)
        more = True
        while more:
            start = {"StartAfter": after} if after else {}
            with translated_errors.translated():
                page = await self._call(
                    self._client.list_objects_v2, Prefix=prefix, **start
                )
            for line in page.get("Contents", ()):
                after = line["Key"]
                yield Listed(after, line["Size"], line["LastModified"])
            more = page["IsTruncated"]

    async def ping(self) -> None:
        """Return when the store answers and the bucket is there.

        It waits for no slot: a busy store is not an outage.
        """
        with translated_errors.translated():
            async with stall_tolerant_timeout(READ_TIMEOUT_SECONDS):
                await require_bucket(self._client, self._bucket)

    async def make(self) -> None:
        """Make the bucket where it is missing and that is permitted."""
        try:
            await self.ping()
        except PlaceMissing:
            with translated_errors.translated():
                async with stall_tolerant_timeout(READ_TIMEOUT_SECONDS):
                    await make_bucket(self._client, self._bucket)

    async def _call(self, operation: Any, **parameters: Any) -> Any:
        size = len(parameters.get("Body", b""))
        seconds = with_time_for(size, self._write_timeout_seconds)
        async with stall_tolerant_timeout(seconds), self._calls:
            return await operation(Bucket=self._bucket, **parameters)


def _refuses_conditions(error: ClientError) -> bool:
    """Return whether the store does not know the condition, whatever it compares."""
    return status_of(error) == _NOT_IMPLEMENTED or code_of(error) == "NotImplemented"


def _condition_refused(
    error: ClientError, condition: Mapping[str, str]
) -> ConditionRefused:
    header = "If-None-Match" if "IfNoneMatch" in condition else "If-Match"
    answer = f"{status_of(error)} {code_of(error)}"
    return ConditionRefused(f"The store answered {answer} to a PUT with {header}.")
