"""Every route, on one screen.

GET never brings HEAD along: a handler that streams must know that a HEAD has
no body, so each HEAD is said. The order matters where one template matches
what another does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from app.api import entries, generations, health, images, live, transient_images
from app.web import page

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler


def _get(path: str, handler: Handler) -> web.RouteDef:
    return web.get(path, handler, allow_head=False)


GENERATE = "/api/v1/live/generate"
ENTRY = "/api/v1/live/entries/{prompt_hash}"
IMAGE = "/api/v1/images/{image_id}"
PERMALINK = "/api/v1/images/{org}/{project}/{category}/{filename}"
NO_PERMALINK = "/api/v1/images/{storage_key:.*}"
TRANSIENT = "/api/images/{id}"

ROUTES = [
    _get(GENERATE, live.generate),
    web.head(GENERATE, live.look),
    web.post(GENERATE, live.generate_from_json),
    _get("/api/v1/live/stats", entries.get_statistics),
    _get("/api/v1/live/entries", entries.list_entries),
    _get(ENTRY, entries.get_entry),
    web.delete(ENTRY, entries.purge),
    web.post(f"{ENTRY}/refresh", entries.refresh),
    _get("/api/v1/generations/{generation_id}", generations.get_generation),
    _get(IMAGE, images.by_id),
    web.head(IMAGE, images.by_id),
    _get(PERMALINK, images.permalink),
    web.head(PERMALINK, images.permalink),
    _get(NO_PERMALINK, images.permalink),
    web.head(NO_PERMALINK, images.permalink),
    web.post(
        "/api/images",
        transient_images.upload,
        expect_handler=transient_images.go_ahead_later,
    ),
    _get("/api/images", transient_images.list_images),
    web.post("/api/images/delete", transient_images.forget_many),
    _get(TRANSIENT, transient_images.fetch),
    web.head(TRANSIENT, transient_images.fetch),
    web.delete(TRANSIENT, transient_images.forget),
    _get("/healthz", health.healthz),
    _get("/readyz", health.readyz),
    _get("/metrics", health.metrics),
    _get("/openapi.json", page.openapi),
    _get("/", page.page),
]
