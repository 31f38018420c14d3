from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import pytest
from selenium.webdriver.common.keys import Keys

from app import urls
from tests.web.conftest import ADMIN_KEY
from tests.web.steps import line, paint, set_access

if TYPE_CHECKING:
    from tests.web.browser import Browser


@pytest.fixture
def locked(browser: Browser, keyed_service: str) -> Browser:
    """Open the page of a service that asks for keys."""
    browser.open(keyed_service)
    return browser


def test_a_service_that_asks_for_a_key_opens_at_the_settings(locked: Browser) -> None:
    """Without a key the page opens at the settings, with the focus in the key field."""
    locked.until(lambda: locked.focused == "API key")

    assert locked.get("tab", "Settings").get_attribute("aria-selected") == "true"
    assert locked.all("alert") == []


def test_a_key_opens_the_service(locked: Browser, project: str) -> None:
    """An entered key is used everywhere, and stored in this tab's session only."""
    locked.until(lambda: locked.focused == "API key")
    locked.press(ADMIN_KEY)
    locked.get("textbox", "Project").send_keys(project, Keys.ENTER)
    locked.status("Saved")

    locked.open_tab("Playground")
    paint(locked, "a locked garden")
    locked.status("MISS")
    locked.open_tab("Gallery")
    locked.get("article", "a locked garden")

    kept = locked.run(
        "return [Object.values(sessionStorage), Object.values(localStorage),"
        " document.cookie, location.href, document.body.innerText]"
    )
    assert ADMIN_KEY in kept[0]
    assert ADMIN_KEY not in str(kept[1:])
    assert ADMIN_KEY not in line(locked, "curl command")


def test_a_tag_is_signed_for_everyone(locked: Browser, project: str) -> None:
    """With a signing key the ready tag works without a key."""
    set_access(locked, key=ADMIN_KEY, project=project)
    locked.status("Saved")
    make_signing_key(locked, project)
    locked.open_tab("Playground")
    paint(locked, "a garden for everyone")

    tag = str(locked.until(lambda: "sig=" in (now := line(locked, "img tag")) and now))
    address = html.unescape(tag.split('"')[1])
    with urlopen(address) as answer:
        assert answer.headers["X-Cache-Status"] == "HIT"
        assert answer.read()[:4] == b"\x89PNG"


def make_signing_key(page: Browser, project: str) -> None:
    """Make a signing key of the project as admin."""
    body = {"project": project, "role": "project", "kind": "signing"}
    request = Request(
        page.run("return location.origin") + urls.KEYS,
        data=json.dumps(body).encode(),
        headers={"X-API-Key": ADMIN_KEY, "Content-Type": "application/json"},
    )
    with urlopen(request) as answer:
        assert answer.status == 201


def test_nothing_that_is_being_typed_is_touched(locked: Browser, project: str) -> None:
    """A late answer does not change a field that is being typed in."""
    locked.until(lambda: locked.focused == "API key")
    locked.run(
        "const real = fetch; window.held = [];"
        "window.fetch = (...asked) => new Promise((go) => held.push(go))"
        ".then(() => real(...asked))"
    )
    set_access(locked, key="a key that was never made", project=project)
    locked.until(lambda: locked.run("return held.length > 0"))
    field = locked.get("textbox", "API key")
    field.send_keys(", and more")
    typed = "a key that was never made, and more"
    locked.run("setInterval(() => { for (const go of held.splice(0)) go(); }, 5)")
    locked.run("return fetch('/healthz').then((answer) => answer.text())")
    locked.run("return new Promise((done) => setTimeout(done, 100))")

    assert field.get_attribute("value") == typed


def test_without_a_signing_key_nothing_is_refused(
    locked: Browser, project: str
) -> None:
    """Without a signing key the page does not request a signature."""
    set_access(locked, key=ADMIN_KEY, project=project)
    locked.status("Saved")
    locked.open_tab("Playground")
    paint(locked, "an unsigned garden")
    locked.status("MISS")

    paths = "performance.getEntriesByType('resource').map((one) => one.name).join()"
    locked.until(lambda: "/api/v1/project" in str(locked.run(f"return {paths}")))
    locked.run("return fetch('/healthz').then((answer) => answer.text())")
    assert urls.SIGN not in str(locked.run(f"return {paths}"))


def test_what_the_project_may_spend_is_shown(locked: Browser, project: str) -> None:
    """After a painting the settings show the project's spend."""
    set_access(locked, key=ADMIN_KEY, project=project)
    locked.status("Saved")
    locked.open_tab("Playground")
    paint(locked, "a garden that costs a quarter")
    locked.status("MISS")

    def text() -> str:
        locked.open_tab("Settings")
        figures = "document.getElementById('project-figures')"
        return str(locked.run(f"return {figures}.innerText"))

    spent = locked.until(lambda: "0.25" in (now := text()) and now)
    assert project in str(spent)


def test_an_unknown_key_is_an_alert(locked: Browser) -> None:
    """An unknown key shows the service's problem, with the focus in the field."""
    set_access(locked, key="a key that was never made", project="acme/shop")

    locked.alert("Not authenticated")

    assert locked.focused == "API key"


def test_an_admin_key_is_asked_for_its_project(locked: Browser) -> None:
    """An admin key without a project shows an alert, with the focus in Project."""
    set_access(locked, key=ADMIN_KEY)

    locked.alert("X-Project")

    assert locked.focused == "Project"


def test_a_key_is_not_shown(locked: Browser) -> None:
    """A typed key is shown as dots."""
    field = locked.get("textbox", "API key")

    assert field.value_of_css_property("-webkit-text-security") == "disc"
    assert field.get_attribute("autocomplete") == "off"
