"""Pictures that an answer names by address: fetched with checks."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.errors import BadImage, CallEnd, ProviderFailed
from app.generation.transport import polling
from app.generation.transport.global_addresses import GlobalResolver, is_global
from app.generation.transport.outbound import open_outbound_session
from app.generation.transport.result_urls import ResultUrls, is_result_host
from tests.fakes import a_picture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LIMIT = 100_000
KEY = {"Authorization": "Bearer sk-lighthouse"}
HOST = "pictures.example.com"


def soon(seconds: float = 0.5) -> float:
    """Return the deadline of a test's download."""
    return asyncio.get_running_loop().time() + seconds


class StaticResolver(AbstractResolver):
    """Resolves every name to the same addresses."""

    def __init__(self, *addresses: str, port: int = 443) -> None:
        self.addresses = addresses
        self.port = port

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,
    ) -> list[ResolveResult]:
        """Return the addresses, whatever the name."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=self.port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in self.addresses
        ]

    async def close(self) -> None:
        """Do nothing."""


class PictureHost:
    """A host with pictures that records its requests."""

    def __init__(self) -> None:
        self.requests: list[web.BaseRequest] = []
        self.stumbles: list[int | str] = []
        self.headers: dict[str, str] = {}

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer by the path, after the *stumbles* are used up."""
        self.requests.append(request)
        return await self._stumble(request) or await self._answer(request)

    async def _stumble(self, request: web.BaseRequest) -> web.StreamResponse | None:
        match self.stumbles.pop(0) if self.stumbles else None:
            case int() as status:
                return web.Response(status=status, headers=self.headers)
            case "cut":
                answer = web.StreamResponse(headers={"Content-Length": "100"})
                await answer.prepare(request)
                await answer.write(b"a pic")
                assert request.transport is not None
                request.transport.close()
                return answer
            case "stall":
                await asyncio.Event().wait()
            case "half":
                return await self._unsized(request, a_picture()[:-20])
        return None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.path:
            case "/whole":
                return await self._unsized(request, a_picture())
            case "/gone":
                return web.Response(status=410)
            case "/redirect":
                return web.Response(status=302, headers={"Location": "/picture"})
            case "/large":
                return web.Response(body=b"x" * (LIMIT + 1))
            case _:
                return web.Response(body=b"a picture")

    async def _unsized(
        self, request: web.BaseRequest, data: bytes
    ) -> web.StreamResponse:
        """Send *data* without a length and close the connection."""
        answer = web.StreamResponse(headers={"Connection": "close"})
        answer.force_close()
        await answer.prepare(request)
        await answer.write(data)
        return answer


@pytest.fixture
def host() -> PictureHost:
    """Give a host that has got no request yet."""
    return PictureHost()


@asynccontextmanager
async def serve(
    host: PictureHost, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve *host* on a free port of 127.0.0.1."""
    # A request that stalls would hold the end up for a minute.
    runner = web.ServerRunner(web.Server(host.answer), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Give a session that may reach the provider's own origin."""
    async with open_outbound_session() as session:
        yield session


@pytest.fixture
async def own(session: aiohttp.ClientSession, host: PictureHost) -> AsyncIterator[str]:
    """Give the origin of a provider with pictures of its own, over plain HTTP."""
    async with serve(host) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def fetch(session: aiohttp.ClientSession, own: str) -> ResultUrls:
    """Give the result fetcher of the provider at *own*, with one foreign host."""
    return ResultUrls(
        session=session, base_url=f"{own}/v1", hosts=[HOST], limit_bytes=LIMIT
    )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the foreign host's self-signed certificate and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "host.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
async def foreign(
    host: PictureHost, certificate: Path, session: aiohttp.ClientSession
) -> AsyncIterator[ResultUrls]:
    """Give a result fetcher for a foreign HTTPS host, treated as global."""
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(certificate)
    client_side = ssl.create_default_context(cafile=certificate)
    async with serve(host, server_side) as port:
        yield ResultUrls(
            session=session,
            base_url="https://api.example.com/v1",
            hosts=["*.example.com"],
            limit_bytes=LIMIT,
            open_session=lambda: aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=StaticResolver("127.0.0.1", port=port), ssl=client_side
                )
            ),
        )


async def test_the_providers_own_pictures_are_fetched_with_the_key(
    fetch: ResultUrls, own: str, host: PictureHost
) -> None:
    """Pictures at the provider's own origin are fetched with its key."""
    for address in (f"{own}/picture?token=a%2Fb", "/picture", "picture"):
        assert await fetch.fetch(address, headers=KEY, deadline=soon()) == b"a picture"

    paths = [request.path_qs for request in host.requests]
    assert paths == ["/picture?token=a%2Fb", "/picture", "/v1/picture"]
    assert {request.headers["Authorization"] for request in host.requests} == {
        "Bearer sk-lighthouse"
    }


async def test_an_allowed_host_gets_no_key(
    foreign: ResultUrls, host: PictureHost
) -> None:
    """A picture at an allowed foreign host is fetched without the key."""
    assert (
        await foreign.fetch(f"https://{HOST}/picture", headers=KEY, deadline=soon())
        == b"a picture"
    )
    assert "Authorization" not in host.requests[0].headers


@pytest.mark.parametrize(
    "address",
    [
        "https://elsewhere.example.org/picture",
        "//elsewhere.example.org/picture",
        f"http://{HOST}/picture",
        f"https://{HOST}:8443/picture",
        f"https://{HOST}.evil.example/picture",
        f"https://evil{HOST}/picture",
        f"https://key@{HOST}/picture",
        f"https://{HOST}@evil.example/picture",
        "https://127.0.0.1/picture",
        "https://[::1]/picture",
        "https://2130706433/picture",
        "https://169.254.169.254/latest/meta-data",
        "ftp://pictures.example.com/picture",
        "file:///etc/passwd",
        "https://",
        "https://[",
        "/picture\r\nX-Smuggled: 1",
        "/a picture",
        "/картина",
        "",
        "/" + "x" * 8192,
    ],
)
async def test_any_other_address_is_refused_unasked(
    fetch: ResultUrls, host: PictureHost, address: str
) -> None:
    """Any other address is a `BadImage` without a connection."""
    with pytest.raises(BadImage) as failure:
        await fetch.fetch(address, headers=KEY, deadline=soon())

    assert failure.value.end is CallEnd.BILLED
    assert host.requests == []


async def test_an_address_that_holds_the_picture_is_read(fetch: ResultUrls) -> None:
    """A `data:` address is decoded without a request."""
    assert (
        await fetch.fetch("data:image/png;base64,eA==", headers=KEY, deadline=soon())
        == b"x"
    )


async def test_an_origin_that_is_allowed_may_be_private_and_gets_no_key(
    session: aiohttp.ClientSession, own: str, host: PictureHost
) -> None:
    """An allowed origin may be private, gets no key, and allows no other port."""
    results = ResultUrls(
        session=session, base_url="https://x.invalid", hosts=[own], limit_bytes=LIMIT
    )

    assert (
        await results.fetch(f"{own}/picture", headers=KEY, deadline=soon())
        == b"a picture"
    )
    assert "Authorization" not in host.requests[0].headers
    with pytest.raises(BadImage):
        await results.fetch("http://127.0.0.1:9/picture", headers=KEY, deadline=soon())


async def test_another_port_of_the_own_host_is_another_origin(
    session: aiohttp.ClientSession, own: str, host: PictureHost
) -> None:
    """Another port of the provider's host is refused."""
    fetch = ResultUrls(
        session=session, base_url="http://127.0.0.1:9/v1", hosts=[], limit_bytes=LIMIT
    )
    with pytest.raises(BadImage):
        await fetch.fetch(f"{own}/picture", headers=KEY, deadline=soon())

    assert host.requests == []


async def test_an_allowed_name_with_a_private_address_is_not_reached(
    session: aiohttp.ClientSession, host: PictureHost
) -> None:
    """An allowed name with a private address is not connected."""
    async with serve(host) as port:
        resolver = GlobalResolver(StaticResolver("127.0.0.1", port=port))
        fetch = ResultUrls(
            session=session,
            base_url="https://api.example.com/v1",
            hosts=[HOST],
            limit_bytes=LIMIT,
            open_session=lambda: open_outbound_session(resolver=resolver),
        )
        with pytest.raises(ProviderFailed):
            await fetch.fetch(f"https://{HOST}/picture", headers=KEY, deadline=soon())

    assert host.requests == []


@pytest.mark.parametrize("path", ["/redirect", "/gone", "/large"])
async def test_only_a_whole_picture_at_that_address_counts(
    fetch: ResultUrls, host: PictureHost, path: str
) -> None:
    """A redirect, a 410 and a too large picture are a `BadImage`."""
    with pytest.raises(BadImage):
        await fetch.fetch(path, headers=KEY, deadline=soon())

    assert [request.path for request in host.requests] == [path]


@pytest.mark.usefixtures("eager")
async def test_a_paid_picture_is_fetched_again_when_its_host_stumbles(
    fetch: ResultUrls, host: PictureHost
) -> None:
    """M4: a download is repeated after passing errors."""
    host.stumbles = [403, 404, 408, 425, 429, 500, 503, 504, *["cut"] * 2]

    data = await fetch.fetch("/picture", headers=KEY, deadline=soon(10))

    assert data == b"a picture"
    assert len(host.requests) == 11


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("stumble", "kind"), [(404, BadImage), (403, BadImage), (503, ProviderFailed)]
)
async def test_a_picture_is_gone_only_where_its_host_says_so_to_the_deadline(
    fetch: ResultUrls, host: PictureHost, stumble: int, kind: type[ProviderFailed]
) -> None:
    """A picture is gone only if its host answers 404 until the deadline."""
    host.stumbles = [stumble] * 1000

    with pytest.raises(ProviderFailed) as failure:
        await fetch.fetch("/picture", headers=KEY, deadline=soon(0.1))

    assert type(failure.value) is kind
    assert failure.value.end is CallEnd.BILLED
    assert len(host.requests) > 2


@pytest.mark.usefixtures("eager")
async def test_the_last_try_begins_at_the_deadline(
    fetch: ResultUrls, host: PictureHost
) -> None:
    """A long Retry-After is cut so that the last try is at the deadline."""
    host.stumbles = [429]
    host.headers = {"Retry-After": "120"}

    data = await fetch.fetch("/picture", headers=KEY, deadline=soon(0.2))

    assert data == b"a picture"
    assert len(host.requests) == 2


@pytest.mark.usefixtures("eager")
async def test_a_host_that_stalls_is_asked_again(
    fetch: ResultUrls, host: PictureHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stalled download ends by its own timeout and is repeated."""
    monkeypatch.setattr(polling, "TRY_SECONDS", 0.05)
    host.stumbles = ["stall"]

    data = await fetch.fetch("/picture", headers=KEY, deadline=soon(10))

    assert data == b"a picture"


@pytest.mark.usefixtures("eager")
async def test_a_picture_without_a_length_that_was_cut_is_fetched_again(
    fetch: ResultUrls, host: PictureHost
) -> None:
    """A cut picture without a length is noticed and fetched again."""
    host.stumbles = ["half", "half"]

    assert await fetch.fetch("/whole", headers=KEY, deadline=soon(10)) == a_picture()

    host.stumbles = ["half"] * 10
    broken = await fetch.fetch("/whole", headers=KEY, deadline=soon(10))
    assert len(broken) < len(a_picture())


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "2a00:1450:4001::200e"]
)
def test_addresses_on_the_open_internet_are_global(address: str) -> None:
    """Public addresses are global."""
    assert is_global(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
        "100::1",
        "2001::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "2606:4700::5efe:7f00:1",
        "2606:4700::200:5efe:7f00:1",
        "localhost",
        "",
    ],
)
def test_all_other_addresses_are_not(address: str) -> None:
    """Private addresses, and addresses that embed them, are not global."""
    assert not is_global(address)


async def test_a_name_resolves_to_its_global_addresses_only() -> None:
    """A name resolves only to its global addresses, or fails."""
    resolver = GlobalResolver(StaticResolver("10.0.0.1", "8.8.8.8", "::1"))

    assert [found["host"] for found in await resolver.resolve(HOST)] == ["8.8.8.8"]

    with pytest.raises(OSError, match="no global address"):
        await GlobalResolver(StaticResolver("10.0.0.1", "::1")).resolve(HOST)


@pytest.mark.parametrize(
    ("pattern", "is_one"),
    [
        ("fal.media", True),
        ("*.fal.media", True),
        ("v3b.fal.media", True),
        ("localhost", False),
        ("*.media", False),
        ("*", False),
        ("Fal.Media", False),
        ("10.0.0.1", False),
        ("fal.media/", False),
        ("https://fal.media", True),
        ("http://127.0.0.1:9000", True),
        ("http://[::1]:9000", True),
        ("http://127.0.0.1:9000/", False),
        ("http://a@b", False),
        ("http://x:99999", False),
        ("ftp://fal.media", False),
        ("a.*.media", False),
        (7, False),
    ],
)
def test_what_may_be_allowed_is_a_host_name_or_an_origin(
    *, pattern: object, is_one: bool
) -> None:
    """Only host names and origins may be allowed."""
    assert is_result_host(pattern) == is_one
