from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.keys import Keys

from tests.web.browser import PHONE
from tests.web.steps import paint

if TYPE_CHECKING:
    from tests.web.browser import Browser

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()
TABS = ("Playground", "Gallery", "Statistics", "Settings")


def violations(page: Browser) -> list[str]:
    """Return serious and critical findings of axe, with their elements."""
    page.run(AXE)
    found = page.driver.execute_async_script(
        "axe.run().then((found) => arguments[0](found.violations))"
    )
    return [
        f"{one['id']}: {[node['target'] for node in one['nodes']]}"
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]


def overflow(page: Browser) -> int:
    """Return the number of pixels by which the page is too wide."""
    return int(
        page.run("return document.documentElement.scrollWidth - window.innerWidth")
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page: Browser, scheme: str) -> None:
    """Axe finds nothing serious in any tab, error or dialog, in both colour schemes."""
    page.prefer(scheme=scheme)
    assert violations(page) == []
    paint(page, "a prompt to refuse", model="refusing")
    page.alert("Prompt rejected")
    assert violations(page) == []
    paint(page, "a lighthouse")
    page.status("MISS")
    for tab in TABS:
        page.open_tab(tab)
        if tab == "Gallery":
            article = page.get("article", "a lighthouse")
            page.get("button", "Purge", within=article).click()
            page.get("dialog")
            assert violations(page) == []
            page.press(Keys.ESCAPE)
        assert violations(page) == [], tab


def test_a_phone_needs_no_sideways_scrolling(page: Browser) -> None:
    """At 360 pixels no tab, picture, word or error needs sideways scrolling."""
    page.resize(*PHONE)
    paint(page, "a" * 300)
    page.status("MISS")
    for tab in TABS:
        page.open_tab(tab)
        if tab == "Gallery":
            page.get("article", "a" * 300)
        assert overflow(page) == 0, tab
    page.open_tab("Playground")
    paint(page, "a prompt to refuse", model="refusing")
    page.alert("Prompt rejected")
    assert overflow(page) == 0


def test_fingers_hit_every_link_and_button(page: Browser) -> None:
    """On a phone every link and button has at least 24 pixels."""
    page.resize(*PHONE)
    paint(page, "a lighthouse")
    page.status("MISS")
    small = (
        "return [...document.querySelectorAll('a, button, input, select')]"
        ".filter((one) => one.checkVisibility())"
        ".map((one) => [one.textContent, one.getBoundingClientRect()])"
        ".filter(([, box]) => box.width < 24 || box.height < 24)"
        ".map(([text]) => text)"
    )
    for tab in TABS:
        page.open_tab(tab)
        assert page.run(small) == [], tab
    page.open(f"{page.run('return location.origin')}/docs")
    page.until(lambda: page.run("return document.querySelector('.contents a')"))
    assert page.run(small) == []


def test_the_documents_group_operations_by_what_they_are_for(page: Browser) -> None:
    """The API page lists its operations below a heading for each group."""
    page.open(f"{page.run('return location.origin')}/docs")
    page.until(lambda: page.run("return document.querySelector('.contents a')"))

    groups = page.run(
        "return [...document.querySelectorAll('.contents section')].map((one) =>"
        " [one.querySelector('h2').textContent, one.querySelectorAll('a').length])"
    )
    assert len(groups) > 4
    assert all(name and count > 0 for name, count in groups)


def test_arrows_move_between_tabs(page: Browser) -> None:
    """The tabs are one stop of the Tab key, and arrows move between them."""
    page.get("tab", "Playground").click()

    for key, name in [
        (Keys.ARROW_RIGHT, "Gallery"),
        (Keys.ARROW_RIGHT, "Statistics"),
        (Keys.END, "Settings"),
        (Keys.ARROW_RIGHT, "Playground"),
        (Keys.ARROW_LEFT, "Settings"),
        (Keys.HOME, "Playground"),
    ]:
        page.press(key)
        assert page.focused == name
        (chosen,) = [
            tab
            for tab in page.all("tab")
            if tab.get_attribute("aria-selected") == "true"
        ]
        assert chosen.accessible_name == name
    page.press(Keys.TAB)
    assert page.focused == "Prompt"


def test_what_has_the_focus_is_seen(page: Browser) -> None:
    """The focused element has an outline."""
    page.get("textbox", "Prompt").click()
    page.press(Keys.TAB)

    focused = page.driver.switch_to.active_element
    assert focused.accessible_name == "Model"
    assert focused.value_of_css_property("outline-style") == "solid"


def test_the_api_page_is_readable(browser: Browser, service: str) -> None:
    """The API page shows every operation, fits a phone, and passes axe."""
    browser.resize(*PHONE)
    browser.open(f"{service}/docs")
    browser.until(lambda: browser.all("link", "GET /api/v1/live/generate"))
    described = browser.run(
        "return fetch('/openapi.json').then((answer) => answer.json())"
        ".then((api) => Object.values(api.paths)"
        ".flatMap(({ parameters, ...item }) => Object.values(item))"
        ".map((one) => one.operationId))"
    )

    shown = browser.run(
        "return [...document.querySelectorAll('.operation')].map((one) => one.id)"
    )

    assert sorted(shown) == sorted(described)
    assert overflow(browser) == 0
    assert violations(browser) == []
