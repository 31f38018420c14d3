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
    """Ask for one of the documents."""
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


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_runs_its_own_files_and_nothing_else(path: str) -> None:
    """The policy shuts out other hosts, inline code, frames, and text as code."""
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
    """It works without a network: what it loads and links to is routed here."""
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
    """Scripts and style ask no other host, and import what is there."""
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
    """No script turns text into elements: prompts are hostile."""
    scripts = "".join(file.read_text() for file in STATIC.glob("*.js"))

    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"):
        assert way not in scripts
    assert not re.search(r"\beval\(|new Function", scripts)
    assert "localStorage" not in scripts


@pytest.mark.parametrize("name", ["index.html", "page.py", "..%2Fpage.py", "x"])
async def test_other_files_are_not_there(name: str) -> None:
    """Only what belongs to the pages is served, by its plain name."""
    answer = await ask(f"/web/{name}")

    assert (answer.status, answer.problem["code"]) == (404, "not_found")


async def test_every_tab_is_documented() -> None:
    """The table of the page's reference has its tabs, in their order."""
    reference = Path(__file__).parents[2] / "docs" / "reference" / "page.md"
    elements = Elements((await ask("/")).body.decode())

    tabs = [a["aria-controls"] for _, a in elements.found if a.get("role") == "tab"]

    rows = re.findall(r"^\| (\w+) \|", reference.read_text(), re.MULTILINE)
    assert [row.lower() for row in rows] == ["tab", *tabs]


async def test_the_scripts_find_every_element_that_they_name() -> None:
    """A renamed element would be a button that does nothing."""
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
