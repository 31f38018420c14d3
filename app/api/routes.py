"""Every route, on one screen: method, path, required right, handler.

Each runs behind the check of its right (`admission`), and all of them inside one
frame (`server/frame.py`: request id, problem document, counts, CORS, trace).

A handler that changes something goes on when its client disconnects (`is_change`).
HEAD has lines of its own, because a handler that streams has to know that there is
no body. The order matters where two templates match one path.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from app import urls
from app.api import (
    entries,
    generations,
    health,
    images,
    keys,
    live,
    models,
    project,
    scopes,
    sign,
    transient_images,
)
from app.api.admission import Needs, admitted
from app.api.changes import change
from app.api.openai import edits as openai_edits
from app.api.openai import generations as openai_generations
from app.api.openai import models as openai_models
from app.api.preflight import preflight_of
from app.http.incoming_bodies import go_ahead_later
from app.web import page

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.typedefs import Handler
    from aiohttp.web_urldispatcher import _ExpectHandler

HEALTH, KEYS, LIVE = Needs.HEALTH, Needs.KEYS, Needs.LIVE
COUNTED, NOTHING, PROJECT = Needs.COUNTED, Needs.NOTHING, Needs.PROJECT
READ, SCOPE = Needs.READ, Needs.SCOPE
OPENAI, OPENAI_READ = Needs.OPENAI, Needs.OPENAI_READ


class Route(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    needs: Needs
    handler: Handler
    expect_handler: _ExpectHandler | None = None
    is_change: bool = False

    @property
    def template(self) -> str:
        """The path as metrics name it, without the form of its parts."""
        return re.sub(r"{(\w+):[^}]*}", r"{\1}", self.path)


# fmt: off
ROUTES = (
    Route("GET", urls.LIVE, LIVE, live.generate),
    Route("HEAD", urls.LIVE, LIVE, live.look),
    Route("POST", urls.LIVE, PROJECT, live.generate_from_json),
    Route("GET", urls.STATISTICS, READ, entries.get_statistics),
    Route("GET", urls.HISTORY, READ, entries.get_history),
    Route("GET", urls.ENTRIES, READ, entries.list_entries),
    Route("GET", urls.ENTRY, READ, entries.get_entry),
    Route("DELETE", urls.ENTRY, PROJECT, entries.purge, is_change=True),
    Route("POST", urls.REFRESH, PROJECT, entries.refresh, is_change=True),
    Route("POST", urls.PURGE, PROJECT, entries.purge_many, is_change=True),
    Route("GET", urls.SCOPES, READ, scopes.list_scopes),
    Route("GET", urls.SCOPE, READ, scopes.get),
    Route("PUT", urls.SCOPE, PROJECT, scopes.put, is_change=True),
    Route("DELETE", urls.SCOPE, PROJECT, scopes.delete, is_change=True),
    Route("GET", urls.SCOPE_LIVE, SCOPE, live.generate),
    Route("HEAD", urls.SCOPE_LIVE, SCOPE, live.look),
    Route("GET", urls.GENERATION, READ, generations.get_generation),
    Route("GET", urls.GENERATION_EVENTS, READ, generations.follow_generation),
    Route("GET", urls.MODELS, READ, models.list_models),
    Route("GET", urls.IMAGE, READ, images.by_id),
    Route("HEAD", urls.IMAGE, READ, images.by_id),
    Route("GET", urls.PERMALINK, COUNTED, images.permalink),
    Route("HEAD", urls.PERMALINK, NOTHING, images.permalink),
    Route("GET", urls.NO_PERMALINK, COUNTED, images.permalink),
    Route("HEAD", urls.NO_PERMALINK, NOTHING, images.permalink),
    Route("POST", urls.TRANSIENT_IMAGES, PROJECT, transient_images.upload,
          go_ahead_later, is_change=True),
    Route("GET", urls.TRANSIENT_IMAGES, READ, transient_images.list_images),
    Route("POST", urls.TRANSIENT_DELETE, PROJECT, transient_images.forget_many,
          is_change=True),
    Route("GET", urls.TRANSIENT, COUNTED, transient_images.fetch),
    Route("HEAD", urls.TRANSIENT, COUNTED, transient_images.fetch),
    Route("DELETE", urls.TRANSIENT, PROJECT, transient_images.forget, is_change=True),
    Route("POST", urls.OPENAI_GENERATIONS, OPENAI, openai_generations.generate),
    Route("POST", urls.OPENAI_EDITS, OPENAI, openai_edits.edit, go_ahead_later),
    Route("GET", urls.OPENAI_MODELS, OPENAI_READ, openai_models.list_models),
    Route("GET", urls.OPENAI_MODEL, OPENAI_READ, openai_models.get_model),
    Route("POST", urls.KEYS, KEYS, keys.create, is_change=True),
    Route("GET", urls.KEYS, KEYS, keys.list_keys),
    Route("DELETE", urls.KEY, KEYS, keys.revoke, is_change=True),
    Route("GET", urls.PROJECT, READ, project.get_project),
    Route("PUT", urls.PROJECT, PROJECT, project.change_project, is_change=True),
    Route("GET", urls.SPEND, PROJECT, project.get_spend),
    Route("POST", urls.SIGN, PROJECT, sign.sign),
    Route("GET", urls.HEALTH, HEALTH, health.healthz),
    Route("GET", urls.READY, HEALTH, health.readyz),
    Route("GET", urls.METRICS, HEALTH, health.metrics),
    Route("GET", urls.OPENAPI, NOTHING, page.openapi),
    Route("GET", urls.DOCS, NOTHING, page.docs),
    Route("GET", urls.WEB_FILE, NOTHING, page.file),
    Route("GET", urls.PAGE, NOTHING, page.page),
)
# fmt: on


# `delete` is a resource of its own, for POST alone.
_ONLY = {urls.TRANSIENT: f"{urls.TRANSIENT_IMAGES}/{{id:(?!delete$)[^/]+}}"}


def definitions(routes: Iterable[Route] = ROUTES) -> list[web.RouteDef]:
    """Return *routes* for aiohttp's router, each behind its check."""
    routes = list(routes)
    methods: dict[str, set[str]] = defaultdict(set)
    for route in routes:
        methods[route.path].add(route.method)
    asked = [
        web.options(_ONLY.get(path, path), preflight_of(frozenset(known)))
        for path, known in methods.items()
        if path in urls.READ_ACROSS_ORIGINS
    ]
    return [*(_definition(route) for route in routes), *asked]


def _definition(route: Route) -> web.RouteDef:
    options: dict[str, object] = {}
    if route.method == "GET":
        options["allow_head"] = False
    if route.expect_handler is not None:
        options["expect_handler"] = route.expect_handler
    handler = admitted(route.needs, route.handler)
    if route.is_change:
        handler = change(handler)
    path = _ONLY.get(route.path, route.path)
    return web.RouteDef(route.method, path, handler, options)
