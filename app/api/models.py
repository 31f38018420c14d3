"""The models that callers may name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.api.admission import project_of
from app.api.services import SERVICES
from app.http.json_answers import json_answer

if TYPE_CHECKING:
    from aiohttp import web


async def list_models(request: web.Request) -> web.Response:
    """Answer with every alias in the order of the models file, its price and names."""
    project_of(request)
    models = request.app[SERVICES].models
    listed = [
        {
            "name": alias,
            "price": models.price_of(alias),
            "also": models.names.also_of(alias),
            "accept": models.names.accepted_by(alias),
        }
        for alias in models.aliases
    ]
    return json_answer({"models": listed})
