"""Data URLs: well-formed ones are decoded, all others refused."""

from __future__ import annotations

import base64
from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gathered_bytes import TooManyBytes
from app.transient_images import (
    DataUrl,
    InvalidDataUrl,
    read_data_url,
)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("data:image/png;base64,c3Rvcm0=", b"storm"),
        ("DATA:image/png;BASE64,c3Rvcm0=", b"storm"),
        ("data:;base64,c3Rvcm0=", b"storm"),
        ("data:image/png;name=a;base64,c3Rvcm0=", b"storm"),
        ("data:image/png;base64,c3Rv\r\ncm0=\n", b"storm"),
        ("data:image/png;base64, c3Rv\tcm0=", b"storm"),
        ("data:image/png;base64,c3Rvcm0%3D", b"storm"),
        ("data:image/png;base64,%2B%2f8=", b"\xfb\xff"),
        ("data:image/png;base64,", b""),
        ("data:image/png;base64,c3Rvcm0", b"storm"),
        ("data:image/png;base64,-_8=", b"\xfb\xff"),
        ("data:image/png;base64,-_8", b"\xfb\xff"),
        ("data:,a%20storm", b"a storm"),
        ("data:text/plain;charset=utf-8,a+storm", b"a+storm"),
        ("data:image/png,%89PNG", b"\x89PNG"),
        ("data:image/png;base64x,c3Rvcm0=", b"c3Rvcm0="),
        ("data:,a,b", b"a,b"),
        ("data:,", b""),
    ],
)
def test_well_formed_data_urls(text: str, data: bytes) -> None:
    """Both forms of RFC 2397 are decoded."""
    assert read_data_url(text) == data


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data:",
        "data:image/png;base64",
        "image/png;base64,c3Rvcm0=",
        " data:image/png;base64,c3Rvcm0=",
        "data:image/ png;base64,c3Rvcm0=",
        "data:image/png;\x00base64,c3Rvcm0=",
        "data:image/pnğ;base64,c3Rvcm0=",
        f"data:{'a' * 2000},storm",
        # Padding is needed, and nothing may follow it.
        "data:image/png;base64,c3Rvc",
        "data:image/png;base64,c3Rvcm0==",
        "data:image/png;base64,c3Rvcm0=c3Rv",
        "data:image/png;base64,====",
        "data:image/png;base64,=",
        # The alphabet is that of RFC 4648, 4, and not the URL-safe one.
        "data:image/png;base64,c3Rv!m0=",
        "data:image/png;base64,c3Rv\x00cm0=",
        "data:image/png;base64,c3Rv\u00a0cm0=",
        "data:image/png;base64,ｃ3Rvcm0=",  # noqa: RUF001 - a full-width letter
        "data:image/png;base64,c3Rvcm0%3",
        "data:image/png;base64,c3Rvcm0%zz",
        # Characters that a URL can't hold must be escaped.
        "data:,a storm",
        "data:,a\nstorm",
        "data:,Zürich",
        "data:,100%",
        "data:,%4",
        "data:,%gg",
    ],
)
def test_malformed_data_urls(text: str) -> None:
    """A malformed or ambiguous data URL is refused."""
    with pytest.raises(InvalidDataUrl):
        read_data_url(text)


@given(st.binary(max_size=300), st.integers(0, 300))
def test_the_bound_counts_decoded_bytes_exactly(data: bytes, max_bytes: int) -> None:
    """A data URL of exactly the bound is decoded, and one byte more is refused."""
    encoded = base64.b64encode(data).decode()
    lines = "\n".join(encoded[at : at + 20] for at in range(0, len(encoded), 20))
    for text in (
        f"data:image/png;base64,{encoded}",
        f"data:image/png;base64,{lines}",
        f"data:image/png;base64,{quote(encoded, safe='')}",
        f"data:image/png,{quote(data, safe='')}",
    ):
        if len(data) <= max_bytes:
            assert read_data_url(text, max_bytes=max_bytes) == data
        else:
            with pytest.raises(TooManyBytes):
                read_data_url(text, max_bytes=max_bytes)


@given(st.text())
def test_no_text_does_anything_but_decode_or_be_refused(text: str) -> None:
    """Any text is decoded or raises `InvalidDataUrl`."""
    for form in (text, f"data:{text}", f"data:;base64,{text}", f"data:,{text}"):
        try:
            assert isinstance(read_data_url(form), bytes)
        except InvalidDataUrl:
            continue


@given(
    st.sampled_from(["data:;base64,", "data:image/png,", "dat", "data:"]),
    st.text("QUJD-_=%2B\n é", max_size=30),
    st.lists(st.integers(0, 50), max_size=5),
)
def test_pieces_mean_what_the_whole_means(
    head: str, payload: str, edges: list[int]
) -> None:
    """A data URL may be cut within a group, an escape or its head."""
    text = head + payload
    cuts = [0, *sorted(edges), len(text)]
    url = DataUrl(len(text))
    for start, end in pairwise(cuts):
        url.add(text[start:end])
    url.add("", is_last=True)

    try:
        whole = read_data_url(text)
    except InvalidDataUrl:
        # Where more than one thing is wrong, either may be named.
        with pytest.raises(InvalidDataUrl):
            url.read()
    else:
        assert url.read() == whole


@pytest.mark.parametrize("payload", ["!!!!", "%zz%zz", "=AAA", "é"])
def test_what_is_malformed_counts_as_well(payload: str) -> None:
    """A malformed text is refused as soon as it is longer than its bytes may be."""
    url = DataUrl(max_bytes=1000)
    url.add(f"data:;base64,{payload}")
    url.add("A" * 900)

    with pytest.raises(TooManyBytes):
        url.add("A" * 900)
