"""Failures as pictures: which requests get them, and their text."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from app.errors import InvalidParameter, QueueFull
from app.http.error_pictures import asks_for_a_picture, picture_of
from app.http.problems import TABLE, Row, problem_response, row_for


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("prompt=x&on_error=image", True),
        ("on_error=%69mage", True),
        ("prompt=%zz&seed=&seed=&&on_error=image", True),
        ("prompt=x", False),
        ("on_error=json", False),
        ("on_error=", False),
        ("on_error=Image", False),
        ("on_error=image&on_error=image", False),
        ("on_error=image&on_error=json", False),
        ("on_error=%zz", False),
        ("prompt=on_error=image", False),
    ],
)
def test_a_query_asks_for_a_picture_whatever_else_is_wrong(
    query: str, *, wanted: bool
) -> None:
    """A single `on_error=image` gets a picture, even if the query has other faults."""
    assert asks_for_a_picture(query) is wanted


@pytest.mark.parametrize("row", sorted(set(TABLE.values())))
def test_every_error_is_a_picture_with_its_title(row: Row) -> None:
    """Every error has a well-formed SVG with its title and no script."""
    error = QueueFull("The queue is <b>full</b>.")
    picture = picture_of(problem_response(error, "storm-1"), row)

    assert isinstance(picture.body, bytes)
    svg = ET.fromstring(picture.body)
    words = "".join(svg.itertext()).strip()
    assert words == svg.attrib["aria-label"] == row.title
    assert {one.tag.rpartition("}")[2] for one in svg.iter()} <= {
        *("svg", "rect", "path", "circle", "text"),
    }


def test_a_picture_has_the_headers_of_the_problem() -> None:
    """The picture has the status and headers of the problem, and the type SVG."""
    error = QueueFull("There is a queue.")
    problem = problem_response(error, "storm-1", headers={"Vary": "X-API-Key"})

    picture = picture_of(problem, row_for(error))

    assert picture.status == problem.status == 429
    assert picture.headers["Content-Type"] == "image/svg+xml"
    assert picture.headers["X-Error-Code"] == "queue_full"
    for name in ("Cache-Control", "Retry-After", "Vary", "X-Request-Id"):
        assert picture.headers[name] == problem.headers[name]
    assert picture.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_what_a_caller_wrote_is_in_no_picture() -> None:
    """The detail of an error is not in its picture."""
    error = InvalidParameter("prompt", "prompt has <script>alert(1)</script>.")

    body = picture_of(problem_response(error, "storm-1"), row_for(error)).body

    assert isinstance(body, bytes)
    assert b"script" not in body
