from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.errors import CacheUnavailable
from tests.web.steps import choose, paint

if TYPE_CHECKING:
    from tests.web.browser import Browser
    from tests.web.scripted_service import ScriptedService

TOTALS = {
    "project": "acme/shop",
    "entries": 812,
    "hits": 3146,
    "misses": 1025,
    "hit_rate": 0.7543,
    "coalesced": 31,
    "failures": 4,
    "bytes_stored": 75_497_472,
    "generation_seconds": 8123.4,
    "spend": 41.0,
    "saved": 125.84,
    "last_accessed_at": None,
}
PLOTS = ("Requests per hour", "Hit rate", "Money saved")


def bucket(hour: int, hits: int, misses: int, saved: float) -> dict[str, Any]:
    """Return one hour of the history."""
    return {
        "at": f"2026-11-21T{hour:02}:00:00Z",
        "hits": hits,
        "misses": misses,
        "coalesced": 0,
        "failures": 0,
        "spend": misses * 0.04,
        "saved": saved,
    }


def three_hours() -> list[dict[str, Any]]:
    """Return many requests, then none, then a few."""
    return [bucket(9, 30, 10, 1.2), bucket(10, 0, 0, 0.0), bucket(11, 3, 1, 0.12)]


def opened(browser: Browser, scripted: ScriptedService, *hours: Any) -> Browser:
    """Open the statistics of a service with known hours, in UTC."""
    scripted.answers = {
        ("GET", "/api/v1/models"): {"models": []},
        ("GET", "/api/v1/live/stats"): TOTALS,
        ("GET", "/api/v1/live/stats/history"): {"buckets": list(hours)},
    }
    browser.driver.execute_cdp_cmd(
        "Emulation.setTimezoneOverride", {"timezoneId": "UTC"}
    )
    browser.open(f"{scripted.url}/#statistics")
    return browser


def rows(page: Browser) -> list[list[str]]:
    """Return the cells of each row of the table without its head."""
    read = "(row) => [...row.cells].map((cell) => cell.textContent)"
    found: list[list[str]] = page.run(
        f"return [...document.querySelectorAll('tbody tr')].map({read})"
    )
    return found


def test_the_figures_are_text(browser: Browser, scripted: ScriptedService) -> None:
    """The figures are text with their units."""
    page = opened(browser, scripted, bucket(9, 1, 1, 0.04))

    page.until(lambda: "3,146" in page.run("return document.body.innerText"))
    text = page.run("return document.getElementById('figures').innerText")

    for figure in ("812", "3,146", "1,025", "75.4 %", "31", "72 MiB", "8,123.40 s"):
        assert figure in text
    for figure in ("41.00", "125.84"):
        assert figure in text


def test_the_plots_stand_beside_a_table_of_the_same_numbers(
    browser: Browser, scripted: ScriptedService
) -> None:
    """The statistics have three named plots and a table of the same numbers."""
    page = opened(browser, scripted, *three_hours())

    assert [page.get("img", name).tag_name for name in PLOTS] == ["svg"] * 3
    heads = [head.text for head in page.all("columnheader")]
    assert heads[:3] == ["Hour", "Hits", "Misses"]
    assert rows(page) == [
        ["21 Nov, 11:00", "3", "1", "75.0 %", "0.12"],
        ["21 Nov, 10:00", "0", "0", "-", "0.00"],
        ["21 Nov, 09:00", "30", "10", "75.0 %", "1.20"],
    ]


def test_bars_are_as_high_as_their_numbers(
    browser: Browser, scripted: ScriptedService
) -> None:
    """The bars have the height of their numbers, on one scale."""
    page = opened(browser, scripted, *three_hours())
    page.get("img", "Requests per hour")

    heights = page.run(
        "return [...document.querySelector('svg').querySelectorAll('rect')]"
        ".map((bar) => Number(bar.getAttribute('height')))"
    )

    assert len(heights) == 4
    assert [round(one / heights[1]) for one in heights[:2]] == [3, 1]
    assert round(heights[0] / heights[2]) == 10


def test_hours_without_a_request_say_so(
    browser: Browser, scripted: ScriptedService
) -> None:
    """Without requests nothing is drawn."""
    page = opened(browser, scripted, bucket(9, 0, 0, 0.0))

    page.status("Nothing was asked for")

    assert page.run("return document.querySelectorAll('rect, .rate').length") == 0


def test_the_plots_may_reach_further_back(
    browser: Browser, scripted: ScriptedService
) -> None:
    """The plots can show a day, two days or a week."""
    page = opened(browser, scripted, bucket(9, 1, 1, 0.04))
    page.get("img", "Hit rate")

    choose(page, "Plots of", "a week")

    page.until(lambda: len(scripted.asked_for("/api/v1/live/stats/history")) == 2)
    assert [one.query for one in scripted.asked_for("/api/v1/live/stats/history")] == [
        "hours=48",
        "hours=168",
    ]


def test_an_outage_is_shown_beside_the_figures(
    browser: Browser, scripted: ScriptedService
) -> None:
    """If the history is unavailable, the figures are shown all the same."""
    page = opened(browser, scripted)
    scripted.answers["GET", "/api/v1/live/stats/history"] = CacheUnavailable("Away.")
    page.open_tab("Gallery")
    page.open_tab("Statistics")

    page.alert("Cache unavailable")

    assert "3,146" in page.run("return document.getElementById('figures').innerText")


def test_what_was_just_done_is_counted(page: Browser) -> None:
    """A MISS and a HIT of the playground are in the last hour."""
    paint(page, "a lighthouse that is counted")
    page.status("MISS")
    page.get("button", "Paint").click()
    page.status("HIT")

    def counted() -> bool:
        page.open_tab("Playground")
        page.open_tab("Statistics")
        page.get("img", "Requests per hour")
        # An hour may have ended in between.
        hits, misses = (sum(int(row[at]) for row in rows(page)[:2]) for at in (1, 2))
        return (hits, misses) == (1, 1)

    page.until(counted)
    assert "0.25" in page.run("return document.getElementById('figures').innerText")
