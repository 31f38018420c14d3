"""Signed URLs: which ones are served, and which are refused."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from app.signing import canonical, sign_url, signature
from tests.access.service import ADMIN, ADMIN_KEY, LIVE, Paintonce, running

SOON = 3600


@pytest.fixture
async def key(service: Paintonce) -> Any:
    """Make a signing key of the shop."""
    return await service.key(kind="signing")


def signed(key: Any, prompt: str = "a red fox", **parameters: Any) -> str:
    """Return path and query of a signed URL."""
    given = {"exp": int(time.time()) + SOON, "project": "acme/shop", **parameters}
    return sign_url("", prompt, kid=key["id"], secret=key["key"], **given)


def with_query(parameters: dict[str, str]) -> str:
    """Return path and query for *parameters* as given, without signing them."""
    query = "&".join(
        f"{quote(name)}={quote(value, safe='')}" for name, value in parameters.items()
    )
    return f"{LIVE}?{query}"


def parts(target: str) -> dict[str, str]:
    """Return the query of a target."""
    return dict(parse_qsl(urlsplit(target).query))


async def test_an_img_paints_and_is_served_without_a_key(
    service: Paintonce, key: Any
) -> None:
    """A signed URL paints once without a key; later GETs and HEADs are HITs."""
    target = signed(key)

    painted = await service.ask("GET", target)
    hit = await service.ask("GET", target)
    head = await service.ask("HEAD", target)
    keyed = await service.get(LIVE, ADMIN, prompt="a red fox")

    assert painted.headers["X-Cache-Status"] == "MISS"
    assert hit.headers["X-Cache-Status"] == "HIT"
    assert (head.status, head.body) == (200, b"")
    assert keyed.headers["X-Prompt-Hash"] == hit.headers["X-Prompt-Hash"]
    assert (keyed.headers["X-Cache-Hit-Count"], keyed.body) == ("3", hit.body)


async def test_order_and_encoding_make_no_difference(
    service: Paintonce, key: Any
) -> None:
    """A signature is valid in any order and percent-encoding of its parameters."""
    asked = parts(signed(key, 'Zürich & 100% "snow" + 雪', seed=0))
    backwards = dict(reversed(asked.items()))
    shouting = "&".join(
        f"{name}=" + "".join(f"%{octet:02x}" for octet in value.encode())
        for name, value in asked.items()
    )

    assert (await service.ask("GET", with_query(asked))).status == 200
    assert (await service.ask("GET", with_query(backwards))).status == 200
    assert (await service.ask("GET", f"{LIVE}?&{shouting}&")).status == 200
    assert service.world.provider.count == 1


async def test_every_field_is_covered(service: Paintonce, key: Any) -> None:
    """A signature is invalid once a parameter is changed, added or left out."""
    other = await service.key("acme/zoo", kind="signing")
    second = await service.key(kind="signing")
    good = parts(signed(key, seed=7, aspect_ratio="16:9", model="default"))
    changed = {
        "prompt": "a red foy",
        "seed": "8",
        "aspect_ratio": "9:16",
        "model": "defaulu",
        "project": "acme/zoo",
        "exp": str(int(good["exp"]) + 1),
        "kid": second["id"],
    }
    tampered = [{**good, name: value} for name, value in changed.items()]
    tampered += [{**good, "variant": "1"}, {**good, "width": "64", "height": "64"}]
    tampered += [{n: v for n, v in good.items() if n != gone} for gone in ("seed",)]
    tampered += [{**good, "project": "acme/zoo", "kid": other["id"]}]
    tampered += [
        {**good, "sig": sig}
        for sig in (
            *("A" * 43, good["sig"][:-1], good["sig"] + "A", good["sig"] + "="),
            *(good["sig"].swapcase(), good["sig"] + " ", "ключ", "\ud7ff"),
            good["sig"].replace("-", "+").replace("_", "/") + "=",
        )
    ]
    before = service.world.index.calls.copy()

    for one in tampered:
        answer = await service.ask("GET", with_query(one))
        assert (answer.status, answer.code) == (403, "invalid_signature"), one

    assert service.world.index.calls == before
    assert service.world.provider.count == 0
    assert (await service.ask("GET", with_query(good))).status == 200


async def test_another_method_and_path_are_covered(
    service: Paintonce, key: Any
) -> None:
    """A signature for another path or method is invalid, and POST needs a key."""
    good = parts(signed(key))
    for method, path in (("POST", LIVE), ("GET", "/api/v1/live/stats")):
        text = canonical(method, path, good)
        forged = {**good, "sig": signature(key["key"], text)}
        assert (await service.ask("GET", with_query(forged))).code == (
            "invalid_signature"
        )
    assert (await service.ask("POST", with_query(good), json={})).status == 401
    stats = with_query(good).replace(LIVE, "/api/v1/live/stats")
    assert (await service.ask("GET", stats)).status == 401


async def test_time_is_over_only_for_what_is_right(
    service: Paintonce, key: Any
) -> None:
    """An expired URL is `signature_expired` only if its signature is right."""
    late = int(time.time()) - 1
    expired = await service.ask("GET", signed(key, exp=late))
    both = await service.ask(
        "GET", with_query({**parts(signed(key, exp=late)), "prompt": "another"})
    )

    assert (expired.status, expired.code) == (403, "signature_expired")
    assert (both.status, both.code) == (403, "invalid_signature")


@pytest.mark.parametrize(
    ("change", "parameter"),
    [
        ({"exp": None}, "exp"),
        ({"kid": None}, "kid"),
        ({"project": None}, "project"),
        ({"exp": "soon"}, "exp"),
        ({"exp": "1.5"}, "exp"),
        ({"exp": "-1"}, "exp"),
        ({"exp": "٣"}, "exp"),
        ({"exp": "0123456789"}, "exp"),
        ({"exp": str(int(time.time()) + 3653 * 86400 + 86400)}, "exp"),
        ({"exp": "9" * 30}, "exp"),
        ({"project": "acme"}, "project"),
        ({"project": "Acme/shop"}, "project"),
        ({"kid": "a/b"}, "kid"),
        ({"kid": "k" * 65}, "kid"),
    ],
)
async def test_claims_are_read_before_they_are_believed(
    service: Paintonce, key: Any, change: dict[str, str | None], parameter: str
) -> None:
    """A missing or malformed claim is 400 and named, whatever the signature."""
    given = {**parts(signed(key)), **change}
    asked = {name: value for name, value in given.items() if value is not None}

    answer = await service.ask("GET", with_query(asked))

    assert (answer.status, answer.json["parameter"]) == (400, parameter)


async def test_a_repeated_parameter_is_400(service: Paintonce, key: Any) -> None:
    """A repeated parameter in a signed URL is 400 and named."""
    target = signed(key)
    for name in ("prompt", "project", "kid", "exp", "sig"):
        answer = await service.ask(
            "GET", f"{target}&{name}={quote(parts(target)[name])}"
        )
        assert (answer.status, answer.json["parameter"]) == (400, name)


async def test_what_is_signed_is_still_checked(service: Paintonce, key: Any) -> None:
    """An unknown or malformed parameter is 400, even if it is signed."""
    for extra in ({"size": "1"}, {"seed": "x"}, {"model": "unknown"}):
        answer = await service.ask("GET", signed(key, **extra))
        assert (answer.status, answer.code) == (400, "invalid_parameter")


async def test_a_revoked_key_signs_nothing(service: Paintonce, key: Any) -> None:
    """URLs of a revoked signing key are refused; those of another key still work."""
    newer = await service.key(kind="signing")
    assert (await service.ask("GET", signed(key))).status == 200

    await service.ask("DELETE", f"/api/v1/keys/{key['id']}", {"X-API-Key": ADMIN_KEY})

    assert (await service.ask("GET", signed(key))).code == "invalid_signature"
    assert (await service.ask("GET", signed(newer))).status == 200


async def test_an_unknown_kid_is_refused(service: Paintonce, key: Any) -> None:
    """A `kid` of an API key or in a foreign form is refused."""
    api = await service.key()
    secret = api["key"].split("_", 2)[2]
    reads = service.world.store.calls["get"]
    for kid, expected in ((api["id"], reads + 1), ("k1", reads + 1)):
        one = {"id": kid, "key": secret}
        assert (await service.ask("GET", signed(one))).code == "invalid_signature"
        assert service.world.store.calls["get"] == expected


async def test_a_signature_outranks_a_key(service: Paintonce, key: Any) -> None:
    """With a signature in the URL, the key in the headers is ignored."""
    wrong = with_query({**parts(signed(key)), "sig": "A" * 43})

    with_key = await service.ask("GET", wrong, ADMIN)
    unknown_key = await service.ask("GET", signed(key), {"X-API-Key": "pk_wrong"})

    assert (with_key.status, with_key.code) == (403, "invalid_signature")
    assert unknown_key.status == 200


async def test_sig_in_a_prompt_is_no_signature(service: Paintonce) -> None:
    """A prompt that contains `sig=` is an ordinary prompt that needs a key."""
    for query in ("prompt=my+sig%3D1", "prompt=my%20sig=1", "prompt=x&sigh=1"):
        without = await service.ask("GET", f"{LIVE}?{query}")
        assert (without.status, without.code) == (401, "unauthenticated")
    for query in ("prompt=my+sig%3D1", "prompt=my%20sig=1"):
        assert (await service.ask("GET", f"{LIVE}?{query}", ADMIN)).status == 200
    named = await service.ask("GET", f"{LIVE}?prompt=a&project=acme/shop", ADMIN)
    assert (named.status, named.json["parameter"]) == (400, "project")


async def test_without_a_master_key_signed_urls_are_off(key: Any) -> None:
    """Without SIGNING_MASTER_KEY signed URLs, signing and signing keys are refused."""
    async with running(master_key=None) as service:
        answer = await service.ask("GET", signed(key))
        given = {"project": "acme/shop", "kind": "signing"}
        made = await service.ask("POST", "/api/v1/keys", ADMIN, json=given)
        sign = await service.ask("POST", "/api/v1/sign", ADMIN, json={"prompt": "x"})

    assert (answer.status, answer.code) == (403, "invalid_signature")
    assert "off" in answer.json["detail"]
    assert (made.status, made.code) == (409, "no_signing_key")
    assert (sign.status, sign.code) == (409, "no_signing_key")


async def test_the_secret_is_sealed_at_rest(service: Paintonce, key: Any) -> None:
    """The ledger stores signing secrets sealed; another master key can't open them."""
    kept = b"".join(one.data for one in service.world.store.objects.values())
    assert key["key"].encode() not in kept

    other = "Y" + "X2-n7Jq_5yZ3v0TnRk1cWbE9hUoLsPdA4gQxMzVtYi8"[1:]
    async with running(service.world, master_key=other) as stranger:
        answer = await stranger.ask("GET", signed(key))
    assert (answer.status, answer.code) == (403, "invalid_signature")


async def test_the_service_signs_for_a_key(service: Paintonce, key: Any) -> None:
    """`/sign` uses the newest signing key of the project, or the named one."""
    newest = await service.key(kind="signing")
    given = {"prompt": "a red fox", "seed": 3, "expires_in": 60}
    before = int(time.time())

    by_newest = await service.ask("POST", "/api/v1/sign", ADMIN, json=given)
    by_named = await service.ask(
        "POST", "/api/v1/sign", ADMIN, json={**given, "kid": key["id"]}
    )

    assert by_newest.status == by_named.status == 200
    assert by_newest.json.keys() == {"url", "expires_at"}
    kids = [parts(one.json["url"])["kid"] for one in (by_newest, by_named)]
    assert kids == [newest["id"], key["id"]]
    exp = int(parts(by_newest.json["url"])["exp"])
    assert before + 60 <= exp <= before + 90
    target = by_newest.json["url"].partition(str(service.port))[2]
    assert (await service.ask("GET", target)).headers["X-Cache-Status"] == "MISS"


@pytest.mark.parametrize(
    ("given", "status", "detail"),
    [
        ({}, 400, "prompt"),
        ({"prompt": "x", "expires_in": 0}, 400, "expires_in"),
        ({"prompt": "x", "expires_in": "60"}, 400, "expires_in"),
        ({"prompt": "x", "expires_in": 3653 * 86400 + 1}, 400, "expires_in"),
        ({"prompt": "x", "kid": "unknownunkno"}, 400, "kid"),
        ({"prompt": "x", "kid": 7}, 400, "kid"),
        ({"prompt": "x", "seed": "7"}, 400, "seed"),
        ({"prompt": "x", "references": []}, 400, "references"),
        ({"prompt": "x", "model": "unknown"}, 400, "model"),
    ],
)
async def test_what_would_be_refused_is_not_signed(
    service: Paintonce, key: Any, given: object, status: int, detail: str
) -> None:
    """`/sign` refuses what live generation would refuse, and names the parameter."""
    answer = await service.ask("POST", "/api/v1/sign", ADMIN, json=given)

    assert (answer.status, answer.json["parameter"]) == (status, detail)


async def test_a_project_without_a_signing_key_gets_409(service: Paintonce) -> None:
    """`/sign` is 409 for a project without a signing key of its own."""
    await service.key("acme/zoo", kind="signing")

    answer = await service.ask("POST", "/api/v1/sign", ADMIN, json={"prompt": "x"})

    assert (answer.status, answer.code) == (409, "no_signing_key")


async def test_the_literal_path_is_signed(service: Paintonce, key: Any) -> None:
    """A signature is invalid for another spelling of the same path."""
    signed = await service.ask("POST", "/api/v1/sign", ADMIN, json={"prompt": "a fox"})
    target = signed.json["url"].partition(str(service.port))[2]
    spelled = target.replace("generate", "%67enerate", 1)

    right, wrong = await service.ask("GET", target), await service.ask("GET", spelled)

    assert right.status == 200
    assert (wrong.status, wrong.code) == (403, "invalid_signature")


async def test_an_address_that_is_too_long_is_not_signed(
    service: Paintonce, key: Any
) -> None:
    """`/sign` refuses a prompt whose URL would be too long to serve."""
    # Two code points, ten bytes percent-encoded, and one character after NFC.
    decomposed = "e\u0301\u0323" * 3900
    signed = await service.ask(
        "POST", "/api/v1/sign", ADMIN, json={"prompt": decomposed}
    )

    assert (signed.status, signed.json["parameter"]) == (400, "prompt")
