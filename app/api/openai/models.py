"""The models in OpenAI's words: aliases, and the further names of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.api.services import SERVICES
from app.errors import ModelNotFound
from app.http.json_answers import json_answer

if TYPE_CHECKING:
    from aiohttp import web


async def list_models(request: web.Request) -> web.Response:
    """Answer with every name that a request may give."""
    names = request.app[SERVICES].models.names.all
    listed = [_document(name) for name in names]
    return json_answer({"object": "list", "data": listed})


async def get_model(request: web.Request) -> web.Response:
    """Answer with one model by any of its names."""
    name = request.match_info["model"]
    if request.app[SERVICES].models.names.alias_of(name) is None:
        raise ModelNotFound("There is no such model.")
    return json_answer(_document(name))


def _document(name: str) -> dict[str, object]:
    # When a model was made is known to its provider alone.
    return {"id": name, "object": "model", "created": 0, "owned_by": "paintonce"}
