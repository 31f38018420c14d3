"""`serve`: run a replica until it gets a signal to stop."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence

from app.application import create_app
from app.commands.failed import Failed
from app.configuration import Configuration, load_configuration
from app.server.interpreter import keep_loop_responsive
from app.server.serving import CannotListen, EndedNow, bind
from app.server.serving import serve as serve_app
from app.telemetry import configure_logging

INTERRUPTED = 130

logger = logging.getLogger(__name__)


async def serve() -> int:
    """Run a replica until it gets a signal to stop."""
    settings = load_configuration().settings
    key = settings.signing_master_key or settings.admin_api_key
    configure_logging(
        settings.log_level,
        settings.log_format,
        # The same on every replica, so that a prompt can be followed.
        secret=key.get_secret_value() if key else None,
    )
    sockets = bound(settings.host, settings.port)
    # Port 0 took a free one, which the service's own address has to name.
    configuration = load_configuration(port=sockets[0].getsockname()[1])
    return await serve_on(configuration, sockets)


def bound(host: str, port: int) -> Sequence[socket.socket]:
    """Return sockets on an address; raises `Failed` where it is taken."""
    try:
        return bind(host, port)
    except CannotListen as error:
        raise Failed(str(error)) from error


async def serve_on(
    configuration: Configuration, sockets: Sequence[socket.socket]
) -> int:
    """Serve on *sockets* until a signal comes; return the exit status."""
    keep_loop_responsive()
    settings = configuration.settings
    if settings.auth == "off":
        # Any client that reaches the port may pay, read and delete.
        logger.warning("authentication is off")
    try:
        await serve_app(
            create_app(configuration),
            host=settings.host,
            port=settings.port,
            sockets=sockets,
            grace_seconds=configuration.grace_seconds,
        )
    except EndedNow:
        return INTERRUPTED
    return 0
