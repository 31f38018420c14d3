from __future__ import annotations

import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from aiohttp import web

from app import errors
from app.access.signed_urls import PARAMETERS as SIGNATURE_PARAMETERS
from app.api import entries, parameters, transient_images
from app.api.picture_answers import OF_OUTCOME, live_headers
from app.api.prompt_text import LONGEST_PROMPT, LONGEST_PROMPT_IN_BODY
from app.api.routes import ROUTES
from app.http.picture_headers import EMBEDDING
from app.http.problems import INTERNAL, TABLE, problem_response
from app.image import EXTENSIONS
from app.prompt_cache.cache import Answer, LookupOutcome
from app.prompt_cache.entry.prompt_key import DEFAULT_MODEL, OPTIONS
from app.prompt_cache.generations.record import GenerationRecord
from app.prompt_cache.seen_entry import SeenEntry
from app.prompt_cache.statistics import Statistics
from app.urls import NO_PERMALINK
from app.web import page
from tests.access.service import Paintonce, running
from tests.fakes import an_entry
from tests.server.frame import framed, get, wire

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]

PROJECT_FILE = Path(__file__).parents[2] / "pyproject.toml"
ADMIN_KEY = "an admin key of a lighthouse keeper"
IMAGE_ID = "081e7a85-213f-4299-a3c0-267416281cf2"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

# It matches what is no storage key, to say so.
UNDOCUMENTED = {("GET", NO_PERMALINK), ("HEAD", NO_PERMALINK)}


@pytest.fixture
async def described() -> Json:
    """Return the OpenAPI document as a caller gets it."""
    route = web.get("/openapi.json", page.openapi)
    async with framed(route) as frame, wire(frame.port) as connection:
        return cast("Json", (await connection.ask(get("/openapi.json"))).problem)


def resolve(described: Json, node: Json) -> Json:
    """Return the object that *node* refers to, or *node* itself."""
    target: Json = described
    if "$ref" not in node:
        return node
    for name in node["$ref"].removeprefix("#/").split("/"):
        target = target[name]
    return target


def operations(described: Json) -> Iterator[tuple[str, str, Json]]:
    """Yield method, path and operation, with the path's parameters merged in."""
    for path, item in described["paths"].items():
        shared = item.get("parameters", [])
        for method in item.keys() - {"parameters"}:
            operation = dict(item[method])
            both = [*shared, *operation.get("parameters", [])]
            operation["parameters"] = [resolve(described, one) for one in both]
            yield method.upper(), path, operation


def references(node: Any) -> Iterator[str]:
    """Yield every reference below *node*."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def live_parameters(described: Json) -> dict[str, Json]:
    """Return the schemas of live generation's query parameters by name."""
    (operation,) = [
        operation
        for method, path, operation in operations(described)
        if (method, path) == ("GET", "/api/v1/live/generate")
    ]
    queried = [one for one in operation["parameters"] if one["in"] == "query"]
    return {one["name"]: one["schema"] for one in queried}


def schema_of(described: Json, name: str) -> Json:
    """Return a schema of the document."""
    return cast("Json", described["components"]["schemas"][name])


def test_every_route_is_described_and_nothing_else(described: Json) -> None:
    """The document describes exactly the routes of the service."""
    routed = {(route.method, route.path) for route in ROUTES} - UNDOCUMENTED

    assert {(method, path) for method, path, _ in operations(described)} == routed


def test_references_lead_somewhere_and_nothing_lies_idle(described: Json) -> None:
    """Every reference of the document resolves, and every component is used."""
    used = set(references(described))

    for reference in used:
        assert resolve(described, {"$ref": reference})
    components = described["components"]
    assert used == {
        f"#/components/{kind}/{name}"
        for kind in components.keys() - {"securitySchemes"}
        for name in components[kind]
    }


def test_operations_have_what_the_standard_wants(described: Json) -> None:
    """Every operation has a unique id, described responses and path parameters."""
    assert described["openapi"] == "3.1.0"
    names = [operation["operationId"] for _, _, operation in operations(described)]
    assert len(names) == len(set(names))
    tags = {tag["name"] for tag in described["tags"]}
    for _, path, operation in operations(described):
        in_path = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
        assert sorted(in_path) == sorted(re.findall(r"{(\w+)}", path))
        assert set(operation["tags"]) <= tags
        assert operation["summary"]
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[2345]\d\d|default", status)
            assert resolve(described, response)["description"]


def test_the_document_has_the_version_of_the_package(described: Json) -> None:
    """The document's version and licence are those of the package."""
    project = tomllib.loads(PROJECT_FILE.read_text())["project"]

    assert described["info"]["version"] == project["version"]
    assert described["info"]["license"]["identifier"] == project["license"]


def test_every_live_parameter_is_described(described: Json) -> None:
    """The document lists exactly the parameters that live generation takes."""
    known = parameters.QUERY_PARAMETERS | SIGNATURE_PARAMETERS
    assert live_parameters(described).keys() == known

    body = schema_of(described, "Painting")
    assert body["properties"].keys() == parameters.JSON_PARAMETERS
    assert body["required"] == ["prompt"]
    assert body["additionalProperties"] is False


@pytest.mark.parametrize("form", ["query", "body"])
def test_live_parameters_have_the_bounds_of_the_code(
    described: Json, form: str
) -> None:
    """The bounds of live parameters are the same in document and code."""
    known = live_parameters(described)
    if form == "body":
        known = schema_of(described, "Painting")["properties"]

    def bounds(name: str) -> tuple[int, int]:
        return known[name]["minimum"], known[name]["maximum"]

    assert known["prompt"]["minLength"] == 1
    longest = LONGEST_PROMPT if form == "query" else LONGEST_PROMPT_IN_BODY
    assert known["prompt"]["maxLength"] == longest
    assert known["model"]["default"] == DEFAULT_MODEL
    assert set(known["aspect_ratio"]["enum"]) == parameters.ASPECT_RATIOS
    sides = (parameters.MIN_SIDE, parameters.MAX_SIDE)
    assert bounds("width") == bounds("height") == sides
    assert (
        f"{parameters.MAX_REQUEST_PIXELS:,}"
        in (schema_of(described, "Painting")["properties"]["width"]["description"])
    )
    assert bounds("seed") == (0, parameters.MAX_SEED)
    assert bounds("variant") == (0, parameters.MAX_VARIANT)
    for name in OPTIONS:
        is_prompt = name == "negative_prompt"
        assert known[name]["minLength"] == 1
        assert known[name]["maxLength"] == (
            parameters.LONGEST_NEGATIVE_PROMPT
            if is_prompt
            else parameters.LONGEST_OPTION
        )


def test_other_parameters_have_the_bounds_of_the_code(described: Json) -> None:
    """The bounds of lists, ttls and batches are the same in document and code."""
    schemas = {
        parameter["name"]: parameter["schema"]
        for _, _, operation in operations(described)
        for parameter in operation["parameters"]
    }
    batch = described["paths"]["/api/images/delete"]["post"]["requestBody"]
    ids = batch["content"]["application/json"]["schema"]["properties"]["ids"]
    references = schema_of(described, "Painting")["properties"]["references"]

    assert schemas["limit"]["maximum"] == entries.MAX_ENTRIES
    assert schemas["limit"]["default"] == entries.DEFAULT_ENTRIES
    assert schemas["ttl"]["maximum"] == transient_images.LONGEST_TTL_SECONDS
    assert ids["maxItems"] == transient_images.MAX_IDS
    assert references["maxItems"] == parameters.MAX_REFERENCES


def test_every_problem_code_is_described(described: Json) -> None:
    """The document lists every problem code with its status and title."""
    rows = {row.code: row for row in (*TABLE.values(), INTERNAL)}
    assert set(schema_of(described, "Problem")["properties"]["code"]["enum"]) == (
        rows.keys()
    )

    shown: dict[str, Json] = {}
    for response in described["components"]["responses"].values():
        problem = response.get("content", {}).get("application/problem+json", {})
        for code, example in problem.get("examples", {}).items():
            shown[code] = resolve(described, example)["value"]
    assert shown.keys() == rows.keys()
    for code, example in shown.items():
        row = rows[code]
        assert (example["code"], example["status"]) == (code, row.status)
        assert example["title"] == row.title
        assert example["type"] == f"urn:paintonce:problem:{code}"


def test_problems_stand_at_their_own_status(described: Json) -> None:
    """A problem code is an example only of the status that it has."""
    for _, _, operation in operations(described):
        for status, response in operation["responses"].items():
            content = resolve(described, response).get("content", {})
            problem = content.get("application/problem+json", {"examples": {}})
            for example in problem["examples"].values():
                value = resolve(described, example)["value"]
                assert status in {str(value["status"]), "default"}


def test_problems_have_the_fields_that_are_described(described: Json) -> None:
    """A problem of the service has exactly the fields of the schema."""
    error = errors.InvalidParameter("width", "width goes with height.")
    schema = schema_of(described, "Problem")

    body = problem_response(error, "lighthouse-1").body

    assert isinstance(body, bytes)
    assert json.loads(body).keys() == schema["properties"].keys()
    assert schema["properties"].keys() - set(schema["required"]) == {"parameter"}


async def test_json_answers_have_the_fields_that_are_described(
    described: Json,
) -> None:
    """JSON responses have exactly the fields of their schemas."""
    entry = SeenEntry(an_entry(), 3, NOON).as_json()
    generation = GenerationRecord(IMAGE_ID, "acme/shop", "3" * 64, NOON).as_json()

    class Empty:
        async def read(self, project: str) -> dict[str, float]:
            return {}

    statistics = await Statistics(cast("Any", Empty())).read("acme/shop")

    for name, answer in [
        ("Entry", entry),
        ("Parameters", entry["parameters"]),
        ("Generation", generation),
        ("Statistics", statistics),
    ]:
        schema = schema_of(described, name)
        # The options of a picture are there only where they were chosen.
        chosen = {*OPTIONS, "mask", "mask_digest"} if name == "Parameters" else set()
        assert answer.keys() == schema["properties"].keys() - chosen
        assert answer.keys() == set(schema["required"])


@pytest.mark.parametrize("outcome", LookupOutcome)
def test_a_picture_has_the_headers_that_are_described(
    described: Json, outcome: LookupOutcome
) -> None:
    """A picture has the headers of the document, for every cache status."""
    answer = Answer(
        an_entry(is_placeholder=True), outcome, hits=3, generation_id=IMAGE_ID
    )
    response = described["components"]["responses"]["Picture"]
    headers = response["headers"].keys()

    sent = live_headers(answer)

    # docs/reference/api.md describes the headers about embedding pictures.
    assert sent.keys() - EMBEDDING.fields.keys() - {"Content-Type"} <= headers
    # Some come with the request: its key, and the rate of that.
    of_the_request = {"CDN-Cache-Control", "RateLimit", "RateLimit-Policy"}
    # One comes with a rendition alone.
    of_the_request |= {"X-Provenance"}
    assert headers - sent.keys() == {"Content-Length", "X-Request-Id"} | of_the_request
    assert response["content"].keys() == EXTENSIONS.keys()
    schema = described["components"]["headers"]["Cache-Status"]["schema"]
    assert sent["Cache-Status"] in schema["enum"]
    said = {part.fields["Cache-Status"] for part in OF_OUTCOME.values()}
    assert said == set(schema["enum"])


async def test_the_document_says_which_routes_want_a_key(described: Json) -> None:
    """Exactly the operations that need a key describe a 401."""
    assert described["security"] == [{"apiKey": []}, {"bearer": []}]
    schemes = described["components"]["securitySchemes"]
    assert schemes["apiKey"]["name"] == "X-API-Key"
    assert schemes["bearer"]["scheme"] == "bearer"

    async with running() as service:
        for method, path, operation in operations(described):
            is_open = operation.get("security") == []
            status = await status_of(service, method, path)
            assert (status == 401) is not is_open, (method, path)
            assert ("401" in operation["responses"]) is not is_open


async def status_of(service: Paintonce, method: str, path: str) -> int:
    """Return the status of *path*, with ids filled in, without a key."""
    answer = await service.ask(method, re.sub(r"{\w+}", IMAGE_ID, path))
    return answer.status
