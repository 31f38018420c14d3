from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from aiohttp import web

from app.api.routes import ROUTES
from app.web import page
from tests.server.frame import Answer, framed, get, wire

STATIC = Path(page.__file__).parent / "static"
PAGES = ("/", "/docs")
FILES = tuple(
    f"/web/{file.name}" for file in STATIC.iterdir() if file.suffix != ".html"
)
DOCUMENTS = (*PAGES, "/openapi.json", "/web/main.js")
FIELDS = {"input", "select", "textarea"}
SVG_NAMESPACE = "http://www.w3.org/2000/svg"
VOID = {"meta", "link", "br", "img", "input"}


class Elements(HTMLParser):
    """The elements of a page; it checks that each is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record an element and its attributes."""
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the last open element."""
        assert self._open.pop() == tag

    def values(self, attribute: str) -> list[str]:
        """Return all values of *attribute*."""
        return [attrs[attribute] for _, attrs in self.found if attribute in attrs]


async def ask(path: str, *headers: str) -> Answer:
    """Request one of the page's files."""
    routes = [
        web.get("/", page.page),
        web.get("/docs", page.docs),
        web.get("/web/{file}", page.file),
        web.get("/openapi.json", page.openapi),
    ]
    async with framed(*routes) as frame, wire(frame.port) as connection:
        return await connection.ask(get(path, *headers))


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_a_document_is_asked_about_each_time(path: str) -> None:
    """A page is revalidated at each request."""
    answer = await ask(path)

    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-cache"
    assert re.fullmatch(r'"[0-9a-f]{64}"', answer.headers["etag"])
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_a_document_that_is_the_same_is_not_sent_again(path: str) -> None:
    """A page whose tag matches is 304."""
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
    """Another tag or a date gets the whole page."""
    answer = await ask(path, condition)

    assert answer.status == 200
    assert answer.body


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_runs_its_own_files_and_nothing_else(path: str) -> None:
    """The content security policy allows only the page's own files."""
    answer = await ask(path)
    policy = dict(
        directive.split(" ", 1)
        for directive in answer.headers["content-security-policy"].split("; ")
    )

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["referrer-policy"] == "no-referrer"
    closed = ("default-src", "base-uri", "form-action", "frame-ancestors")
    assert {policy.pop(name) for name in (*closed, "trusted-types")} == {"'none'"}
    assert policy.pop("require-trusted-types-for") == "'script'"
    assert policy.pop("img-src") == "'self' blob:"
    assert set(policy.values()) == {"'self'"}
    assert policy.keys() == {"script-src", "style-src", "font-src", "connect-src"}


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_needs_nothing_from_elsewhere(path: str) -> None:
    """A page loads and links only addresses of this service."""
    elements = Elements((await ask(path)).body.decode())
    loaded = elements.values("src")
    loaded += [link for link in elements.values("href") if link.startswith("/web/")]
    links = set(elements.values("href")) - set(loaded)

    assert len(loaded) == 3
    for one in loaded:
        assert (await ask(one)).status == 200
    routed = {route.path for route in ROUTES if route.method == "GET"}
    assert links <= routed
    attributes = [name for _, attrs in elements.found for name in attrs]
    assert not [name for name in attributes if name[:2] == "on" or name == "style"]


@pytest.mark.parametrize("path", FILES)
async def test_a_file_names_only_files_of_the_package(path: str) -> None:
    """Scripts and styles import only files of the package and name no other host."""
    answer = await ask(path)
    assert answer.status == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    if not path.endswith((".js", ".css")):
        return
    text = answer.body.decode()
    imported = [f"/web/{name}" for name in re.findall(r'from "\./([^"]+)"', text)]
    imported += re.findall(r'url\("([^"]+)"\)', text)

    assert set(imported) <= set(FILES)
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {SVG_NAMESPACE}


async def test_text_is_never_markup() -> None:
    """No script turns text into markup or code."""
    scripts = "".join(file.read_text() for file in STATIC.glob("*.js"))

    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"):
        assert way not in scripts
    assert not re.search(r"\beval\(|new Function", scripts)
    assert "localStorage" not in scripts


@pytest.mark.parametrize("name", ["index.html", "page.py", "..%2Fpage.py", "x"])
async def test_other_files_are_not_there(name: str) -> None:
    """Only the pages' own files are served, by their plain names."""
    answer = await ask(f"/web/{name}")

    assert (answer.status, answer.problem["code"]) == (404, "not_found")


async def test_every_tab_is_documented() -> None:
    """The reference of the page lists its tabs in order."""
    reference = Path(__file__).parents[2] / "docs" / "reference" / "page.md"
    elements = Elements((await ask("/")).body.decode())

    tabs = [a["aria-controls"] for _, a in elements.found if a.get("role") == "tab"]

    rows = re.findall(r"^\| (\w+) \|", reference.read_text(), re.MULTILINE)
    assert [row.lower() for row in rows] == ["tab", *tabs]


async def test_the_scripts_find_every_element_that_they_name() -> None:
    """Every element that a script names exists in its page."""
    elements = Elements((await ask("/")).body.decode())
    elements_of_docs = Elements((await ask("/docs")).body.decode())
    ids = elements.values("id")
    scripts = {file.name: file.read_text() for file in STATIC.glob("*.js")}
    named = {
        name: set(re.findall(r'\bat\("([\w-]+)"\)', text))
        for name, text in scripts.items()
    }

    assert len(ids) == len(set(ids))
    assert named.pop("docs.js") <= set(elements_of_docs.values("id"))
    assert set().union(*named.values()) <= set(ids)
    # Every field has a label, and every label a field.
    fields = [a["id"] for tag, a in elements.found if tag in FIELDS]
    assert sorted(elements.values("for")) == sorted(fields)
