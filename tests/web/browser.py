"""Chromium used as a person does: elements are found by role and name."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from selenium.webdriver.remote.webelement import WebElement

    T = TypeVar("T")

# A loaded machine with two cores takes its time.
WITHIN_SECONDS = 20.0
WIDE = (1280, 860)
PHONE = (360, 740)

_OF_ROLE = {
    "alert": "[role=alert]",
    "article": "article",
    "button": "button",
    "combobox": "select",
    "columnheader": "th[scope=col]",
    "dialog": "dialog",
    "img": "img, svg[role=img]",
    "link": "a",
    "row": "tr",
    "spinbutton": "input[type=number]",
    "status": "[role=status]",
    "tab": "[role=tab]",
    "textbox": "input, textarea",
}
# The name that Chromium has for a role where it is not that of ARIA 1.2.
_COMPUTED = {"img": "image"}


def find_chromium() -> tuple[str, str]:
    """Return the paths of Chromium and its driver; skip, or fail in CI."""
    browsers = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, browsers)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        missing = "chromium" if browser is None else "chromedriver"
        reason = f"{missing} is not on PATH (Debian: chromium, chromium-driver)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return browser, driver


@dataclass(frozen=True)
class Browser:
    """One window; every test has a tab and a session of its own."""

    driver: webdriver.Chrome

    def open(self, url: str) -> None:
        """Go to *url* in this tab."""
        self.driver.get(url)

    def new_tab(self) -> None:
        """Close the tab and open a new one in desktop width and light colours."""
        old = self.driver.current_window_handle
        self.driver.switch_to.new_window("tab")
        fresh = self.driver.current_window_handle
        self.driver.switch_to.window(old)
        self.driver.close()
        self.driver.switch_to.window(fresh)
        self.resize(*WIDE)
        self.prefer(scheme="light")
        self._log("browser")
        self._log("performance")

    def resize(self, width: int, height: int, *, scale: int = 1) -> None:
        """Set the page's size in points, of *scale* pixels each."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale}
        self._send("setDeviceMetricsOverride", size, mobile=False)

    def prefer(self, *, scheme: str, motion: str = "reduce") -> None:
        """Set the preferred colour scheme and motion."""
        preferred = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        features = [{"name": name, "value": value} for name, value in preferred.items()]
        self._send("setEmulatedMedia", {"features": features})

    def _log(self, kind: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]
        return entries

    def _send(self, command: str, given: dict[str, Any], **more: Any) -> None:
        self.driver.execute_cdp_cmd(f"Emulation.{command}", given | more)

    def all(
        self, role: str, name: str | None = None, *, within: WebElement | None = None
    ) -> list[WebElement]:
        """Return the shown elements with *role* and *name*."""
        shown: list[WebElement] = self.run(
            "return [...(arguments[1] ?? document).querySelectorAll(arguments[0])]"
            ".filter((one) => one.checkVisibility())",
            _OF_ROLE[role],
            within,
        )
        named = [one for one in shown if name is None or one.accessible_name == name]
        return [one for one in named if one.aria_role == _COMPUTED.get(role, role)]

    def get(
        self, role: str, name: str | None = None, *, within: WebElement | None = None
    ) -> WebElement:
        """Return the only element with *role* and *name*, once it is there."""
        return self.until(
            lambda: next(iter(self.all(role, name, within=within)), None),
            f"{role} {name!r}",
        )

    def until(self, condition: Callable[[], T | None], what: str = "") -> T:
        """Return the result of *condition*, once it is true."""
        waiting = WebDriverWait(
            self.driver,
            WITHIN_SECONDS,
            poll_frequency=0.02,
            ignored_exceptions=[StaleElementReferenceException],
        )
        return cast("T", waiting.until(lambda _: condition(), what))

    def press(self, *keys: str) -> None:
        """Press *keys* at the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)

    @property
    def focused(self) -> str:
        """The name of the focused element."""
        return self.driver.switch_to.active_element.accessible_name

    def status(self, *words: str) -> str:
        """Return the status text once it has all *words*."""
        return self._text("status", *words)

    def alert(self, *words: str) -> str:
        """Return the alert text once it has all *words*."""
        return self._text("alert", *words)

    def _text(self, role: str, *words: str) -> str:
        def text() -> str | None:
            for one in self.all(role):
                said = one.text
                if all(word in said for word in words):
                    return said
            return None

        return self.until(text, f"{role} with {words}")

    def open_tab(self, name: str) -> None:
        """Open one of the page's own tabs."""
        self.get("tab", name).click()

    def run(self, script: str, *arguments: Any) -> Any:
        """Run *script* in the page and return its result."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """Return the page's console messages.

        Chromium's own messages about refused requests are left out.
        """
        return [
            entry["message"]
            for entry in self._log("browser")
            if entry.get("source") != "network"
        ]

    def hosts(self) -> set[str]:
        """Return every host that the page sent a request to."""
        asked = set()
        for entry in self._log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                address = urlsplit(event["params"]["request"]["url"])
                if address.scheme in {"http", "https", "ws", "wss"}:
                    asked.add(address.netloc)
        return asked


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Run headless Chromium while the context is open."""
    binary, driver_path = find_chromium()
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        # Continuous integration runs as root, for whom there is no sandbox.
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ):
        options.add_argument(argument)
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
