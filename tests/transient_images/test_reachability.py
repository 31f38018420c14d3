"""Whether a provider can fetch a URL, judged by its spelling."""

from __future__ import annotations

import pytest

from app.transient_images import is_reachable


@pytest.mark.parametrize(
    "url",
    [
        "https://pictures.example.com",
        "https://PICTURES.EXAMPLE.COM",
        "HTTPS://pictures.example.com",
        "https://pictures.example.com.",
        "https://pictures.example.com:8443/base",
        "https://user@pictures.example.com",
        "https://bücher.example",
        "https://xn--bcher-kva.example",
        "https://mylocal.example",
        "https://local.example.com",
        "https://localhost.example.com",
        "https://notlan.example",
        "https://arpa.example",
        "https://8.8.8.8",
        "https://8.8.8.8.",
        "https://[2001:4860:4860::8888]:8443",
    ],
)
def test_the_open_internet_is_reachable(url: str) -> None:
    """An https URL with a public name or address is reachable."""
    assert is_reachable(url)


@pytest.mark.parametrize(
    "url",
    [
        # No https, or no URL.
        "http://pictures.example.com",
        "ftp://pictures.example.com",
        "pictures.example.com",
        "//pictures.example.com",
        "https://",
        "https:///path",
        "https://[::1",
        "https://pictures.example.com:port",
        "https://pictures..example.com",
        "https://pictures.example.com..",
        "https://pictures example.com",
        "",
        # Names that only some can resolve.
        "https://localhost",
        "https://LOCALHOST:8080",
        "https://localhost.",
        "https://app.localhost",
        "https://paintonce",
        "https://paintonce.",
        "https://printer.local",
        "https://printer.LOCAL.",
        "https://vault.internal",
        "https://nas.lan",
        "https://nas.home.arpa",
        "https://home.arpa",
        "https://nas.ｌｏｃａｌ",  # noqa: RUF001 - full-width letters are the point
        "https://nas。local",
        "https://nas%2elocal",
        # Addresses that are not global.
        "https://127.0.0.1",
        "https://127.0.0.1.",
        "https://127.1",
        "https://0x7f.0.0.1",
        "https://0177.0.0.1",
        "https://2130706433",
        "https://１２７.0.0.1",  # noqa: RUF001 - full-width digits are the point
        "https://0.0.0.0",
        "https://10.1.2.3",
        "https://172.16.0.1",
        "https://192.168.1.10:8443",
        "https://169.254.169.254",
        "https://100.64.0.1",
        "https://192.0.2.1",
        "https://198.18.0.1",
        "https://224.0.0.1",
        "https://255.255.255.255",
        "https://1.2.3.4.5",
        "https://8.8.8.256",
        "https://[::]",
        "https://[::1]",
        "https://[::ffff:127.0.0.1]",
        "https://[::ffff:10.0.0.1]",
        "https://[fe80::1]",
        "https://[fe80::1%25eth0]",
        "https://[fd00::1]",
        "https://[2001:db8::1]",
        "https://[ff02::1]",
        "https://[64:ff9b::a00:1]",
    ],
)
def test_everything_else_is_not(url: str) -> None:
    """Any other URL is not reachable."""
    assert not is_reachable(url)
