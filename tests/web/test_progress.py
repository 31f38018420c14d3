from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from app.errors import NoSigningKey, StorageUnavailable
from app.urls import LIVE as GENERATE
from tests.web.scripted_service import GENERATION, PERMALINK, PROMPT_HASH, entry
from tests.web.steps import line, paint, set_access

if TYPE_CHECKING:
    from tests.web.browser import Browser
    from tests.web.scripted_service import ScriptedService

EVENTS = f"/api/v1/generations/{GENERATION}/events"
ENTRY = f"/api/v1/live/entries/{PROMPT_HASH}"
PROJECT = "/api/v1/project"
SIGN = "/api/v1/sign"
RULES = {
    "project": "acme/shop",
    "generation": True,
    "budget_per_day": 0,
    "spent_today": 0,
    "reserved": 0,
    "rate_limit_per_minute": 0,
    "auto_create_scopes": True,
    "day_ends_at": "2026-11-22T00:00:00Z",
}
SIGNED = "https://pictures.example/api/v1/live/generate?prompt=a%20tea%20house&sig=x"


@pytest.fixture
def page(browser: Browser, scripted: ScriptedService) -> Browser:
    """Open the page on a scripted service."""
    scripted.answers = {
        ("GET", "/api/v1/models"): {"models": [{"name": "default", "price": 0.04}]},
        ("GET", GENERATE): scripted.state("queued"),
        ("GET", ENTRY): {"model": "a-fall-back"},
        ("GET", PROJECT): RULES | {"can_sign": True},
    }
    browser.open(scripted.url)
    return browser


def share_of(page: Browser) -> str:
    """Return the length of the progress bar as a share."""
    bar = "document.getElementById('working')"
    return str(page.run(f"return {bar}.style.getPropertyValue('--share')"))


def test_the_place_in_the_queue_and_the_progress_are_seen(
    page: Browser, scripted: ScriptedService
) -> None:
    """The page shows queue position and progress, and the picture without a look-up."""
    scripted.streams = [
        [
            scripted.state("queued", queue_position=3),
            None,
            scripted.state("running", progress=0.25),
            None,
            scripted.state("done", progress=1.0),
        ]
    ]

    paint(page, "a tea house")
    page.status("painting", "number 3", " s")
    scripted.go_on()
    page.until(lambda: share_of(page) == "25%", "a quarter")
    scripted.go_on()
    page.status("MISS")

    (asked,) = scripted.asked_for(GENERATE)
    assert asked.headers["Prefer"] == "respond-async"
    # An address on the public host is read from here: the page asks no other.
    assert len(scripted.asked_for(PERMALINK)) == 1
    assert "by a-fall-back" in page.run("return document.body.innerText")


def test_the_seconds_go_by_and_waiting_can_be_stopped(
    page: Browser, scripted: ScriptedService
) -> None:
    """The page counts the seconds, and waiting can be stopped."""
    scripted.streams = [[scripted.state("running"), None]]

    paint(page, "a tea house")
    before = page.status("painting", " s")
    later = page.until(lambda: (now := page.status("painting")) != before and now)
    page.get("button", "Stop waiting").click()

    assert re.fullmatch(r"painting \W \d+\.\d s", str(later))
    page.status("stopped waiting")
    assert page.focused == "Paint"
    assert page.all("button", "Stop waiting") == page.all("alert") == []


def test_what_is_opened_takes_the_place_of_what_is_waited_for(
    page: Browser, scripted: ScriptedService
) -> None:
    """Opening a picture of the gallery replaces the painting that is waited for."""
    scripted.streams = [[scripted.state("running"), None], [scripted.state("done")]]
    listed = {"entries": [entry("a red fox")], "cursor": None}
    scripted.answers["GET", "/api/v1/live/entries"] = listed
    paint(page, "a tea house")
    page.status("painting")

    page.open_tab("Gallery")
    page.get("button", "Open").click()

    page.status("MISS")
    page.get("img", "a red fox")
    assert page.all("button", "Stop waiting") == page.all("alert") == []


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_nothing_moves_with_reduced_motion(
    page: Browser, scripted: ScriptedService, motion: str
) -> None:
    """With reduced motion a running painting is shown without animation."""
    page.prefer(scheme="light", motion=motion)
    scripted.streams = [[scripted.state("running"), None]]

    paint(page, "a tea house")
    page.status("painting")

    moving = page.run("return document.getAnimations().length")
    assert (moving == 0) == (motion == "reduce")


def test_a_stream_that_ends_early_is_taken_up_again(
    page: Browser, scripted: ScriptedService
) -> None:
    """A stream that ends early is resumed after the last event."""
    scripted.streams = [
        [scripted.state("queued", queue_position=2), scripted.state("running")],
        [scripted.state("done")],
    ]

    paint(page, "a tea house")
    page.status("MISS")

    first, second = scripted.asked_for(EVENTS)
    assert "Last-Event-ID" not in first.headers
    assert second.headers["Last-Event-ID"] == "2"


def test_a_key_goes_along_everywhere(page: Browser, scripted: ScriptedService) -> None:
    """Events are requested with key and project in headers."""
    scripted.streams = [[scripted.state("done")]]
    set_access(page, key="pk_lighthouse", project="acme/shop")
    page.status("Saved")
    page.open_tab("Playground")

    paint(page, "a tea house")
    page.status("MISS")

    for path in (GENERATE, EVENTS, PERMALINK, ENTRY):
        (asked,) = scripted.asked_for(path)
        assert asked.headers["X-API-Key"] == "pk_lighthouse"
        assert asked.headers["X-Project"] == "acme/shop"
        assert "pk_lighthouse" not in asked.path
    assert "pk_lighthouse" not in line(page, "curl command")


def test_a_failure_that_comes_late_is_an_alert(
    page: Browser, scripted: ScriptedService
) -> None:
    """A generation that fails shows one alert."""
    error = {
        "title": "Storage unavailable",
        "detail": "The object store is unavailable.",
    }
    failed = scripted.state(
        "failed", error={**error, "code": "storage_unavailable", "status": 503}
    )
    scripted.streams = [[scripted.state("running"), failed]]

    paint(page, "a tea house")

    page.alert("Storage unavailable", "The object store is unavailable.")
    assert len(scripted.asked_for(EVENTS)) == 1


def test_a_tag_is_signed_where_there_is_a_key_for_it(
    page: Browser, scripted: ScriptedService
) -> None:
    """With a signing key the tag has a signed address and its end."""
    scripted.streams = [[scripted.state("done")]]
    signed = {"url": SIGNED, "expires_at": "2027-11-26T00:00:00Z"}
    scripted.answers["POST", SIGN] = signed

    paint(page, "a tea house")
    tag = page.until(lambda: "sig=" in (now := line(page, "img tag")) and now)

    assert tag == f'<img src="{SIGNED.replace("&", "&amp;")}" alt="a tea house">'
    assert "November 2027" in page.run("return document.body.innerText").replace(
        "26, ", ""
    )


@pytest.mark.parametrize(
    "refusal", [NoSigningKey("There is none."), StorageUnavailable("Away.")]
)
def test_a_tag_without_a_signature_is_a_tag_all_the_same(
    page: Browser, scripted: ScriptedService, refusal: Exception
) -> None:
    """If signing fails, the tag has the plain address and no alert is shown."""
    scripted.streams = [[scripted.state("done")]]
    scripted.answers["POST", SIGN] = refusal

    paint(page, "a tea house")
    page.status("MISS")
    page.until(lambda: scripted.asked_for(SIGN))

    address = f"{scripted.url}{GENERATE}?prompt={quote('a tea house')}"
    assert line(page, "img tag") == f'<img src="{address}" alt="a tea house">'
    assert page.all("alert") == []


def test_what_can_not_be_signed_is_not_asked_for(
    page: Browser, scripted: ScriptedService
) -> None:
    """Without a signing key no signature is requested."""
    scripted.streams = [[scripted.state("done")], [scripted.state("done")]]
    scripted.answers["GET", PROJECT] = RULES | {"can_sign": False}

    for number in (1, 2):
        paint(page, f"tea house number {number}")
        page.status("MISS")
        page.get("img", f"tea house number {number}")
    page.until(lambda: len(scripted.asked_for(PROJECT)) > 1, "the second question")

    assert scripted.asked_for(SIGN) == []
    assert "tea%20house%20number%202" in line(page, "img tag")


def test_a_spend_that_is_not_known_is_said_to_be_so(
    page: Browser, scripted: ScriptedService
) -> None:
    """An unknown spend is shown as unknown."""
    scripted.answers["GET", PROJECT] = RULES | {"spent_today": None, "reserved": None}
    set_access(page, project="acme/shop")
    page.status("Saved")

    figures = "return document.getElementById('project-figures').innerText"
    page.until(lambda: "unknown" in str(page.run(figures)), "an unknown spend")
