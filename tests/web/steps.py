"""The steps of a person on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selenium.webdriver.support.select import Select

if TYPE_CHECKING:
    from tests.web.browser import Browser


def paint(page: Browser, prompt: str, *, model: str = "default") -> None:
    """Fill the form and press Paint."""
    field = page.get("textbox", "Prompt")
    field.clear()
    field.send_keys(prompt)
    choose(page, "Model", model)
    page.get("button", "Paint").click()


def choose(page: Browser, name: str, option: str) -> None:
    """Choose *option* once it is offered."""
    box = page.get("combobox", name)
    page.until(
        lambda: option in [one.text for one in Select(box).options],
        f"{option} in {name}",
    )
    Select(box).select_by_visible_text(option)


def line(page: Browser, name: str) -> str:
    """Return the text of a ready line."""
    script = "return document.querySelector(`[aria-label='${arguments[0]}']`)"
    return str(page.run(f"{script}.textContent", name))


def set_access(page: Browser, *, key: str = "", project: str = "") -> None:
    """Fill the settings and press Save."""
    page.open_tab("Settings")
    for name, value in (("API key", key), ("Project", project)):
        field = page.get("textbox", name)
        field.clear()
        field.send_keys(value)
    page.get("button", "Save").click()
