"""With AUTH=off the service refuses what other sites' pages send through a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from app.access.browser_guard import BrowserGuard
from app.errors import Forbidden
from tests.access.service import LIVE, Paintonce, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CROSS = {"Sec-Fetch-Site": "cross-site"}


@pytest.fixture
async def service() -> AsyncIterator[Paintonce]:
    """Run a replica that asks for no keys."""
    async with running(
        requires_keys=False, base_url="https://images.example:8443"
    ) as opened:
        yield opened


def check(
    method: str = "GET", target: str = "/", own: str = "10.0.0.7", **headers: str
) -> bool:
    """Return whether the guard takes the request for another site's."""
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    guard = BrowserGuard(
        "https://images.example:8443", ["paintonce", "*.ngrok.example", "10.0.0.9"]
    )
    return guard.check(
        method, CIMultiDictProxy(CIMultiDict(named)), target=target, own_address=own
    )


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:8080", "LOCALHOST", "shop.localhost", "127.0.0.1"),
        *("127.8.9.1:80", "[::1]", "[::1]:8080", "images.example", "10.0.0.7:8080"),
        *("paintonce", "PAINTONCE:8080", "a.ngrok.example", "a.b.ngrok.example"),
        "10.0.0.9:8080",
    ],
)
def test_a_local_host_is_let_in(host: str) -> None:
    """Local names, local addresses, the public name and ALLOWED_HOSTS are accepted."""
    assert check(Host=host) is False


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", ""),
        *("10.0.0.8", "images.example.evil.example", "evil.example:8080", "[::2]"),
        *("localhost@evil.example", "[", "127.1", "0x7f000001", "2130706433"),
        *("ngrok.example", "evilngrok.example", "a.paintonce", "paintonce.example"),
    ],
)
def test_another_host_is_not(host: str) -> None:
    """Any other Host is refused, even if it resolves to this machine."""
    with pytest.raises(Forbidden):
        check(Host=host)
    with pytest.raises(Forbidden):
        check(Host="localhost", target=f"http://{host or 'evil.example'}/")


def test_a_request_without_a_host_is_accepted() -> None:
    """A request without Host, as HTTP/1.0 allows, is accepted."""
    assert check() is False


FOREIGN = [
    {"Sec_Fetch_Site": "cross-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:8080"},
    {"Origin": "https://evil.example", "Referer": "http://localhost/"},
    {"Referer": "https://evil.example/page"},
    {"Referer": "http://localhost.evil.example/"},
    {"Referer": "nonsense"},
]
OWN = [
    {"Origin": "http://localhost:3000"},
    {"Referer": "http://localhost:3000/page"},
    {"Origin": "http://LOCALHOST", "Referer": "https://evil.example/"},
    {"Sec_Fetch_Site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_another_site_is_known_by_what_browsers_send(headers: dict[str, str]) -> None:
    """Another site's requests may read but not change anything."""
    assert check("GET", Host="localhost", **headers) is True
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        with pytest.raises(Forbidden):
            check(method, Host="localhost", **headers)


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_a_page_of_the_same_host_may_do_everything(headers: dict[str, str]) -> None:
    """A page of the same host may use every method, whatever its port."""
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        assert check(method, Host="localhost:8080", **headers) is False


async def test_another_site_embeds_hits_and_paints_nothing(service: Paintonce) -> None:
    """Another site's `<img>` gets a HIT, and 403 for a prompt that is not painted."""
    query = f"{LIVE}?prompt=a+fox"
    unpainted = await service.ask("GET", query, CROSS)
    await service.ask("GET", query)
    hit = await service.ask("GET", query, CROSS)
    # An image of a page on the LAN: browsers send no Sec-Fetch-Site there.
    linked = await service.ask(
        "GET", f"{LIVE}?prompt=a+hare", {"Referer": "http://evil.example/"}
    )
    purge = await service.ask(
        "DELETE", f"/api/v1/live/entries/{hit.headers['X-Prompt-Hash']}", CROSS
    )
    upload = await service.ask("POST", "/api/images", CROSS, data=b"x")

    assert (unpainted.status, unpainted.code) == (403, "forbidden")
    assert (linked.status, linked.code) == (403, "forbidden")
    assert (hit.status, hit.headers["X-Cache-Status"]) == (200, "HIT")
    assert (purge.status, upload.status) == (403, 403)
    assert service.world.provider.count == 1


async def test_a_rebound_name_reads_nothing(service: Paintonce) -> None:
    """With a foreign Host every route but health answers 403."""
    evil = {"Host": "evil.example"}
    for path in (
        *(f"{LIVE}?prompt=x", "/api/v1/live/stats", "/api/v1/keys", "/"),
        *("/live/acme/shop/banner?prompt=x", "/api/v1/images/a/b/generated/x.png"),
    ):
        answer = await service.ask("GET", path, evil)
        assert (answer.status, answer.code) == (403, "forbidden"), path
    assert (await service.ask("GET", "/healthz", evil)).status == 200
    assert (await service.ask("GET", "/api/v1/live/stats")).status == 200
    named = await service.ask("GET", "/api/v1/live/stats", {"Host": "images.example"})
    assert named.status == 200


async def test_where_keys_are_asked_for_any_name_will_do() -> None:
    """With AUTH=required any Host is accepted."""
    async with running() as service:
        answer = await service.ask("GET", "/", {"Host": "evil.example", **CROSS})
    assert answer.status == 200
