"""The caches of OpenAI's front: parsed bodies, and answers ready to be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from app.api.openai.address_answers import AddressAnswers
from app.api.openai.known_bodies import KnownBodies

if TYPE_CHECKING:
    from app.api.parameters import KnownModels


class OpenAIFront:
    """The caches of one replica; *models* are those that a body may name."""

    def __init__(self, models: KnownModels) -> None:
        self.bodies = KnownBodies(models)
        self.addresses = AddressAnswers()


OPENAI_FRONT = web.AppKey("openai_front", OpenAIFront)
