from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from selenium.webdriver.common.keys import Keys

from app.errors import CacheUnavailable
from tests.web.scripted_service import entry
from tests.web.steps import paint

if TYPE_CHECKING:
    from selenium.webdriver.remote.webelement import WebElement

    from tests.web.browser import Browser
    from tests.web.scripted_service import ScriptedService


@pytest.fixture
def fox(page: Browser) -> WebElement:
    """Paint a fox, request it twice more, and find it in the gallery."""
    paint(page, "a red fox")
    page.status("MISS")
    for number in ("1", "2"):
        page.get("button", "Paint").click()
        page.status("HIT", f"number {number}")
    page.open_tab("Gallery")
    return page.get("article", "a red fox")


def source(page: Browser) -> str:
    """Return the address of the fox's picture."""
    article = page.get("article", "a red fox")
    address = page.get("img", "a red fox", within=article).get_attribute("src")
    assert address is not None
    return address


def test_a_picture_hangs_there_with_its_hits_and_its_age(
    page: Browser, fox: WebElement
) -> None:
    """The gallery shows each picture with its hits and its age."""
    assert "2 hits" in fox.text
    assert re.search(r"just now|\d+ s ago", fox.text)
    loaded = "return arguments[0].complete && arguments[0].naturalWidth"
    picture = page.get("img", "a red fox", within=fox)
    assert page.until(lambda: page.run(loaded, picture))
    # A small one is loaded, and not the picture itself.
    shown = str(page.run("return arguments[0].currentSrc", picture))
    assert re.search(r"\?w=\d+&format=webp$", shown)
    assert page.all("button", "More") == []


def test_a_purge_asks_first(page: Browser, fox: WebElement) -> None:
    """A purge asks first, and Cancel and Escape change nothing."""
    for leave in ("click", "escape"):
        page.get("button", "Purge", within=fox).click()
        dialog = page.get("dialog")
        assert "a red fox" in dialog.text
        assert page.focused == "Cancel"
        if leave == "click":
            page.get("button", "Cancel", within=dialog).click()
        else:
            page.press(Keys.ESCAPE)
        page.until(lambda: page.all("dialog") == [])

    page.open_tab("Statistics")
    page.open_tab("Gallery")
    page.get("article", "a red fox")


def test_a_purge_takes_it_away(page: Browser, fox: WebElement) -> None:
    """A confirmed purge removes the picture."""
    page.get("button", "Purge", within=fox).click()
    dialog = page.get("dialog")
    page.get("button", "Purge", within=dialog).click()

    page.until(lambda: page.all("article") == [])
    page.get("button", "Paint the first").click()
    paint(page, "a red fox")
    page.status("MISS")


def test_a_refresh_paints_it_anew(page: Browser, fox: WebElement) -> None:
    """A refresh shows another picture and keeps the hits."""
    before = source(page)

    page.get("button", "Refresh", within=fox).click()
    page.status("Painted anew")

    assert source(page) != before
    assert "2 hits" in page.get("article", "a red fox").text


def test_a_picture_is_opened_in_the_playground(page: Browser, fox: WebElement) -> None:
    """Opening a picture fills the form, shows the picture and counts a hit."""
    page.get("button", "Open", within=fox).click()

    page.status("HIT", "number 3")
    assert page.get("textbox", "Prompt").get_attribute("value") == "a red fox"
    page.get("img", "a red fox")


def test_an_empty_gallery_says_what_it_is_for(page: Browser) -> None:
    """An empty gallery leads to the playground."""
    page.open_tab("Gallery")

    page.get("button", "Paint the first").click()

    page.get("textbox", "Prompt")


def test_more_pictures_come_until_there_are_none(
    browser: Browser, scripted: ScriptedService
) -> None:
    """The button "More" loads the next page, and is hidden at the end."""
    pages = {None: ("a red fox", "next/1"), "next/1": ("an owl", None)}
    scripted.answers = {
        ("GET", "/api/v1/models"): {"models": []},
        ("GET", "/api/v1/live/entries"): lambda query: {
            "entries": [entry(pages[query.get("cursor")][0])],
            "cursor": pages[query.get("cursor")][1],
        },
    }
    browser.open(f"{scripted.url}/#gallery")
    browser.get("article", "a red fox")

    browser.get("button", "More").click()
    browser.get("article", "an owl")

    assert len(browser.all("article")) == 2
    assert browser.all("button", "More") == []


@pytest.mark.parametrize(
    "more", [{"width": 96, "height": 64}, {"variant": 1}, {"references": ["7"]}]
)
def test_what_the_form_cannot_say_is_not_opened(
    browser: Browser, scripted: ScriptedService, more: dict[str, Any]
) -> None:
    """A picture with parameters that the form lacks can't be opened."""
    made = entry("a red fox")
    made["parameters"] |= more
    scripted.answers = {
        ("GET", "/api/v1/models"): {"models": []},
        ("GET", "/api/v1/live/entries"): {"entries": [made], "cursor": None},
    }
    browser.open(f"{scripted.url}/#gallery")

    article = browser.get("article", "a red fox")

    names = [one.text for one in browser.all("button", within=article)]
    assert names == ["Refresh", "Purge"]


def test_an_outage_is_shown(browser: Browser, scripted: ScriptedService) -> None:
    """An unreadable gallery shows the outage and not that it is empty."""
    outage = CacheUnavailable("The cache is unavailable.")
    scripted.answers = {
        ("GET", "/api/v1/models"): {"models": []},
        ("GET", "/api/v1/live/entries"): outage,
    }
    browser.open(f"{scripted.url}/#gallery")

    browser.alert("Cache unavailable", "The cache is unavailable.")

    assert browser.all("button", "Paint the first") == []
