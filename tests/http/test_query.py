"""The query is read strictly: ambiguous input is an error."""

from __future__ import annotations

import re
from urllib.parse import quote, quote_plus, urlencode

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidParameter
from app.http.query import (
    decode,
    has_parameter,
    parse_query,
    require_known,
    whole_number,
)
from tests.server.frame import framed, wire

NAMES = frozenset({"prompt", "seed", "model"})
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def read(query: str) -> dict[str, str]:
    """Read a query."""
    return require_known(parse_query(query), NAMES)


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("prompt=fox", {"prompt": "fox"}),
        ("prompt=a+red+fox", {"prompt": "a red fox"}),
        ("prompt=a%20red%20fox", {"prompt": "a red fox"}),
        ("prompt=1%2B1%3D2", {"prompt": "1+1=2"}),
        ("prompt=1=1", {"prompt": "1=1"}),
        ("prompt=Z%C3%BCrich", {"prompt": "Zürich"}),
        ("prompt=Z\udcc3\udcbcrich", {"prompt": "Zürich"}),
        ("prompt=Zürich", {"prompt": "Zürich"}),
        ("prompt=%2541", {"prompt": "%41"}),
        ("prompt=50%25", {"prompt": "50%"}),
        ("prompt=a%26b%3Bc", {"prompt": "a&b;c"}),
        ("prompt=a;b", {"prompt": "a;b"}),
        ("prompt=what?", {"prompt": "what?"}),
        ("prompt=%00", {"prompt": "\0"}),
        ("prompt=+", {"prompt": " "}),
        ("p%72ompt=fox", {"prompt": "fox"}),
        ("&&prompt=fox&&seed=1&", {"prompt": "fox", "seed": "1"}),
        ("", {}),
        ("&", {}),
    ],
)
def test_what_is_well_formed_is_decoded_once(
    query: str, parameters: dict[str, str]
) -> None:
    """A query is decoded once; plus is a space, and empty segments are ignored."""
    assert read(query) == parameters


@pytest.mark.parametrize(
    ("query", "has_it"),
    [
        ("sig=x", True),
        ("a=1&sig", True),
        ("s%69g=x", True),
        ("%73%69%67=%zz", True),
        ("prompt=my sig=1", False),
        ("prompt=sig%3D1&sigh=1", False),
        ("\udcff=1&sig=2", True),
        ("Sig=1", False),
        ("", False),
    ],
)
def test_a_name_is_found_however_it_is_spelled(query: str, has_it: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A name is found in any escaping, and in a malformed query too."""
    assert has_parameter(query, "sig") is has_it


def test_a_hundred_parameters_are_refused() -> None:
    """A query of a hundred parameters is refused."""
    with pytest.raises(InvalidParameter):
        parse_query("&".join(f"p{n}=1" for n in range(100)))


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("prompt", "prompt"),
        ("prompt=", "prompt"),
        ("prompt=fox&prompt=fox", "prompt"),
        ("prompt=fox&p%72ompt=fox", "prompt"),
        ("prompt=fox&prompt", "prompt"),
        ("prompt=%", "prompt"),
        ("prompt=%2", "prompt"),
        ("prompt=%zz", "prompt"),
        ("prompt=100%&seed=1", "prompt"),
        ("prompt=%+41", "prompt"),
        ("prompt=%ff", "prompt"),
        ("prompt=%C3", "prompt"),
        ("prompt=%C0%AF", "prompt"),
        ("prompt=%ED%A0%80", "prompt"),
        ("prompt=%F4%90%80%80", "prompt"),
        ("prompt=\udcff", "prompt"),
        ("prompt=half \ud800", "prompt"),
        ("seed=1&seed=2", "seed"),
        ("promt=fox", "promt"),
        ("Prompt=fox", "Prompt"),
        ("prompt=fox&size=1", "size"),
        ("prompt[]=fox", "prompt[]"),
        ("=fox", "query"),
        ("%=fox", "query"),
        ("%ff=fox", "query"),
        ("%3Cscript%3E=fox", "query"),
        ("a%0d%0ab=fox", "query"),
        ("x" * 65 + "=fox", "query"),
    ],
)
def test_what_is_not_well_formed_is_named(query: str, parameter: str) -> None:
    """A malformed parameter is named if its name is harmless."""
    with pytest.raises(InvalidParameter) as refused:
        read(query)

    assert refused.value.parameter == parameter


@given(st.dictionaries(st.sampled_from(sorted(NAMES)), TEXTS))
def test_every_usual_encoding_means_the_same(parameters: dict[str, str]) -> None:
    """Every common percent-encoding gives the same parameters."""
    assert read(urlencode(parameters)) == parameters
    assert read(urlencode(parameters, quote_via=quote)) == parameters
    escaped = "&".join(
        f"{name}=" + "".join(f"%{octet:02x}" for octet in value.encode())
        for name, value in parameters.items()
    )
    assert read(escaped) == parameters


@given(
    st.lists(st.tuples(st.sampled_from(sorted(NAMES)), TEXTS), unique_by=lambda p: p[0])
)
def test_order_does_not_matter(pairs: list[tuple[str, str]]) -> None:
    """Parameters in any order give the same result."""
    forwards = "&".join(f"{name}={quote_plus(value)}" for name, value in pairs)
    backwards = "&".join(f"{name}={quote_plus(value)}" for name, value in pairs[::-1])

    assert read(forwards) == read(backwards) == dict(pairs)


@given(st.text() | st.text(alphabet="%&=+promtsed0123456789abcdefABCDEF\udcff\ud800"))
def test_no_query_is_anything_but_read_or_refused(query: str) -> None:
    """Any query is read, or refused with a harmless name."""
    parameters: dict[str, str] = {}
    named = "prompt"
    try:
        parameters = read(query)
    except InvalidParameter as refused:
        named = refused.parameter

    assert set(parameters) <= NAMES
    assert all(parameters.values())
    assert re.fullmatch(r"[A-Za-z0-9_.\[\]-]{1,64}", named)


@pytest.mark.parametrize(
    ("raw", "text"), [("a%2Fb", "a/b"), ("a+b", "a+b"), ("%E9%9B%AA", "雪")]
)
def test_a_path_segment_is_decoded_without_plus(raw: str, text: str) -> None:
    """A plus in a path segment stays a plus."""
    assert decode(raw, parameter="key") == text


@pytest.mark.parametrize("text", ["0", "1", "15", "4294967295", "999"])
def test_whole_numbers(text: str) -> None:
    """Digits without a leading zero are a number."""
    number = whole_number({"seed": text}, "seed", minimum=0, maximum=4_294_967_295)

    assert number == int(text)


def test_a_number_that_is_not_given() -> None:
    """A missing number is None."""
    assert whole_number({}, "seed", minimum=0, maximum=9) is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "00",
            "01",
            "-1",
            "-0",
            "+1",
            "1.0",
            "1e3",
            "0x1",
            "1_000",
            " 1",
            "1 ",
            "1\n",
        ),
        *("", "abc", "\uff11", "\u0661", "4294967296", "9" * 19, "9" * 20),
        "9" * 5000,
    ],
)
def test_what_is_no_whole_number(text: str) -> None:
    """Signs, leading zeros, other digits and numbers out of bounds are refused."""
    with pytest.raises(InvalidParameter) as refused:
        whole_number({"seed": text}, "seed", minimum=0, maximum=4_294_967_295)

    assert refused.value.parameter == "seed"


@pytest.mark.parametrize(
    ("target", "status", "said"),
    [
        (b"/?prompt=Z%C3%BCrich", 200, {"prompt": "Zürich"}),
        (b"/?prompt=%FF", 400, "prompt"),
        (b"/?prompt=a&prompt=b", 400, "prompt"),
        (b"/?prompt=a%0D%0ASet-Cookie:+a", 200, {"prompt": "a\r\nSet-Cookie: a"}),
    ],
)
async def test_what_comes_off_the_wire(
    target: bytes, status: int, said: object
) -> None:
    """Raw bytes of a query are decoded, or refused by parameter."""

    async def echo(request: web.Request) -> web.Response:
        return web.json_response(parse_query(request.raw_path.partition("?")[2]))

    async with framed(web.get("/", echo)) as frame, wire(frame.port) as line:
        answer = await line.ask(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")

    assert answer.status == status
    assert (answer.problem if status == 200 else answer.problem["parameter"]) == said
