"""Live generation over HTTP: one replica, real Redis, real object store."""

from __future__ import annotations

import asyncio
import io
import json
import re
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote

import PIL.Image
import pytest

from app.api.routes import ROUTES
from tests.server.frame import Answer, get, wire

if TYPE_CHECKING:
    from tests.replica import Replica
    from tests.server.frame import Wire

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIVE = "/api/v1/live/generate"
VARY = "X-API-Key, Authorization, X-Project"


def live(query: str, *headers: str, method: str = "GET") -> bytes:
    """Return a live request."""
    return get(f"{LIVE}?{query}", *headers, method=method)


def post(document: object, *headers: str, raw: bytes | None = None) -> bytes:
    """Return a live request with a JSON body."""
    body = json.dumps(document).encode() if raw is None else raw
    head = f"POST {LIVE} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    kinds = [line.lower() for line in headers]
    if not any(kind.startswith("content-type") for kind in kinds):
        head += "Content-Type: application/json\r\n"
    return (head + "".join(f"{line}\r\n" for line in headers) + "\r\n").encode() + body


def assert_problem(
    answer: Answer, status: int, code: str, parameter: str | None = None
) -> None:
    """Check that *answer* is a problem document of the contract."""
    problem = answer.problem
    assert (answer.status, problem["code"]) == (status, code)
    assert problem["type"] == f"urn:paintonce:problem:{code}"
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["vary"] == VARY
    if parameter is not None:
        assert problem["parameter"] == parameter


async def test_a_miss_and_a_hit_have_the_headers_of_the_contract(line: Wire) -> None:
    """MISS and HIT have the contract's headers for the same picture."""
    painted = await line.ask(live("prompt=a+barn+owl", "X-Request-Id: mine-1"))
    hit = await line.ask(live("prompt=a+barn+owl"))

    assert (painted.status, hit.status) == (200, 200)
    assert painted.headers["x-cache-status"] == "MISS"
    assert painted.headers["cache-status"] == "paintonce; fwd=miss; stored"
    assert "x-cache-hit-count" not in painted.headers
    assert painted.headers["x-request-id"] == "mine-1"
    assert hit.headers["x-cache-status"] == "HIT"
    assert hit.headers["cache-status"] == "paintonce; hit"
    assert hit.headers["x-cache-hit-count"] == "1"
    assert "x-generation-id" not in hit.headers
    for name in (
        "content-type",
        "content-length",
        "cache-control",
        "etag",
        "last-modified",
        "accept-ranges",
        "x-image-id",
        "x-prompt-hash",
        "content-location",
        "x-model",
        "x-placeholder",
        "vary",
    ):
        assert (name, painted.headers[name]) == (name, hit.headers[name])
    assert hit.headers["cache-control"] == "public, max-age=31536000"
    assert hit.headers["etag"] == f'"{sha256(hit.body).hexdigest()}"'
    assert hit.headers["vary"] == VARY
    assert hit.headers["x-placeholder"] == "true"
    assert painted.body == hit.body


@pytest.mark.parametrize("condition", ["X-Nothing: more", "If-None-Match: *"])
async def test_however_a_connection_ends_the_answer_is_the_same(
    service: Replica, line: Wire, condition: str
) -> None:
    """A kept and a closed connection get the same headers."""
    await line.ask(live("prompt=a+tawny+owl"))
    stays = await line.ask(live("prompt=a+tawny+owl", condition))
    async with wire(service.port) as other:
        leaves = await other.ask(
            live("prompt=a+tawny+owl", condition, "Connection: close")
        )

    assert leaves.headers.pop("connection") == "close"
    for one in (stays, leaves):
        del one.headers["x-cache-hit-count"], one.headers["x-request-id"]
        del one.headers["date"]
    assert stays == leaves


BAD_QUERIES = [
    ("", "prompt"),
    ("prompt", "prompt"),
    ("prompt=", "prompt"),
    ("prompt=%20%0A", "prompt"),
    ("prompt=a&prompt=a", "prompt"),
    ("prompt=%FF", "prompt"),
    ("prompt=%E4%B8", "prompt"),
    ("prompt=%C0%80", "prompt"),
    ("prompt=%ED%A0%80", "prompt"),
    ("prompt=50%", "prompt"),
    ("prompt=50%2", "prompt"),
    ("prompt=50%zz", "prompt"),
    ("prompt=a%00b", "prompt"),
    ("prompt=a%0Db", "prompt"),
    ("prompt=a%1Bb", "prompt"),
    ("prompt=a%C2%85b", "prompt"),
    ("prompt=a%7Fb", "prompt"),
    ("prompt=" + "a" * 4001, "prompt"),
    ("prompt=a&model=unknown", "model"),
    ("prompt=a&model=", "model"),
    ("prompt=a&model=DEFAULT", "model"),
    ("prompt=a&aspect_ratio=5:3", "aspect_ratio"),
    ("prompt=a&aspect_ratio=1:1&width=64&height=64", "aspect_ratio"),
    ("prompt=a&width=64", "height"),
    ("prompt=a&height=64", "width"),
    ("prompt=a&width=63&height=64", "width"),
    ("prompt=a&width=64&height=4097", "height"),
    ("prompt=a&width=4096&height=4096", "width"),
    ("prompt=a&width=064&height=64", "width"),
    ("prompt=a&width=64.0&height=64", "width"),
    ("prompt=a&width=%2B64&height=64", "width"),
    ("prompt=a&width=%D9%A6%D9%A4&height=64", "width"),
    ("prompt=a&seed=-1", "seed"),
    ("prompt=a&seed=4294967296", "seed"),
    ("prompt=a&seed=" + "9" * 5000, "seed"),
    ("prompt=a&seed=1e3", "seed"),
    ("prompt=a&variant=16", "variant"),
    ("prompt=a&variant=00", "variant"),
    ("prompt=a&project=Acme/shop", "project"),
    ("prompt=a&project=acme", "project"),
    ("prompt=a&project=acme/shop/more", "project"),
    ("prompt=a&project=../shop", "project"),
    ("prompt=a&references=x", "references"),
    ("prompt=a&Prompt=b", "Prompt"),
    ("prompt=a&nocache=1", "nocache"),
]


@pytest.mark.parametrize(("query", "parameter"), BAD_QUERIES)
async def test_a_bad_query_names_its_parameter(
    line: Wire, query: str, parameter: str
) -> None:
    """A bad query is 400 with its parameter, and nothing is painted."""
    answer = await line.ask(live(query))

    assert_problem(answer, 400, "invalid_parameter", parameter)


async def test_bytes_beyond_ascii_are_refused(service: Replica) -> None:
    """A target with unescaped bytes beyond ASCII is 400 (RFC 9112, 3.2)."""
    for spelled in ("Zürich".encode(), b"Z\xfcrich"):
        async with wire(service.port) as line:
            answer = await line.ask(live("prompt=PLACE").replace(b"PLACE", spelled))
            assert (answer.status, answer.problem["code"]) == (400, "malformed_request")


SAME_PROMPTS = [
    ("prompt=two+owls&seed=0", "seed=0&prompt=two+owls"),
    ("prompt=two+owls", "prompt=%20two%20owls%0A"),
    ("prompt=two+owls", "&&prompt=two%20owls&"),
    ("prompt=two+owls", "prompt=two+owls&model=default&variant=0"),
    ("prompt=line%0D%0Abreak", "prompt=line%0Abreak"),
    ("prompt=caf%C3%A9", "prompt=cafe%CC%81"),
    ("prompt=two+owls", "prompt=two+owls&project=default/main"),
    ("prompt=two+owls", "prompt=two+owls&pr%6Fject=default/main"),
    ("prompt=sig=project=a", "prompt=sig%3Dproject%3Da"),
]
OTHER_PROMPTS = [
    ("prompt=two+owls", "prompt=Two+owls"),
    ("prompt=two+owls", "prompt=two+owls&seed=0"),
    ("prompt=two+owls", "prompt=two++owls"),
    ("prompt=two+owls", "prompt=two+owls&variant=1"),
    ("prompt=two+owls", "prompt=two+owls&model=jpeg"),
    ("prompt=two+owls", "prompt=two+owls&aspect_ratio=1:1"),
    ("prompt=two+owls&aspect_ratio=1:2", "prompt=two+owls&aspect_ratio=2:1"),
    ("prompt=two+owls", "prompt=two+owls&project=acme/attic"),
    ("prompt=two+owls", "prompt=two+owls&pr%6Fject=acme/attic"),
]


@pytest.mark.parametrize(("one", "other"), SAME_PROMPTS)
async def test_spelling_does_not_matter(line: Wire, one: str, other: str) -> None:
    """Order, defaults, outer white space and Unicode form do not change the prompt."""
    first, second = await line.ask(live(one)), await line.ask(live(other))

    assert first.headers["x-prompt-hash"] == second.headers["x-prompt-hash"]
    assert second.headers["x-cache-status"] == "HIT"


@pytest.mark.parametrize(("one", "other"), OTHER_PROMPTS)
async def test_every_difference_in_value_matters(
    line: Wire, one: str, other: str
) -> None:
    """Another value of any parameter is another prompt."""
    first, second = await line.ask(live(one)), await line.ask(live(other))

    assert first.headers["x-prompt-hash"] != second.headers["x-prompt-hash"]


async def test_the_longest_prompt_and_target_are_served(line: Wire) -> None:
    """A prompt of 4000 characters and a target of 65,536 bytes are served."""
    prompt = quote("雪" * 4000)
    exact = f"{LIVE}?prompt={quote('雪' * 4000)}&model=default"
    exact += "&" * (65_536 - len(exact))

    longest = await line.ask(live(f"prompt={prompt}"))
    fullest = await line.ask(get(exact))
    beyond = await line.ask(get(exact + "&"))

    assert (longest.status, fullest.status) == (200, 200)
    assert longest.headers["x-prompt-hash"] == fullest.headers["x-prompt-hash"]
    assert (beyond.status, beyond.problem["code"]) == (414, "uri_too_long")


async def test_width_and_height_give_exactly_that_size(line: Wire) -> None:
    """The picture has the requested size."""
    answer = await line.ask(live("prompt=a+panorama&width=333&height=77"))

    with PIL.Image.open(io.BytesIO(answer.body)) as picture:
        assert picture.size == (333, 77)


@pytest.mark.parametrize("model", ["default", "jpeg"])
@pytest.mark.parametrize("size", ["", "&width=64&height=64"])
async def test_a_picture_says_that_it_was_generated(
    line: Wire, project: str, model: str, size: str
) -> None:
    """A stored picture is marked as generated, and its entry records that."""
    query = f"prompt=a+marked+picture&model={model}{size}"
    miss = await line.ask(live(query, f"X-Project: {project}"))
    hit = await line.ask(live(query, f"X-Project: {project}"))
    path = f"/api/v1/live/entries/{miss.headers['x-prompt-hash']}"
    entry = json.loads((await line.ask(get(path, f"X-Project: {project}"))).body)

    program = "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia"
    with PIL.Image.open(io.BytesIO(miss.body)) as picture:
        assert program.encode() in picture.info["xmp"]
        assert b"placeholder landscape" in picture.info["xmp"]
        assert b"marked picture" not in picture.info["xmp"]
    assert hit.body == miss.body
    assert miss.headers["etag"] == f'"{sha256(miss.body).hexdigest()}"'
    assert entry["size"] == len(miss.body)
    assert entry["provenance"] == {
        "c2pa": False,
        "c2pa_lost": False,
        "digital_source_type": program,
        "marked": True,
    }


async def test_conditions_of_a_painted_prompt_are_honoured(line: Wire) -> None:
    """A matching condition of a painted prompt is 304 and counts as a hit."""
    painted = await line.ask(live("prompt=seen+before"))
    etag, date = painted.headers["etag"], painted.headers["last-modified"]

    for header in (
        f"If-None-Match: {etag}",
        f'If-None-Match: "other", W/{etag}',
        "If-None-Match: *",
        f"If-Modified-Since: {date}",
    ):
        answer = await line.ask(live("prompt=seen+before", header))
        assert (header, answer.status) == (header, 304)
        assert answer.headers["etag"] == etag
        assert answer.headers["vary"] == VARY
    changed = await line.ask(live("prompt=seen+before", 'If-None-Match: "other"'))
    assert changed.status == 200
    assert changed.headers["x-cache-hit-count"] == "5"


async def test_a_condition_on_an_unpainted_prompt_is_ignored(line: Wire) -> None:
    """A condition on an unpainted prompt is ignored, and the prompt is painted."""
    answer = await line.ask(live("prompt=never+seen", "If-None-Match: *"))
    part = await line.ask(
        live("prompt=never+seen+a+part", "If-None-Match: *", "Range: bytes=0-9")
    )

    assert (answer.status, answer.headers["x-cache-status"]) == (200, "MISS")
    assert (part.status, part.headers["x-cache-status"]) == (206, "MISS")
    assert len(part.body) == 10


async def test_a_picture_that_is_another_one_is_refused(line: Wire) -> None:
    """A failed If-Match or If-Unmodified-Since is 412 and paints nothing."""
    painted = await line.ask(live("prompt=the+same"))
    etag, path = painted.headers["etag"], painted.headers["content-location"]

    for header, status in (
        (f"If-Match: {etag}", 200),
        ("If-Match: *", 200),
        ('If-Match: "other"', 412),
        (f"If-Match: W/{etag}", 412),
        ("If-Unmodified-Since: Thu, 05 Mar 2020 07:08:09 GMT", 412),
        (f"If-Unmodified-Since: {painted.headers['last-modified']}", 200),
    ):
        for request in (live("prompt=the+same", header), get(path, header)):
            answer = await line.ask(request)
            assert (header, answer.status) == (header, status)
            if status == 412:
                assert answer.problem["code"] == "precondition_failed"
                assert answer.headers["etag"] == etag
                assert answer.headers["cache-control"] == "no-store"
        await line.send(live("prompt=the+same", header, method="HEAD"))
        assert (await line.answer(to_head=True)).status == status
    unpainted = await line.ask(live("prompt=another+one", "If-Match: *"))
    assert_problem(unpainted, 412, "precondition_failed")
    await line.send(live("prompt=another+one", method="HEAD"))
    assert (await line.answer(to_head=True)).status == 404


async def test_a_range_is_honoured_on_a_miss_and_on_a_hit(line: Wire) -> None:
    """A range is 206 on MISS and HIT, 416 beyond the end, and ignored if odd."""
    part = await line.ask(live("prompt=in+parts", "Range: bytes=0-99"))
    whole = await line.ask(live("prompt=in+parts"))
    size = len(whole.body)
    tail = await line.ask(live("prompt=in+parts", "Range: bytes=-10"))
    beyond = await line.ask(live("prompt=in+parts", f"Range: bytes={size}-"))
    several = await line.ask(live("prompt=in+parts", "Range: bytes=0-1,5-6"))
    stale = await line.ask(
        live("prompt=in+parts", "Range: bytes=0-9", 'If-Range: "other"')
    )

    assert (part.status, part.headers["x-cache-status"]) == (206, "MISS")
    assert part.headers["content-range"] == f"bytes 0-99/{size}"
    assert part.body == whole.body[:100]
    assert (tail.status, tail.body) == (206, whole.body[-10:])
    assert_problem(beyond, 416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{size}"
    assert beyond.headers["x-cache-status"] == "HIT"
    assert beyond.headers["x-image-id"] == whole.headers["x-image-id"]
    assert (several.status, several.body) == (200, whole.body)
    assert (stale.status, stale.body) == (200, whole.body)


async def test_head_answers_for_a_painted_prompt_and_never_pays(
    service: Replica, line: Wire
) -> None:
    """HEAD has GET's headers for a painted prompt and is 404 for another."""
    await line.send(live("prompt=ask+first", method="HEAD"))
    unpainted = await line.answer(to_head=True)
    whole = await line.ask(live("prompt=ask+first"))
    await line.send(live("prompt=ask+first", method="HEAD"))
    painted = await line.answer(to_head=True)
    after = await line.ask(live("prompt=ask+first"))

    assert unpainted.status == 404
    assert unpainted.headers["x-cache-status"] == "MISS"
    assert whole.headers["x-cache-status"] == "MISS"
    assert (painted.status, painted.headers["x-cache-status"]) == (200, "HIT")
    assert painted.headers["content-length"] == whole.headers["content-length"]
    assert painted.headers["x-cache-hit-count"] == "1"
    assert after.headers["x-cache-hit-count"] == "2"


FAILURES = [
    ("refuses", 422, "prompt_rejected"),
    ("fails", 502, "provider_failed"),
    ("broken", 502, "provider_failed"),
    ("limited", 429, "rate_limited"),
    ("never", 504, "generation_timed_out"),
]


@pytest.mark.parametrize(("model", "status", "code"), FAILURES)
async def test_a_failure_is_honest_and_remembered(
    service: Replica, line: Wire, model: str, status: int, code: str
) -> None:
    """A remembered failure has the same status and code without a second call."""
    query = f"prompt=no+luck&model={model}"

    async def calls() -> float:
        counted = await line.ask(get("/metrics"))
        return sum(
            float(text.rpartition(" ")[2])
            for text in counted.body.decode().splitlines()
            if text.startswith("paintonce_provider_calls_total")
            and f'"{model}"' in text
        )

    before = await calls()
    first = await line.ask(live(query))
    again = await line.ask(live(query))

    assert_problem(first, status, code)
    assert_problem(again, status, code)
    assert await calls() - before == 1


async def test_a_refusal_is_remembered_for_ten_minutes_and_purged(
    line: Wire,
) -> None:
    """A refusal is remembered for ten minutes, or until a purge."""
    query = "prompt=not+this&model=refuses"
    await line.ask(live(query))
    seed = await line.ask(live("prompt=not+this"))
    again = await line.ask(live(query))

    assert 590 < int(again.headers["retry-after"]) <= 600
    assert seed.status == 200


async def test_a_full_queue_is_refused_at_once_and_not_remembered(
    service: Replica, line: Wire
) -> None:
    """A full queue is 429 at once and is not remembered."""
    async with wire(service.port) as busy:
        promised = await busy.ask(
            live("prompt=first+in&model=narrow", "Prefer: respond-async")
        )
        generation = get(promised.headers["location"])
        while (await busy.ask(generation)).problem["state"] == "queued":  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.01)
        refused = await line.ask(live("prompt=second&model=narrow"))
        first = await busy.ask(live("prompt=first+in&model=narrow"))
    later = await line.ask(live("prompt=second&model=narrow"))

    assert first.status == 200
    assert_problem(refused, 429, "queue_full")
    assert int(refused.headers["retry-after"]) >= 1
    assert (later.status, later.headers["x-cache-status"]) == (200, "MISS")


async def test_a_fallback_signs_its_picture(line: Wire) -> None:
    """A fall-back's picture has its own alias and type."""
    answer = await line.ask(live("prompt=plan+b&model=saved"))
    hit = await line.ask(live("prompt=plan+b&model=saved"))

    assert answer.headers["x-model"] == hit.headers["x-model"] == "jpeg"
    assert answer.headers["content-type"] == "image/jpeg"


async def test_a_request_that_does_not_wait_gets_its_generation(line: Wire) -> None:
    """`Prefer: respond-async` gets 202 with the generation's address."""
    query = "prompt=a+later+one&model=slow"
    accepted = await line.ask(live(query, "Prefer: respond-async"))
    running = await line.ask(get(accepted.headers["location"]))
    patient = await line.ask(live(query, "Prefer: wait=10"))
    done = await line.ask(get(accepted.headers["location"]))

    assert accepted.status == 202
    assert accepted.headers["preference-applied"] == "respond-async"
    assert int(accepted.headers["retry-after"]) >= 1
    assert accepted.headers["vary"] == VARY
    assert accepted.problem["state"] in {"queued", "running"}
    assert running.status == 200
    assert "retry-after" in running.headers
    assert patient.status == 200
    assert done.problem["state"] == "done"
    assert done.problem["image_id"] == patient.headers["x-image-id"]
    fetched = await line.ask(get(done.problem["image_url"]))
    assert fetched.body == patient.body
    assert "retry-after" not in done.headers


async def test_json_paints_what_a_query_paints(line: Wire) -> None:
    """JSON and query with the same parameters are the same prompt."""
    posted = await line.ask(
        post({"prompt": "by post", "seed": 7, "width": 64, "height": 64})
    )
    asked = await line.ask(live("prompt=by+post&seed=7&width=64&height=64"))
    ranged = await line.ask(
        post(
            {"prompt": "by post", "seed": 7, "width": 64, "height": 64},
            "Range: bytes=0-1",
        )
    )

    assert (posted.status, posted.headers["x-cache-status"]) == (200, "MISS")
    assert asked.headers["x-cache-status"] == "HIT"
    assert asked.body == posted.body == ranged.body
    assert ranged.status == 200


BAD_DOCUMENTS = [
    ({}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": ["a"]}, "prompt"),
    ({"prompt": "half a \ud800 pair"}, "prompt"),
    ({"prompt": "a", "seed": "7"}, "seed"),
    ({"prompt": "a", "seed": 1.0}, "seed"),
    ({"prompt": "a", "seed": True}, "seed"),
    ({"prompt": "a", "seed": None}, "seed"),
    ({"prompt": "a", "width": 64}, "height"),
    ({"prompt": "a", "model": 3}, "model"),
    ({"prompt": "a", "references": "x"}, "references"),
    ({"prompt": "a", "references": ["x"]}, "references"),
    ({"prompt": "a", "references": [None]}, "references"),
    (
        {"prompt": "a", "references": ["00000000-0000-4000-8000-000000000000"] * 17},
        "references",
    ),
    (
        {"prompt": "a", "references": ["00000000-0000-4000-8000-000000000000"]},
        "references",
    ),
    ({"prompt": "a", "project": "a/b"}, "project"),
    ({"prompt": "a", "huh": 1}, "huh"),
]


@pytest.mark.parametrize(("document", "parameter"), BAD_DOCUMENTS)
async def test_a_bad_document_names_its_parameter(
    line: Wire, document: object, parameter: str
) -> None:
    """A wrong value in JSON is 400 with its parameter."""
    answer = await line.ask(post(document))

    assert_problem(answer, 400, "invalid_parameter", parameter)


MALFORMED = [
    b"",
    b"{",
    b"[]",
    b'"a"',
    b"null",
    b'{"prompt": "a", "prompt": "a"}',
    b'{"prompt": NaN}',
    b"\xff\xfe",
    b'{"prompt": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    b'{"seed": ' + b"9" * 10_000 + b"}",
]


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
async def test_what_is_no_json_object_is_malformed(line: Wire, body: bytes) -> None:
    """A body that is not a JSON object is 400 `malformed_request`."""
    answer = await line.ask(post(None, raw=body))

    assert_problem(answer, 400, "malformed_request")


async def test_a_post_is_refused_by_its_head(service: Replica) -> None:
    """A POST with a wrong type, encoding or length is refused before its body."""
    head = f"POST {LIVE} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    json_type = "Content-Type: application/json\r\n"
    cases = [
        ("Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415),
        (f"{json_type}Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{{}}", 415),
        (f"{json_type}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (f"{json_type}Content-Length: 1048577\r\n\r\n", 413),
    ]
    for rest, status in cases:
        async with wire(service.port) as line:
            answer = await line.ask((head + rest).encode())
            assert (rest, answer.status) == (rest, status)


async def test_images_are_served_by_permalink_and_by_id(
    line: Wire, project: str
) -> None:
    """A permalink is public and immutable, the route by id is private."""
    painted = await line.ask(live("prompt=for+ever", f"X-Project: {project}"))
    path = painted.headers["content-location"]
    by_link = await line.ask(get(path))
    by_id = await line.ask(
        get(f"/api/v1/images/{painted.headers['x-image-id']}", f"X-Project: {project}")
    )
    unchanged = await line.ask(get(path, f"If-None-Match: {painted.headers['etag']}"))
    part = await line.ask(get(path, "Range: bytes=5-9"))
    await line.send(get(path, method="HEAD"))
    head = await line.answer(to_head=True)

    assert path.startswith(f"/api/v1/images/{project}/generated/")
    assert by_link.body == by_id.body == painted.body
    assert by_link.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert by_id.headers["cache-control"] == "private, max-age=31536000"
    for name in ("etag", "last-modified", "x-image-id", "content-type"):
        assert (name, by_link.headers[name]) == (name, painted.headers[name])
    assert unchanged.status == 304
    assert (part.status, part.body) == (206, painted.body[5:10])
    assert head.headers["content-length"] == str(len(painted.body))


BAD_PATHS = [
    ("/api/v1/images/acme/shop/generated", 400),
    ("/api/v1/images/acme/shop/generated/a/b.png", 400),
    ("/api/v1/images/acme//generated/x.png", 400),
    ("/api/v1/images/acme/shop/generated/..%2F..%2Fx.png", 400),
    ("/api/v1/images/acme/%2E%2E/generated/x.png", 400),
    ("/api/v1/images/acme/shop/generated/x%00.png", 400),
    ("/api/v1/images/acme/shop/generated/x%zz.png", 400),
    ("/api/v1/images/acme/shop/generated/%FF.png", 400),
    ("/api/v1/images/Acme/shop/generated/x.png", 400),
    ("/api/v1/images/acme/shop/generated/x%252e.png", 400),
    ("/api/v1/images/acme/shop/prompts/x.json", 404),
    (f"/api/v1/images/acme/shop/prompts/{'a' * 64}.json", 404),
    ("/api/v1/images/acme/shop/generated/x.png", 404),
    (
        "/api/v1/images/acme/shop/generated/00000000-0000-4000-8000-000000000000.svg",
        404,
    ),
    (
        "/api/v1/images/acme/shop/generated/00000000-0000-4000-8000-000000000000.png",
        404,
    ),
    ("/api/v1/images/00000000-0000-4000-8000-000000000000", 404),
    ("/api/v1/images/00000000-0000-4000-8000-00000000000Z", 404),
    ("/api/v1/images/AAAAAAAA-0000-4000-8000-000000000000", 404),
    ("/api/v1/images/{00000000-0000-4000-8000-000000000000}", 404),
    ("/api/v1/live/entries/" + "A" * 64, 404),
    ("/api/v1/live/entries/..", 404),
    ("/api/v1/generations/nope", 404),
    ("/nowhere", 404),
]


@pytest.mark.parametrize(("path", "status"), BAD_PATHS)
async def test_tricks_in_paths_lead_nowhere(line: Wire, path: str, status: int) -> None:
    """A malformed storage key is 400, an unknown id 404."""
    answer = await line.ask(get(path))

    code = "invalid_storage_key" if status == 400 else "not_found"
    assert (answer.status, answer.problem["code"]) == (status, code)
    assert answer.headers["cache-control"] == "no-store"


async def test_the_list_is_paged_in_both_orders(line: Wire, project: str) -> None:
    """The pages of a list have every entry once, by last access or by hits."""
    own = f"X-Project: {project}"
    for count, prompt in enumerate(("least", "more", "most")):
        for _ in range(count + 1):
            await line.ask(live(f"prompt={prompt}", own))

    async def page(sort: str, cursor: str | None) -> tuple[list[str], str | None]:
        query = f"limit=2&sort={sort}" + (f"&cursor={cursor}" if cursor else "")
        answer = await line.ask(get(f"/api/v1/live/entries?{query}", own))
        document = answer.problem
        return [entry["prompt"] for entry in document["entries"]], document["cursor"]

    for sort in ("hits", "recent"):
        first, cursor = await page(sort, None)
        rest, end = await page(sort, cursor)
        assert (sort, first + rest) == (sort, ["most", "more", "least"])
        assert end is None
    for bad in ("limit=0", "limit=201", "sort=size", "cursor=x", "limit=2&limit=2"):
        refused = await line.ask(get(f"/api/v1/live/entries?{bad}", own))
        name = bad.partition("=")[0]
        assert (refused.status, refused.problem["parameter"]) == (400, name)


async def test_statistics_have_spend_and_savings(line: Wire, project: str) -> None:
    """Statistics count hits, spend, and the price that hits saved."""
    own = f"X-Project: {project}"
    for _ in range(4):
        await line.ask(live("prompt=cheap", own))
    await line.ask(live("prompt=dear&model=refuses", own))

    sums = (await line.ask(get("/api/v1/live/stats", own))).problem

    assert (sums["hits"], sums["misses"], sums["failures"]) == (3, 1, 1)
    assert (sums["spend"], sums["saved"]) == (0.25, 0.75)
    assert sums["last_accessed_at"].endswith("Z")


async def test_metrics_are_there_from_the_start_and_hold_no_secrets(
    line: Wire,
) -> None:
    """Every series of the contract exists, without prompts, projects or ids."""
    await line.ask(live("prompt=a+secret+fox"))
    await line.ask(get("/api/v1/images/no/key"))
    counted = (await line.ask(get("/metrics"))).body.decode()

    for series in (
        "paintonce_requests_total",
        "paintonce_request_seconds",
        'paintonce_cache_lookups_total{result="restored"}',
        "paintonce_provider_calls_total",
        "paintonce_generation_seconds",
        "paintonce_spend_total",
        "paintonce_hot_tier_bytes",
        "paintonce_uncounted_hits_total",
        'paintonce_dependency_up{dependency="redis"} 1.0',
    ):
        assert series in counted
    routes = set(re.findall(r'route="([^"]*)"', counted))
    first = {route.template for route in ROUTES} | {"unmatched"}
    assert routes == first
    assert "secret fox" not in counted
    assert "acme" not in counted


async def test_logs_hold_no_prompt(service: Replica, line: Wire) -> None:
    """No log record contains a prompt."""
    await line.ask(live("prompt=whispered+words"))
    await line.ask(live("prompt=whispered+words&model=fails"))

    written = json.dumps(service.records) + "".join(service.noise)
    assert "whispered" not in written
    failed = [r for r in service.records if r.get("status") == 502]
    assert all(record["level"] in {"WARNING", "ERROR"} for record in failed)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("on_error=image", 400, "invalid_parameter"),
        ("prompt=x&seed=-1&on_error=image", 400, "invalid_parameter"),
        ("prompt=no&model=refuses&on_error=image", 422, "prompt_rejected"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_page_may_have_failures_as_pictures(
    line: Wire, query: str, status: int, code: str, method: str
) -> None:
    """`on_error=image` answers an SVG with the status of the failure."""
    await line.send(live(query, method=method))
    answer = await line.answer(to_head=method == "HEAD")

    if method == "HEAD" and status == 422:
        status, code = 404, "not_found"
    assert answer.status == status
    assert answer.headers["x-error-code"] == code
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["vary"] == VARY
    assert answer.body.startswith(b"<svg") is (method == "GET")


async def test_a_wrong_on_error_is_a_problem(line: Wire) -> None:
    """A wrong `on_error` is a problem document."""
    for query in ("on_error=gif", "on_error=image&on_error=image"):
        answer = await line.ask(live(f"prompt=x&{query}"))
        assert_problem(answer, 400, "invalid_parameter", "on_error")


async def test_on_error_is_no_part_of_a_prompt(line: Wire) -> None:
    """`on_error` does not change the prompt."""
    first = await line.ask(live("prompt=a+lamp+that+may+fail"))
    again = await line.ask(live("prompt=a+lamp+that+may+fail&on_error=image"))
    posted = await line.ask(
        post({"prompt": "a lamp that may fail", "on_error": "image"})
    )

    hashes = {one.headers["x-prompt-hash"] for one in (first, again, posted)}
    assert len(hashes) == 1
    refused = await line.ask(post({"prompt": "no", "seed": -1, "on_error": "image"}))
    assert refused.headers["x-error-code"] == "invalid_parameter"
