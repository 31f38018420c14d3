"""The client's types are those of the API's own description."""

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
    """A caller who reads a field by its type finds it in every answer."""
    assert kind.__required_keys__ == set(SCHEMAS[kind.__name__]["required"])


def test_every_parameter_can_be_said() -> None:
    """What live generation takes, the client takes by name, and errors are errors."""
    assert Parameters.__optional_keys__ == JSON_PARAMETERS - {"prompt", "on_error"}
