"""Cache-Control and CORS headers, by route and by kind of authentication."""

from __future__ import annotations

import time
from typing import Any

from app.http.cors import Cors
from app.http.picture_headers import KEPT_BY_BROWSERS
from app.signing import sign_url
from tests.access.service import ADMIN, LIVE, Paintonce, running

VARY = "X-API-Key, Authorization, X-Project"
A_YEAR = "public, max-age=31536000"
PAGE = {"Origin": "https://shop.example"}


def signed(key: Any, exp: int) -> str:
    """Return path and query of a signed URL."""
    return sign_url(
        "", "a fox", project="acme/shop", kid=key["id"], secret=key["key"], exp=exp
    )


async def test_an_answer_to_a_key_stays_out_of_cdns(service: Paintonce) -> None:
    """Every answer to a key forbids storage in CDNs and varies by the key."""
    query = f"{LIVE}?prompt=a+fox"
    answers = [
        await service.ask(method, query, {**ADMIN, **more})
        for method, more in (
            ("GET", {}),
            ("GET", {}),
            ("GET", {"If-None-Match": "*"}),
            ("GET", {"Range": "bytes=0-3"}),
            ("GET", {"Range": "bytes=99999-"}),
            ("HEAD", {}),
        )
    ]

    assert [answer.status for answer in answers] == [200, 200, 304, 206, 416, 200]
    for answer in answers:
        assert answer.headers["CDN-Cache-Control"] == "no-store"
        assert answer.headers["Vary"] == VARY
        cacheable = answer.status != 416
        assert answer.headers["Cache-Control"] == (A_YEAR if cacheable else "no-store")


async def test_a_private_deployment_says_so_to_every_cache() -> None:
    """With KEYED_CACHE_CONTROL=private answers to keys are private for all caches."""
    async with running(keyed_caching=KEPT_BY_BROWSERS) as service:
        await service.get(LIVE, ADMIN, prompt="a fox")
        hit = await service.get(LIVE, ADMIN, prompt="a fox")

    assert hit.headers["Cache-Control"] == "private, max-age=31536000"
    assert hit.headers["CDN-Cache-Control"] == "no-store"


async def test_a_signed_answer_lives_no_longer_than_its_url(
    service: Paintonce,
) -> None:
    """A signed answer may be cached publicly until its URL expires."""
    key = await service.key(kind="signing")
    exp = int(time.time()) + 600

    for _ in range(2):
        answer = await service.ask("GET", signed(key, exp))
        public, _, seconds = answer.headers["Cache-Control"].partition(", max-age=")
        assert public == "public"
        assert 540 <= int(seconds) <= 600
        assert not {"Vary", "CDN-Cache-Control"} & answer.headers.keys()
    long = await service.ask("GET", signed(key, int(time.time()) + 10 * 31_536_000))
    assert long.headers["Cache-Control"] == A_YEAR


async def test_errors_are_not_cacheable(service: Paintonce) -> None:
    """Errors are `no-store`, with a key, without one and with a signature."""
    key = await service.key(kind="signing")
    wrong = await service.get(LIVE, ADMIN, prompt="a", seed="x")
    unsigned = await service.get(LIVE, prompt="a")
    expired = await service.ask("GET", signed(key, 1))

    for answer in (wrong, unsigned, expired):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Vary"] == VARY


async def test_pictures_are_no_pages(service: Paintonce) -> None:
    """Any page may embed a picture, and no script in a picture runs."""
    painted = await service.get(LIVE, ADMIN, prompt="a fox")
    hit = await service.get(LIVE, ADMIN, prompt="a fox")
    permalink = await service.get(painted.headers["Content-Location"])
    by_id = await service.get(f"/api/v1/images/{painted.headers['X-Image-Id']}", ADMIN)

    for answer in (painted, hit, permalink, by_id):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == (
            "default-src 'none'; sandbox"
        )
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert by_id.headers["Cache-Control"].startswith("private")


async def test_scripts_read_pictures_and_their_headers(service: Paintonce) -> None:
    """By default scripts of any origin may read pictures, errors and their headers."""
    await service.get(LIVE, ADMIN, prompt="a fox")
    hit = await service.get(LIVE, {**ADMIN, **PAGE}, prompt="a fox")
    error = await service.get(LIVE, PAGE, prompt="a fox")
    keys = await service.get("/api/v1/keys", {**ADMIN, **PAGE})

    for answer in (hit, error):
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"X-Cache-Status", "X-Cache-Hit-Count", "ETag", "Retry-After"} <= set(
            exposed
        )
    assert "Access-Control-Allow-Origin" not in keys.headers


async def test_a_browser_asks_whether_it_may_ask(service: Paintonce) -> None:
    """A preflight is 204 without a key, and any other OPTIONS request is 405."""
    asks = {**PAGE, "Access-Control-Request-Method": "GET"}
    for path in (LIVE, "/live/acme/shop/banner", "/api/v1/images/a/b/generated/x.png"):
        answer = await service.ask("OPTIONS", path, asks)
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
        assert "X-API-Key" in answer.headers["Access-Control-Allow-Headers"]
    plain = await service.ask("OPTIONS", LIVE)
    keys = await service.ask("OPTIONS", "/api/v1/keys", asks)
    assert (plain.status, keys.status) == (405, 405)
    assert plain.headers["Allow"] == "GET, HEAD, POST"


async def test_origins_may_be_named() -> None:
    """Only configured origins may read answers, and every answer varies by Origin."""
    async with running(cors=Cors(["https://shop.example"])) as service:
        await service.get(LIVE, ADMIN, prompt="a fox")
        hit = await service.get(LIVE, {**ADMIN, **PAGE}, prompt="a fox")
        other = await service.get(
            LIVE, {**ADMIN, "Origin": "https://evil.example"}, prompt="a fox"
        )
        error = await service.get(LIVE, {"Origin": "https://evil.example"})
        asks = {"Access-Control-Request-Method": "GET"}
        may = await service.ask("OPTIONS", LIVE, {**PAGE, **asks})
        may_not = await service.ask(
            "OPTIONS", LIVE, {"Origin": "https://evil.example", **asks}
        )

    assert hit.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert may.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    for answer in (other, error, may_not):
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Access-Control-Allow-Methods" not in answer.headers
    for answer in (hit, other, error):
        assert "Origin" in ", ".join(answer.headers.getall("Vary")).split(", ")


async def test_no_origin_at_all() -> None:
    """With an empty list no origin may read answers, and they do not vary by it."""
    async with running(cors=Cors([])) as service:
        answer = await service.get(LIVE, {**ADMIN, **PAGE}, prompt="a fox")

    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers.getall("Vary") == [VARY]
