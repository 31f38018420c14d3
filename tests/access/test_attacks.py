"""Attacks on money, pictures and keys; the service refuses all of them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
import string
import time
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from app.signing import sign_url
from tests.access.service import ADMIN, ADMIN_KEY, LIVE, Answer, Paintonce, running
from tests.server.frame import wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ALPHABET = string.ascii_letters + string.digits + "-_"
REFUSALS = {400, 401, 403, 404, 405, 409, 411, 413, 415, 429}
STATS = "/api/v1/live/stats"
BOMB = b"\x1f\x8b" + b"0" * 99


class Attack:
    """Attempts on one service, each of which must be refused and cost nothing."""

    def __init__(self, service: Paintonce) -> None:
        self.service = service
        self.attempts: Counter[str] = Counter()

    async def refused(
        self, kind: str, method: str, path: str, headers: Any = None, **options: Any
    ) -> Answer:
        """Send one request; fail the test if it is not refused."""
        answer = await self.service.ask(method, path, headers, **options)
        self.attempts[kind] += 1
        assert answer.status in REFUSALS, (kind, method, path, answer)
        assert answer.headers.get("Cache-Control") == "no-store", (kind, path)
        return answer


@pytest.fixture
async def attack(capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Attack]:
    """Attack one replica that asks for keys, and print the number of attempts."""
    async with running() as service:
        made = Attack(service)
        yield made
        assert service.world.provider.count == 0
    with capsys.disabled():
        total = sum(made.attempts.values())
        kinds = ", ".join(f"{n} {kind}" for kind, n in made.attempts.items())
        print(f"\n{total} attempts, none got through: {kinds}")  # noqa: T201 - shown with -s


def encoded(parameters: dict[str, str]) -> str:
    """Return path and query of a live request with *parameters*."""
    query = "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}"
        for name, value in parameters.items()
    )
    return f"{LIVE}?{query}"


def mutations(text: str, rng: random.Random) -> Iterator[str]:
    """Yield *text* with one character changed each time, then cut and extended."""
    for at in range(len(text)):
        other = rng.choice([c for c in ALPHABET if c != text[at]])
        yield f"{text[:at]}{other}{text[at + 1 :]}"
    yield from (text[:-1], text[1:], text + "A", text + "=", " " + text, text + "\x00")
    yield text.swapcase()


async def test_signatures(attack: Attack) -> None:
    """A URL is refused if its signature, a field, its key or its time is wrong."""
    rng = random.Random(11)
    service = attack.service
    key, other = [await service.key(kind="signing") for _ in range(2)]
    foreign = await service.key("acme/zoo", kind="signing")
    exp = int(time.time()) + 3600
    given = {"project": "acme/shop", "kid": key["id"], "exp": exp}
    target = sign_url("", "a red fox", secret=key["key"], seed=7, **given)
    good = dict(parse_qsl(urlsplit(target).query))

    for sig in mutations(good["sig"], rng):
        await attack.refused("signatures", "GET", encoded({**good, "sig": sig}))
        await attack.refused("signatures", "HEAD", encoded({**good, "sig": sig}))
    for name in sorted(good.keys() - {"sig"}):
        for value in set(mutations(good[name], rng)) - {good[name]}:
            changed = {**good, name: value}
            await attack.refused("fields", "GET", encoded(changed), ADMIN)
        without = {n: v for n, v in good.items() if n != name}
        await attack.refused("fields", "GET", encoded(without))
        await attack.refused("fields", "GET", f"{target}&{name}={good[name]}")
    for extra in ("variant=1", "width=64&height=64", "on_error=json", "project=a/b"):
        await attack.refused("fields", "GET", f"{target}&{extra}")
    for one in (other, foreign):
        forged = sign_url("", "a red fox", secret=one["key"], seed=7, **given)
        await attack.refused("other keys", "GET", forged)
    for project in ("acme/zoo", "default/main"):
        stolen = sign_url(
            "",
            "a red fox",
            secret=key["key"],
            **(given | {"project": project}),
        )
        await attack.refused("other keys", "GET", stolen)
    for late in (1, exp - 7200, int(time.time()) - 1):
        expired = sign_url(
            "", "a red fox", secret=key["key"], **(given | {"exp": late})
        )
        assert (await attack.refused("replays", "GET", expired)).code == (
            "signature_expired"
        )
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        await attack.refused("methods", method, target)
    raw = base64.urlsafe_b64decode(good["sig"] + "=")
    for spelled in (raw.hex(), base64.b64encode(raw).decode(), raw.decode("latin-1")):
        await attack.refused("spellings", "GET", encoded({**good, "sig": spelled}))


async def test_keys(attack: Attack) -> None:
    """The service refuses guessed, forged, foreign and misplaced keys."""
    rng = random.Random(12)
    service = attack.service
    key, zoo = await service.key(), await service.key("acme/zoo")
    assert (await service.get(STATS, {"X-API-Key": key["key"]})).status == 200

    for text in mutations(key["key"], rng):
        if "\x00" not in text and text.strip() == text:
            await attack.refused("forgeries", "GET", STATS, {"X-API-Key": text})
            bearer = {"Authorization": f"Bearer {text}"}
            await attack.refused("forgeries", "GET", f"{LIVE}?prompt=x", bearer)
    for text in mutations(ADMIN_KEY, rng):
        if "\x00" not in text and text.strip() == text:
            headers = {**ADMIN, "X-API-Key": text}
            await attack.refused("forgeries", "GET", "/api/v1/keys", headers)
    for _ in range(300):
        secret = "".join(rng.choices(ALPHABET, k=43))
        guess = f"pk_{rng.getrandbits(48):012x}_{secret}"
        await attack.refused("guesses", "GET", STATS, {"X-API-Key": guess})
    mine = {"X-API-Key": zoo["key"]}
    for project in ("acme/shop", "acme/zoo/", "ACME/ZOO", "../zoo"):
        named = {**mine, "X-Project": project}
        for method, path in (("GET", STATS), ("GET", f"{LIVE}?prompt=x")):
            await attack.refused("other projects", method, path, named)
    for query in ("api_key", "key", "token", "X-API-Key", "access_token"):
        await attack.refused("keys in addresses", "GET", f"{STATS}?{query}={ADMIN_KEY}")
    cookie = {"Cookie": f"X-API-Key={ADMIN_KEY}; key={ADMIN_KEY}"}
    await attack.refused("keys in cookies", "GET", STATS, cookie)
    for scheme in ("Basic", "Digest", "Negotiate"):
        headers = {"Authorization": f"{scheme} {ADMIN_KEY}"}
        await attack.refused("schemes", "GET", STATS, headers)


async def test_roles(attack: Attack) -> None:
    """A caller with few rights is refused keys, budgets, purges and other projects."""
    service = attack.service
    read = {"X-API-Key": (await service.key(role="read"))["key"]}
    project = {"X-API-Key": (await service.key())["key"]}
    admin_key = await service.key(role="admin")

    for role in ("admin", "project", "read"):
        for kind in ("api", "signing"):
            for named in ("acme/shop", "acme/zoo"):
                if (role, kind, named) != ("project", "signing", "acme/shop") and (
                    role,
                    kind,
                    named,
                ) != ("read", "signing", "acme/shop"):
                    given = {"project": named, "role": role, "kind": kind}
                    await attack.refused(
                        "keys", "POST", "/api/v1/keys", project, json=given
                    )
                await attack.refused(
                    "keys", "POST", "/api/v1/keys", read, json={"project": named}
                )
    for changes in ({"budget_per_day": 1e9}, {"rate_limit_per_minute": 0}):
        for headers in (project, read):
            await attack.refused(
                "budgets", "PUT", "/api/v1/project", headers, json=changes
            )
    for key_id in (admin_key["id"], "0" * 12, "..", "%2e%2e%2fprojects"):
        await attack.refused("keys", "DELETE", f"/api/v1/keys/{key_id}", project)
    for override in ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"):
        headers = {**read, override: "GET"}
        await attack.refused("overrides", "DELETE", "/api/v1/live/scopes/a", headers)
    for method, path in (
        ("POST", LIVE),
        ("PUT", "/api/v1/live/scopes/banner"),
        ("POST", "/api/v1/sign"),
        ("POST", "/api/v1/live/purge"),
        ("POST", "/api/images"),
        ("DELETE", f"/api/v1/live/entries/{'0' * 64}"),
        ("POST", f"/api/v1/live/entries/{'0' * 64}/refresh"),
    ):
        await attack.refused("readers", method, path, read, json={"prompt": "x"})
    await attack.refused("readers", "GET", f"{LIVE}?prompt=x", read)


async def test_paths(attack: Attack) -> None:
    """Odd paths and headers reach no other route, and the errors are not cacheable."""
    for prefix in ("/api/v1/live/stats", "/api/v1/keys", "/api/v1/project", LIVE):
        for tail in (
            *("/", "/x.css", ";.css", "%2f..%2fx.js", "/..%2fstats", "%00", "%0d%0a"),
            *("/index.html", ".json", "%3f.png", "%23.png", "/%2e%2e/stats", "~"),
        ):
            await attack.refused("deceptions", "GET", prefix + tail, ADMIN)
    for path in (
        *("//api/v1/live/stats", "/API/V1/LIVE/STATS", "/api/v1/../v1/live/stats"),
        *("/api//v1/live/stats", "/%61pi/v2/live/stats", "/api/v1/live\\stats"),
        *("/_system/keys/a.json", "/api/v1/images/_system/keys/of/a.json"),
        *("/api/v1/images/acme/shop/prompts/x.json", "/api/v1/images/..%2f_system/a"),
        *("/live/_system/keys/a?prompt=x", "/live/acme/shop/banner?prompt=x"),
    ):
        await attack.refused("paths", "GET", path)
    for header, value in (
        ("X-Original-URL", "/healthz"),
        ("X-Rewrite-URL", "/healthz"),
        ("X-Forwarded-Host", "127.0.0.1"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Real-IP", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1;by=127.0.0.1"),
        ("X-Project", "acme/shop"),
        ("Sec-Fetch-Site", "same-origin"),
    ):
        await attack.refused("headers", "GET", STATS, {header: value})
    async with wire(attack.service.port) as line:
        for target in ("http://127.0.0.1/api/v1/live/stats", "*", "127.0.0.1:80"):
            request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            answer = await line.ask(request.encode())
            attack.attempts["targets"] += 1
            assert answer.status in REFUSALS
            if answer.headers.get("connection") == "close":
                break


async def test_bodies(attack: Attack) -> None:
    """The service refuses compressed, deep, repeated and mistyped bodies."""
    sent = {**ADMIN, "Content-Type": "application/json"}
    deep, many = "[" * 50_000 + "]" * 50_000, ",".join(["1"] * 200_000)
    bodies = [
        *(deep, f'{{"project": {deep}}}', f'{{"project": [{many}]}}', "1" * 10_000),
        *('{"project": "a/b", "project": "a/b"}', "null", "[]", '"x"', "", "{"),
        *(
            '{"project": NaN}',
            '{"project": 1e999}',
            "\ufeff{}",
            '{"project": "\\ud800"}',
        ),
        *('{"__proto__": {"role": "admin"}}', '{"project": "a/b\\u0000"}'),
    ]
    for path in ("/api/v1/keys", "/api/v1/sign", LIVE):
        for body in bodies:
            await attack.refused("bodies", "POST", path, sent, data=body.encode())
        await attack.refused(
            "bodies", "POST", path, sent, data=io.BytesIO(b"x" * (1024**2 + 1))
        )
        for kind in ("text/plain", "application/x-www-form-urlencoded", "text/json"):
            headers = {**ADMIN, "Content-Type": kind}
            await attack.refused("types", "POST", path, headers, data=b"{}")
        packed = {**sent, "Content-Encoding": "gzip"}
        await attack.refused(
            "bombs", "POST", path, packed, data=b"\x1f\x8b" + b"0" * 99
        )
    for budget in ("1e400", "-0.1", '"1"', "[1]", "true", '{"$gt": 0}'):
        changes = f'{{"budget_per_day": {budget}}}'.encode()
        await attack.refused("bodies", "PUT", "/api/v1/project", sent, data=changes)


async def strangers(attack: Attack, prompts: int) -> None:
    """Request *prompts* different pictures through a scope, a hundred at a time."""
    service = attack.service
    made = await service.ask(
        "PUT", "/api/v1/live/scopes/banner", ADMIN, json={"limit": 1_000_000}
    )
    assert made.status == 201
    statuses: Counter[int] = Counter()

    async def visit(number: int) -> None:
        headers = {"X-Forwarded-For": f"203.0.113.{number % 250}"}
        answer = await service.get(
            "/live/acme/shop/banner", headers, prompt=f"fox {number}"
        )
        statuses[answer.status] += 1

    for start in range(0, prompts, 100):
        await asyncio.gather(*(visit(start + n) for n in range(100)))

    attack.attempts["prompts from one address"] += prompts
    assert statuses == {200: 10, 429: prompts - 10}
    assert service.world.provider.count == 10
    # The ten are what the limit allows; the fixture asks for none besides.
    service.world.provider.calls.clear()


async def test_one_address_asks_for_ever_new_pictures(attack: Attack) -> None:
    """One address gets ten paintings, even if it forges other addresses."""
    await strangers(attack, 500)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_ten_thousand_prompts_from_one_address(attack: Attack) -> None:
    """One address gets ten paintings of ten thousand prompts."""
    await strangers(attack, 10_000)


async def test_slow_clients_delay_no_others(attack: Attack) -> None:
    """Two hundred unfinished requests do not delay another caller's request."""

    async def stall(head: bytes) -> Any:
        _, writer = await asyncio.open_connection("127.0.0.1", attack.service.port)
        writer.write(head)
        return writer

    body = json.dumps({"project": "acme/shop"}).encode()
    heads = [
        b"GET /api/v1/live/stats HTTP/1.1\r\nHost: 127.0.0.1\r\nX-",
        b"POST /api/v1/keys HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: "
        + ADMIN_KEY.encode()
        + b"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{"
        % len(body),
    ]
    writers = [await stall(heads[n % 2]) for n in range(200)]
    attack.attempts["slow clients"] += len(writers)

    began = time.monotonic()
    answer = await attack.service.get(STATS, ADMIN)

    assert answer.status == 200
    assert time.monotonic() - began < 5
    for writer in writers:
        writer.transport.abort()
