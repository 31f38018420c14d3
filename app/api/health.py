"""Liveness, readiness and metrics.

Alive and ready are different questions: a replica whose Redis is unavailable is
alive, and stays in the balancer, because all replicas share that Redis.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from aiohttp import web

from app.errors import InvalidParameter
from app.server.dependency_monitor import (
    DEPENDENCY_MONITOR,
    FENCE,
    DependencyMonitor,
)
from app.server.frame import METRICS
from app.server.lifecycle import LIFECYCLE

_NO_STORE: Mapping[str, str] = MappingProxyType({"Cache-Control": "no-store"})


async def healthz(_: web.Request) -> web.Response:
    """Answer 200 while the event loop turns; no dependency is touched."""
    return web.json_response({"status": "ok"}, headers=_NO_STORE)


async def readyz(request: web.Request) -> web.Response:
    """Answer 200 where requests may come; `strict=1` wants every dependency up."""
    strict = request.query.get("strict")
    if strict not in {None, "1"}:
        raise InvalidParameter("strict", "strict must be 1, or not be there.")
    dependencies = request.app[DEPENDENCY_MONITOR]
    fence = request.app[FENCE]
    status = _status(
        dependencies,
        draining=request.app[LIFECYCLE].draining,
        fenced=fence.is_open and dependencies.are_right,
    )
    ready = status == "ok" or (status == "degraded" and strict is None)
    return web.json_response(
        {
            "status": status,
            "fence": str(fence.verdict),
            "dependencies": dependencies.findings(),
        },
        status=200 if ready else 503,
        headers=_NO_STORE,
    )


async def metrics(request: web.Request) -> web.Response:
    """Answer with everything that was counted, as Prometheus text."""
    counted = request.app[METRICS]
    return web.Response(
        body=counted.render(),
        headers={"Content-Type": counted.content_type, **_NO_STORE},
    )


def _status(
    dependencies: DependencyMonitor, *, draining: bool, fenced: bool
) -> Literal["ok", "degraded", "starting", "draining", "unfenced"]:
    if draining:
        return "draining"
    if not dependencies.have_answered:
        return "starting"
    if not fenced:
        return "unfenced"
    return "ok" if dependencies.are_up else "degraded"
