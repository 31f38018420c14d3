"""Changes: handlers that go on when their client disconnects."""

from __future__ import annotations

import asyncio
import logging
from functools import wraps
from http import HTTPStatus
from typing import TYPE_CHECKING

from app.http.problems import as_service_error, row_for
from app.server.lifecycle import LIFECYCLE

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler

logger = logging.getLogger(__name__)


def change(handler: Handler) -> Handler:
    """Return *handler* as a task of the service, which a drain waits for.

    A client that disconnects cancels the handlers of its requests. What changes
    something belongs to the service: it ends as if the client were there.
    """

    @wraps(handler)
    async def enter(request: web.Request) -> web.StreamResponse:
        lifecycle = request.app[LIFECYCLE]
        task = asyncio.ensure_future(handler(request))
        lifecycle.request_began()
        task.add_done_callback(lambda _: lifecycle.request_ended())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise

    return enter


def _log_failure(task: asyncio.Future[web.StreamResponse]) -> None:
    """Log the failure of a change that no client is there to get."""
    if task.cancelled():
        return
    error = task.exception()
    # A body that was cut is no change that was begun.
    if error is None or isinstance(error, OSError):
        return
    row = row_for(as_service_error(error) if isinstance(error, Exception) else error)
    if row.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        fields = {"code": row.code, "cause": type(error).__qualname__}
        logger.warning("change failed without a client", extra=fields)
