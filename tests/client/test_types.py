"""The client's types match the API's OpenAPI document."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.api.parameters import JSON_PARAMETERS
from app.client import Entry, Parameters, Provenance, Statistics
from tests.replica import ROOT

SCHEMAS = json.loads((ROOT / "app" / "web" / "openapi.json").read_text())["components"][
    "schemas"
]


@pytest.mark.parametrize("kind", [Entry, Provenance, Statistics])
def test_a_document_has_the_fields_that_the_api_promises(kind: Any) -> None:
    """The client's types have exactly the required fields of the schemas."""
    assert kind.__required_keys__ == set(SCHEMAS[kind.__name__]["required"])


def test_every_parameter_has_a_type() -> None:
    """The client takes every parameter of live generation but `on_error`."""
    assert Parameters.__optional_keys__ == JSON_PARAMETERS - {"prompt", "on_error"}
