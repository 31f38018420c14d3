"""Hostile bodies of edits: refused in bounded memory and time, and nothing is kept."""

from __future__ import annotations

import asyncio
import base64
import ctypes
import gc
import json
import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.storage.redis.client.traffic import open_redis
from tests.access.service import running
from tests.fakes import a_picture
from tests.loop_lag import loop_lag
from tests.server.frame import wire
from tests.transient_images.stores import keys_left, store_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.access.service import Paintonce
    from tests.server.frame import Answer

PATH = "/v1/images/edits"
MIB = 1024 * 1024
FORM = "multipart/form-data; boundary=storm"
JSON = "application/json"
HEAD = b'Content-Disposition: form-data; name="%b"\r\n\r\n'
FILE = b'Content-Disposition: form-data; name="%b"; filename="a.png"\r\n\r\n'

# The process's own pages, which come and go with every request.
OWN_BYTES = 16 * MIB
# No picture of a body of 64 MiB has more bytes.
LARGEST_BYTES = 64 * MIB
# What stays after it, freed memory that the allocator keeps included.
MAX_LEFT_BYTES = 32 * MIB
PATIENCE_SECONDS = 0.05


def form(*parts: bytes) -> bytes:
    """Return *parts*, each a head and a body, as a form."""
    written = b"".join(b"--storm\r\n" + part + b"\r\n" for part in parts)
    return written + b"--storm--\r\n"


def data_url(encoded: bytes) -> bytes:
    """Return an edit by a picture whose base64 is *encoded*."""
    return b'{"prompt":"a","images":[{"image_url":"data:image/png;base64,%b"}]}' % (
        encoded
    )


def _inner() -> bytes:
    parts = b"".join(b"--in\r\n" + HEAD % b"image" + b"x\r\n" for _ in range(100_000))
    return b"Content-Type: multipart/mixed; boundary=in\r\n" + HEAD % b"user" + parts


HOSTILE: dict[str, tuple[str, Callable[[], bytes], int, str | None]] = {
    "a hundred thousand parts": (
        FORM,
        lambda: form(*(HEAD % b"p%d" % n for n in range(100_000))),
        *(400, "body"),
    ),
    "parts without a name": (
        FORM,
        lambda: form(*[b"Content-Disposition: form-data\r\n\r\nx"] * 50_000),
        *(400, "body"),
    ),
    "heads of megabytes": (
        FORM,
        lambda: form(b"X-Long: " + b"x" * (16 * MIB) + b"\r\n" + HEAD % b"prompt"),
        *(400, "body"),
    ),
    "many fields in a head": (
        FORM,
        lambda: form(b"X-Y: z\r\n" * 500_000 + HEAD % b"prompt"),
        *(400, "body"),
    ),
    "a form in a form": (FORM, lambda: form(_inner()), 413, None),
    "boundaries alone": (FORM, lambda: b"--storm\r\n" * 1_000_000, 400, "body"),
    "empty lines before": (FORM, lambda: b"\r\n" * (16 * MIB), 400, "body"),
    "no picture": (
        FORM,
        lambda: form(HEAD % b"prompt" + b"a", FILE % b"image" + bytes(60_000)),
        *(400, "image"),
    ),
    "a long picture": (
        FORM,
        lambda: form(FILE % b"image" + bytes(64 * MIB)),
        413,
        None,
    ),
    "a name of a megabyte": (
        FORM,
        lambda: form(*[HEAD % (b"n" * MIB)] * 2),
        400,
        "body",
    ),
    "base64 of 64 MiB that breaks off": (
        JSON,
        lambda: data_url(b"A" * (64 * MIB - 100 + 1)),
        *(413, None),
    ),
    "base64 that breaks off": (JSON, lambda: data_url(b"A" * 60_001), 400, "images"),
    "64 MiB that are no base64": (
        JSON,
        lambda: data_url(b"!" * (64 * MIB - 100)),
        *(413, None),
    ),
    "64 MiB without an end": (
        JSON,
        lambda: b'{"images":[{"image_url":"data:image/png;base64,'.ljust(
            64 * MIB, b"A"
        ),
        *(413, None),
    ),
    "64 MiB of a text": (JSON, lambda: b'{"user":"'.ljust(64 * MIB, b"a"), 413, None),
    "pictures alone": (
        JSON,
        lambda: b"{" + b'"image_url":"data:,",' * (3 * MIB),
        *(400, "body"),
    ),
    "depth": (JSON, lambda: b'{"images":' + b"[" * (8 * MIB), 400, "body"),
    "small values": (JSON, lambda: b'{"images":[' + b"0," * (8 * MIB), 400, "body"),
}


# Refused by its end alone: all of it is read and decoded before.
UNFINISHED: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a form without an end": (
        FORM,
        lambda: (b"--storm\r\n" + FILE % b"image").ljust(64 * MIB, b"A"),
        "body",
    ),
    "JSON without an end": (JSON, HOSTILE["64 MiB without an end"][1], "body"),
    "escapes without an end": (
        JSON,
        lambda: b'{"images":[{"image_url":"data:;base64,' + rb"\u0041" * (10 * MIB),
        "body",
    ),
    "base64 that breaks off": (
        JSON,
        lambda: data_url(b"A" * (64 * MIB - 100 + 1)),
        "images",
    ),
    "no picture": (JSON, lambda: data_url(b"A" * (64 * MIB - 100)), "images"),
}


def resident_bytes() -> int:
    """Return the memory that the process has now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Growth:
    """The growth of the process's memory: its maximum, and what is left of it."""

    def __init__(self) -> None:
        self._before = self.most = resident_bytes()

    def look(self) -> None:
        """Note how much there is now."""
        self.most = max(self.most, resident_bytes())

    @property
    def at_most(self) -> int:
        """The most bytes in memory that were not there before."""
        return self.most - self._before

    def left(self) -> int:
        """Return the bytes in memory that were not there before."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        return resident_bytes() - self._before


@contextmanager
def growth() -> Iterator[Growth]:
    """Measure from another thread, every few milliseconds."""
    measured, over = Growth(), threading.Event()

    def looking() -> None:
        while not over.wait(0.003):
            measured.look()

    thread = threading.Thread(target=looking)
    thread.start()
    try:
        yield measured
    finally:
        over.set()
        thread.join()


async def sent(
    service: Paintonce, media_type: str, body: bytes, length: int | None = None
) -> Answer:
    """Send *body*, of which *length* bytes are announced, and read the answer."""
    length = len(body) if length is None else length
    lines = [
        f"POST {PATH} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: {media_type}",
        f"Content-Length: {length}",
    ]
    async with wire(service.port) as line:
        line.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        view = memoryview(body)
        writing = asyncio.create_task(_written(line.writer, view))
        try:
            async with asyncio.timeout(60):
                return await line.answer()
        finally:
            writing.cancel()


async def _written(writer: asyncio.StreamWriter, view: memoryview) -> None:
    for at in range(0, len(view), 256 * 1024):
        writer.write(view[at : at + 256 * 1024])
        await writer.drain()


async def kept(service: Paintonce) -> list[Any]:
    """Return the contents of the store of transient images, copies included."""
    images: list[Any] = []
    for folder in ("default/main", "_copies/default/main"):
        images += (await service.transient.inventory(folder)).images
    return images


@pytest.mark.parametrize("case", HOSTILE)
async def test_hostile_bodies_cost_little(service: Paintonce, case: str) -> None:
    """A hostile body names its wrong field, stalls no request and takes no memory."""
    media_type, make, status, param = HOSTILE[case]
    body = make()
    with growth() as measured:
        async with loop_lag() as lag:
            answer = await sent(service, media_type, body)

    error = answer.problem["error"]
    assert (answer.status, error["param"]) == (status, param), error
    assert measured.at_most < OWN_BYTES
    assert measured.left() < MAX_LEFT_BYTES
    assert lag.longest_seconds < PATIENCE_SECONDS
    assert service.world.provider.count == 0
    assert await kept(service) == []


@pytest.mark.parametrize("case", UNFINISHED)
async def test_large_bodies_are_held_once(case: str) -> None:
    """64 MiB that are wrong at their end take the bytes of their picture once."""
    media_type, make, param = UNFINISHED[case]
    body = make()
    async with running(requires_keys=False, max_image_bytes=64 * MIB) as service:
        with growth() as measured:
            async with loop_lag() as lag:
                answer = await sent(service, media_type, body)

        error = answer.problem["error"]
        assert (answer.status, error["param"]) == (400, param), error
        assert measured.at_most < LARGEST_BYTES + OWN_BYTES
        assert measured.left() < MAX_LEFT_BYTES
        assert lag.longest_seconds < PATIENCE_SECONDS
        assert await kept(service) == []


@pytest.mark.parametrize("case", ["a long picture", "64 MiB without an end"])
async def test_nothing_of_a_hostile_body_is_in_redis(redis_url: str, case: str) -> None:
    """A hostile body leaves no key in the Redis that operators run."""
    media_type, make, status, _ = HOSTILE[case]
    async with (
        open_redis(redis_url) as connections,
        running(requires_keys=False, transient=store_on(connections)) as service,
    ):
        before = await keys_left(connections)
        answer = await sent(service, media_type, make())

        assert answer.status == status
        assert await keys_left(connections) == before


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (FORM, form(HEAD % b"prompt" + b"a fox", FILE % b"image" + a_picture(7))),
        (JSON, data_url(base64.b64encode(a_picture(7)))),
    ],
    ids=["form", "JSON"],
)
async def test_a_body_that_does_not_come_is_408(
    service: Paintonce, monkeypatch: pytest.MonkeyPatch, media_type: str, body: bytes
) -> None:
    """An announced length that is too large is waited for until the deadline."""
    monkeypatch.setattr("app.http.incoming_bodies.BODY_DEADLINE_SECONDS", 0.05)

    answer = await sent(service, media_type, body, len(body) + 10)

    error = answer.problem["error"]
    assert (answer.status, error["code"]) == (408, "request_timeout")
    assert await kept(service) == []


@pytest.mark.parametrize(
    ("media_type", "body", "param"),
    [
        (
            FORM,
            form(HEAD % b"prompt" + b"a fox", FILE % b"image" + a_picture(7)),
            "body",
        ),
        (JSON, data_url(base64.b64encode(a_picture(7))), "body"),
    ],
    ids=["form", "JSON"],
)
async def test_a_length_that_is_too_small_is_400(
    service: Paintonce, media_type: str, body: bytes, param: str
) -> None:
    """The body ends where its length says, and then it is not whole."""
    answer = await sent(service, media_type, body, len(body) - 20)

    assert (answer.status, answer.problem["error"]["param"]) == (400, param)
    assert service.world.provider.count == 0
    assert await kept(service) == []


async def test_a_client_that_breaks_off_leaves_nothing(service: Paintonce) -> None:
    """Half an edit is no edit: nothing is painted, and the replica goes on."""
    body = form(HEAD % b"prompt" + b"a fox", FILE % b"image" + a_picture(7))
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {FORM}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    async with wire(service.port) as line:
        await line.send(head.encode() + body[: len(body) // 2])
        line.writer.close()
        await line.writer.wait_closed()

    whole = await sent(service, FORM, body)

    assert whole.status == 200, json.dumps(whole.problem)
    assert service.world.provider.count == 1
    assert await kept(service) == []
