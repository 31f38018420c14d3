"""The reference pages and the code agree, compared both ways."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from app.access.signed_urls import PARAMETERS as SIGNATURE_PARAMETERS
from app.api import parameters
from app.api.entries import DEFAULT_ENTRIES, MAX_ENTRIES
from app.api.picture_answers import live_headers
from app.api.prompt_text import LONGEST_PROMPT
from app.api.routes import ROUTES
from app.api.transient_images import LONGEST_TTL_SECONDS, MAX_IDS
from app.http.problems import INTERNAL, TABLE
from app.prompt_cache.cache import Answer, LookupOutcome
from app.server.parser_refusals import MAX_TARGET_BYTES
from app.telemetry import Metrics
from app.urls import LIVE as GENERATE
from app.urls import NO_PERMALINK
from tests.dev_service import served
from tests.fakes import an_entry

ROOT = Path(__file__).parents[1]
API = (ROOT / "docs" / "reference" / "api.md").read_text()
OPERATIONS = (ROOT / "docs" / "reference" / "operations.md").read_text()

# It matches what is no storage key, to say so.
UNDOCUMENTED = {NO_PERMALINK}

# Names of series that a histogram is made of.
SERIES = re.compile(r"(paintonce_\w+?)(?:_bucket|_sum|_count)?\b")


def section(text: str, heading: str) -> str:
    """Return the text below *heading*, up to the next heading of its level."""
    level = len(heading) - len(heading.lstrip("#"))
    below = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"^#{{1,{level}}} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of every table row in *text*."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if set(row[0]) - set("-")]


def quoted(text: str) -> list[str]:
    """Return the text between backquotes."""
    return re.findall(r"`([^`]+)`", text)


def documented_routes() -> set[tuple[str, str]]:
    """Return method and template of each heading and of the operations table."""
    titles = re.findall(r"^### `(\w+) (\S+)`$", API, re.MULTILINE)
    listed = [quoted(row[0]) for row in rows(section(API, "## Operation"))]
    titles += [(*one[0].split(" "),) for one in listed if one]
    return {(method, path) for method, path in titles}


def test_every_route_is_documented_and_nothing_else() -> None:
    """The pages document exactly the routes of the code."""
    routed = {(route.method, route.path) for route in ROUTES}
    by_name = {one for one in routed if one[1] not in UNDOCUMENTED}
    heads = {one for one in by_name if one[0] == "HEAD"}

    assert documented_routes() - heads == by_name - heads
    for _, path in heads - documented_routes():
        assert "HEAD as well" in section(API, f"### `GET {path}`")


def test_every_error_code_is_documented_at_its_status() -> None:
    """The table of errors has exactly the codes and statuses of the code."""
    documented = {
        (int(status), quoted(code)[0])
        for status, code, _ in rows(section(API, "## Errors"))[1:]
    }

    assert documented == {(row.status, row.code) for row in TABLE.values()} | {
        (INTERNAL.status, INTERNAL.code)
    }


def test_the_example_of_an_error_is_one() -> None:
    """The example problem has a status, code and title of the code."""
    (example,) = re.findall(r"```json\n(.*?)```", API, re.DOTALL)
    problem = json.loads(example)

    known = {(row.status, row.code, row.title) for row in TABLE.values()}
    assert (problem["status"], problem["code"], problem["title"]) in known
    assert problem["type"] == f"urn:paintonce:problem:{problem['code']}"


def test_every_live_parameter_is_documented_with_its_bounds() -> None:
    """The table of parameters has all of them with their bounds."""
    below = section(API, f"### `GET {GENERATE}`")
    table = below.partition("| header |")[0]
    forms = {name: row[1] for row in rows(table)[1:] for name in quoted(row[0])}

    assert forms.keys() == parameters.QUERY_PARAMETERS | SIGNATURE_PARAMETERS
    assert f"1 to {LONGEST_PROMPT} " in forms["prompt"]
    ratios = re.findall(r"\d+:\d+", forms["aspect_ratio"])
    assert sorted(ratios) == sorted(parameters.ASPECT_RATIOS)
    sides = f"{parameters.MIN_SIDE} to {parameters.MAX_SIDE} "
    assert forms["width"].startswith(sides)
    assert f"{parameters.MAX_REQUEST_PIXELS:,}." in forms["width"]
    assert forms["seed"].startswith(f"0 to {parameters.MAX_SEED}.")
    assert forms["variant"].startswith(f"0 to {parameters.MAX_VARIANT};")
    assert f"{MAX_TARGET_BYTES:,} bytes" in below


def test_other_bounds_are_documented() -> None:
    """The bounds of references, pages, ttls and batches are those of the code."""
    assert f"1 to {parameters.MAX_REFERENCES} ids" in API
    assert f"1 to {MAX_ENTRIES}, {DEFAULT_ENTRIES} unless given" in API
    assert f"1 to\n{LONGEST_TTL_SECONDS} seconds" in API
    assert f"Up to {MAX_IDS} at once" in API


def test_every_live_header_is_documented() -> None:
    """The table of headers has all headers of a picture."""
    below = section(API, f"### `GET {GENERATE}`").partition("| header |")[2]
    table = below.partition("\n\n")[0]
    entry = an_entry(is_placeholder=True)
    sent = live_headers(Answer(entry, LookupOutcome.HIT, hits=1, generation_id="7"))

    documented = {name for row in rows(table) for name in quoted(row[0])}
    embedding = {name for name in sent if name.startswith(("Access", "Cross"))}
    embedding |= {"X-Content-Type-Options", "Content-Security-Policy"}
    assert documented == sent.keys() - embedding | {"Content-Length"}


def test_every_example_does_what_the_page_says(tmp_path: Path) -> None:
    """The page's examples run in a shell with the statuses that it shows."""
    blocks = re.findall(r"```sh\n(.*?)```", API, re.DOTALL)
    # Every curl prints its status, each on a line of its own, beside what it prints.
    wrapper = 'curl() { command curl -w "%{stderr}%{http_code}\\n" "$@"; }\n'

    with served(tmp_path) as address:
        script = wrapper + "".join(blocks).replace("http://127.0.0.1:8080", address)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    statuses = [int(line) for line in done.stderr.split()]
    assert len(statuses) == "".join(blocks).count("curl ") - 1
    assert [status for status in statuses if status >= 300] == [404]
    assert {201, 202} <= set(statuses)
    first, second = re.findall(r"X-Cache-Status: (\w+)\r?\n(?!\r?\n)", done.stdout)[:2]
    assert (first, second) == ("MISS", "HIT")
    assert "X-Cache-Hit-Count: 1\n" in done.stdout
    assert "304\n" in done.stdout


def test_every_metric_is_documented_with_its_labels() -> None:
    """The table of metrics has exactly the metrics and labels of the code."""
    table = section(OPERATIONS, "## Metrics").partition("\n\nSome questions")[0]
    documented = {
        name.strip("`"): (kind, frozenset(quoted(labels)))
        for name, kind, labels, _ in rows(table)[1:]
    }

    metrics = Metrics(routes=[("GET", "/")], models={"default": "placeholder"})
    measured = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        if family.name.startswith("paintonce_") and "_created" not in family.name:
            total = f"{family.name}_total" if family.type == "counter" else family.name
            labels = family.samples[-1].labels.keys() - {"le"}
            measured[total] = (family.type, frozenset(labels))
    assert documented == measured
    assert set(SERIES.findall(OPERATIONS)) == measured.keys()


def logged() -> dict[str, str]:
    """Return every event that is logged from WARNING on, with its lowest level."""
    levels = {"exception": "ERROR", "error": "ERROR", "warning": "WARNING"}
    found: dict[str, str] = {}
    for file in (ROOT / "app").rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            match call:
                case ast.Call(
                    func=ast.Attribute(ast.Name("logger" | "_logger"), how),
                    args=[ast.Constant(str() as event)],
                ) if how in levels:
                    level = levels[how]
                case ast.Call(
                    func=ast.Attribute(ast.Name("logger" | "_logger"), "log"),
                    args=[_, ast.Constant(str() as event)],
                ):
                    level = "WARNING"
                case _:
                    continue
            found[event] = max(level, found.get(event, level))
    return found


def test_every_event_that_wants_attention_is_documented() -> None:
    """The table of events has every event that is logged from WARNING on."""
    documented = {
        quoted(event)[0]: level
        for event, level, _ in rows(section(OPERATIONS, "## Logs"))
        if quoted(event)
    }

    assert documented == logged()


def test_the_example_of_a_record_is_one() -> None:
    """The example record has the fields and an event of the code."""
    (example,) = re.findall(r"```json\n(.*?)```", OPERATIONS, re.DOTALL)
    record = json.loads(example)

    assert record.keys() >= {"time", "level", "event", "request_id"}
    assert logged()[record["event"]] == record["level"]
    assert (record["status"], record["code"]) in {
        (row.status, row.code) for row in TABLE.values()
    }
