"""Renditions over HTTP: one payment, with headers of their own."""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING, Any

import PIL.Image
import pytest

from tests.access.service import ADMIN, LIVE, running
from tests.renditions.pictures import animation, encoded, halves

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.access.service import Answer, Paintonce

PROMPT = "a red fox"
SIGNED_PNG = "tests/data/c2pa/embedded.png"


@pytest.fixture
async def service() -> AsyncIterator[Paintonce]:
    """Give a service whose next picture is a PNG of 80 by 60 pixels."""
    async with running() as made:
        made.world.provider.script.append(encoded(halves(), "PNG"))
        yield made


async def live(
    service: Paintonce, headers: dict[str, str] | None = None, **query: Any
) -> Answer:
    """Request the picture of the prompt as the admin."""
    asked = {"prompt": PROMPT, **{name: str(value) for name, value in query.items()}}
    return await service.get(LIVE, {**ADMIN, **(headers or {})}, **asked)


def picture(answer: Answer) -> PIL.Image.Image:
    """Decode the picture of a response."""
    return PIL.Image.open(io.BytesIO(answer.body))


async def test_every_width_and_format_is_one_payment(service: Paintonce) -> None:
    """The first rendition paints; each further one is a HIT that counts once."""
    first = await live(service, w=32, format="webp")
    assert (first.status, first.headers["X-Cache-Status"]) == (200, "MISS")
    assert first.headers["Cache-Status"] == "paintonce; fwd=miss; stored"
    counts = []
    for width in (8, 16, 32):
        for name in ("png", "jpeg", "webp", "avif"):
            answer = await live(service, w=width, format=name)
            assert answer.status == 200
            assert answer.headers["Content-Type"] == f"image/{name}"
            assert int(answer.headers["Content-Length"]) == len(answer.body)
            assert picture(answer).size == (width, width * 60 // 80)
            counts.append(int(answer.headers["X-Cache-Hit-Count"]))
    assert counts == list(range(1, 13))
    assert service.world.provider.count == 1
    assert len(service.world.images) == 1


async def test_the_picture_itself_stays_itself(service: Paintonce) -> None:
    """A rendition of the picture's own width and type is the picture itself."""
    own = await live(service)
    for query in ({"w": 640}, {"format": "png"}, {"w": 640, "format": "png"}):
        same = await live(service, **query)
        assert same.body == own.body
        assert same.headers["ETag"] == own.headers["ETag"]
        assert same.headers["Content-Location"] == own.headers["Content-Location"]
    other = await live(service, w=32)
    assert other.headers["ETag"] != own.headers["ETag"]
    assert other.headers["X-Image-Id"] == own.headers["X-Image-Id"]
    assert other.headers["X-Prompt-Hash"] == own.headers["X-Prompt-Hash"]


async def test_content_location_is_the_permalink_with_its_query(
    service: Paintonce,
) -> None:
    """The permalink with the rendition's query gives the same bytes and ETag."""
    answer = await live(service, {"Accept": "image/webp"}, w=32, format="auto", q=50)
    location = answer.headers["Content-Location"]
    assert location.endswith(".png?w=32&format=webp&q=50")
    same = await service.ask("GET", location)
    assert same.body == answer.body
    for name in ("ETag", "Last-Modified", "X-Image-Id", "Content-Location"):
        assert same.headers[name] == answer.headers[name]
    assert same.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert same.headers["Cache-Status"] == "paintonce; hit"
    assert "Vary" not in same.headers


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("image/avif,image/webp,image/apng,*/*;q=0.8", "image/avif"),
        ("image/webp,image/avif;q=0", "image/webp"),
        ("image/webp;q=1, image/avif;q=0.1", "image/avif"),
        ("IMAGE/WEBP", "image/webp"),
        ("image/*,*/*", "image/png"),
        ("image/webp;q=7", "image/png"),
        ("image/webp,,", "image/webp"),
        ("image/avif image/webp", "image/png"),
        ("", "image/png"),
    ],
)
async def test_auto_goes_by_accept(
    service: Paintonce, accept: str, media_type: str
) -> None:
    """`format=auto` picks avif or webp by Accept, and varies by it."""
    for query in ({"w": 16}, {}):
        answer = await live(service, {"Accept": accept}, format="auto", **query)
        assert answer.headers["Content-Type"] == media_type
        assert answer.headers["Vary"] == "X-API-Key, Authorization, X-Project, Accept"


async def test_an_animation_becomes_png_where_nothing_better_is_accepted(
    service: Paintonce,
) -> None:
    """`format=auto` turns a GIF into a PNG if Accept names nothing better."""
    service.world.provider.script[0] = animation()
    own = await live(service)
    assert own.headers["Content-Type"] == "image/gif"
    for query in ({"w": 16}, {"format": "auto"}):
        answer = await live(service, {"Accept": "*/*"}, **query)
        assert answer.headers["Content-Type"] == "image/png"
    assert (await live(service, w=640)).body == own.body


async def test_conditions_and_ranges_are_of_the_rendition(service: Paintonce) -> None:
    """Conditions, ranges and HEAD apply to the rendition's bytes and ETag."""
    whole = await live(service, {"Accept": "image/webp"}, w=32, format="auto")
    whole = await live(service, {"Accept": "image/webp"}, w=32, format="auto")
    for headers, status in (
        ({"If-None-Match": whole.headers["ETag"]}, 304),
        ({"Range": "bytes=2-5"}, 206),
        ({"Range": "bytes=999999-"}, 416),
    ):
        sent = {"Accept": "image/webp", **headers}
        answer = await live(service, sent, w=32, format="auto")
        assert answer.status == status
        for name in ("ETag", "Vary", "Content-Location", "X-Image-Id", "Cache-Status"):
            assert answer.headers[name] == whole.headers[name], (status, name)
        if status == 206:
            assert answer.body == whole.body[2:6]
    head = await service.ask("HEAD", f"{LIVE}?prompt=a+red+fox&w=32&format=webp", ADMIN)
    assert head.headers["Content-Length"] == str(len(whole.body))
    assert head.headers["ETag"] == whole.headers["ETag"]


async def test_head_makes_one_and_pays_nothing(service: Paintonce) -> None:
    """HEAD of an unpainted prompt is 404, of a painted one it makes the rendition."""
    path = f"{LIVE}?prompt=a+red+fox&w=32&format=avif"
    assert (await service.ask("HEAD", path, ADMIN)).status == 404
    assert service.world.provider.count == 0
    await live(service)
    head = await service.ask("HEAD", path, ADMIN)
    answer = await live(service, w=32, format="avif")
    assert head.headers["Content-Length"] == str(len(answer.body))
    assert head.headers["Content-Type"] == "image/avif"


async def test_fields_of_a_post_are_those_of_a_query(service: Paintonce) -> None:
    """POST takes the same rendition fields, with integers as integers."""
    fields = {"prompt": PROMPT, "w": 32, "format": "webp", "q": 50}
    posted = await service.ask("POST", LIVE, ADMIN, json=fields)
    got = await live(service, w=32, format="webp", q=50)
    assert posted.body == got.body
    assert posted.headers["ETag"] == got.headers["ETag"]
    for name, value in (("w", "32"), ("w", True), ("q", 50.0), ("format", 1)):
        wrong = await service.ask("POST", LIVE, ADMIN, json={**fields, name: value})
        assert (wrong.status, wrong.json["parameter"]) == (400, name)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("w=0", "w"),
        ("w=17", "w"),
        ("w=-1", "w"),
        ("w=016", "w"),
        ("w=", "w"),
        ("w=16&w=16", "w"),
        ("w=99999999999999999999999", "w"),
        ("format=gif", "format"),
        ("format=WEBP", "format"),
        ("format=svg", "format"),
        ("format=webp&format=webp", "format"),
        ("format=webp&q=55", "q"),
        ("format=webp&q=110", "q"),
        ("format=webp&q=x", "q"),
        ("format=png&q=50", "q"),
        ("w=16&q=50", "q"),
    ],
)
async def test_bad_input_names_its_parameter(
    service: Paintonce, query: str, parameter: str
) -> None:
    """Bad rendition input is 400, live, by permalink and by id."""
    own = await live(service)
    by_id = f"/api/v1/images/{own.headers['X-Image-Id']}"
    for path in (f"{LIVE}?prompt=a+red+fox", f"{own.headers['Content-Location']}?x=1"):
        answer = await service.ask("GET", f"{path}&{query}", ADMIN)
        assert (answer.status, answer.json["parameter"]) == (400, parameter), path
    answer = await service.ask("GET", f"{by_id}?{query}", ADMIN)
    assert (answer.status, answer.json["parameter"]) == (400, parameter)


async def test_bad_input_is_refused_before_anything_is_paid(
    service: Paintonce,
) -> None:
    """A bad width is refused before an unpainted prompt is painted."""
    assert (await live(service, w=17)).status == 400
    assert service.world.provider.count == 0


async def test_images_by_id_have_renditions(service: Paintonce) -> None:
    """The route by image id gives the same rendition, cached privately."""
    answer = await live(service, w=16, format="jpeg")
    path = f"/api/v1/images/{answer.headers['X-Image-Id']}?w=16&format=jpeg"
    by_id = await service.ask("GET", path, ADMIN)
    assert by_id.body == answer.body
    assert by_id.headers["Cache-Control"] == "private, max-age=31536000"
    head = await service.ask("HEAD", path, ADMIN)
    assert head.headers["Content-Length"] == str(len(answer.body))
    unchanged = await service.ask(
        "GET", path, {**ADMIN, "If-None-Match": answer.headers["ETag"]}
    )
    assert unchanged.status == 304
    part = await service.ask("GET", path, {**ADMIN, "Range": "bytes=0-1"})
    assert (part.status, part.body) == (206, answer.body[:2])
    beyond = await service.ask("GET", path, {**ADMIN, "Range": "bytes=999999-"})
    assert beyond.status == 416


async def test_a_read_key_and_a_scope_may_have_one_made(service: Paintonce) -> None:
    """A read key and a scope get renditions of painted prompts without cost."""
    read = {"X-API-Key": (await service.key(role="read"))["key"]}
    assert (await service.get(LIVE, read, prompt=PROMPT, w="16")).status == 403
    await live(service)
    assert (await service.get(LIVE, read, prompt=PROMPT, w="16")).status == 200
    made = await service.ask(
        "PUT", "/api/v1/live/scopes/blog", ADMIN, json={"allow_new": False}
    )
    assert made.status == 201
    path = "/live/acme/shop/blog"
    answer = await service.get(path, {}, prompt=PROMPT, w="32", format="auto")
    assert answer.status == 200
    assert answer.headers["Vary"] == "Accept"
    scope = await service.ask("GET", "/api/v1/live/scopes/blog", ADMIN)
    assert scope.json["generated"] == 0


async def test_a_signature_covers_the_rendition(service: Paintonce) -> None:
    """A signed width is served, and any other one is 403."""
    await service.key(kind="signing")
    signed = await service.ask(
        "POST",
        "/api/v1/sign",
        ADMIN,
        json={"prompt": PROMPT, "w": 32, "format": "webp"},
    )
    path = signed.json["url"].partition(str(service.port))[2]
    answer = await service.ask("GET", path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/webp")
    assert "Vary" not in answer.headers
    assert (await service.ask("GET", path.replace("w=32", "w=16"))).status == 403


async def test_sign_gives_a_srcset(service: Paintonce) -> None:
    """`/sign` with `widths` returns a signed address for each width."""
    await service.key(kind="signing")
    given: dict[str, Any] = {"prompt": PROMPT, "format": "webp"}
    given["widths"] = [16, 8, 32]
    signed = await service.ask("POST", "/api/v1/sign", ADMIN, json=given)
    assert signed.status == 200
    srcset = signed.json["srcset"]
    assert [each["w"] for each in srcset] == [16, 8, 32]
    for each in srcset:
        answer = await service.ask("GET", each["url"].partition(str(service.port))[2])
        assert picture(answer).size[0] == each["w"]
    assert service.world.provider.count == 1
    wrong: list[Any] = [[17], [], "16", [16, 16], [True]]
    for widths in wrong:
        given["widths"] = widths
        refused = await service.ask("POST", "/api/v1/sign", ADMIN, json=given)
        assert (refused.status, refused.json["parameter"]) == (400, "widths")
    given["widths"] = [16]
    both = await service.ask("POST", "/api/v1/sign", ADMIN, json=given | {"w": 16})
    assert (both.status, both.json["parameter"]) == (400, "widths")


async def test_a_lost_c2pa_manifest_is_said(service: Paintonce) -> None:
    """`X-Provenance: c2pa-lost` is on every answer of such a rendition."""
    with open(SIGNED_PNG, "rb") as signed:  # noqa: ASYNC230, PTH123 - a small file
        service.world.provider.script[0] = signed.read()
    own = await live(service)
    assert "X-Provenance" not in own.headers
    answer = await live(service, w=8, format="webp")
    assert answer.headers["X-Provenance"] == "c2pa-lost"
    by_permalink = answer.headers["Content-Location"]
    for method, headers, status in (
        ("GET", {}, 200),
        ("HEAD", {}, 200),
        ("GET", {"Range": "bytes=0-3"}, 206),
        ("GET", {"If-None-Match": answer.headers["ETag"]}, 304),
    ):
        for path in (f"{LIVE}?prompt=a+red+fox&w=8&format=webp", by_permalink):
            said = await service.ask(method, path, {**ADMIN, **headers})
            assert said.status == status
            assert said.headers["X-Provenance"] == "c2pa-lost"


async def test_a_purge_takes_renditions_along(service: Paintonce) -> None:
    """A purge removes the picture and all its renditions."""
    answer = await live(service, w=16, format="webp")
    location = answer.headers["Content-Location"]
    assert (await service.ask("GET", location)).status == 200
    path = f"/api/v1/live/entries/{answer.headers['X-Prompt-Hash']}"
    assert (await service.ask("DELETE", path, ADMIN)).status == 200
    assert (await service.ask("GET", location)).status == 404
    assert not [key for key in service.world.store.objects if "/renditions/" in key]


async def test_a_refresh_takes_renditions_along(service: Paintonce) -> None:
    """A refresh removes the old picture's renditions."""
    service.world.provider.script.append(encoded(halves("green", "white"), "PNG"))
    old = await live(service, w=16, format="webp")
    path = f"/api/v1/live/entries/{old.headers['X-Prompt-Hash']}/refresh"
    assert (await service.ask("POST", path, ADMIN)).status == 200
    new = await live(service, w=16, format="webp")
    assert new.headers["X-Image-Id"] != old.headers["X-Image-Id"]
    assert new.body != old.body
    kept = [key for key in service.world.store.objects if "/renditions/" in key]
    assert len(kept) == 1
    assert new.headers["X-Image-Id"] in kept[0]


async def test_statistics_leave_renditions_out(service: Paintonce) -> None:
    """`bytes_stored` does not count renditions, and each answer is one hit."""
    first = await live(service)
    for width in (8, 16, 32):
        await live(service, w=width)
    await service.replica.statistics.apply()
    found = (await service.ask("GET", "/api/v1/live/stats", ADMIN)).json
    assert (found["bytes_stored"], found["hits"]) == (len(first.body), 3)


async def test_a_rendition_that_was_lost_is_made_again_and_counted_once(
    service: Paintonce,
) -> None:
    """A rendition whose object was lost is made again, and the request is one hit."""
    first = await live(service, w=16, format="webp")
    service.replica.parts.hot_tier._pictures.clear()
    for key in [key for key in service.world.store.objects if "/renditions/" in key]:
        del service.world.store.objects[key]
    again = await live(service, w=16, format="webp")
    assert again.status == 200
    assert again.body == first.body
    assert again.headers["X-Cache-Hit-Count"] == "1"


async def test_a_broken_original_is_served_and_has_no_renditions(
    service: Paintonce,
) -> None:
    """A picture that can't be decoded is served, and its renditions are 502."""
    service.world.provider.script[0] = broken()
    own = await live(service)
    assert own.status == 200
    for name in ("webp", "avif", "jpeg"):
        answer = await live(service, w=16, format=name)
        assert (answer.status, answer.code) == (502, "provider_failed")
        assert "can't be decoded" in answer.json["detail"]
        assert int(answer.headers["Retry-After"]) > 3
        permalink = own.headers["Content-Location"]
        stored = await service.ask("GET", f"{permalink}?w=16&format={name}")
        assert (stored.status, stored.code) == (502, "provider_failed")
    assert (await live(service)).body == own.body
    assert service.world.provider.count == 1


def broken() -> bytes:
    """Return a PNG with valid chunks and undecodable pixels."""
    whole = encoded(halves(), "PNG")
    start = whole.index(b"IDAT") - 4
    pixels = b"\x78\x9c" + b"\xff" * 40
    checksum = zlib.crc32(b"IDAT" + pixels).to_bytes(4, "big")
    chunk = len(pixels).to_bytes(4, "big") + b"IDAT" + pixels + checksum
    return whole[:start] + chunk + whole[whole.index(b"IEND") - 4 :]
