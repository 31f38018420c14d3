"""Edits in OpenAI's API: input pictures are part of the prompt by their content."""

from __future__ import annotations

import asyncio
import base64
import io
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import PIL.Image
import pytest

from app.prompt_cache.entry.prompt_key import Parameters, PromptKey
from app.storage.storage_key import Project
from tests.access.service import running
from tests.fakes import a_picture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.generation.provider import PaintRequest, ProviderPicture
    from tests.access.service import Answer, Paintonce

PATH = "/v1/images/edits"
MAIN = Project("default", "main")
ONE, OTHER = a_picture(101), a_picture(102)


def a_mask() -> bytes:
    """Return a PNG with transparent pixels."""
    written = io.BytesIO()
    PIL.Image.new("RGBA", (16, 16)).save(written, "PNG")
    return written.getvalue()


class Service:
    """A replica and the requests that its provider got."""

    def __init__(self, paintonce: Paintonce) -> None:
        self.paintonce = paintonce
        self.requests: list[PaintRequest] = []
        provider = paintonce.world.provider
        paint = provider.paint

        async def noting(request: PaintRequest, job: Any) -> ProviderPicture:
            self.requests.append(request)
            return await paint(request, job)

        provider.paint = noting  # type: ignore[method-assign]

    async def edited(self, *parts: tuple[str, Any], **texts: str) -> Answer:
        """Send an edit as a form: *parts* are files, *texts* are fields."""
        form = aiohttp.FormData(default_to_multipart=True)
        for name, value in {"prompt": "with a hat", **texts}.items():
            form.add_field(name, value)
        for name, value in parts:
            form.add_field(name, value, filename="blob" if value else None)
        return await self.paintonce.ask("POST", PATH, data=form)

    async def edited_json(self, **fields: Any) -> Answer:
        """Send an edit as JSON."""
        return await self.paintonce.ask(
            "POST", PATH, json={"prompt": "with a hat", **fields}
        )

    async def lent(self, data: bytes) -> Any:
        """Upload a picture as a transient image; return its document."""
        answer = await self.paintonce.ask(
            "POST", "/api/images", {"Content-Type": "image/png"}, data=data
        )
        assert answer.status == 201
        return answer.json

    async def copies(self) -> list[str]:
        """Return the ids of all copies in the transient store."""
        listed = await self.paintonce.transient.inventory("_copies/default/main")
        return [image.image_id for image in listed.images]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """Run one replica that asks for no keys."""
    async with running(requires_keys=False) as opened:
        yield Service(opened)


def data_url(data: bytes) -> dict[str, str]:
    """Return a picture as a data URL in the form that JSON edits take."""
    return {"image_url": f"data:image/png;base64,{base64.b64encode(data).decode()}"}


@pytest.mark.parametrize("name", ["image", "image[]"])
async def test_an_edit_goes_by_its_pictures(service: Service, name: str) -> None:
    """The provider gets the pictures in order; a repeated edit is a HIT."""
    first = await service.edited((name, ONE), (name, OTHER))
    again = await service.edited(("image[]", ONE), ("image[]", OTHER))
    turned = await service.edited((name, OTHER), (name, ONE))

    assert first.status == 200, first.json
    (request, _) = service.requests
    assert [one.data for one in request.references] == [ONE, OTHER]
    assert request.prompt == "with a hat"
    said = [answer.json["data"][0]["cache_status"] for answer in (first, again, turned)]
    assert said == ["MISS", "HIT", "MISS"]
    assert await service.copies() == []


async def test_bytes_and_ids_of_the_same_picture_are_one_prompt(
    service: Service,
) -> None:
    """A picture sent as bytes, as JSON or by id makes the same prompt."""
    lent = await service.lent(ONE)

    by_bytes = await service.edited(("image", ONE))
    by_url = await service.edited_json(images=[data_url(ONE)])
    by_address = await service.edited_json(images=[{"image_url": lent["url"]}])
    by_id = await service.paintonce.ask(
        "POST",
        "/api/v1/live/generate",
        json={"prompt": "with a hat", "references": [lent["id"]]},
    )

    hashes = {
        answer.json["data"][0]["prompt_hash"]
        for answer in (by_bytes, by_url, by_address)
    }
    assert hashes == {by_id.headers["X-Prompt-Hash"]}
    assert service.paintonce.world.provider.count == 1


async def test_a_mask_is_part_of_the_prompt(service: Service) -> None:
    """A mask changes the prompt and reaches the provider apart from the pictures."""
    mask = a_mask()

    plain = await service.edited(("image", ONE))
    masked = await service.edited(("image", ONE), ("mask", mask))
    again = await service.edited_json(images=[data_url(ONE)], mask=data_url(mask))

    assert (plain.status, masked.status, again.status) == (200, 200, 200)
    assert again.json["data"][0]["cache_status"] == "HIT"
    assert len(service.requests) == 2
    request = service.requests[1]
    assert [one.data for one in request.references] == [ONE]
    assert request.mask is not None
    assert request.mask.data == mask


async def test_form_fields_are_texts(service: Service) -> None:
    """Form fields are read as numbers and booleans, and empty ones count as absent."""
    answer = await service.edited(
        ("image", ONE), n="2", size="", response_format="", stream="false", user=""
    )

    assert answer.status == 200, answer.json
    assert len(answer.json["data"]) == 2


async def test_an_edit_is_streamed(service: Service) -> None:
    """A streamed edit sends `image_edit` events."""
    answer = await service.edited(("image", ONE), stream="true")

    assert b"event: image_edit.completed\n" in answer.body


async def test_a_waiting_edit_holds_copies_and_no_bytes(service: Service) -> None:
    """Waiting edits share copies of their pictures, and the last one removes them."""
    gate = service.paintonce.world.provider.before("paint")
    asked = [
        asyncio.create_task(service.edited(("image", ONE), ("image", OTHER)))
        for _ in range(5)
    ]
    await gate.reached()
    key = PromptKey(
        MAIN,
        Parameters(
            "with a hat",
            reference_digests=tuple(
                one.digest for one in service.requests[0].references
            ),
        ),
    )
    await service.paintonce.replica.waits_for(key, 5)
    held = await service.copies()
    gate.open()
    answers = await asyncio.gather(*asked)

    assert len(held) == 2
    assert [answer.status for answer in answers] == [200] * 5
    assert service.paintonce.world.provider.count == 1
    assert await service.copies() == []


async def test_a_refresh_of_an_edit_finds_no_pictures(service: Service) -> None:
    """A refresh of an edit is 409 `references_gone`, as its pictures are not kept."""
    answer = await service.edited(("image", ONE))
    prompt_hash = answer.json["data"][0]["prompt_hash"]

    refreshed = await service.paintonce.ask(
        "POST", f"/api/v1/live/entries/{prompt_hash}/refresh"
    )

    assert (refreshed.status, refreshed.code) == (409, "references_gone")


@pytest.mark.parametrize(
    ("parts", "texts", "status", "param"),
    [
        ([], {}, 400, "image"),
        ([("image", b"no picture")], {}, 400, "image"),
        ([("image", ONE)] * 17, {}, 400, "image"),
        ([("image", ONE), ("mask", ONE)], {}, 400, "mask"),
        ([("image", ONE), ("mask", b"x")], {}, 400, "mask"),
        ([("image", ONE), ("mask", a_mask()), ("mask", a_mask())], {}, 400, "mask"),
        ([("image", ONE)], {"n": "two"}, 400, "n"),
        ([("image", ONE)], {"stream": "maybe"}, 400, "stream"),
        ([("image", ONE)], {"bogus": "1"}, 400, "bogus"),
        ([("image", ONE)], {"images": "1"}, 400, "images"),
        ([("image", ONE), ("prompt", b"twice")], {}, 400, "prompt"),
        ([("image", b"\x89PNG\r\n\x1a\n" + b"0" * 100_000)], {}, 413, None),
    ],
    ids=lambda value: None,
)
async def test_what_is_wrong_with_a_form_is_named(
    service: Service,
    parts: list[tuple[str, bytes]],
    texts: dict[str, str],
    status: int,
    param: str | None,
) -> None:
    """A bad form is refused with its field in `param`; nothing is paid or kept."""
    answer = await service.edited(*parts, **texts)

    assert (answer.status, answer.json["error"]["param"]) == (status, param)
    assert service.requests == []
    assert await service.copies() == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "images"),
        ({"images": []}, "images"),
        ({"images": "x"}, "images"),
        ({"images": [data_url(ONE)] * 17}, "images"),
        ({"images": [{"file_id": "x"}]}, "images"),
        ({"images": [{"image_url": 7}]}, "images"),
        ({"images": [{"image_url": "data:image/png;base64,%"}]}, "images"),
        ({"images": [{"image_url": "https://example.com/a.png"}]}, "images"),
        ({"images": [{"image_url": "http://169.254.169.254/latest"}]}, "images"),
        ({"images": [{"image_url": "/api/images/no-id"}]}, "images"),
        ({"images": [{"image_url": "/api/v1/images/a/b/generated/x.png"}]}, "images"),
        ({"images": [{"image_url": "http://[::1"}]}, "images"),
        ({"images": [data_url(ONE)], "mask": {"image_url": "x"}}, "mask"),
        ({"images": [data_url(ONE)], "image": "x"}, "image"),
    ],
)
async def test_what_is_wrong_with_json_is_named(
    service: Service, fields: dict[str, Any], param: str
) -> None:
    """A bad JSON edit is refused with its field in `param`; nothing is fetched."""
    answer = await service.edited_json(**fields)

    assert (answer.status, answer.json["error"]["param"]) == (400, param)
    assert service.requests == []


async def test_another_projects_picture_is_unknown(service: Service) -> None:
    """The address of another project's picture is 400."""
    answer = await service.paintonce.ask(
        "POST",
        "/api/images",
        {"Content-Type": "image/png", "X-Project": "acme/shop"},
        data=ONE,
    )

    edited = await service.edited_json(images=[{"image_url": answer.json["url"]}])

    assert (edited.status, edited.json["error"]["param"]) == (400, "images")


def a_form(*parts: bytes, boundary: bytes = b"storm") -> bytes:
    """Return *parts*, each a head and a body, as a form."""
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + (
        b"--" + boundary + b"--\r\n"
    )


PROMPT_PART = b'Content-Disposition: form-data; name="prompt"\r\n\r\na fox'
NAMELESS = b"Content-Disposition: form-data\r\n\r\nx"
HOSTILE = [
    ("no boundary", "multipart/form-data", b"x", 400),
    ("nothing", "multipart/form-data; boundary=storm", b"", 400),
    ("no end", "multipart/form-data; boundary=storm", b"--storm\r\n", 400),
    ("no name", "multipart/form-data; boundary=storm", a_form(NAMELESS), 400),
    (
        "thousands of parts",
        "multipart/form-data; boundary=storm",
        a_form(*[PROMPT_PART.replace(b"prompt", b"p%d" % n) for n in range(5000)]),
        400,
    ),
    (
        "a head of a megabyte",
        "multipart/form-data; boundary=storm",
        a_form(b"X-Long: " + b"x" * 1_000_000 + b"\r\n" + PROMPT_PART),
        400,
    ),
    (
        "a text of two megabytes",
        "multipart/form-data; boundary=storm",
        a_form(PROMPT_PART + b"x" * 2_000_000),
        413,
    ),
    (
        "not UTF-8",
        "multipart/form-data; boundary=storm",
        a_form(PROMPT_PART + b"\xff"),
        400,
    ),
    ("another type", "multipart/mixed; boundary=storm", a_form(PROMPT_PART), 415),
    ("deep JSON", "application/json", b'{"images":' + b"[" * 8000, 400),
]


@pytest.mark.parametrize(
    ("media_type", "body", "status"),
    [row[1:] for row in HOSTILE],
    ids=[row[0] for row in HOSTILE],
)
async def test_hostile_bodies_are_refused(
    service: Service, media_type: str, body: bytes, status: int
) -> None:
    """A hostile body is refused in OpenAI's envelope without stalling the loop."""
    answer = await service.paintonce.ask(
        "POST", PATH, {"Content-Type": media_type}, data=io.BytesIO(body)
    )

    error = answer.json["error"]
    assert answer.status == status, error
    assert (error["param"] is not None) == (status == 400)
    assert service.requests == []


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Length": str(67 * 1024 * 1024)}, 413, "payload_too_large"),
        ({"Transfer-Encoding": "chunked"}, 411, "length_required"),
        ({"Content-Length": "9", "Content-Encoding": "gzip"}, 415, None),
    ],
)
async def test_a_head_is_refused_before_its_body(
    service: Service, headers: dict[str, str], status: int, code: str | None
) -> None:
    """A wrong or missing length is refused before the body is read."""
    async with _asked(service, headers) as reader:
        head = await reader.readline()
        body = await reader.read()

    assert int(head.split()[1]) == status
    if code is not None:
        assert f'"code": "{code}"'.encode() in body


@asynccontextmanager
async def _asked(
    service: Service, headers: dict[str, str]
) -> AsyncIterator[asyncio.StreamReader]:
    """Send the head of an edit without its body; yield the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.paintonce.port)
    said = {
        "Host": f"127.0.0.1:{service.paintonce.port}",
        "Content-Type": "multipart/form-data; boundary=storm",
        "Connection": "close",
        **headers,
    }
    lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {it}" for name, it in said.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    try:
        async with asyncio.timeout(10):
            yield reader
    finally:
        writer.close()


async def test_a_painted_picture_is_named_by_its_permalink(service: Service) -> None:
    """An edit by permalink and one by the same bytes are the same prompt."""
    painted = await service.paintonce.get("/api/v1/live/generate", prompt="a fox")
    location = painted.headers["Content-Location"]

    by_address = await service.edited_json(images=[{"image_url": location}])
    by_bytes = await service.edited(("image", painted.body))

    assert by_address.status == 200, by_address.json
    assert by_bytes.json["data"][0]["cache_status"] == "HIT"
    (_, request) = service.requests
    assert [one.data for one in request.references] == [painted.body]
