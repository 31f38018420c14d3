"""The features that handlers use: one frozen object under one key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from app.http.picture_headers import KEPT_BY_KEYS, Part

if TYPE_CHECKING:
    from app.access.assemble import Access
    from app.api.query_cache import QueryCache
    from app.generation.models import Models
    from app.prompt_cache.parts import PromptCacheParts
    from app.renditions import RenditionParts
    from app.server.lifecycle import Lifecycle
    from app.spending.assemble import Spending
    from app.transient_images import TransientParts


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The features that `open_services` built, as handlers use them."""

    access: Access
    spending: Spending
    base_url: str
    models: Models
    query_cache: QueryCache
    prompts: PromptCacheParts
    renditions: RenditionParts
    transient_images: TransientParts
    lifecycle: Lifecycle
    wait_timeout_seconds: float
    keyed_caching: Part = KEPT_BY_KEYS


SERVICES = web.AppKey("services", Services)
