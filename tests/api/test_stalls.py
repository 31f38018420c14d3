"""No single request blocks the event loop for long."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import ExitStack
from typing import TYPE_CHECKING
from unicodedata import normalize
from unittest.mock import AsyncMock

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from app.api.parameters import from_json
from app.api.prompt_text import read_prompt
from app.background import running as running_beside
from app.errors import InvalidParameter, QueueFull
from app.http.body_budget import BodyBudget
from app.http.json_answers import json_answer
from app.http.json_bodies import MAX_JSON_BYTES, read_json_object
from app.storage.ports.transient_store import Inventory, StoredImage
from app.storage.storage_key import Project
from app.transient_images import Limits, assemble
from app.transient_images.store import MAX_PICTURES
from tests.fake_transient_store import InMemoryTransientStore
from tests.fakes import model_names
from tests.loop_lag import loop_lag
from tests.server.frame import framed
from tests.transient_images.service import SHOP, Paintonce, running
from tests.transient_images.stores import keys_left, picture
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ACUTE, GRAVE_BELOW = "\u0301", "\u0316"
# Each is two marks that Python has to sort, though it looks like none.
TIBETAN = "\u0f73"
MIB = 1024 * 1024

# Before, each took from fifty milliseconds to minutes.
PATIENCE_SECONDS = 0.05


def small_values(count: int) -> bytes:
    """Return an object with an array of *count* small values."""
    return b'{"prompt": [' + b"0," * (count - 1) + b"0]}"


HOSTILE_JSON: dict[str, Callable[[], bytes]] = {
    "marks": lambda: json.dumps(
        {"prompt": "a" + ACUTE * 19_000 + GRAVE_BELOW * 19_000}
    ).encode(),
    "a megabyte of marks": lambda: json.dumps(
        {"prompt": ACUTE * 260_000 + GRAVE_BELOW * 260_000}, ensure_ascii=False
    ).encode(),
    "marks that hide": lambda: json.dumps({"prompt": TIBETAN * 17_000}).encode(),
    "marks that just fit": lambda: json.dumps({"prompt": TIBETAN * 16_000}).encode(),
    "as many as may be": lambda: json.dumps(
        {"prompt": "a" + ACUTE * 15_999 + GRAVE_BELOW * 16_000}
    ).encode(),
    "small values": lambda: small_values(520_000),
    "small objects": lambda: b"[" + b"{}," * 349_000 + b"0]",
    "small texts": lambda: b"[" + b'"",' * 349_000 + b"0]",
    "escaped quotes": lambda: b'["' + rb"\"" * 500_000 + b'"]',
    "deep": lambda: b"[" * 1_000_000,
}


async def _prompt(request: web.Request) -> web.Response:
    parameters = from_json(await read_json_object(request), model_names("default"))
    return json_answer({"characters": len(parameters.prompt)})


@pytest.mark.parametrize("kind", HOSTILE_JSON)
async def test_no_json_stalls_the_loop(kind: str) -> None:
    """A body within its bounds is read or refused in some milliseconds."""
    body = HOSTILE_JSON[kind]()
    assert len(body) <= MAX_JSON_BYTES
    head = (
        "POST /prompt HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    async with framed(web.post("/prompt", _prompt)) as frame, loop_lag() as lag:
        reader, writer = await asyncio.open_connection("127.0.0.1", frame.port)
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()

    expected = 200 if kind in {"as many as may be", "marks that just fit"} else 400
    assert answer.startswith(b"HTTP/1.1 %d " % expected)
    assert lag.longest_seconds < PATIENCE_SECONDS


@given(
    st.text(
        st.sampled_from(
            "ab \u00e9\u0344\u0345\u0f73\u0f75\u0f81\u1100\u1161\u11a8\uac00\u212b"
            "\u0301\u0316\u0327\u0334\u05b0\u064b\u0653\u0f71\u0f72\u1f82\u3099"
        ),
        min_size=1,
    ),
    st.integers(1, 400),
)
def test_long_runs_of_marks_are_in_unicodes_order(text: str, times: int) -> None:
    """Long runs of combining marks are normalised as NFC does, without a stall."""
    long = (text * times)[:2500]
    expected = normalize("NFC", long).strip()
    if expected:
        assert read_prompt(long) == expected
    else:
        with pytest.raises(InvalidParameter):
            read_prompt(long)


@pytest.mark.parametrize(
    "text",
    [
        "u\u0308" * 4000,
        # Four characters become one, and none becomes more.
        "\u03b1\u0313\u0300\u0345" * 4000,
        "\u1f82" * 4000,
        " " * 100_000 + "\u00e9" * 4000 + "\u3000" * 100_000,
        "a" + ACUTE * 3999,
    ],
    ids=["composed", "of four", "decomposable", "in space", "marks"],
)
def test_the_longest_prompt_is_counted_after_nfc(text: str) -> None:
    """A prompt is refused early only if it is too long after NFC, too."""
    assert read_prompt(text) == normalize("NFC", text).strip()


@pytest.fixture
async def paintonce(redis_url: str) -> AsyncIterator[Paintonce]:
    """Run the service with default settings and a quota of a gigabyte."""
    async with running(
        redis_url, max_image_bytes=16 * MIB, quota_bytes=1024 * MIB
    ) as service:
        yield service


async def posted(service: Paintonce, media_type: str, body: bytes) -> int:
    """Upload *body*; return the status."""
    headers = {**SHOP, "Content-Type": media_type}
    async with service.client.post(
        f"{service.url}/api/images", data=io.BytesIO(body), headers=headers
    ) as answer:
        return answer.status


async def test_empty_lines_before_a_form_stall_no_request(paintonce: Paintonce) -> None:
    """Four forms with 16 MB of leading empty lines are refused without a stall."""
    body = b"\n" * (16 * MIB)
    async with loop_lag() as lag:
        statuses = await asyncio.gather(
            *(
                posted(paintonce, "multipart/form-data; boundary=storm", body)
                for _ in range(4)
            )
        )

    assert set(statuses) == {400}
    assert lag.longest_seconds < 0.15
    assert await keys_left(paintonce.redis) == []


async def test_small_values_in_an_upload_are_refused(paintonce: Paintonce) -> None:
    """An upload with twelve million JSON values is refused before they are parsed."""
    body = b'{"data_url": [' + b"0," * (12 * MIB - 100) + b"0]}"

    assert await posted(paintonce, "application/json", body) == 400


@pytest.mark.parametrize(
    ("head", "unit"),
    [
        ("data:image/png;base64,", b"AAAA"),
        ("data:image/png;base64,", rb"A\/A\/"),
        ("data:image/png;base64,", b"AAAA\\r\\n"),
        ("data:image/png,", b"%41"),
    ],
    ids=["base64", "escaped slashes", "wrapped lines", "percent escapes"],
)
async def test_data_urls_of_megabytes_stall_no_request(
    paintonce: Paintonce, head: str, unit: bytes
) -> None:
    """Two large data URLs at once are decoded as they arrive; neither is a picture."""
    size = 20 * MIB
    body = b'{"data_url": "%b%b"}' % (head.encode(), unit * (size // len(unit)))
    for _ in range(3):
        async with loop_lag() as lag:
            statuses = await asyncio.gather(
                *(posted(paintonce, "application/json", body) for _ in range(2))
            )
        assert statuses == [415, 415]
        # Beside other work a processor is slower than its time says.
        if lag.longest_seconds < PATIENCE_SECONDS:
            break

    assert lag.longest_seconds < PATIENCE_SECONDS
    assert await keys_left(paintonce.redis) == []


async def test_a_list_of_thousands_stalls_no_request() -> None:
    """The largest list of images is built in steps, in the right order."""
    store = InMemoryTransientStore()
    limits = Limits(
        base_url="https://paintonce.example",
        max_image_bytes=100,
        quota_bytes=MAX_PICTURES,
    )
    images = assemble(store, limits).images
    stored = tuple(
        StoredImage(f"{number}", 1, "image/png", MAX_PICTURES - number, None)
        for number in range(MAX_PICTURES)
    )
    store.inventory = AsyncMock(  # type: ignore[method-assign]
        return_value=Inventory(stored, MAX_PICTURES, MAX_PICTURES)
    )
    turns = 0

    async def another_task() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with running_beside(another_task(), name="another-task"):
        listing = await images.list(Project("acme", "shop"))

    assert [image.id for image in listing.images[:2]] == ["19999", "19998"]
    assert len(listing.images) == MAX_PICTURES
    assert turns >= MAX_PICTURES // 500


async def announced(service: Paintonce, size: int) -> asyncio.StreamWriter:
    """Begin an upload of *size* bytes; return when the service asks for its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    fields = {
        **SHOP,
        "Host": "a",
        "Content-Type": "image/png",
        "Content-Length": f"{size}",
        "Expect": "100-continue",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"POST /api/images HTTP/1.1\r\n{head}\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 100 ")
    return writer


async def test_uploads_share_a_budget_of_bytes(paintonce: Paintonce) -> None:
    """An upload beyond the shared budget of announced bytes is 429."""
    headers = {**SHOP, "Content-Type": "image/png"}
    with ExitStack() as stack:
        for _ in range(8):
            stack.callback((await announced(paintonce, 16 * MIB)).close)
        async with paintonce.client.post(
            f"{paintonce.url}/api/images",
            data=io.BytesIO(picture(2 * MIB)),
            headers=headers,
        ) as answer:
            problem = await answer.json()
            assert (answer.status, problem["code"]) == (429, "queue_full")
            assert int(answer.headers["Retry-After"]) >= 1
        # A small upload does not wait for large, slow ones.
        assert await posted(paintonce, "image/png", picture()) == 201

    async def there_is_room() -> bool:
        return await posted(paintonce, "image/png", picture(2 * MIB)) == 201

    await until(there_is_room)


def test_one_body_always_has_its_place() -> None:
    """A single upload larger than the budget is still accepted."""
    budget = BodyBudget(max_bytes=10, small_bytes=0)
    with budget.holding(11), pytest.raises(QueueFull), budget.holding(1):
        pass

    with budget.holding(11):
        pass
