"""What handlers work with: one frozen object under one key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from app.http.picture_headers import KEPT_BY_KEYS, Part

if TYPE_CHECKING:
    from app.access.assemble import Access
    from app.api.query_cache import QueryCache
    from app.generation.models import Models
    from app.generation_jobs.events import GenerationEvents
    from app.generation_jobs.record import Generations
    from app.prompt_cache.administration import PromptEntries
    from app.prompt_cache.bulk_purge import BulkPurge
    from app.prompt_cache.cache import PromptCache
    from app.prompt_cache.entry.ledger import Ledger
    from app.prompt_cache.orphans import Orphans
    from app.prompt_cache.painting.pictures import Pictures
    from app.prompt_cache.purge import Purge
    from app.prompt_cache.rebuild import Rebuild
    from app.prompt_cache.statistics import Statistics
    from app.server.lifecycle import Lifecycle
    from app.transient_images import References, TransientImages


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that `open_services` built; *models* are those of the models file."""

    access: Access
    base_url: str
    models: Models
    query_cache: QueryCache
    cache: PromptCache
    entries: PromptEntries
    purge: Purge
    bulk_purge: BulkPurge
    rebuild: Rebuild
    orphans: Orphans
    ledger: Ledger
    pictures: Pictures
    statistics: Statistics
    generations: Generations
    generation_events: GenerationEvents
    transient_images: TransientImages
    references: References
    lifecycle: Lifecycle
    wait_timeout_seconds: float
    keyed_caching: Part = KEPT_BY_KEYS


SERVICES = web.AppKey("services", Services)
