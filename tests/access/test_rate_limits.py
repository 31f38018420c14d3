"""Rate limits: exact for each key, shown in headers, open while Redis is down."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from app.signing import sign_url
from app.spending.projects import ProjectRules
from tests.access.service import (
    ADMIN,
    LIVE,
    Answer,
    Paintonce,
    running,
    running_together,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMIT = 6
SHOP = {"X-Project": "acme/shop"}


@pytest.fixture
async def service() -> AsyncIterator[Paintonce]:
    """Run a replica with six requests a minute for each key."""
    async with running(defaults=ProjectRules(rate_limit_per_minute=LIMIT)) as opened:
        yield opened


async def key(service: Paintonce, **given: str) -> dict[str, str]:
    """Return the headers of a new key."""
    # The admin's own requests count for its project: each key's is another.
    made = await service.ask(
        "POST",
        "/api/v1/keys",
        {"X-API-Key": ADMIN["X-API-Key"], "X-Project": "made/elsewhere"},
        json={"project": "acme/shop", **given},
    )
    return {"X-API-Key": made.json["key"]}


async def test_the_limit_of_a_key_is_exact(service: Paintonce) -> None:
    """Of twenty requests at once six get in; the others get 429 with Retry-After."""
    mine = await key(service)

    answers = await asyncio.gather(
        *(service.get("/api/v1/live/stats", mine) for _ in range(20))
    )

    let_in = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 429]
    assert (len(let_in), len(refused)) == (LIMIT, 20 - LIMIT)
    for answer in answers:
        assert answer.headers["RateLimit-Policy"] == f'"key";q={LIMIT};w=60'
    assert refused[0].code == "rate_limited"
    left, _, reset = refused[0].headers["RateLimit"].partition(";t=")
    assert left == '"key";r=0'
    assert 40 <= int(reset) == int(refused[0].headers["Retry-After"]) <= 60


async def test_every_request_of_a_key_counts_one(service: Paintonce) -> None:
    """Each request of a key counts one, whether MISS, HIT, 304 or HEAD."""
    mine, other = await key(service), await key(service)
    seen: list[Answer] = []
    for method, more in (
        ("GET", {}),
        ("GET", {}),
        ("GET", {"If-None-Match": "*"}),
        ("HEAD", {}),
    ):
        seen.append(await service.ask(method, f"{LIVE}?prompt=a+fox", {**mine, **more}))

    assert [one.status for one in seen] == [200, 200, 304, 200]
    left = [one.headers["RateLimit"].partition(";t=")[0] for one in seen]
    assert left == [f'"key";r={LIMIT - n}' for n in (1, 2, 3, 4)]
    first = await service.get(LIVE, other, prompt="a fox")
    assert first.headers["RateLimit"].startswith(f'"key";r={LIMIT - 1};')


async def test_a_refused_request_counts_no_hit(service: Paintonce) -> None:
    """A request over the limit reads no entry and counts no hit."""
    mine = await key(service)
    for _ in range(LIMIT):
        await service.get(LIVE, mine, prompt="a fox")
    calls = service.world.index.calls.copy()

    assert (await service.get(LIVE, mine, prompt="a fox")).status == 429

    assert service.world.index.calls == calls


async def test_a_project_has_its_own_rate(service: Paintonce) -> None:
    """`PUT /api/v1/project` overrides the default rate, and zero means no limit."""
    mine = await key(service)
    changed = await service.ask(
        "PUT", "/api/v1/project", ADMIN, json={"rate_limit_per_minute": 2}
    )
    assert changed.json["rate_limit_per_minute"] == 2
    statuses = [
        (await service.get("/api/v1/live/stats", mine)).status for _ in range(3)
    ]
    assert statuses == [200, 200, 429]

    # The admin's own requests for this project are used up as well.
    other = {**(await key(service, project="acme/zoo", role="admin")), **SHOP}
    await service.ask(
        "PUT", "/api/v1/project", other, json={"rate_limit_per_minute": 0}
    )
    free = await service.get("/api/v1/live/stats", mine)
    assert free.status == 200
    assert "RateLimit" not in free.headers


async def test_signed_urls_count_for_the_key_that_signed(service: Paintonce) -> None:
    """All signed URLs of one signing key share its rate."""
    made = await service.key(kind="signing")

    def signed(prompt: str) -> str:
        return sign_url(
            "",
            prompt,
            project="acme/shop",
            kid=made["id"],
            secret=made["key"],
            exp=2_000_000_000,
        )

    answers = [
        await service.ask("GET", signed(f"fox {n % 2}")) for n in range(LIMIT + 1)
    ]

    assert [one.status for one in answers] == [200] * LIMIT + [429]
    assert "Vary" not in answers[-1].headers


async def test_the_admin_key_counts_for_each_project(service: Paintonce) -> None:
    """The admin key has a separate rate for each project."""
    zoo = {**ADMIN, "X-Project": "acme/zoo"}
    for _ in range(LIMIT):
        assert (await service.get("/api/v1/live/stats", ADMIN)).status == 200
    assert (await service.get("/api/v1/live/stats", ADMIN)).status == 429
    assert (await service.get("/api/v1/live/stats", zoo)).status == 200


async def test_without_a_key_nothing_counts(service: Paintonce) -> None:
    """Requests without a key to health, documents and permalinks are not counted."""
    for path in ("/healthz", "/openapi.json", "/api/v1/images/a/b/generated/x.png"):
        answer = await service.get(path)
        assert "RateLimit" not in answer.headers
    assert not service.rates.calls


async def test_while_redis_is_away_requests_go_on(service: Paintonce) -> None:
    """Without Redis requests are served uncounted and without rate headers."""
    mine = await key(service)
    await service.get(LIVE, mine, prompt="a fox")
    service.rates.is_away = True

    for _ in range(2 * LIMIT):
        hit = await service.get(LIVE, mine, prompt="a fox")
        assert (hit.status, "RateLimit" in hit.headers) == (200, False)


async def test_a_rate_holds_over_replicas() -> None:
    """Three replicas count the requests of one key together."""
    limited = ProjectRules(rate_limit_per_minute=LIMIT)
    async with running_together(3, defaults=limited) as replicas:
        mine = await key(replicas[0])
        answers = await asyncio.gather(
            *(
                where.get("/api/v1/live/stats", mine)
                for where in replicas
                for _ in range(10)
            )
        )

    assert sum(answer.status == 200 for answer in answers) == LIMIT


async def test_what_a_role_may_not_do_counts(service: Paintonce) -> None:
    """A request that a role may not make counts against the key's rate."""
    mine = await key(service, role="read")

    answers = [
        await service.ask("POST", LIVE, mine, json={"prompt": "a fox"})
        for _ in range(LIMIT + 1)
    ]

    assert [answer.status for answer in answers] == [403] * LIMIT + [429]


async def test_a_permalink_with_a_key_counts_once_and_its_head_does_not(
    service: Paintonce,
) -> None:
    """A GET of a permalink with a key counts, a HEAD does not; a bad key is ignored."""
    mine = await key(service)
    painted = await service.get(LIVE, mine, prompt="a fox")
    permalink = painted.headers["Content-Location"]

    heads = [await service.ask("HEAD", permalink, mine) for _ in range(LIMIT)]
    gets = [await service.ask("GET", permalink, mine) for _ in range(LIMIT)]
    without = await service.ask("GET", permalink)
    wrong = await service.ask("GET", permalink, {"X-API-Key": "pk_wrong"})

    assert {answer.status for answer in heads} == {200}
    assert [answer.status for answer in gets] == [200] * (LIMIT - 1) + [429]
    assert (without.status, wrong.status) == (200, 200)


async def test_an_uncounted_request_moves_a_metric(service: Paintonce) -> None:
    """A request that Redis can't count is served and increments a metric."""
    mine = await key(service)
    service.rates.is_away = True

    assert (await service.get("/api/v1/live/stats", mine)).status == 200

    counted = service.replica.counted("paintonce_degraded_total", what="rate_limits")
    assert counted == 1
