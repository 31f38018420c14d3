"""Authentication of callers and their projects."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from app.access.api_keys import ApiKeys
from app.access.authenticator import Authenticator, Presented
from app.errors import InvalidParameter, NotAuthenticated
from app.storage.storage_key import Project
from tests.server.frame import framed, wire

KEY = "a-key-of-at-least-thirty-two-characters"
SHOP = Project("acme", "shop")


def asked(*headers: tuple[str, str]) -> Presented:
    """Return the credentials of a request with *headers*."""
    return Presented(CIMultiDictProxy(CIMultiDict(headers)), "192.0.2.1")


@pytest.fixture
def required() -> Authenticator:
    """Give an authenticator as `AUTH=required` makes it."""
    return Authenticator(ApiKeys(KEY))


@pytest.fixture
def off() -> Authenticator:
    """Give an authenticator as `AUTH=off` makes it."""
    return Authenticator(None)


@pytest.mark.parametrize(
    "header",
    [
        ("X-API-Key", KEY),
        ("x-api-key", KEY),
        ("Authorization", f"Bearer {KEY}"),
        ("Authorization", f"bearer {KEY}"),
        ("Authorization", f"BEARER  {KEY} "),
    ],
)
async def test_the_admin_key_names_its_project(
    required: Authenticator, header: tuple[str, str]
) -> None:
    """The admin key in either header acts for the project of X-Project."""
    caller = await required.identify(asked(header, ("X-Project", "acme/shop")))

    assert (caller.project, caller.role) == (SHOP, "admin")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("X-API-Key", "")],
        [("X-API-Key", KEY[:-1])],
        [("X-API-Key", KEY + "x")],
        [("X-API-Key", KEY.upper())],
        [("X-API-Key", "ключ")],
        [("Authorization", KEY)],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", f"Basic {KEY}")],
        [("Authorization", f"Bearer{KEY}")],
        [("Authorization", f"Token Bearer {KEY}")],
    ],
)
async def test_a_request_without_a_known_key_is_refused(
    required: Authenticator, headers: list[tuple[str, str]]
) -> None:
    """A missing, unknown or misplaced key is refused before the project is read."""
    with pytest.raises(NotAuthenticated):
        await required.identify(asked(*headers, ("X-Project", "not a project")))


async def test_the_api_key_header_outranks_the_other(required: Authenticator) -> None:
    """If both headers are sent, only `X-API-Key` counts."""
    good, bad = ("X-API-Key", KEY), ("X-API-Key", "wrong")
    project = ("X-Project", "acme/shop")

    let_in = await required.identify(
        asked(good, ("Authorization", "Bearer wrong"), project)
    )
    assert let_in.project == SHOP
    with pytest.raises(NotAuthenticated):
        await required.identify(asked(bad, ("Authorization", f"Bearer {KEY}"), project))


PROJECTS = [
    *("", "acme", "acme/", "/shop", "acme/shop/fox", "Acme/shop", "acme/Shop"),
    *("acme shop", "-acme/shop", "_acme/shop", "acme//shop", "../shop", "acme/.."),
    *(
        "acme/shop ",
        "ümlaut/shop",
        f"{'a' * 64}/shop",
        f"acme/{'a' * 64}",
        "acme/shop\n",
    ),
]


@pytest.mark.parametrize("project", PROJECTS)
async def test_a_malformed_project_is_named_by_its_header(
    required: Authenticator, off: Authenticator, project: str
) -> None:
    """A malformed project is refused and the header or parameter is named."""
    for authenticator in (required, off):
        with pytest.raises(InvalidParameter) as refused:
            await authenticator.identify(
                asked(("X-API-Key", KEY), ("X-Project", project))
            )
        assert refused.value.parameter == "X-Project"
    with pytest.raises(InvalidParameter) as refused:
        await off.identify(asked(), named_in_query=project)
    assert refused.value.parameter == "project"


@pytest.mark.parametrize(
    "project", ["a/b", "0/9", "acme/shop", "a_b-c/d-e_f", f"{'a' * 63}/{'9' * 63}"]
)
async def test_a_well_formed_project(required: Authenticator, project: str) -> None:
    """A project's parts have 1 to 63 characters and start with a letter or digit."""
    caller = await required.identify(asked(("X-API-Key", KEY), ("X-Project", project)))

    assert str(caller.project) == project


async def test_an_admin_key_needs_the_project_header(
    required: Authenticator,
) -> None:
    """An admin key without X-Project is refused, even with `project` in the query."""
    with pytest.raises(InvalidParameter) as refused:
        await required.identify(asked(("X-API-Key", KEY)), named_in_query="acme/shop")

    assert refused.value.parameter == "X-Project"


async def test_two_projects_are_one_too_many(
    required: Authenticator, off: Authenticator
) -> None:
    """A repeated X-Project is refused, even if both values are equal."""
    twice = [("X-API-Key", KEY), ("X-Project", "acme/shop"), ("x-project", "acme/shop")]

    for authenticator in (required, off):
        with pytest.raises(InvalidParameter) as refused:
            await authenticator.identify(asked(*twice))
        assert refused.value.parameter == "X-Project"


async def test_without_authentication_keys_are_not_looked_at(
    off: Authenticator,
) -> None:
    """With AUTH=off the header names the project, else the query, else the default."""
    header = ("X-Project", "acme/shop")
    wrong = ("X-API-Key", "wrong")

    assert off.is_off
    assert off.query_parameters == {"project"}
    named_twice = await off.identify(asked(wrong, header), named_in_query="acme/zoo")
    assert named_twice.project == SHOP
    in_query = await off.identify(asked(wrong), named_in_query="acme/zoo")
    assert in_query.project == Project("acme", "zoo")
    assert (await off.identify(asked())).project == Project("default", "main")


def test_where_keys_are_required_no_query_parameter_is_taken(
    required: Authenticator,
) -> None:
    """With AUTH=required the query has no `project` parameter."""
    assert not required.is_off
    assert required.query_parameters == frozenset()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_other_key_is_let_in(key: str) -> None:
    """Every text but the admin key itself is refused as a key."""
    if key.strip() == KEY:
        return
    for header in (("X-API-Key", key), ("Authorization", f"Bearer {key}")):
        with pytest.raises(NotAuthenticated):
            asyncio.run(Authenticator(ApiKeys(KEY)).identify(asked(header)))


@pytest.mark.parametrize("name", [b"X-API-Key: ", b"Authorization: Bearer "])
async def test_a_key_that_is_no_text_is_not_let_in(
    required: Authenticator, name: bytes
) -> None:
    """A key that is not UTF-8 is an unknown key, and no crash."""

    async def enter(request: web.Request) -> web.Response:
        await required.identify(Presented(request.headers, ""))
        return web.Response()

    async with framed(web.get("/", enter)) as frame, wire(frame.port) as line:
        head = b"GET / HTTP/1.1\r\nHost: a\r\n"
        answer = await line.ask(head + name + b"\xff\xfe\r\n\r\n")

    assert answer.status == 401
