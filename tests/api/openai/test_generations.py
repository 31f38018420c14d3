"""Generations in OpenAI's API: the same cache and payment as live generation."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from app.api.openai.pictures import Picture
from app.errors import (
    BadImage,
    CallEnd,
    GenerationTimedOut,
    PromptRejected,
    ProviderFailed,
    StorageUnavailable,
)
from app.generation.provider import Origin, ProviderPicture
from app.generation.usage import Usage
from app.prompt_cache.entry.prompt_key import Parameters, PromptKey
from app.prompt_cache.painting.pictures import PictureGone
from app.storage.storage_key import Project
from tests.access.service import ADMIN, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.access.service import Answer, Paintonce

PATH = "/v1/images/generations"
LIVE = "/api/v1/live/generate"
FOX = {"prompt": "a fox"}
MAIN = Project("default", "main")


async def generated(service: Paintonce, headers: Any = None, **fields: Any) -> Answer:
    """Send a generation request."""
    return await service.ask("POST", PATH, headers, json={**FOX, **fields})


def decoded(datum: dict[str, Any]) -> bytes:
    """Return the bytes of one picture of a response."""
    return base64.b64decode(datum["b64_json"], validate=True)


async def test_both_apis_share_one_payment(service: Paintonce) -> None:
    """A picture painted through the OpenAI API is a HIT of live generation."""
    first = await generated(service)
    live = await service.get(LIVE, prompt="a fox")
    again = await generated(service)

    (painted,), (found,) = first.json["data"], again.json["data"]
    assert decoded(painted) == live.body == decoded(found)
    assert (painted["cache_status"], painted["hits"]) == ("MISS", None)
    assert (found["cache_status"], found["hits"]) == ("HIT", 2)
    assert live.headers["X-Cache-Status"] == "HIT"
    assert painted["prompt_hash"] == live.headers["X-Prompt-Hash"]
    assert painted["image_id"] == live.headers["X-Image-Id"]
    assert service.world.provider.count == 1


async def test_the_answer_has_the_fields_that_clients_read(service: Paintonce) -> None:
    """The response has the fields that OpenAI's clients read, with zero usage."""
    answer = await generated(service)

    document = answer.json
    assert document.keys() == {"created", "data", "output_format", "size", "usage"}
    assert (document["output_format"], document["size"]) == ("png", "16x16")
    assert document["usage"] == Usage().as_json()
    assert "url" not in document["data"][0]
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "ETag" not in answer.headers
    assert "Accept-Ranges" not in answer.headers


async def test_one_picture_has_the_headers_of_live_generation(
    service: Paintonce,
) -> None:
    """A response with one picture has the headers of live generation."""
    miss = await generated(service)
    hit = await generated(service)
    live = await service.ask("POST", LIVE, json=FOX)

    wanted = {name for name in live.headers if name.lower().startswith("x-")}
    wanted |= {"Content-Location", "Cache-Status", "Vary"}
    for name in wanted - {"X-Request-ID", "X-Request-Id", "X-Cache-Hit-Count"}:
        assert hit.headers[name] == live.headers[name], name
    assert hit.headers["X-Cache-Hit-Count"] == "1"
    assert miss.headers["X-Cache-Status"] == "MISS"
    assert "X-Generation-Id" in miss.headers


async def test_an_address_is_the_permalink(service: Paintonce) -> None:
    """With `response_format=url` the picture's address is its permalink."""
    answer = await generated(service, response_format="url")

    (datum,) = answer.json["data"]
    assert "b64_json" not in datum
    path = urlsplit(datum["url"]).path
    assert path == answer.headers["Content-Location"]
    for headers in ({}, {"Authorization": "Bearer sk-of-another-account"}):
        picture = await service.ask("GET", path, headers)
        assert picture.status == 200
        assert hashlib.sha256(picture.body).hexdigest() in picture.headers["ETag"]


async def test_n_pictures_are_variants(service: Paintonce) -> None:
    """Each of `n` pictures is painted and cached under the hash of its variant."""
    one = await service.get(LIVE, prompt="a fox", variant="4")
    answer = await generated(service, n=3, variant=3)
    again = await generated(service, n=3, variant=3)

    hashes = [datum["prompt_hash"] for datum in answer.json["data"]]
    assert hashes == [
        PromptKey(MAIN, Parameters("a fox", variant=variant)).hash
        for variant in (3, 4, 5)
    ]
    said = [datum["cache_status"] for datum in answer.json["data"]]
    assert said == ["MISS", "HIT", "MISS"]
    assert decoded(answer.json["data"][1]) == one.body
    assert answer.headers["X-Cache-Status"] == "MISS"
    assert again.headers["X-Cache-Status"] == "HIT"
    assert "X-Image-Id" not in answer.headers
    assert service.world.provider.count == 3


async def test_one_failure_of_several_is_the_answer(service: Paintonce) -> None:
    """One failed variant fails the response; the painted ones stay cached."""
    service.world.provider.script.append(PromptRejected("No."))

    failed = await generated(service, n=3)

    assert failed.status == 400
    assert service.world.provider.count == 3
    assert len(service.world.images) == 2


async def test_usage_is_the_providers_and_is_summed(
    service: Paintonce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Usage is the sum of the provider's figures for MISSes, and zero for HITs."""
    provider = service.world.provider
    paint = provider.paint

    async def counting(request: Any, job: Any) -> ProviderPicture:
        picture = await paint(request, job)
        usage = Usage(10, 4, 6, 100, 110)
        return ProviderPicture(picture.data, Origin("scripted", "x", usage=usage))

    monkeypatch.setattr(provider, "paint", counting)

    answer = await generated(service, n=2)
    again = await generated(service, n=2)

    assert answer.json["usage"] == {
        "input_tokens": 20,
        "input_tokens_details": {"image_tokens": 8, "text_tokens": 12},
        "output_tokens": 200,
        "total_tokens": 220,
    }
    assert again.json["usage"] == Usage().as_json()


@pytest.mark.parametrize(
    "fields",
    [
        dict.fromkeys(("model", "n", "size", "quality", "stream", "seed", "user")),
        {"size": "auto", "quality": "auto", "background": "auto", "n": 1},
        {"style": "vivid", "quality": "standard", "response_format": "b64_json"},
        {"user": "someone", "safety_identifier": "x", "partial_images": 2},
        {"moderation": "auto", "stream": False, "output_compression": 100},
        {"variant": 0, "model": "default"},
    ],
)
async def test_fields_that_choose_nothing_change_nothing(
    service: Paintonce, fields: dict[str, Any]
) -> None:
    """Default values for optional fields do not change the prompt."""
    first = await generated(service)
    answer = await generated(service, **fields)

    assert answer.status == 200
    assert (
        answer.json["data"][0]["prompt_hash"] == (first.json["data"][0]["prompt_hash"])
    )


async def test_a_size_is_a_width_and_a_height(service: Paintonce) -> None:
    """`size` sets width and height, with the prompt hash of live generation."""
    answer = await generated(service, size="640x480", seed=0)

    key = PromptKey(MAIN, Parameters("a fox", width=640, height=480, seed=0))
    assert answer.json["data"][0]["prompt_hash"] == key.hash
    assert answer.json["size"] == "640x480"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"bogus": 1}, "bogus"),
        ({"input_fidelity": "high"}, "input_fidelity"),
        ({'a"b': 1}, "body"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": "x" * 32_001}, "prompt"),
        ({"prompt": "a\0b"}, "prompt"),
        ({"model": 7}, "model"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"n": "2"}, "n"),
        ({"n": True}, "n"),
        ({"n": 2, "variant": 15}, "n"),
        ({"variant": 16}, "variant"),
        ({"size": "big"}, "size"),
        ({"size": "63x64"}, "size"),
        ({"size": "4097x64"}, "size"),
        ({"size": "4096x4096"}, "size"),
        ({"size": "1024X1024"}, "size"),
        ({"size": 1024}, "size"),
        ({"size": "64x64", "aspect_ratio": "1:1"}, "aspect_ratio"),
        ({"aspect_ratio": "7:5"}, "aspect_ratio"),
        ({"quality": "high"}, "quality"),
        ({"output_format": "svg"}, "output_format"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 50}, "output_compression"),
        ({"output_compression": 101, "output_format": "webp"}, "output_compression"),
        ({"response_format": "png"}, "response_format"),
        ({"stream": "yes"}, "stream"),
        ({"partial_images": 4}, "partial_images"),
        ({"seed": -1}, "seed"),
    ],
)
async def test_what_is_wrong_is_named(
    service: Paintonce, fields: dict[str, Any], param: str
) -> None:
    """A bad field is 400 in OpenAI's envelope with `param`, and nothing is paid."""
    answer = await generated(service, **fields)

    error = answer.json["error"]
    assert (answer.status, error["param"]) == (400, param)
    assert (error["type"], error["code"]) == (
        "invalid_request_error",
        "invalid_parameter",
    )
    assert error["message"]
    assert answer.headers["Content-Type"] == "application/json"
    assert service.world.provider.count == 0


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"prompt": 1, "prompt": 2}'])
async def test_a_body_that_is_no_object_is_named(
    service: Paintonce, body: bytes
) -> None:
    """A body that is not a JSON object is 400 with `param` "body"."""
    headers = {"Content-Type": "application/json"}
    answer = await service.ask("POST", PATH, headers, data=body)

    assert (answer.status, answer.json["error"]["param"]) == (400, "body")


async def test_deep_json_is_refused(service: Paintonce) -> None:
    """Deeply nested JSON is 400."""
    body = b'{"prompt":' + b"[" * 8000 + b"]" * 8000 + b"}"
    headers = {"Content-Type": "application/json"}

    answer = await service.ask("POST", PATH, headers, data=body)

    assert (answer.status, answer.json["error"]["param"]) == (400, "body")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("GET", "/v1", {}, 404, "not_found"),
        ("POST", "/v1/chat/completions", {}, 404, "not_found"),
        ("GET", PATH, {}, 405, "method_not_allowed"),
        ("POST", PATH, {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
    ],
)
async def test_every_error_below_v1_is_in_the_envelope(  # noqa: PLR0917 - a table
    service: Paintonce,
    method: str,
    path: str,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    """Every error below `/v1` has OpenAI's envelope."""
    answer = await service.ask(method, path, headers, data=b"x")

    error = answer.json["error"]
    assert (answer.status, error["code"]) == (status, code)
    assert error["type"] == "invalid_request_error"
    assert answer.headers["X-Request-Id"]


async def test_an_unknown_model_is_not_found(service: Paintonce) -> None:
    """An unknown model is 404 `model_not_found` in every route."""
    for answer in (
        await generated(service, model="dall-e-9"),
        await service.ask("GET", "/v1/models/dall-e-9"),
    ):
        assert answer.status == 404
        assert answer.json["error"]["code"] == "model_not_found"
        assert answer.json["error"]["param"] == "model"


async def test_models_are_listed_by_every_name(service: Paintonce) -> None:
    """The list of models has the form that clients read, with every name."""
    listed = await service.ask("GET", "/v1/models?api-version=2026-01-01")

    (model,) = listed.json["data"]
    assert listed.json["object"] == "list"
    assert (model["id"], model["object"]) == ("default", "model")
    one = await service.ask("GET", "/v1/models/default")
    assert one.json == model


async def test_queries_are_ignored(service: Paintonce) -> None:
    """A query such as Azure's `api-version` is ignored."""
    answer = await service.ask(
        "POST", f"{PATH}?api-version=2026-01-01&api-version=%", json=FOX
    )

    assert answer.status == 200


async def test_a_key_may_stand_where_clients_put_it() -> None:
    """Bearer, `api-key` and OpenAI's project header are accepted; no key is 401."""
    async with running() as service:
        key = (await service.key())["key"]
        reads = (await service.key(role="read"))["key"]
        bearer = {"Authorization": f"Bearer {key}", "OpenAI-Project": "proj_7"}
        as_admin = {
            "Authorization": f"Bearer {ADMIN['X-API-Key']}",
            "OpenAI-Project": "acme/shop",
        }

        none = await generated(service)
        forbidden = await generated(service, {"api-key": reads})
        statuses = [
            (await generated(service, headers)).status
            for headers in (bearer, {"api-key": key}, as_admin)
        ]

        assert (none.status, none.json["error"]["code"]) == (401, "invalid_api_key")
        assert forbidden.status == 403
        assert forbidden.json["error"]["code"] == "permission_denied"
        assert statuses == [200, 200, 200]
        assert service.world.provider.count == 1


@pytest.mark.parametrize(
    ("failure", "status", "kind", "code", "should_retry"),
    [
        (
            PromptRejected("No."),
            *(400, "image_generation_user_error", "moderation_blocked", "false"),
        ),
        (ProviderFailed("No."), 502, "server_error", "provider_failed", None),
        (BadImage("No."), 502, "server_error", "provider_failed", None),
        (
            GenerationTimedOut("Late.", end=CallEnd.AMBIGUOUS),
            *(504, "server_error", "generation_timed_out", "false"),
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_failures_of_a_provider_reach_sdks(  # noqa: PLR0917 - a table
    service: Paintonce,
    failure: Exception,
    status: int,
    kind: str,
    code: str,
    should_retry: str | None,
) -> None:
    """A provider's failure has the class, code and `x-should-retry` that SDKs read."""
    service.world.provider.script.append(failure)

    for _ in range(2):
        answer = await generated(service)
        error = answer.json["error"]
        assert (answer.status, error["type"], error["code"]) == (status, kind, code)
        assert answer.headers.get("x-should-retry") == should_retry
    assert service.world.provider.count == 1


async def test_a_wait_that_was_shortened_may_be_repeated(service: Paintonce) -> None:
    """A wait shortened by Prefer ends in 503 that SDKs may repeat."""
    gate = service.world.provider.before("paint")
    held = asyncio.create_task(generated(service, {"Prefer": "respond-async, wait=0"}))
    await gate.reached()
    answer = await held
    gate.open()

    assert answer.status == 503
    assert answer.json["error"]["code"] == "still_generating"
    assert answer.headers["x-should-retry"] == "true"


async def test_a_caller_is_held_as_long_as_the_painting_may_take(
    service: Paintonce,
) -> None:
    """A request waits longer than live requests may, until its painting ends."""
    gate = service.world.provider.before("paint")
    asked = asyncio.create_task(generated(service))
    await gate.reached()
    key = PromptKey(MAIN, Parameters("a fox"))
    await service.replica.waits_for(key)
    gate.open()
    assert (await asked).status == 200


def events_of(body: bytes) -> list[tuple[str, Any]]:
    """Return name and data of each event, without comments."""
    blocks = [block for block in body.decode().split("\n\n") if "data: " in block]
    return [
        (
            block.split("event: ")[1].splitlines()[0],
            json.loads(block.split("data: ")[1]),
        )
        for block in blocks
    ]


async def test_a_hit_is_streamed_at_once(service: Paintonce) -> None:
    """A streamed HIT sends one event for each picture at once."""
    whole = await generated(service, n=2)
    answer = await generated(service, n=2, stream=True)

    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["X-Accel-Buffering"] == "no"
    events = events_of(answer.body)
    assert [name for name, _ in events] == ["image_generation.completed"] * 2
    for (name, data), datum in zip(events, whole.json["data"], strict=True):
        assert data.pop("b64_json") == datum["b64_json"]
        assert data == {
            "type": name,
            "created_at": data["created_at"],
            "quality": "auto",
            "background": "auto",
            "output_format": "png",
            "size": "16x16",
            "usage": Usage().as_json(),
        }


async def test_a_stream_has_comments_while_it_is_painted(
    service: Paintonce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream sends comments while the picture is painted, then the picture."""
    monkeypatch.setattr("app.api.openai.stream.COMMENT_SECONDS", 0.01)
    gate = service.world.provider.before("paint")
    async with service.client.post(
        f"http://127.0.0.1:{service.port}{PATH}", json={**FOX, "stream": True}
    ) as answer:
        assert await answer.content.readline() == b": still here\n"
        gate.open()
        rest = await answer.read()

    (event,) = events_of(rest)
    assert event[0] == "image_generation.completed"


async def test_the_head_of_a_stream_comes_with_a_comment(
    service: Paintonce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first comment follows the head at once, and is not one pause later."""

    async def without_comments(_: object, painting: asyncio.Task[object]) -> None:
        await asyncio.wait([painting])

    monkeypatch.setattr("app.api.openai.stream.COMMENT_SECONDS", 0.01)
    monkeypatch.setattr("app.api.openai.stream._until_painted", without_comments)
    gate = service.world.provider.before("paint")
    async with service.client.post(
        f"http://127.0.0.1:{service.port}{PATH}", json={**FOX, "stream": True}
    ) as answer:
        async with asyncio.timeout(5):
            assert await answer.content.readline() == b": still here\n"
        gate.open()


async def test_a_failure_within_a_stream_is_an_event(
    service: Paintonce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure after the head is an error event; before it, a plain error."""
    monkeypatch.setattr("app.api.openai.stream.COMMENT_SECONDS", 0.01)
    service.world.provider.script.append(PromptRejected("No."))
    gate = service.world.provider.before("paint")
    async with service.client.post(
        f"http://127.0.0.1:{service.port}{PATH}", json={**FOX, "stream": True}
    ) as answer:
        await answer.content.readline()
        gate.open()
        rest = await answer.read()
    monkeypatch.setattr("app.api.openai.stream.COMMENT_SECONDS", 2.0)
    again = await generated(service, stream=True)

    ((name, data),) = events_of(rest)
    assert (name, data["error"]["code"]) == ("error", "moderation_blocked")
    assert (again.status, again.json) == (400, data)


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (StorageUnavailable("Away."), "storage_unavailable"),
        (PictureGone(), "still_generating"),
    ],
)
async def test_a_picture_that_cannot_be_opened_is_an_event_of_a_stream(
    service: Paintonce,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    code: str,
) -> None:
    """A picture that can't be opened in a stream is a whole error event."""
    monkeypatch.setattr(Picture, "base64", base64_that_fails(b"", failure))
    answer = await generated(service, stream=True)

    ((name, data),) = events_of(answer.body)
    assert (name, data["error"]["code"]) == ("error", code)


async def test_a_picture_that_breaks_off_cuts_a_stream(
    service: Paintonce,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A stream is cut where a picture breaks off: half an event has no successor."""
    failure = StorageUnavailable("Away.")
    monkeypatch.setattr(Picture, "base64", base64_that_fails(b"AAAA", failure))

    with pytest.raises(aiohttp.ClientError):
        await generated(service, stream=True)
    (logged,) = [one for one in caplog.records if one.message == "body cut"]
    assert vars(logged)["cause"] == "StorageUnavailable"


def base64_that_fails(first: bytes, failure: Exception) -> Any:
    """Return a method that yields *first*, where it is something, and raises."""

    async def base64_of(_picture: Picture, _services: Any) -> AsyncIterator[bytes]:
        if first:
            yield first
        raise failure

    return base64_of


async def test_further_failures_of_a_stream_are_not_logged(
    service: Paintonce, caplog: pytest.LogCaptureFixture
) -> None:
    """A stream whose pictures all fail has one error, and none in the log."""
    service.world.provider.script += [PromptRejected("No.")] * 3

    answer = await generated(service, stream=True, n=3)
    gc.collect()

    assert answer.status == 400
    assert [one for one in caplog.records if one.name == "asyncio"] == []


async def test_a_client_that_leaves_has_paid_for_a_hit(service: Paintonce) -> None:
    """After a client disconnects the painting goes on, and a repeat is a HIT."""
    gate = service.world.provider.before("paint")
    asked = asyncio.create_task(generated(service, stream=True))
    await gate.reached()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    gate.open()
    await service.replica.cache.flights.drain()
    again = await generated(service)

    assert again.json["data"][0]["cache_status"] == "HIT"
    assert service.world.provider.count == 1


async def test_addresses_of_hits_are_ready_and_say_the_same(
    service: Paintonce,
) -> None:
    """A prepared HIT has the body of a MISS but for status and count."""
    miss = await generated(service, response_format="url")
    hits = [await generated(service, response_format="url") for _ in range(2)]
    closing = await generated(service, {"Connection": "close"}, response_format="url")

    for number, hit in enumerate([*hits, closing], start=1):
        (datum,) = hit.json["data"]
        assert (datum["cache_status"], datum["hits"]) == ("HIT", number)
        assert hit.headers["X-Cache-Hit-Count"] == str(number)
        assert int(hit.headers["Content-Length"]) == len(hit.body)
        assert {**datum, "cache_status": "MISS", "hits": None} == miss.json["data"][0]
        assert {**hit.json, "data": []} == {**miss.json, "data": []}
    names = [{name.lower() for name in one.headers} for one in (*hits, closing)]
    assert names[0] == names[1] == names[2] - {"connection"}


@pytest.mark.parametrize(
    ("fields", "media_type", "query"),
    [
        ({"output_format": "webp"}, "webp", "?format=webp"),
        ({"output_format": "jpeg"}, "jpeg", "?format=jpeg"),
        (
            {"output_format": "webp", "output_compression": 76},
            *("webp", "?format=webp&q=80"),
        ),
        ({"output_format": "png"}, "png", ""),
    ],
)
async def test_an_output_format_is_a_rendition_of_the_paid_picture(
    service: Paintonce, fields: dict[str, Any], media_type: str, query: str
) -> None:
    """`output_format` gives a rendition of the same paid picture."""
    answer = await generated(service, **fields)
    by_url = await generated(service, response_format="url", **fields)

    assert answer.json["output_format"] == media_type
    assert answer.json["size"] == "16x16"
    path = urlsplit(by_url.json["data"][0]["url"])
    assert answer.headers["Content-Location"] == f"{path.path}{query}"
    assert f"?{path.query}" == (query or "?")
    picture = await service.ask("GET", answer.headers["Content-Location"])
    assert picture.headers["Content-Type"] == f"image/{media_type}"
    assert picture.body == decoded(answer.json["data"][0])
    streamed = events_of((await generated(service, stream=True, **fields)).body)
    assert streamed[0][1]["b64_json"] == answer.json["data"][0]["b64_json"]
    assert streamed[0][1]["output_format"] == media_type
    assert service.world.provider.count == 1


async def test_a_stream_keeps_the_order_of_variants_and_has_bytes(
    service: Paintonce,
) -> None:
    """A stream sends variants in order, as bytes, even if the first ends last."""
    second = await generated(service, variant=1)
    gate = service.world.provider.before("paint")
    asked = asyncio.create_task(
        generated(
            service, n=2, stream=True, response_format="url", output_format="webp"
        )
    )
    await gate.reached()
    gate.open()
    events = events_of((await asked).body)
    whole = await generated(service, n=2, output_format="webp")

    assert second.status == 200
    sent = [data["b64_json"] for _, data in events]
    assert sent == [datum["b64_json"] for datum in whole.json["data"]]
    assert [data["output_format"] for _, data in events] == ["webp", "webp"]
    assert all("url" not in data for _, data in events)


@pytest.mark.parametrize("path", [PATH, LIVE])
@pytest.mark.parametrize(
    ("name", "param", "named"),
    [("stylee", "stylee", "`stylee`"), ("<b>", "body", "of that name")],
)
async def test_an_unknown_field_is_named_beside_the_known(
    service: Paintonce, path: str, name: str, param: str, named: str
) -> None:
    """An unknown field is 400 with the known names; unsafe text is not echoed."""
    answer = await service.ask("POST", path, json={**FOX, name: "x"})

    error = answer.json.get("error", answer.json)
    message = error.get("message", error.get("detail"))
    assert answer.status == 400
    assert error.get("param", error.get("parameter")) == param
    assert f" {named} here. Known are " in message
    assert "style, " in message
    assert "<b>" not in message
