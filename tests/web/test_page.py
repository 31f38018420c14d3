from __future__ import annotations

import base64
import re
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from aiohttp import web

from app.api.routes import ROUTES
from app.urls import LIVE as GENERATE
from app.web import page
from tests.server.frame import Answer, framed, get, wire

DOCUMENTS = ("/", "/openapi.json")
VOID = {"meta", "link", "br", "img", "input"}


class Elements(HTMLParser):
    """The elements of a page, and whether each that opens is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element and its attributes."""
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the element that was opened last."""
        assert self._open.pop() == tag

    def values(self, attribute: str) -> list[str]:
        """Return what *attribute* says, wherever it stands."""
        return [attrs[attribute] for _, attrs in self.found if attribute in attrs]


async def ask(path: str, *headers: str) -> Answer:
    """Ask for one of the two documents."""
    routes = [web.get("/", page.page), web.get("/openapi.json", page.openapi)]
    async with framed(*routes) as frame, wire(frame.port) as connection:
        return await connection.ask(get(path, *headers))


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_a_document_is_asked_about_each_time(path: str) -> None:
    """A browser keeps it and still sees a new version at once."""
    answer = await ask(path)

    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-cache"
    assert re.fullmatch(r'"[0-9a-f]{64}"', answer.headers["etag"])
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_a_document_that_is_the_same_is_not_sent_again(path: str) -> None:
    """Its tag gives 304, alone, in a list, weak, or as a star."""
    first = await ask(path)
    tag = first.headers["etag"]

    for known in (tag, f'"a-lighthouse", {tag}', f"W/{tag}", "*"):
        again = await ask(path, f"If-None-Match: {known}")
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "condition",
    [
        'If-None-Match: "a-lighthouse"',
        "If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT",
    ],
)
@pytest.mark.parametrize("path", DOCUMENTS)
async def test_only_the_tag_says_that_a_document_is_the_same(
    path: str, condition: str
) -> None:
    """Another tag, or any date, is answered with the whole document."""
    answer = await ask(path, condition)

    assert answer.status == 200
    assert answer.body


async def test_the_page_runs_its_own_script_and_nothing_else() -> None:
    """The policy names what stands in the page; all other sources are shut out."""
    answer = await ask("/")
    text = answer.body.decode()
    policy = dict(
        directive.split(" ", 1)
        for directive in answer.headers["content-security-policy"].split("; ")
    )

    for element, directive in (("script", "script-src"), ("style", "style-src")):
        (inline,) = re.findall(rf"<{element}.*?>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(sha256(inline.encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert {
        policy[name] for name in ("base-uri", "form-action", "frame-ancestors")
    } == {"'none'"}


async def test_the_page_needs_nothing_from_elsewhere() -> None:
    """It works without a network, and its policy lets all of it through."""
    answer = await ask("/")
    elements = Elements(answer.body.decode())

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert elements.values("src") == elements.values("style") == []
    assert not [
        name for _, attrs in elements.found for name in attrs if name[:2] == "on"
    ]
    icon, *links = elements.values("href")
    assert icon.startswith("data:image/svg+xml,")
    routed = {route.path for route in ROUTES if route.method == "GET"}
    assert set(links) == {"/openapi.json", "/readyz", "/metrics"} <= routed


async def test_the_page_asks_for_pictures_where_they_are() -> None:
    """The script and the line for the shell use the route of live generation."""
    text = (await ask("/")).body.decode()

    assert text.count(f"{GENERATE}?prompt=") == 2
    # The browser's own copy of a picture is never a HIT.
    assert 'cache: "no-store"' in text


async def test_a_key_stays_in_the_memory_of_the_page() -> None:
    """It gets into no URL, no storage and no form that could be sent."""
    text = (await ask("/")).body.decode()
    elements = Elements(text)

    assert elements.values("name") == ["viewport", "color-scheme", "description"]
    for tag, attrs in elements.found:
        if tag in {"form", "input"}:
            assert attrs["autocomplete"] == "off"
    script = text.partition("<script")[2]
    for place in ("localStorage", "sessionStorage", "cookie", "history", "location.h"):
        assert place not in script
    assert script.count("key.value") == script.count("key.value.trim()") == 3
    assert '"X-API-Key: $API_KEY"' in script


async def test_everybody_can_use_the_page() -> None:
    """Fields have labels, news is announced, and the language is known."""
    elements = Elements((await ask("/")).body.decode())
    by_id = {attrs["id"]: attrs for _, attrs in elements.found if "id" in attrs}

    fields = [a["id"] for tag, a in elements.found if tag in {"input", "textarea"}]
    assert sorted(elements.values("for")) == sorted(fields)
    assert by_id["status"]["role"] == "status"
    assert by_id["problem"]["role"] == "alert"
    assert ("html", {"lang": "en"}) in elements.found


async def test_the_script_finds_every_element_that_it_names() -> None:
    """A renamed element would be a button that does nothing."""
    text = (await ask("/")).body.decode()
    ids = Elements(text).values("id")

    assert len(ids) == len(set(ids))
    assert set(re.findall(r'\bat\("(\w+)"\)', text)) <= set(ids)
