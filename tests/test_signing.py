"""Signed URLs: the published vectors, and the canonical text."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote_plus, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.signing import LIVE_PATH, canonical, is_signature, sign_url, signature

SECRET = "c2VjcmV0LWZvci10aGUtdGVzdC12ZWN0b3ItMzJieXRlcyE"
COMMON = {"kid": "k1", "exp": "2000000000", "project": "acme/shop"}
VECTORS = [
    ({"prompt": "a red fox"}, "QmxrnO9iweeNRpjCvSAC_-0ZENOiqyg2nafHIWNLv2k"),
    (
        {
            "prompt": 'Zürich & 100% "snow" + 雪',
            "seed": "0",
            "aspect_ratio": "16:9",
        },
        "0ZTl931N_6biFMIxtM_Ki3O9EYLNAyujYRAZF2_qx9s",
    ),
]

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
queries = st.dictionaries(texts.filter(lambda name: name != "sig"), texts, min_size=1)


@pytest.mark.parametrize(("parameters", "expected"), VECTORS)
def test_the_published_vectors_hold(parameters: dict[str, str], expected: str) -> None:
    """The code computes the two published signatures."""
    text = canonical("GET", LIVE_PATH, {**parameters, **COMMON})

    assert signature(SECRET, text) == expected


def test_the_canonical_text_is_four_lines() -> None:
    """The canonical text is version, method, path and the sorted query."""
    text = canonical(
        "GET", LIVE_PATH, {"prompt": "ü ~+/", "exp": "1", "kid": "k", "sig": "x"}
    )

    assert text == (
        "paintonce-v1\nGET\n/api/v1/live/generate\nexp=1&kid=k&prompt=%C3%BC%20~%2B%2F"
    )


def test_a_signature_for_get_covers_head() -> None:
    """GET and HEAD have the same signature, POST another one."""
    head, get, post = (
        canonical(method, LIVE_PATH, COMMON) for method in ("HEAD", "GET", "POST")
    )

    assert head == get != post


@given(parameters=queries, data=st.data())
def test_order_does_not_matter(parameters: dict[str, str], data: st.DataObject) -> None:
    """Parameters in any order give the same canonical text."""
    shuffled = dict(data.draw(st.permutations(list(parameters.items()))))

    assert canonical("GET", LIVE_PATH, shuffled) == canonical(
        "GET", LIVE_PATH, parameters
    )


@given(parameters=queries)
def test_the_encoding_that_arrives_does_not_matter(parameters: dict[str, str]) -> None:
    """A query in a browser's encoding gives the same canonical text."""
    arrived = "&".join(
        f"{quote_plus(name, safe=':/')}={quote_plus(value, safe=':/')}"
        for name, value in parameters.items()
    )

    decoded = dict(parse_qsl(arrived, keep_blank_values=True, strict_parsing=True))

    assert canonical("GET", LIVE_PATH, decoded) == canonical(
        "GET", LIVE_PATH, parameters
    )


@given(one=queries, other=queries)
def test_every_difference_matters(one: dict[str, str], other: dict[str, str]) -> None:
    """Different parameters give different canonical texts."""
    texts = [canonical("GET", LIVE_PATH, parameters) for parameters in (one, other)]

    assert (texts[0] == texts[1]) == (one == other)


@given(given_text=st.text())
def test_any_text_may_be_compared(given_text: str) -> None:
    """Any other text is no signature and raises nothing."""
    assert not is_signature(given_text, SECRET, "a lighthouse in a storm")


def test_only_one_spelling_is_the_signature() -> None:
    """Padding, another alphabet and loose last bits make a signature invalid."""
    text = canonical("GET", LIVE_PATH, {**VECTORS[0][0], **COMMON})
    right = signature(SECRET, text)

    assert is_signature(right, SECRET, text)
    assert not is_signature(f"{right}=", SECRET, text)
    assert not is_signature(right.replace("_", "/").replace("-", "+"), SECRET, text)
    assert right.endswith("k")
    # The same 32 bytes to a decoder that does not look at the last two bits.
    assert not is_signature(f"{right[:-1]}l", SECRET, text)
    assert not is_signature(right, SECRET[:-1], text)


def test_a_signed_url_carries_what_it_signs() -> None:
    """A signed URL has each parameter once and the vector's signature."""
    parameters, expected = VECTORS[1]

    url = sign_url(
        "https://pictures.example/",
        parameters["prompt"],
        project="acme/shop",
        kid="k1",
        secret=SECRET,
        exp=2_000_000_000,
        seed=0,
        aspect_ratio="16:9",
    )

    parts = urlsplit(url)
    assert (parts.netloc, parts.path) == ("pictures.example", LIVE_PATH)
    assert dict(parse_qsl(parts.query, strict_parsing=True)) == {
        **parameters,
        **COMMON,
        "sig": expected,
    }
