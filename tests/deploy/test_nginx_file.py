"""deploy/nginx.conf fits the settings, the problem table and compose.yaml."""

from __future__ import annotations

import re

from app.api.openai.edit_form import MAX_EDIT_BYTES
from app.api.openai.edits import OVERHEAD_BYTES
from app.api.openai.generations import OUTCOME_WITHIN_SECONDS
from app.http.problems import INTERNAL, TABLE
from app.prompt_cache.generations.events import COMMENT_EVERY_SECONDS
from tests.deploy.shipped_files import (
    MIB,
    compose,
    default,
    nginx_text,
    replicas,
    resolved,
    seconds,
)


def _nginx(directive: str) -> str:
    """Return the arguments of the server's first or only *directive*."""
    found = re.search(rf"^\s*{directive} (.+);$", nginx_text(), re.MULTILINE)
    assert found, f"deploy/nginx.conf has no {directive}"
    return found[1]


def _of_location(location: str, directive: str) -> str:
    """Return the arguments of *directive* in *location*."""
    form = rf"location {re.escape(location)} {{(.*?)}}"
    block = re.search(form, nginx_text(), re.DOTALL)
    assert block, f"deploy/nginx.conf has no {location}"
    found = re.search(rf"^\s*{directive} (.+);$", block[1], re.MULTILINE)
    assert found, f"{location} has no {directive}"
    return found[1]


def _map(variable: str) -> dict[int, str]:
    """Return the values to which nginx maps its own statuses."""
    found = re.search(rf"map \$status \${variable} {{(.*?)}}", nginx_text(), re.DOTALL)
    assert found
    pairs = re.findall(r'(\d+) "?(.+?)"?;', found[1])
    return {int(status): text for status, text in pairs}


def test_nginx_names_the_replicas_and_their_port() -> None:
    """The upstream lists the replicas of compose.yaml, which share one name."""
    text = nginx_text()
    expected = [f"{name}:{default('port')}" for name in replicas()]

    (upstream,) = re.findall(r"upstream \w+ \{(.*?)\}", text, re.DOTALL)

    assert re.findall(r"server (\S+)", upstream) == expected
    (shared,) = set(re.findall(rf" (\w+):{default('port')};", text))
    for replica in replicas().values():
        assert replica["networks"]["front"]["aliases"] == [shared]


def test_nginx_listens_where_compose_publishes() -> None:
    """Nginx listens on the container's end of the published port."""
    (port,) = compose()["services"]["nginx"]["ports"]

    assert _nginx("listen").split()[0] == resolved(port).rpartition(":")[2]


def test_nginx_lets_the_largest_picture_through() -> None:
    """Nginx's body limit takes MAX_IMAGE_BYTES as a data URL."""
    limit = int(_nginx("client_max_body_size").removesuffix("m")) * MIB

    assert limit >= default("max_image_bytes") * 4 / 3 + MIB


def test_nginx_is_more_patient_than_the_service() -> None:
    """Nginx's timeouts are longer than the service's own."""
    patience = seconds(_nginx("proxy_read_timeout"))

    assert patience > default("wait_timeout_seconds")
    of_front = seconds(_of_location("/v1/", "proxy_read_timeout"))
    assert of_front > default("generation_timeout_seconds") + OUTCOME_WITHIN_SECONDS
    of_events = "~ ^/api/v1/generations/[^/]+/events$"
    assert (
        seconds(_of_location(of_events, "proxy_read_timeout")) > COMMENT_EVERY_SECONDS
    )
    handed_on = seconds(_nginx("proxy_next_upstream_timeout"))
    assert handed_on < default("wait_timeout_seconds")


def test_nginx_lets_the_largest_edit_through() -> None:
    """Nginx's limit for edits is above the service's own."""
    limit = int(_of_location("/v1/", "client_max_body_size").removesuffix("m")) * MIB

    assert limit > MAX_EDIT_BYTES + OVERHEAD_BYTES


def test_nginx_caches_nothing() -> None:
    """nginx.conf uses no cache, because the service must count every hit."""
    text = nginx_text()

    assert not re.search(r"^\s*(proxy_cache|proxy_store)", text, re.MULTILINE)


def test_a_refusal_of_nginx_reads_like_one_of_the_service() -> None:
    """The problems of nginx have status, code and title of the service's table."""
    codes, titles = _map("problem_code"), _map("problem_title")
    rows = {(row.status, row.code, row.title) for row in (*TABLE.values(), INTERNAL)}
    rows.add((503, "no_replica", "No replica answered"))

    assert {(status, code, titles[status]) for status, code in codes.items()} <= rows
    assert set(_map("problem_detail")) == set(codes)


def test_every_refusal_of_nginx_becomes_a_problem() -> None:
    """Every status that nginx sends by itself has a problem code."""
    pages = re.findall(r"^\s*error_page (.+) /problem;$", nginx_text(), re.MULTILINE)
    answered: set[str] = set()
    for page in pages:
        *caught, last = page.split()
        answered |= {last[1:]} if last.startswith("=") else {*caught, last}

    assert answered == {str(status) for status in _map("problem_code")}
