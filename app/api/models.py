"""The models that callers may name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.api.admitted_request import project_of
from app.api.services import SERVICES
from app.http.json_answers import json_answer

if TYPE_CHECKING:
    from aiohttp import web


async def list_models(request: web.Request) -> web.Response:
    """Return every alias of the models file, what it can do, and the widths of `w`."""
    project_of(request)
    services = request.app[SERVICES]
    models = services.models
    listed = [
        {
            "name": alias,
            "price": models.price_of(alias),
            "also": models.names.also_of(alias),
            "accept": models.names.accepted_by(alias),
            **models.capabilities_of(alias).as_json(),
        }
        for alias in models.aliases
    ]
    widths = services.renditions.widths
    return json_answer({"models": listed, "rendition_widths": widths})
