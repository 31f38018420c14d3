"""OpenAIFront: what the front of one replica remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.api.openai.address_answers import AddressAnswers
from app.api.openai.known_bodies import KnownBodies

if TYPE_CHECKING:
    from app.api.parameters import KnownModels


class OpenAIFront:
    """The bodies that were asked, and the answers that are ready."""

    def __init__(self, models: KnownModels) -> None:
        self.bodies = KnownBodies(models)
        self.addresses = AddressAnswers()
