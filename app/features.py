"""The features of a replica over any ports, and in which order they close.

`application` hands the real ports and models over; tests hand over ports in
memory and scripted models, and get the same services.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from app import renditions, transient_images
from app.access.assemble import open_access
from app.api.openai.front import OPENAI_FRONT, OpenAIFront
from app.api.originals import ORIGINALS, Originals
from app.api.query_cache import QueryCache
from app.api.rendition_answers import RENDITION_BODIES, RenditionBodies
from app.api.services import SERVICES, Services
from app.background import running
from app.prompt_cache import assemble as prompt_cache
from app.spending.assemble import open_spending
from app.storage.documents import StoredDocuments
from app.telemetry.degradations import Degradations
from app.telemetry.tracing import Tracing, traced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from aiohttp import web

    from app.generation.models import Models
    from app.generation.spending import PaidAlready
    from app.ports import Ports
    from app.prompt_cache.painting.asking import References
    from app.prompt_cache.parts import PromptCacheParts
    from app.server.lifecycle import Lifecycle
    from app.storage.storage_key import Project
    from app.telemetry import Metrics
    from app.terms import Terms

# The calls that a request may wait for, and that a trace shows.
STORE_CALLS = ("put", "create", "replace", "get", "open", "exists", "delete")
INDEX_CALLS = (
    *("look_up", "acquire", "hold", "renew", "commit", "fail", "release"),
    *("withdraw", "forget"),
)


# Calls to the store at once of keys, rules and the journal. They wait for none
# of paintings, pictures and visitors.
DOCUMENTS_AT_ONCE = 64


@asynccontextmanager
async def open_services(
    ports: Ports,
    models: Models,
    terms: Terms,
    metrics: Metrics,
    lifecycle: Lifecycle,
    *,
    tracing: Tracing | None = None,
) -> AsyncIterator[Services]:
    """Build the features in order of need, and close them in reverse."""
    documents = StoredDocuments(ports.store.on_a_line(DOCUMENTS_AT_ONCE))
    on_degraded = Degradations(metrics).note
    spanned = replace(
        ports,
        store=traced(tracing, ports.store, "object_store", STORE_CALLS),
        index=traced(tracing, ports.index, "prompt_index", INDEX_CALLS),
    )
    async with (
        open_access(
            documents,
            ports.rates,
            terms.access,
            listener_closed=lifecycle.listener_closed,
            on_degraded=on_degraded,
        ) as access,
        open_spending(
            documents,
            ports.accounts,
            ports.rates,
            terms.spending,
            require_active=access.require_active,
            listener_closed=lifecycle.listener_closed,
            on_degraded=on_degraded,
        ) as spending,
        _open_transient_images(ports, terms.transient, on_degraded) as transient,
        _open_prompts(
            _prompt_ports(
                spanned,
                models=traced(tracing, models, "models", ("paint",)),
                references=transient.references.for_painting,
                paid_already=spending.permits.paid_already,
                metrics=metrics,
            ),
            terms.prompts,
            lifecycle,
        ) as prompts,
        _open_renditions(
            _rendition_ports(spanned, prompts, models.systems, metrics),
            terms.renditions,
            lifecycle,
        ) as drawn,
    ):
        yield Services(
            access=access,
            spending=spending,
            base_url=terms.access.base_url,
            keyed_caching=terms.keyed_caching,
            models=models,
            query_cache=QueryCache(models.names, terms.renditions.widths),
            prompts=prompts,
            renditions=drawn,
            transient_images=transient,
            lifecycle=lifecycle,
            wait_timeout_seconds=terms.wait_timeout_seconds,
        )


@asynccontextmanager
async def _open_transient_images(
    ports: Ports,
    limits: transient_images.Limits,
    on_degraded: Callable[[str], None],
) -> AsyncIterator[transient_images.TransientParts]:
    parts = transient_images.assemble(
        ports.transient, limits, ports.store, on_degraded=on_degraded
    )
    warning = transient_images.warn_unless_bounded(ports.max_memory, limits.total_bytes)
    async with parts.running(), running(warning, name="memory-warning"):
        yield parts


def _prompt_ports(
    ports: Ports,
    *,
    models: Models,
    references: References,
    paid_already: Callable[[Project], PaidAlready],
    metrics: Metrics,
) -> prompt_cache.Ports:
    return prompt_cache.Ports(
        store=ports.store,
        index=ports.index,
        completions=ports.completions,
        statistics=ports.statistics,
        generations=ports.generations,
        models=models,
        references=references,
        paid_already=paid_already,
        metrics=metrics,
        painting_refusal=ports.fence.refusal,
    )


@asynccontextmanager
async def _open_prompts(
    ports: prompt_cache.Ports, limits: prompt_cache.Limits, lifecycle: Lifecycle
) -> AsyncIterator[PromptCacheParts]:
    parts = prompt_cache.assemble(ports, limits)
    async with parts.running():
        lifecycle.on_finish(parts.drain)
        lifecycle.on_give_up(parts.give_up)
        yield parts


def _rendition_ports(
    ports: Ports,
    prompts: PromptCacheParts,
    systems: Mapping[str, str],
    metrics: Metrics,
) -> renditions.Ports:
    return renditions.Ports(
        store=ports.store,
        index=ports.index,
        completions=ports.completions,
        memory=prompts.hot_tier,
        read_original=prompts.pictures.read_whole,
        systems=systems,
        metrics=metrics,
    )


@asynccontextmanager
async def _open_renditions(
    ports: renditions.Ports, limits: renditions.Limits, lifecycle: Lifecycle
) -> AsyncIterator[renditions.RenditionParts]:
    parts = renditions.assemble(ports, limits)
    async with parts.running():
        lifecycle.on_finish(parts.workshop.drain)
        lifecycle.on_give_up(parts.workshop.give_up)
        yield parts


def provide(app: web.Application, services: Services) -> None:
    """Give the handlers of *app* the services, and caches of their own."""
    app[SERVICES] = services
    app[OPENAI_FRONT] = OpenAIFront(services.models.names)
    app[ORIGINALS] = Originals(services.prompts.ledger, services.prompts.pictures)
    app[RENDITION_BODIES] = RenditionBodies(services.prompts.pictures)
