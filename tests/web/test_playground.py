from __future__ import annotations

import ast
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

from selenium.webdriver.common.keys import Keys

from app.urls import LIVE as GENERATE
from tests.web.steps import choose, line, paint

if TYPE_CHECKING:
    from tests.web.browser import Browser

HOSTILE = "\"><img src=x onerror=alert(1)><script>alert(2)</script> & 'quotes'"


class Tags(HTMLParser):
    """The tags of a piece of markup with their attributes."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record a tag."""
        self.found.append((tag, dict(attrs)))


def asked_by_curl(page: Browser) -> dict[str, list[str]]:
    """Return the query of the curl command's address."""
    address = re.findall(r"'(http.*?)'", line(page, "curl command"))[0]
    return parse_qs(urlsplit(address).query)


def test_the_first_picture_is_a_miss_and_the_second_a_hit(page: Browser) -> None:
    """The page shows a picture with MISS and seconds, then with HIT and its number."""
    paint(page, "a lighthouse in a storm")
    painted = page.status("MISS", " s")
    picture = page.get("img", "a lighthouse in a storm")
    width = page.run("return arguments[0].naturalWidth", picture)

    page.get("button", "Paint").click()
    again = page.status("HIT", " s")

    assert re.search(r"\b\d+\.\d\d s\b", painted)
    assert width == 1024
    assert re.search(r"\b\d+\.\d\d s\b", again)
    assert "hit number 1" in again
    assert page.all("alert") == []


def test_a_painting_is_followed_by_its_events(page: Browser) -> None:
    """The page follows a painting by events, without polling."""
    paint(page, "a slow river", model="slow")
    page.status("MISS")

    asked = page.run(
        "return performance.getEntriesByType('resource')"
        ".map((one) => new URL(one.name).pathname)"
    )
    generations = [path for path in asked if path.startswith("/api/v1/generations/")]
    assert len(generations) == 1
    assert generations[0].endswith("/events")
    assert asked.count(GENERATE) == 1


def test_a_refusal_is_shown_unchanged(page: Browser) -> None:
    """A refusal is an alert with the problem's title and detail."""
    paint(page, "a prompt to refuse", model="refusing")

    title, detail, *_ = page.alert("Prompt rejected").splitlines()

    assert title == "Prompt rejected"
    assert detail.endswith(".")
    assert page.all("img") == []
    paint(page, "a prompt to paint", model="default")
    page.status("MISS")
    assert page.all("alert") == []


def test_what_the_service_refuses_names_the_field(page: Browser) -> None:
    """A bad field shows an alert that names it."""
    page.get("button", "Paint").click()
    assert "prompt" in page.alert("Invalid parameter")

    page.get("textbox", "Prompt").send_keys("a lighthouse")
    page.get("spinbutton", "Seed").send_keys("-1")
    page.get("button", "Paint").click()

    assert page.alert("Invalid parameter", "seed")


def test_shape_and_seed_are_asked_for(page: Browser) -> None:
    """Shape and seed of the form are in the picture and in the ready lines."""
    choose(page, "Shape", "16:9")
    page.get("spinbutton", "Seed").send_keys("0")
    paint(page, "a wide bay")
    page.status("MISS")
    width, height = page.run(
        "return [arguments[0].naturalWidth, arguments[0].naturalHeight]",
        page.get("img", "a wide bay"),
    )

    assert abs(width / height - 16 / 9) < 0.01
    asked = {"prompt": ["a wide bay"], "aspect_ratio": ["16:9"], "seed": ["0"]}
    assert asked_by_curl(page) == asked


def test_enter_paints(page: Browser) -> None:
    """The Enter key paints."""
    page.get("textbox", "Prompt").send_keys("a pier at night", Keys.ENTER)

    page.status("MISS")
    page.get("img", "a pier at night")


def test_a_hostile_prompt_is_only_text(page: Browser) -> None:
    """Markup in a prompt is shown as text and quoted in the ready lines."""
    paint(page, HOSTILE)
    page.status("MISS")

    page.get("img", HOSTILE)
    ((tag, attributes),) = Tags(line(page, "img tag")).found
    assert (tag, attributes["alt"]) == ("img", HOSTILE)
    assert asked_by_curl(page)["prompt"] == [HOSTILE]
    page.open_tab("Gallery")
    page.get("article", HOSTILE)
    assert page.run("return document.scripts.length") == 1


def test_the_tag_names_widths_of_the_one_picture(page: Browser) -> None:
    """The tag's `srcset` has three widths of the picture, each a HIT."""
    paint(page, "a lock & a key")
    page.status("MISS")

    tag = page.until(lambda: "srcset" in (now := line(page, "img tag")) and now)
    ((_, attributes),) = Tags(str(tag)).found
    assert attributes["sizes"] == "100vw"
    widths = []
    for source in (attributes["srcset"] or "").split(", "):
        address, width = source.split(" ")
        widths.append(width)
        with urlopen(address) as answer:
            assert answer.headers["X-Cache-Status"] == "HIT"
            assert answer.headers["Content-Type"] == "image/webp"
    assert widths == ["640w", "1080w", "1920w"]


def test_the_ready_python_asks_for_the_same(page: Browser) -> None:
    """The Python line has the page's address and the form's values."""
    paint(page, HOSTILE)
    page.status("MISS")

    *_, client, call, _ = ast.parse(line(page, "Python program")).body
    said = {
        keyword.arg: ast.literal_eval(keyword.value)
        for statement in (client, call)
        for keyword in statement.value.keywords  # type: ignore[attr-defined]
    }

    origin = page.run("return location.origin")
    assert (said["base_url"], said["prompt"]) == (f"{origin}/v1", HOSTILE)
    assert said["response_format"] == "url"


def test_the_ready_lines_are_copied(page: Browser) -> None:
    """Both buttons copy their line and confirm it."""
    page.driver.set_permissions("clipboard-read", "granted")
    paint(page, "a harbour")
    page.status("MISS")

    for button, name in (
        ("Copy img tag", "img tag"),
        ("Copy curl", "curl command"),
        ("Copy Python", "Python program"),
    ):
        page.get("button", button).click()
        copied = page.driver.execute_async_script(
            "navigator.clipboard.readText().then(arguments[0])"
        )
        assert copied == line(page, name)
        assert "harbour" in copied
    assert "Copied" in page.run("return document.body.innerText")
