"""Builds every model of a models file, and the adapter that paints for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from app.generation.config.large_pictures import warning_for
from app.generation.finishing import Finishing
from app.generation.model import Model
from app.generation.models import Models
from app.generation.providers.a1111.images import A1111Images
from app.generation.providers.fal.queue import FalQueue
from app.generation.providers.gemini.images import GeminiImages
from app.generation.providers.openai.images import OpenAIImages
from app.generation.providers.placeholder.placeholder import Placeholder
from app.generation.providers.replicate.predictions import ReplicatePredictions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import ClientSession

    from app.generation.model_config import ModelConfig
    from app.generation.painting import PaintObserver
    from app.generation.provider import ImageProvider


_logger = logging.getLogger(__name__)


class _MakeAdapter(Protocol):
    """The constructor of every adapter that speaks HTTP."""

    def __call__(
        self, config: ModelConfig, *, session: ClientSession, max_image_bytes: int
    ) -> ImageProvider: ...


def build_models(
    configs: Mapping[str, ModelConfig],
    *,
    session: ClientSession,
    max_image_bytes: int,
    marks: bool,
    keeps_metadata: bool = False,
    observer: PaintObserver,
    generation_timeout_seconds: float,
) -> Models:
    """Make every model of a checked models file; they share *session*.

    *marks*: their pictures are marked as generated. *keeps_metadata*: their
    texts stay that hold prompts.
    """
    finishing = Finishing(
        max_image_bytes=max_image_bytes, marks=marks, keeps_metadata=keeps_metadata
    )
    for alias, config in configs.items():
        if sentence := warning_for(config.options, max_image_bytes):
            _logger.warning(
                "pictures may not fit", extra={"model": alias, "reason": sentence}
            )
    return Models(
        {
            alias: Model(
                config,
                adapter_for(config, session, max_image_bytes),
                finishing=finishing,
                observer=observer,
                generation_timeout_seconds=generation_timeout_seconds,
            )
            for alias, config in configs.items()
        }
    )


def adapter_for(
    config: ModelConfig, session: ClientSession, max_image_bytes: int
) -> ImageProvider:
    """Make the provider behind an alias; *max_image_bytes* bounds what it reads."""
    match config.provider:
        case "placeholder":
            return Placeholder(config.options)
        case "openai":
            make: _MakeAdapter = OpenAIImages
        case "gemini":
            make = GeminiImages
        case "replicate":
            make = ReplicatePredictions
        case "fal":
            make = FalQueue
        case "a1111":
            make = A1111Images
        case unknown:
            raise ValueError(f"no provider is called {unknown}")
    return make(config, session=session, max_image_bytes=max_image_bytes)
