"""The benchmarks run and write their reports; speed is not tested here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from benchmarks import hit_rate, plot, report
from benchmarks.figures import OURS, alternate, missing, ratios, single
from tests.replica import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(400)
def test_the_program_measures_and_writes_what_it_found(tmp_path: Path) -> None:
    """A run prints a table and writes a plot and JSON with every round."""
    command = [sys.executable, "-m", "benchmarks", "--tiny", "--rows", "1,9"]
    options = ["--rounds", "2", "--seconds", "0.5", "--results", str(tmp_path)]

    ended = subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )

    # 1 says that a goal was missed, which here means nothing.
    assert ended.returncode in {0, 1}, ended.stderr
    assert (tmp_path / "latest.json").exists(), ended.stderr
    found = json.loads((tmp_path / "latest.json").read_text())
    assert {line["row"] for line in found["lines"]} == {"1", "9"}
    for line in found["lines"]:
        assert line["value"] > 0
        assert line["low"] <= line["high"]
    assert len(found["lines"][0]["ours"]) == found["conditions"]["rounds"] == 2
    assert found["machine"]["load"] in {"wrk", "asyncio"}
    assert "bare aiohttp handler" in ended.stdout
    picture = ET.parse(tmp_path / "latest.svg").getroot()
    assert picture.tag.endswith("svg")


async def test_rounds_alternate() -> None:
    """The compared services are measured in alternating rounds."""
    order: list[str] = []

    async def measured(name: str) -> float:
        order.append(name)
        return float(len(order))

    figures = await alternate(
        {OURS: lambda _: measured("ours"), "bare": lambda _: measured("bare")},
        rounds=3,
        seconds=1.0,
    )

    assert order == ["ours", "bare"] * 4
    assert figures == {OURS: [3.0, 5.0, 7.0], "bare": [4.0, 6.0, 8.0]}


def test_a_ratio_is_of_the_medians_with_the_spread_of_the_rounds() -> None:
    """A ratio uses medians, so one odd round changes only its spread."""
    figures = {OURS: [90.0, 80.0, 10.0], "bare": [100.0, 100.0, 100.0]}

    (line,) = ratios("1", "HIT", figures, goals={"bare": 0.7})

    assert (line.value, line.low, line.high) == (0.8, 0.1, 0.9)
    assert line.is_met


def test_the_table_says_what_was_met_and_what_is_not_there() -> None:
    """The table marks targets as met or missed, and peers that are not installed."""
    lines = [
        *ratios("1", "HIT", {OURS: [50.0], "bare": [100.0]}, goals={"bare": 0.7}),
        single("6", "latency", [0.2, 0.3], unit="ms", at_most=1.0),
        missing("3b", "HIT", "Node"),
    ]

    table = report.table(lines)

    assert "| 50 / 100" in table
    assert "0.50" in table
    assert "missed" in table
    assert "met" in table
    assert "not on this machine" in table
    ET.fromstring(plot.bars(lines))


def test_the_page_has_the_place_for_the_table() -> None:
    """The performance page has the marks that `--write-docs` replaces between."""
    page = report.PAGE.read_text()

    assert page.count(report.BEGIN) == page.count(report.END) == 1
    assert page.index(report.BEGIN) < page.index(report.END)


@pytest.mark.parametrize("exponent", [0.8, 1.0, 1.2])
def test_a_larger_hot_tier_answers_more(exponent: float) -> None:
    """The simulated hit rate grows with the size of the hot tier."""
    rates = [
        hit_rate.hit_rate(exponent, share, prompts=1000, requests=20_000)
        for share in (0.01, 0.1, 1.2)
    ]

    assert 0 < rates[0] < rates[1] < rates[2]
    assert rates[2] > 0.9


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_customer_beside_strangers_is_measured() -> None:
    """The fairness run prints a row for each kind of stranger."""
    command = [sys.executable, "-m", "benchmarks", "--fairness", "--tiny"]

    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )

    head, _, *rows = ended.stdout.strip().splitlines()
    assert (ended.returncode in {0, 1}, len(rows)) == (True, 3), ended.stderr
    for row in rows:
        assert row.count("|") == head.count("|")
        # Strangers were answered, and refused.
        assert re.search(r"of (401|403|429)", row)


def test_overload_is_measured() -> None:
    """The overload run reports calls paid, kept and refused."""
    command = [sys.executable, "-m", "benchmarks", "--overload", "--tiny"]

    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr
    head, _, row = ended.stdout.strip().splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    found = dict(
        zip([cell.strip() for cell in head.strip("|").split("|")], cells, strict=True)
    )
    assert (found["vendor"], found["load"]) == ("10 s", "4")
    paid, kept, refused = (
        int(found[name]) for name in ("paid", "kept", "refused free")
    )
    assert int(found["asked"]) == kept + refused + int(found["other"])
    assert paid >= kept > 0
